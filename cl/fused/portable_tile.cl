/* Tiles of matrices for the work-items of a group: what the portable kernels are made of.
 *
 * A group computes ROWS x COLUMNS numbers at a time; each of its TY x TX work-items holds HEIGHT x WIDTH of them
 * in registers, as WIDTH vectors of HEIGHT rows each:
 *
 *                     b: depth x COLUMNS                     One step of the sum reads HEIGHT numbers of a and
 *                  +--+--+--+--+--+--+--+--+                 WIDTH of b from local memory and does HEIGHT x WIDTH
 *                  |tx= 0  1  2 ...        |                 multiply-adds. Both operands are stored depth first,
 *                  +--+--+--+--+--+--+--+--+                 so each read is one or two vectors.
 *     a: depth x   |ty = 0                 |
 *        ROWS      |    1      (ty, tx)    | HEIGHT          The columns of a work-item come in runs of VECTOR,
 *     (transposed) |    2                  |                 TX * VECTOR apart: neighbouring work-items read
 *                  |   ...                 |                 neighbouring vectors, which keeps local memory free of
 *                  +--+--+--+--+--+--+--+--+                 bank conflicts.
 *                       WIDTH
 *
 * Rows, columns and depth that a tensor does not have are zeros in local memory; reads are clamped, never outside.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "fused/place.cl"
#include "fused/lists.cl"

#ifndef CLF_D
#define CLF_D 64
#endif
#ifndef CLF_E
#define CLF_E CLF_D
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_ROWS
#define CLF_ROWS 64 /* of the tile that a group keeps: queries, or keys for their own gradient */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64 /* of the tiles that pass by */
#endif
#ifndef CLF_HEIGHT
#define CLF_HEIGHT 8 /* rows of a work-item: 4 or 8 */
#endif
#ifndef CLF_WIDTH
#define CLF_WIDTH 8 /* columns of a work-item: 4 or 8, a multiple of CLF_VECTOR */
#endif
#ifndef CLF_VECTOR
#define CLF_VECTOR 8 /* neighbouring numbers that a work-item reads at once: 4 or 8 */
#endif
#ifndef CLF_DEPTH
#define CLF_DEPTH 16 /* how much of the head width is in local memory at a time */
#endif
#ifndef CLF_STEPS
#define CLF_STEPS 32 /* how many of the passing rows are in local memory at a time */
#endif

#define TX (CLF_COLUMNS / CLF_WIDTH)
#define TY (CLF_ROWS / CLF_HEIGHT)
#define ITEMS (TX * TY)
#define PITCH(n) ((n) + CLF_VECTOR) /* spreads the banks, keeps the alignment */

/* Columns of width D or E that a work-item sums up: 1, 2 or a multiple of 4; and how many it reads at once. */
#define SHARE(width) (((width) + TX - 1) / TX <= 2 ? ((width) + TX - 1) / TX : ((width) + 4 * TX - 1) / (4 * TX) * 4)
#define RUN(share) ((share) < 4 ? (share) : (share) % CLF_VECTOR == 0 ? CLF_VECTOR : 4)
#define PADDED(width) (SHARE(width) * TX)
#define WIDEST (PADDED(CLF_D) > PADDED(CLF_E) ? PADDED(CLF_D) : PADDED(CLF_E))

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
typedef CAT(float, CLF_HEIGHT) rows;
typedef CAT(int, CLF_HEIGHT) rows_int;
typedef CAT(float, CLF_VECTOR) wide;

#if CLF_HEIGHT == 8
#define EACH_ROW(do_) do_(0) do_(1) do_(2) do_(3) do_(4) do_(5) do_(6) do_(7)
#define MAKE_ROWS(f) (rows)(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))
#else
#define EACH_ROW(do_) do_(0) do_(1) do_(2) do_(3)
#define MAKE_ROWS(f) (rows)(f(0), f(1), f(2), f(3))
#endif
#if CLF_WIDTH == 8
#define EACH_COLUMN(do_) do_(0) do_(1) do_(2) do_(3) do_(4) do_(5) do_(6) do_(7)
#else
#define EACH_COLUMN(do_) do_(0) do_(1) do_(2) do_(3)
#endif
#if CLF_VECTOR == 8
#define MAKE_WIDE(f) (wide)(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))
#else
#define MAKE_WIDE(f) (wide)(f(0), f(1), f(2), f(3))
#endif

