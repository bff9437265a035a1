/* What the nvidia_mma kernels do with pieces of f32 (nvidia_mma_tile.cl): products of tf32, which has 11 of a float's
 * 24 bits. Each number is split, x = big + small, and a product is three:
 *
 *     x y  =  small_x big_y + big_x small_y + big_x big_y       (small_x small_y is below 2^-24 of it)
 *
 * Tensor cores cut off what their sums cannot hold, always towards 0. So the three are summed from 0, the small ones
 * first, and the result, DEEP pieces at a time, joins the sum by an ordinary, rounded addition.
 *
 * Pieces are 16 rows x 8 columns. Weights are left operands as they stand in registers: a lane holds those of keys
 * 2t and 2t + 1 of each eight, and the product, which does not care for the order in which it sums, takes them for its
 * t and t + 4. Rows that are summed over are read 16 bytes a lane, columns 4g .. 4g + 3 of each 32, which belong to
 * four products: product i of the four has column 4n + i as its n-th.
 *
 *     keys 2t      | 4g .. 4g+3 |   b0 of four products      the lane's sums then: columns 8t + i (c[0] of product i)
 *     keys 2t + 1  | 4g .. 4g+3 |   b1 of four products      and 8t + 4 + i (c[1]), eight numbers in a row
 *
 * Measured on an H100, 4096 queries and keys, widths 64 / 128, forward, TFLOP/s (each product counted once):
 *     each product added by itself, four of them side by side (DEEP 1)      55 / 47
 *     two pieces to an addition                                             63 / 58
 *     numbers split by integer operations and not by cvt.rna.tf32, products ordered so that those which wait for each
 *     other are apart                                                       63 / 60
 * Backward 44 / 38. Tiles: 4 warps; forward and grad_q at width 64 TALL 2, 32 rows a step, forward at 128 and the
 * gradients of keys and values at 64 TALL 2, 16 rows; the rest TALL 1, 16. 255 registers each; spilled are 68 / 92
 * bytes forward, 1056 / 4 by the gradient of queries, 36 / 56 by that of keys and values.
 * The rest of the time: the same products without splitting and additions, which is wrong, run at 76 / 75. Errors are a
 * quarter of those of float sums in order.
 * Tried and left: numbers cut, not rounded, to 11 bits 67 / 63, but gradients of few keys were twice as wrong; tiles
 * that pass by split once for all warps, behind a second barrier, 63 / 58 (backward at width 128 40 for 38); more warps
 * of fewer rows or registers 53 / 52.
 */
#include "fused/nvidia_mma_tile.cl"

#define DEEP 2 /* pieces that are summed up before they join a sum: two additions for three products */

/* Groups of products that run beside each other. A group is 16 columns of the warp's rows; its products wait for each
 * other, so there must be others meanwhile. */
#define GROUPS (CLF_TALL == 1 ? 2 : 1)

/* x becomes big; what is left of it. */
CLF_INLINE void split(uint *x, uint *small)
{
    const uint big = clf_nv_tf32(*x);
    *small = as_uint(as_float(*x) - as_float(big));
    *x = big;
}

/* Operands of a group: left ones of the warp's rows, right ones of the first and the second eight columns. */
typedef struct group {
    uint x[CLF_TALL][DEEP][4], xs[CLF_TALL][DEEP][4], y[DEEP][4], ys[DEEP][4];
} group;

/* c += (x + xs) (y + ys) for each group; group g is `apart` numbers from the one before in c, rows are `next` apart. */
CLF_INLINE void add_products(group *all, float *c, int apart, int next)
{
    float sum[GROUPS][CLF_TALL][2][4];
#pragma unroll
    for (int n = 0; n < 8 * GROUPS * CLF_TALL; n++)
        ((float *)sum)[n] = 0.0f;
#pragma unroll
    for (int turn = 0; turn < 3 * DEEP; turn++)
#pragma unroll
        for (int g = 0; g < GROUPS; g++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int a = 0; a < CLF_TALL; a++) {
                    const int d = turn % DEEP;
                    const uint *x = turn < DEEP ? all[g].xs[a][d] : all[g].x[a][d];
                    const uint *y = turn / DEEP == 1 ? all[g].ys[d] : all[g].y[d];
                    clf_nv_product(sum[g][a][n], x, y[2 * n], y[2 * n + 1]);
                }
#pragma unroll
    for (int g = 0; g < GROUPS; g++)
#pragma unroll
        for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
            for (int n = 0; n < 8; n++)
                c[g * apart + a * next + n] += sum[g][a][n / 4][n % 4];
}

