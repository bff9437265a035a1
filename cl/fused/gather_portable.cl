/* Sparse rows on work-items: what the kernels that gather keys on GPUs share.
 *
 *               SIDE work-items
 *            +---+---+---+---+---+
 *   row 0    | s | s | s |   |   |    scores: a work-item a pair, which reads all of its key
 *   row 1    | s | s | s | s |   |    sums:   a work-item every SIDE-th channel of the row, from all pairs
 *    ...     +---+---+---+---+---+            of the step, so that neighbours read neighbours
 *
 * A group has CLF_ROWS rows, neighbours in the order of lengths: they need about as many steps of SIDE pairs. All of
 * them pass the barriers of the longest. Local memory: the rows' own vectors and SIDE numbers a row.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "fused/lists.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k, rounded up to a multiple of CLF_SIDE */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out, rounded up too */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_ROWS
#define CLF_ROWS 4
#endif
#ifndef CLF_SIDE
#define CLF_SIDE 16
#endif

#define ITEMS (CLF_ROWS * CLF_SIDE)
#define D_SHARE (CLF_D / CLF_SIDE)
#define E_SHARE (CLF_E / CLF_SIDE)

/* The rows of a group: this work-item's own, and the steps that the longest takes. */
typedef struct line {
    int row, begin, end, steps;
} line;

static line find_line(__global const int *lists, int8 lists_at, int b, int h, int first, int r)
{
    const int lists_first = clf_lists_of(lists_at, b, h);
    line mine = { -1, 0, 0, 0 };
    for (int i = 0; i < CLF_ROWS; i++) {
        const int turn = min(first + i, lists_at.s0 - 1), row = clf_list_in_turn(lists, lists_at, b, h, turn);
        const int begin = lists[lists_first + row], end = lists[lists_first + row + 1];
        mine.steps = max(mine.steps, (end - begin + CLF_SIDE - 1) / CLF_SIDE);
        if (i == r && first + i < lists_at.s0) {
            mine.row = row;
            mine.begin = begin;
            mine.end = end;
        }
    }
    return mine;
}

/* The row's own vector, shared out over its work-items. */
CLF_INLINE void load_own(__global const clf_storage *p, int at, int exists, int width, float scale, int side,
                         __local float *to)
{
    for (int n = side; n < width; n += CLF_SIDE)
        to[n] = exists ? clf_load(p, at + n) * scale : 0.0f;
}

CLF_INLINE float dot_own(__local const float *x, __global const clf_storage *p, int at, int width)
{
    float sum = 0.0f;
    for (int n = 0; n < width; n++)
        sum = clf_fma(x[n], clf_load(p, at + n), sum);
    return sum;
}

/* acc += weights p over the pairs of a step; a weight of 0 reads nothing. */
CLF_INLINE void add_rows(__local const float *weights, __local const int *rows, __global const clf_storage *p, int stride,
                         int width, int side, int share, float *acc)
{
    for (int n = 0; n < CLF_SIDE; n++) {
        const float weight = weights[n];
        if (weight == 0.0f)
            continue;
        const int at = rows[n] * stride;
#pragma unroll
        for (int c = 0; c < share; c++)
            acc[c] = clf_fma(weight, clf_load(p, at + min(c * CLF_SIDE + side, width - 1)), acc[c]);
    }
}

CLF_INLINE void store_sums(const float *acc, float scale, __global clf_storage *p, int at, int width, int side, int share)
{
#pragma unroll
    for (int c = 0; c < share; c++)
        if (c * CLF_SIDE + side < width)
            clf_store(acc[c] * scale, p, at + c * CLF_SIDE + side);
}

static int keeps(int key, int row, int bh, uint8 random)
{
#if CLF_DROPOUT
    return clf_keep(key, row, bh, random);
#else
    return 1;
#endif
}