/* Do the scores of a tile need a look each? Not when its first query sees its last key, and its last query its
 * first. */
#if CLF_EVERY_SCORE
#define NEEDS_MASKING(q, queries, k, keys, shape) 1
#else
#define NEEDS_MASKING(q, queries, k, keys, shape) \
    ((k) + (keys) > clf_keys_seen(q, (shape).s3, (shape).s4) || clf_first_key((q) + (queries) - 1, shape) > (k))
#endif

#if CLF_BLOCKS
#define LISTED_PARTIAL (listed.z & 1)
#else
#define LISTED_PARTIAL 0
#endif

/* Words of bits for a query of a list's tile whose keys are columns, or rows, here. */
#define COLUMN_WORDS ((CLF_COLUMNS + 31) / 32)
#define ROW_WORDS ((CLF_ROWS + 31) / 32)

/* A work-item's scores in local memory, where loops may index them (registers may not be indexed), and back. */
#define PARK(j) *(__local rows *)(mine + column_of(j, tx, CLF_VECTOR) * PITCH(CLF_ROWS)) = s[j];
#define FETCH(j) s[j] = PARKED(j);
#define SCALE(j) s[j] *= scale;
#define PARKED(j) (*(__local const rows *)(mine + column_of(j, tx, CLF_VECTOR) * PITCH(CLF_ROWS)))
#if CLF_BENDS
#define SLOPE(j) * *(__local const rows *)(slopes + (mine - weights) + column_of(j, tx, CLF_VECTOR) * PITCH(CLF_ROWS))
#else
#define SLOPE(j)
#endif

/* Where a work-item's j-th column of a tile is. */
static int column_of(int j, int tx, int run)
{
    return j / run * (TX * run) + tx * run + j % run;
}

static rows rows_exp2(rows x)
{
#define EXP2(i) clf_exp2(x.s##i)
    return MAKE_ROWS(EXP2);
#undef EXP2
}

static int is_wild(wide x)
{
    return any((CAT(as_int, CLF_VECTOR)(x) & 0x7fffffff) >= 0x7f800000);
}

/* What an operand's elements are: those of inputs, or of results. Constants, and known where they are inlined. */
#define INPUT 0
#define RESULT 1

/* An element that is always read (the index is clamped by the caller), then kept or not: no branch. */
CLF_INLINE float load_or_zero(__global const void *p, int kind, int i, int keep)
{
    const float x = kind == RESULT ? clf_load_result((__global const clf_result *)p, i)
                                   : clf_load((__global const clf_storage *)p, i);
    return keep ? x : 0.0f;
}

/* to[d][r] = p[first + r][d0 + d]: `count` rows turned into columns. */
CLF_INLINE void load_turned(__global const void *p, int kind, int stride, int first, int count, int limit,
                        int d0, int width, int item, __local float *to)
{
    for (int piece = item; piece < CLF_DEPTH * count / CLF_VECTOR; piece += ITEMS) {
        const int t = piece % CLF_DEPTH, r = piece / CLF_DEPTH * CLF_VECTOR;
        const int d = min(d0 + t, width - 1), row = first + r;
#define ELEMENT(i) load_or_zero(p, kind, min(row + i, limit - 1) * stride + d, row + i < limit)
        *(__local wide *)(to + t * PITCH(count) + r) = MAKE_WIDE(ELEMENT);
#undef ELEMENT
    }
}

/* to[r][c] = p[first + r][c], rows of `padded`. Answers whether there is an infinity or NaN among them. */
CLF_INLINE int load_straight(__global const void *p, int kind, int stride, int first, int count, int limit,
                         int width, int padded, int item, __local float *to)
{
    int wild = 0;
    for (int piece = item; piece < count * padded / CLF_VECTOR; piece += ITEMS) {
        const int r = piece / (padded / CLF_VECTOR), c = piece % (padded / CLF_VECTOR) * CLF_VECTOR;
        const int row = min(first + r, limit - 1) * stride;
#define ELEMENT(i) load_or_zero(p, kind, row + min(c + i, width - 1), (first + r < limit) & (c + i < width))
        const wide x = MAKE_WIDE(ELEMENT);
#undef ELEMENT
        wild |= is_wild(x);
        *(__local wide *)(to + r * padded + c) = x;
    }
    return wild;
}

