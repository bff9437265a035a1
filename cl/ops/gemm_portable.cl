/* Matrix products on any device: c = alpha a b + beta c + bias, tiles in local memory.
 *
 *                     b: CLF_DEPTH x CLF_COLUMNS             One step of the sum reads HEIGHT numbers of a and WIDTH
 *                  +--+--+--+--+--+--+--+--+                 of b from local memory and does HEIGHT x WIDTH
 *                  |tx= 0  1  2 ...        |                 multiply-adds in registers. Both operands are stored
 *                  +--+--+--+--+--+--+--+--+                 depth first, so each read is one or two vectors.
 *     a: CLF_DEPTH |ty = 0                 |
 *        x CLF_ROWS|    1      (ty, tx)    | HEIGHT          The columns of a work-item come in runs of four, TX * 4
 *     (transposed) |    2                  |                 apart: neighbours read and write neighbouring runs.
 *                  |   ...                 |
 *                  +--+--+--+--+--+--+--+--+
 *                       WIDTH
 *
 * Work split: a group owns CLF_ROWS x CLF_COLUMNS of one matrix of c and walks over the depth in steps of CLF_DEPTH.
 * Elements are read in the direction of their unit stride by neighbouring work-items and become f32 in local memory;
 * what does not exist is zeros there, and reads are clamped, never outside. Registers: HEIGHT x WIDTH sums (64 with
 * the default tile), 16 operands. Local memory: 9 KiB for 64 x 64, 17 KiB for 128 x 128. Sums run over the depth in
 * order. Both barriers stand outside of conditions, which keeps PoCL's compile time at seconds.
 *
 * NDRange: a group of ITEMS work-items for each tile, columns first. ops/gemm.cl explains the arguments; c has unit
 * stride along its columns.
 */
#include "ops/gemm.cl"

#ifndef CLF_ROWS
#define CLF_ROWS 64 /* of the tile of a group */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64
#endif
#ifndef CLF_HEIGHT
#define CLF_HEIGHT 8 /* rows of a work-item: 4 or 8 */
#endif
#ifndef CLF_WIDTH
#define CLF_WIDTH 8 /* columns of a work-item: 4 or 8, in runs of 4 */
#endif
#ifndef CLF_DEPTH
#define CLF_DEPTH 16 /* steps of the sum in local memory at a time; a multiple of 4 */
#endif

#define RUN 4
#define TX (CLF_COLUMNS / CLF_WIDTH)
#define TY (CLF_ROWS / CLF_HEIGHT)
#define ITEMS (TX * TY)
#define PITCH(n) ((n) + 8) /* spreads the banks, keeps vectors of rows aligned */

typedef CAT(float, CLF_HEIGHT) rows;

#if CLF_HEIGHT == 8
#define EACH_ROW(do_) do_(0) do_(1) do_(2) do_(3) do_(4) do_(5) do_(6) do_(7)
#else
#define EACH_ROW(do_) do_(0) do_(1) do_(2) do_(3)
#endif

/* to[t][i] = element i of `count`, step t of the depth: zeros beyond `limit` and `depth`, reads clamped. A work-item
 * writes runs of four; neighbours read neighbouring elements of memory, whichever way those run. */
#define DEFINE_LOAD_TILE(name, type, load, along_depth)                                                            \
    CLF_INLINE void name(__global const type *p, int step, int count, int limit, int first, int depth, int item,   \
                         __local float *to)                                                                        \
    {                                                                                                              \
        for (int piece = item; piece < CLF_DEPTH * count / RUN; piece += ITEMS) {                                  \
            const int t = along_depth ? piece % CLF_DEPTH : piece / (count / RUN);                                 \
            const int i = (along_depth ? piece / CLF_DEPTH : piece % (count / RUN)) * RUN;                         \
            const int k = min(first + t, depth - 1);                                                               \
            float4 x;                                                                                              \
            x.s0 = load(p, PLACE(i, along_depth));                                                                 \
            x.s1 = load(p, PLACE(i + 1, along_depth));                                                             \
            x.s2 = load(p, PLACE(i + 2, along_depth));                                                             \
            x.s3 = load(p, PLACE(i + 3, along_depth));                                                             \
            const int4 there = ((int4)(i) + (int4)(0, 1, 2, 3) < (int4)(limit)) & (int4)(first + t < depth ? -1 : 0); \
            *(__local float4 *)(to + t * PITCH(count) + i) = select((float4)(0.0f), x, there);                     \
        }                                                                                                          \
    }