/* c[a][j] = products of the warp's rows with those of a tile, both `padded` wide; `rows` and `columns` are the lane's
 * places in them. */
CLF_INLINE void multiply_tiles(uint rows, uint columns, int padded, float c[CLF_TALL][CLF_COLUMNS / 8][4])
{
    EACH_SCORE(a, j, i)
        c[a][j][i] = 0.0f;
#pragma unroll
    for (int i = 0; i < padded / PIECE_WIDTH; i += DEEP * GROUPS) {
        group all[GROUPS];
#pragma unroll
        for (int g = 0; g < GROUPS; g++)
#pragma unroll
            for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
                for (int d = 0; d < DEEP; d++) {
                    clf_nv_fragments(PIECE(rows, padded, a * 16, i + g * DEEP + d), all[g].x[a][d]);
#pragma unroll
                    for (int n = 0; n < 4; n++)
                        split(&all[g].x[a][d][n], &all[g].xs[a][d][n]);
                }
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 16; j++) {
#pragma unroll
            for (int g = 0; g < GROUPS; g++)
#pragma unroll
                for (int d = 0; d < DEEP; d++) {
                    clf_nv_fragments(PIECE(columns, padded, j * 16, i + g * DEEP + d), all[g].y[d]);
#pragma unroll
                    for (int n = 0; n < 4; n++)
                        split(&all[g].y[d][n], &all[g].ys[d][n]);
                }
            add_products(all, &c[0][2 * j][0], 0, CLF_COLUMNS / 2);
        }
    }
}

/* The weights of a tile as left operands. */
CLF_INLINE void pack_weights(float s[CLF_TALL][CLF_COLUMNS / 8][4], uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4])
{
    EACH_SCORE(a, j, i)
        p[a][j][i % 2 * 2 + i / 2] = as_uint(s[a][j][i]);
}

/* A lane's place in a tile whose rows a product sums over: chunk g of row 2t. */
static uint turned_at(int padded, int lane) { return place((lane & 3) * 2, lane >> 2, padded / CHUNK); }

/* Chunk g of the 32 columns from 32 * j on, in rows 8i + 2t and 8i + 2t + 1. */
CLF_INLINE void load_turned(uint columns, int padded, int i, int j, uint y[2][4])
{
    const uint at = columns + BYTES(i * 8, padded) + j * 128;
    clf_nv_get16(at, y[0]);
    clf_nv_get16((at ^ 16) + BYTES(1, padded), y[1]);
}

/* The weights of DEEP pieces. */
CLF_INLINE void split_weights(uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4], int i, group all[GROUPS])
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int d = 0; d < DEEP; d++)
#pragma unroll
            for (int n = 0; n < 4; n++) {
                all[0].x[a][d][n] = p[a][i + d][n];
                split(&all[0].x[a][d][n], &all[0].xs[a][d][n]);
                all[GROUPS - 1].x[a][d][n] = all[0].x[a][d][n];
                all[GROUPS - 1].xs[a][d][n] = all[0].xs[a][d][n];
            }
}

/* sum += weights times DEEP pieces of 32 columns; `next` as above. */
CLF_INLINE void add_turned(group all[GROUPS], float *sum, int next, uint y[DEEP][2][4])
{
#pragma unroll
    for (int first = 0; first < 4; first += 2 * GROUPS) {
#pragma unroll
        for (int g = 0; g < GROUPS; g++)
#pragma unroll
            for (int d = 0; d < DEEP; d++)
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    all[g].y[d][n] = y[d][n % 2][first + 2 * g + n / 2];
                    split(&all[g].y[d][n], &all[g].ys[d][n]);
                }
        add_products(all, sum + 4 * first, 8, next);
    }
}