#define ADD(x, y, sum) sum = clf_fma(x, (rows)(y), sum);
/* A factor of exactly 0 (a masked key) contributes nothing, whatever it meets. */
#define ADD_CAREFULLY(x, y, sum) sum = clf_fma(x, (x) == (rows)(0.0f) ? (rows)(0.0f) : (rows)(y), sum);

#define SPREAD2(add, x, y, c, n) add(x, y.s0, c[n]) add(x, y.s1, c[n + 1])
#define SPREAD4(add, x, y, c, n) SPREAD2(add, x, y, c, n) add(x, y.s2, c[n + 2]) add(x, y.s3, c[n + 3])
#define SPREAD8(add, x, y, c, n) SPREAD4(add, x, y, c, n) \
    add(x, y.s4, c[n + 4]) add(x, y.s5, c[n + 5]) add(x, y.s6, c[n + 6]) add(x, y.s7, c[n + 7])

/* One step: c += x y over `width` columns in runs of `run`, both known when this is inlined. Written in whole runs
 * with constant places, because sums in registers may not be indexed by anything else. */
#define ADD_RUNS(add) \
    for (int n = 0; n < width; n += run) { \
        __local const float *y = b + t * b_pitch + n * TX; \
        if (run == 8) { \
            const float8 y8 = *(__local const float8 *)y; \
            SPREAD8(add, x, y8, c, n) \
        } else if (run == 4) { \
            const float4 y4 = *(__local const float4 *)y; \
            SPREAD4(add, x, y4, c, n) \
        } else if (run == 2) { \
            const float2 y2 = *(__local const float2 *)y; \
            SPREAD2(add, x, y2, c, n) \
        } else { \
            add(x, *y, c[n]) \
        } \
    }

/* c += a b over `depth` steps. a points to the work-item's rows, b to its first column. */
CLF_INLINE void product(__local const float *a, int a_pitch, __local const float *b, int b_pitch, int depth,
                    int width, int run, rows *c)
{
    for (int t = 0; t < depth; t++) {
        const rows x = *(__local const rows *)(a + t * a_pitch);
#pragma unroll
        ADD_RUNS(ADD)
    }
}

/* The same where b may hold infinities or NaN. */
CLF_INLINE void product_carefully(__local const float *a, int a_pitch, __local const float *b, int b_pitch, int depth,
                              int width, int run, rows *c)
{
    for (int t = 0; t < depth; t++) {
        const rows x = *(__local const rows *)(a + t * a_pitch);
#pragma unroll
        ADD_RUNS(ADD_CAREFULLY)
    }
}

/* The products of a tile: c = a b^T, both read from rows of `width` in memory. Callers pass the width as a run-time
 * number: some compilers unroll loops of known length whatever it costs. */
CLF_INLINE void tile_product(__global const void *a, int a_kind, int a_stride, int a_first, int a_limit,
                         __global const void *b, int b_kind, int b_stride, int b_first, int b_limit, int width,
                         int item, int tx, int ty, __local float *operands, rows *c)
{
    __local float *columns = operands + CLF_DEPTH * PITCH(CLF_ROWS);
    for (int d = 0; d < width; d += CLF_DEPTH) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_turned(a, a_kind, a_stride, a_first, CLF_ROWS, a_limit, d, width, item, operands);
        load_turned(b, b_kind, b_stride, b_first, CLF_COLUMNS, b_limit, d, width, item, columns);
        barrier(CLK_LOCAL_MEM_FENCE);
        product(operands + ty * CLF_HEIGHT, PITCH(CLF_ROWS), columns + tx * CLF_VECTOR, PITCH(CLF_COLUMNS),
                min(CLF_DEPTH, width - d), CLF_WIDTH, CLF_VECTOR, c);
    }
}