#define PLACE(i, along_depth) ((along_depth) ? min(i, limit - 1) * step + k : k * step + min(i, limit - 1))
DEFINE_LOAD_TILE(load_tile_a, type_a, load_a, CLF_A_DEPTH)
DEFINE_LOAD_TILE(load_tile_b, type_b, load_b, CLF_B_DEPTH)

/* c += a b over the steps in local memory. Sums are named by constants: registers may not be indexed otherwise. */
CLF_INLINE void product(__local const float *a, __local const float *b, rows *c)
{
#pragma unroll 4
    for (int t = 0; t < CLF_DEPTH; t++) {
        const rows x = *(__local const rows *)(a + t * PITCH(CLF_ROWS));
#pragma unroll
        for (int n = 0; n < CLF_WIDTH; n += RUN) {
            const float4 y = *(__local const float4 *)(b + t * PITCH(CLF_COLUMNS) + n * TX);
            c[n] = clf_fma(x, (rows)(y.s0), c[n]);
            c[n + 1] = clf_fma(x, (rows)(y.s1), c[n + 1]);
            c[n + 2] = clf_fma(x, (rows)(y.s2), c[n + 2]);
            c[n + 3] = clf_fma(x, (rows)(y.s3), c[n + 3]);
        }
    }
}

/* Four neighbours of a row of c: alpha, beta, bias, and out. */
static void store_run(float4 sums, int row, int column, int8 shape, __global type_c *c, int step,
                      __global const type_bias *bias, int bias_step, float2 factor)
{
    const float x[4] = { sums.s0, sums.s1, sums.s2, sums.s3 };
    if (row >= shape.s0)
        return;
#pragma unroll
    for (int n = 0; n < RUN; n++) {
        if (column + n >= shape.s1)
            return;
        const int at = row * step + column + n;
        float y = x[n] * factor.x;
        if (factor.y != 0.0f)
            y += factor.y * load_c(c, at);
        if (shape.s5)
            y += load_bias(bias, shape.s5 == 1 ? column + n : row * bias_step);
        store_c(y, c, at);
    }
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_gemm_portable(__global const type_a *a, long8 a_at, __global const type_b *b, long8 b_at,
                       __global type_c *c, long8 c_at, __global const type_bias *bias, long2 bias_at,
                       int8 shape, float2 factor)
{
    __local float tiles[CLF_DEPTH * (PITCH(CLF_ROWS) + PITCH(CLF_COLUMNS))] __attribute__((aligned(32)));
    __local float *const a_tile = tiles, *const b_tile = tiles + CLF_DEPTH * PITCH(CLF_ROWS);

    const int item = get_local_id(0), tx = item % TX, ty = item / TX;
    const int4 block = block_of(get_group_id(0), shape);
    const int a_step = a_at.s4, b_step = b_at.s4;
    a += matrix_of(block.z, a_at, shape) + block.x * (CLF_A_DEPTH ? a_step : 1);
    b += matrix_of(block.z, b_at, shape) + block.y * (CLF_B_DEPTH ? b_step : 1);
    c += matrix_of(block.z, c_at, shape);
    bias += bias_at.x;

    rows sums[CLF_WIDTH];
#pragma unroll
    for (int n = 0; n < CLF_WIDTH; n++)
        sums[n] = (rows)(0.0f);
    for (int k = 0; k < shape.s2; k += CLF_DEPTH) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_tile_a(a, a_step, CLF_ROWS, shape.s0 - block.x, k, shape.s2, item, a_tile);
        load_tile_b(b, b_step, CLF_COLUMNS, shape.s1 - block.y, k, shape.s2, item, b_tile);
        barrier(CLK_LOCAL_MEM_FENCE);
        product(a_tile + ty * CLF_HEIGHT, b_tile + tx * RUN, sums);
    }

    const int row = block.x + ty * CLF_HEIGHT, column = block.y + tx * RUN;
#define STORE(i) \
    store_run((float4)(sums[0].s##i, sums[1].s##i, sums[2].s##i, sums[3].s##i), row + i, column, shape, c, c_at.s4, \
              bias, bias_at.y, factor);
    EACH_ROW(STORE)
#undef STORE
#if CLF_WIDTH == 8
#define STORE(i) \
    store_run((float4)(sums[4].s##i, sums[5].s##i, sums[6].s##i, sums[7].s##i), row + i, column + RUN * TX, shape, c, \
              c_at.s4, bias, bias_at.y, factor);
    EACH_ROW(STORE)
#undef STORE
#endif
}