/* sum += weights x the tile where the lane's place is `columns`. */
#define ADD_WEIGHTED(p, columns, padded, sum) do { \
        _Pragma("unroll") \
        for (int i = 0; i < CLF_COLUMNS / PIECE_WIDTH; i += DEEP) { \
            group all[GROUPS]; \
            split_weights(p, i, all); \
            _Pragma("unroll") \
            for (int j = 0; j < (padded) / 32; j++) { \
                uint y[DEEP][2][4]; \
                _Pragma("unroll") \
                for (int d = 0; d < DEEP; d++) \
                    load_turned(columns, padded, i + d, j, y[d]); \
                add_turned(all, &sum[0][4 * j][0], (int)(sizeof sum[0] / sizeof(float)), y); \
            } \
        } \
    } while (0)

/* The same where the tile may hold infinities or NaN and a weight of exactly 0 (a hidden key) must not touch them:
 * they are taken out of the tile and counted by products of their own, with weights of 1 and 0; a row that really
 * meets one becomes NaN. */
#define ONE 0x3f800000u
static uint wild_of(uint x) { return (x & 0x7f800000u) == 0x7f800000u ? ONE : 0; }
static uint count_of(uint x) { return x << 1 ? ONE : 0; }

CLF_INLINE void add_wild(float *sum, const uint *p, uint wild0, uint wild1)
{
    const uint met[4] = { count_of(p[0]), count_of(p[1]), count_of(p[2]), count_of(p[3]) };
    float c[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    clf_nv_product(c, met, wild0, wild1);
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum[i] = c[i] > 0.0f ? NAN : sum[i];
}

#define ADD_WEIGHTED_CAREFULLY(p, columns, padded, sum) do { \
        _Pragma("unroll") \
        for (int i = 0; i < CLF_COLUMNS / PIECE_WIDTH; i += DEEP) { \
            group all[GROUPS]; \
            split_weights(p, i, all); \
            _Pragma("unroll") \
            for (int j = 0; j < (padded) / 32; j++) { \
                uint y[DEEP][2][4], wild[DEEP][2][4], any = 0; \
                _Pragma("unroll") \
                for (int d = 0; d < DEEP; d++) { \
                    load_turned(columns, padded, i + d, j, y[d]); \
                    _Pragma("unroll") \
                    for (int n = 0; n < 8; n++) { \
                        wild[d][n / 4][n % 4] = wild_of(y[d][n / 4][n % 4]); \
                        y[d][n / 4][n % 4] = wild[d][n / 4][n % 4] ? 0 : y[d][n / 4][n % 4]; \
                        any |= wild[d][n / 4][n % 4]; \
                    } \
                } \
                add_turned(all, &sum[0][4 * j][0], (int)(sizeof sum[0] / sizeof(float)), y); \
                if (clf_nv_any((int)any)) { \
                    _Pragma("unroll") \
                    for (int n = 0; n < 4 * DEEP; n++) \
                        _Pragma("unroll") \
                        for (int a = 0; a < CLF_TALL; a++) \
                            add_wild(sum[a][4 * j + n % 4], p[a][i + n / 4], wild[n / 4][0][n % 4], \
                                     wild[n / 4][1][n % 4]); \
                } \
            } \
        } \
    } while (0)

/* Four neighbouring columns of a row, as far as there are so many. */
CLF_INLINE void store_four(float4 x, __global float *p, int row, int column, int width)
{
    __global float *to = p + row + column;
    if (column + 3 < width && ((ulong)to & 15) == 0) {
        *(__global float4 *)to = x;
    } else {
        if (column < width)
            to[0] = x.x;
        if (column + 1 < width)
            to[1] = x.y;
        if (column + 2 < width)
            to[2] = x.z;
        if (column + 3 < width)
            to[3] = x.w;
    }
}

/* Row `pair` of a lane's two: its sums. */
#define STORE_ROW(sum, pair, factor, p, at, padded, width, lane) do { \
        _Pragma("unroll") \
        for (int j = 0; j < (padded) / 8; j += 4) \
            _Pragma("unroll") \
            for (int i = 2 * (pair); i < 2 * (pair) + 2; i++) \
                store_four((float4)((sum)[j][i], (sum)[j + 1][i], (sum)[j + 2][i], (sum)[j + 3][i]) * (factor), p, at, \
                           j * 8 + ((lane) & 3) * 8 + i % 2 * 4, width); \
    } while (0)
