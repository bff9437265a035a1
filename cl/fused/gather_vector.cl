/* Rows of a tensor as vectors in registers: what the kernels that gather keys on CPUs share. */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "prelude/lanes.cl"
#include "fused/lists.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif

#ifndef CLF_ROWS
#define CLF_ROWS 16 /* of a group, which takes sixteen pairs of each in turn */
#endif

#define D_VECTORS ((CLF_D + 15) / 16)
#define E_VECTORS ((CLF_E + 15) / 16)
#define VECTORS(width) (((width) + 15) / 16)

/* Always inlined: the width is a constant then, the vectors are registers. */
CLF_INLINE void load_row(__global const clf_storage *p, long at, int width, float scale, float16 *to)
{
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        to[n] = clf_load_lanes(p, at + 16 * n, width - 16 * n) * scale;
}

CLF_INLINE float dot_row(const float16 *x, __global const clf_storage *p, long at, int width)
{
    float16 sum = (float16)(0.0f);
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        sum = clf_fma(x[n], clf_load_lanes(p, at + 16 * n, width - 16 * n), sum);
    return clf_sum16(sum);
}

CLF_INLINE void add_row(float factor, __global const clf_storage *p, long at, int width, float16 *to)
{
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        to[n] = clf_fma((float16)(factor), clf_load_lanes(p, at + 16 * n, width - 16 * n), to[n]);
}

/* A row that rests in memory between its turns. */
CLF_INLINE void copy_row(const float16 *from, int width, float16 *to)
{
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        to[n] = from[n];
}

CLF_INLINE void clear_row(int width, float16 *to)
{
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        to[n] = (float16)(0.0f);
}

/* The rows of a group: neighbours in the order of lengths. Returns how many there are; *steps are those of the longest. */
static int find_rows(__global const int *lists, int8 lists_at, int b, int h, int first, int *row, int *begin, int *end,
                     int *steps)
{
    const int first_list = clf_lists_of(lists_at, b, h), count = min(CLF_ROWS, lists_at.s0 - first);
    *steps = 0;
    for (int r = 0; r < count; r++) {
        row[r] = clf_list_in_turn(lists, lists_at, b, h, first + r);
        begin[r] = lists[first_list + row[r]];
        end[r] = lists[first_list + row[r] + 1];
        *steps = max(*steps, (end[r] - begin[r] + 15) / 16);
    }
    return count;
}

CLF_INLINE void store_row(const float16 *x, float scale, __global clf_storage *p, long at, int width)
{
#pragma unroll
    for (int n = 0; n < VECTORS(width); n++)
        clf_store_lanes(x[n] * scale, p, at + 16 * n, width - 16 * n);
}

/* Does dropout keep the pair? */
static int keeps(int key, int row, int bh, uint8 random)
{
#if CLF_DROPOUT
    uint words[4];
    vstore4(clf_dropout_words(key >> 2, row, bh, random), 0, words);
    return words[key & 3] >= random.s4;
#else
    return 1;
#endif
}