/* c += weights^T x rows first .. of p: what the passing tile adds to a gradient. */
CLF_INLINE void add_weighted(__local const float *weights, __global const void *p, int kind, int stride, int first,
                         int count, int limit, int width, int share, int item, int tx, int ty,
                         __local float *operands, __local int *wild, rows *c)
{
    for (int step = 0; step < count; step += CLF_STEPS) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (load_straight(p, kind, stride, first + step, CLF_STEPS, limit, width, share * TX, item, operands))
            *wild = 1;
        barrier(CLK_LOCAL_MEM_FENCE);
        __local const float *a = weights + step * PITCH(CLF_ROWS) + ty * CLF_HEIGHT;
        __local const float *b = operands + tx * RUN(share);
        const int steps = min(CLF_STEPS, count - step);
        if (*wild)
            product_carefully(a, PITCH(CLF_ROWS), b, share * TX, steps, share, RUN(share), c);
        else
            product(a, PITCH(CLF_ROWS), b, share * TX, steps, share, RUN(share), c);
    }
}

/* What sums are written as. */
#ifndef STORED
#define STORED clf_storage
#define STORE clf_store
#endif

/* Writes up to CLF_WIDTH columns of each work-item's sums, those from `first_column` on, to rows of a tensor: through
 * local memory, so that neighbouring work-items write neighbouring elements. */
CLF_INLINE void store_some(const rows *sums, int share, int run, int tx, int ty, int item, __local float *stage,
                       __global STORED *p, int stride, int first, int limit, int first_column, int width)
{
    barrier(CLK_LOCAL_MEM_FENCE);
#define STAGE(c) \
    if (c < share) \
        *(__local rows *)(stage + column_of(c, tx, run) * PITCH(CLF_ROWS) + ty * CLF_HEIGHT) = sums[c];
    EACH_COLUMN(STAGE)
    barrier(CLK_LOCAL_MEM_FENCE);
    const int columns = min(CLF_COLUMNS, width - first_column);
    for (int i = item; i < columns * CLF_ROWS; i += ITEMS) {
        const int r = i / columns, c = i % columns;
        if (first + r < limit)
            STORE(stage[c * PITCH(CLF_ROWS) + r], p, (first + r) * stride + first_column + c);
    }
}

/* All of them: the loop over groups of CLF_WIDTH columns, written out. */
#define STORE_GROUP(n, sums, share, p, stride, first, limit, width) \
    if (n * CLF_WIDTH < share) \
        store_some(&sums[n * CLF_WIDTH < share ? n * CLF_WIDTH : 0], share - n * CLF_WIDTH, RUN(share), tx, ty, item, \
                   weights, p, stride, first, limit, n * CLF_COLUMNS, width);
#define STORE_SUMS(sums, share, p, stride, first, limit, width) \
    STORE_GROUP(0, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(1, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(2, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(3, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(4, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(5, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(6, sums, share, p, stride, first, limit, width) \
    STORE_GROUP(7, sums, share, p, stride, first, limit, width)

/* Zeroes the dropped ones of four neighbouring keys' weights, `step` apart. */
CLF_INLINE void drop4(__local float *p, int step, int k4, int q, int bh, uint8 random)
{
    const uint4 words = clf_dropout_words(k4, q, bh, random);
    p[0] = words.x >= random.s4 ? p[0] : 0.0f;
    p[step] = words.y >= random.s4 ? p[step] : 0.0f;
    p[2 * step] = words.z >= random.s4 ? p[2 * step] : 0.0f;
    p[3 * step] = words.w >= random.s4 ? p[3 * step] : 0.0f;
}

/* What turns a row's scores into probabilities, in powers of two and two parts. Rows that saw nothing and rows that
 * do not exist get infinity: all their probabilities are 0. */
static float2 log_sum_of(__global const float *lse, int stride, int q, int queries)
{
    const float natural = lse[min(q, queries - 1) * stride];
    float rest;
    const float sum = clf_log_sum2(natural, &rest);
    return natural == -INFINITY || q >= queries ? (float2)(INFINITY, 0.0f) : (float2)(sum, rest);
}
