/* Matrix products on tensor cores of sm_80 and later: c = alpha a b + beta c + bias, a and b f16 or bf16, sums f32.
 *
 *                          b: CLF_DEPTH x CLF_COLUMNS         CLF_STAGES tiles of a and of b in local memory: while
 *                       +--------+--------+--------+----      one is multiplied, copies of those behind it are on
 *                       | warp 0 | 1      | 2      |          their way.
 *      a: CLF_ROWS      +--------+--------+--------+----
 *      x CLF_DEPTH      +--------+--------+--------+----      A warp owns TALL x WIDE pieces of 16 x 16 of c. Each
 *      +--+--+--+--     | c: TALL * 16    |        |          step of 16 along the depth takes TALL + WIDE ldmatrix
 *      | 16 deep        | x WIDE * 16     |        |          for 2 TALL WIDE products: 8 for 32 at 64 x 64 a warp.
 *      +--+--+--+--     +--------+--------+--------+          The operands of a step are read while the products of
 *                                                             the step before run, across the ends of tiles, too.
 *
 * Work split: a group owns CLF_ROWS x CLF_COLUMNS of one matrix of c. Groups go down CLF_BAND tiles, then one to the
 * right, so that those which run at the same time share rows of a and columns of b in the second-level cache.
 *
 * Tiles keep the direction of the operand's unit stride: along the depth (rows of CLF_DEPTH numbers, read by
 * ldmatrix) or across it (rows of CLF_ROWS or CLF_COLUMNS numbers, read by ldmatrix that transposes), so that copies
 * are of 16 bytes either way. Chunk k of row r lies at k ^ (r mod 8), or k ^ (r / 2 mod 4) in rows of 32: the eight
 * rows that ldmatrix reads at a time lie in different banks. What does not exist is zeros; operands whose rows do not
 * start at multiples of 16 bytes are read number by number.
 *
 * Sums leave through local memory, 16 rows of a warp at a time, so that whole lines are written. They run over the
 * depth in order: the same bits in every run. Registers: 250 at 64 x 64 a warp, nothing spilled; 144 KiB of local
 * memory with the largest tile.
 *
 * Measured on an H100, f16, 4096^3, TFLOP/s (torch.matmul in the same runs: 620 to 720 at medians, 450 at 2048^3, 755
 * at 8192^3; products alone 636):
 *     128 x 128, 32 deep, 4 stages, 8 warps of 64 x 32                  337
 *     the same, 4 warps of 64 x 64                                      422
 *     128 x 256, 8 warps of 64 x 64; 3, 4, 5 stages                     427, 431, 432
 *     64 deep, 3 stages                                                 436 to 440
 *     256 x 128                                                         443 to 449, at 2048^3 368, at 8192^3 474
 * b turned 454, a turned 447, both 431. Bands of 4, 8 and 16 tiles are alike.
 *
 * NDRange: a group of 32 * CLF_DOWN * CLF_ACROSS work-items for each tile. ops/gemm.cl explains the arguments; c has
 * unit stride along its columns.
 */
#include "ops/gemm.cl"
#include "prelude/nvidia.cl"

#ifndef CLF_ROWS
#define CLF_ROWS 128 /* of the tile of a group: multiples of 64 */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 128
#endif
#ifndef CLF_DEPTH
#define CLF_DEPTH 32 /* 32 or 64 */
#endif
#ifndef CLF_STAGES
#define CLF_STAGES 4 /* 2 to 5 */
#endif
#ifndef CLF_DOWN
#define CLF_DOWN 2 /* warps along the rows */
#endif
#ifndef CLF_ACROSS
#define CLF_ACROSS 2 /* and along the columns */
#endif
#ifndef CLF_BAND
#define CLF_BAND 8 /* tiles */
#endif

#define ITEMS (32 * CLF_DOWN * CLF_ACROSS)
#define TALL (CLF_ROWS / CLF_DOWN / 16)
#define WIDE (CLF_COLUMNS / CLF_ACROSS / 16)
#define STEPS (CLF_DEPTH / 16)
#define A_BYTES (CLF_ROWS * CLF_DEPTH * 2)
#define STAGE_BYTES (A_BYTES + CLF_COLUMNS * CLF_DEPTH * 2)
#define PITCH (WIDE * 16 + 8) /* floats of a row of sums on its way out */
#define OUT_BYTES (ITEMS / 32 * 16 * PITCH * 4)
#define LOCAL_BYTES (CLF_STAGES * STAGE_BYTES > OUT_BYTES ? CLF_STAGES * STAGE_BYTES : OUT_BYTES)

#define NUMBER_f32 CLF_F32
#define NUMBER_f16 CLF_F16
#define NUMBER_bf16 CLF_BF16
#define C_STORAGE CAT(NUMBER_, CLF_C)

/* {first row, first column, item of the batch} of a group. */
static int4 tile_of(int group, int8 shape)
{
    const int across = (shape.s1 + CLF_COLUMNS - 1) / CLF_COLUMNS, down = (shape.s0 + CLF_ROWS - 1) / CLF_ROWS;
    const int item = group / (across * down), one = group % (across * down);
    const int first = one / (CLF_BAND * across) * CLF_BAND, height = min(CLF_BAND, down - first);
    const int in_band = one % (CLF_BAND * across);
    return (int4)((first + in_band % height) * CLF_ROWS, in_band / height * CLF_COLUMNS, item, 0);
}

/* The part of a or b that a group reads: `limit` of its rows (or columns) exist. */
typedef struct operand {
    __global const ushort *p;
    int step, limit, aligned, whole;
} operand;

CLF_INLINE operand operand_of(__global const ushort *p, long step, int limit, int extent)
{
    operand x;
    x.p = p;
    x.step = (int)step;
    x.limit = limit;
    x.aligned = (((ulong)p | (ulong)(2 * step)) & 15) == 0;
    x.whole = x.aligned && limit >= extent;
    return x;
}

/* Byte of chunk c in row r. */
static uint place(int r, int c, int chunks)
{
    return (uint)(r * chunks + (c ^ (chunks % 8 == 0 ? r & 7 : (r >> 1) & 3))) * 16;
}

CLF_INLINE void load_some(const operand *x, int row, int rows, int column, int columns, int chunk_at, uint to)
{
    const int left = row < rows ? clamp(columns - column, 0, 8) : 0;
    __global const ushort *from = x->p + (left > 0 ? chunk_at : 0);
    uint word[4] = { 0, 0, 0, 0 };
    if (x->aligned) {
        clf_nv_copy16_part(to, from, 2 * left);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (i < left)
            word[i / 2] |= (uint)from[i] << (i % 2 * 16);
    clf_nv_put16(to, (uint4)(word[0], word[1], word[2], word[3]));
}

/* The tile at step k of the depth; `along` (the depth) and `extent` are constants. */
CLF_INLINE void load_tile(const operand *x, int along, int extent, int k, int depth, int item, uint to)
{
    const int chunks = (along ? CLF_DEPTH : extent) / 8, rows = along ? extent : CLF_DEPTH, turn = ITEMS / chunks;
    const int c = item % chunks, r = item / chunks;
    const int at = along ? r * x->step + k + c * 8 : (k + r) * x->step + c * 8;
    to += place(r, c, chunks); /* r + turn lies in the same banks: turns are multiples of 8 */
    if (x->whole && k + CLF_DEPTH <= depth) {
#pragma unroll
        for (int i = 0; i < rows / turn; i++)
            clf_nv_copy16(to + i * turn * chunks * 16, x->p + at + i * turn * x->step);
    } else {
#pragma unroll 1
        for (int i = 0; i < rows / turn; i++) {
            const int row = r + i * turn + (along ? 0 : k), column = c * 8 + (along ? k : 0);
            load_some(x, row, along ? x->limit : depth, column, along ? depth : x->limit, at + i * turn * x->step,
                      to + i * turn * chunks * 16);
        }
    }
}

/* Piece i (of 16 rows of a, or columns of b) at step n of a tile, `at` being the lane's place in the warp's part. */
#define PIECE(at, along, extent, i, n) \
    ((along) ? ((at) ^ (uint)((n) * 32)) + (i) * 16 * CLF_DEPTH * 2 \
             : ((at) ^ (uint)((i) % 4 * 32)) + (i) / 4 * 128 + (n) * 16 * (extent) * 2)

CLF_INLINE void read_step(uint a_at, uint b_at, int n, uint a[TALL][4], uint b[WIDE][4])
{
#pragma unroll
    for (int i = 0; i < TALL; i++)
#if CLF_A_DEPTH
        clf_nv_fragments(PIECE(a_at, 1, CLF_ROWS, i, n), a[i]);
#else
        clf_nv_fragments_turned(PIECE(a_at, 0, CLF_ROWS, i, n), a[i]);
#endif
#pragma unroll
    for (int j = 0; j < WIDE; j++)
#if CLF_B_DEPTH
        clf_nv_fragments(PIECE(b_at, 1, CLF_COLUMNS, j, n), b[j]);
#else
        clf_nv_fragments_turned(PIECE(b_at, 0, CLF_COLUMNS, j, n), b[j]);
#endif
}

CLF_INLINE void multiply_step(uint a[TALL][4], uint b[WIDE][4], float sums[TALL][2 * WIDE][4])
{
#pragma unroll
    for (int i = 0; i < TALL; i++)
#pragma unroll
        for (int j = 0; j < 2 * WIDE; j++)
            clf_nv_product(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
}

/* Where a lane reads: the four blocks of a piece lie as the operand in registers wants them, upper left, lower left,
 * upper right, lower right for a and by columns for b; transposed blocks the other way round. */
static uint lane_at(int lane, int by_rows, int along, int extent, int first)
{
    const int r = by_rows ? lane & 15 : (lane & 7) + (lane >> 4) * 8, c = by_rows ? lane >> 4 : lane >> 3 & 1;
    return along ? place(first + r, c, CLF_DEPTH / 8) : place(r, first / 8 + c, extent / 8);
}

/* Eight neighbours of a row of c: alpha, beta, bias, and out. */
CLF_INLINE void store_run(float x[8], int row, int column, int8 shape, __global type_c *c, int step,
                          __global const type_bias *bias, int bias_step, float2 factor)
{
    const int at = row * step + column, count = min(8, shape.s1 - column);
    if (row >= shape.s0 || count <= 0)
        return;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        x[n] *= factor.x;
        if (n < count && factor.y != 0.0f)
            x[n] += factor.y * load_c(c, at + n);
        if (n < count && shape.s5)
            x[n] += load_bias(bias, shape.s5 == 1 ? (column + n) * bias_step : row * bias_step);
    }
    if (count == 8 && ((ulong)(c + at) & 15) == 0) {
#if C_STORAGE == CLF_STORAGE
        *(__global uint4 *)(c + at) = (uint4)(clf_nv_pack(x[0], x[1]), clf_nv_pack(x[2], x[3]), clf_nv_pack(x[4], x[5]),
                                              clf_nv_pack(x[6], x[7]));
        return;
#elif C_STORAGE == CLF_F32
        *(__global float4 *)(c + at) = (float4)(x[0], x[1], x[2], x[3]);
        *(__global float4 *)(c + at + 4) = (float4)(x[4], x[5], x[6], x[7]);
        return;
#endif
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
        if (n < count)
            store_c(x[n], c, at + n);
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_gemm_nvidia_mma(__global const type_a *a, long8 a_at, __global const type_b *b, long8 b_at,
                         __global type_c *c, long8 c_at, __global const type_bias *bias, long2 bias_at,
                         int8 shape, float2 factor)
{
    __local uint4 tiles[LOCAL_BYTES / 16] __attribute__((aligned(128)));

    const int item = get_local_id(0), lane = item & 31, warp = item >> 5;
    const int4 tile = tile_of(get_group_id(0), shape);
    const int row = warp / CLF_ACROSS * TALL * 16, column = warp % CLF_ACROSS * WIDE * 16, depth = shape.s2;
    const operand left = operand_of((__global const ushort *)a + matrix_of(tile.z, a_at, shape) +
                                    tile.x * (CLF_A_DEPTH ? a_at.s4 : 1), a_at.s4, shape.s0 - tile.x, CLF_ROWS);
    const operand right = operand_of((__global const ushort *)b + matrix_of(tile.z, b_at, shape) +
                                     tile.y * (CLF_B_DEPTH ? b_at.s4 : 1), b_at.s4, shape.s1 - tile.y, CLF_COLUMNS);
    const uint start = clf_nv_address(tiles);
    const uint a_lane = lane_at(lane, CLF_A_DEPTH, CLF_A_DEPTH, CLF_ROWS, row);
    const uint b_lane = A_BYTES + lane_at(lane, !CLF_B_DEPTH, CLF_B_DEPTH, CLF_COLUMNS, column);

    float sums[TALL][2 * WIDE][4];
#pragma unroll
    for (int i = 0; i < TALL; i++)
#pragma unroll
        for (int j = 0; j < 2 * WIDE; j++)
            sums[i][j][0] = sums[i][j][1] = sums[i][j][2] = sums[i][j][3] = 0.0f;

    uint read = start, write = start;
    int k = 0;
    for (int stage = 0; stage < CLF_STAGES - 1; stage++, k += CLF_DEPTH) {
        if (k < depth) {
            load_tile(&left, CLF_A_DEPTH, CLF_ROWS, k, depth, item, write);
            load_tile(&right, CLF_B_DEPTH, CLF_COLUMNS, k, depth, item, write + A_BYTES);
        }
        clf_nv_commit();
        write += STAGE_BYTES;
    }
    clf_nv_wait_tile(CLF_STAGES);
    barrier(CLK_LOCAL_MEM_FENCE);
    uint x[2][TALL][4], y[2][WIDE][4];
    read_step(read + a_lane, read + b_lane, 0, x[0], y[0]);
    for (int done = 0; done < depth; done += CLF_DEPTH, k += CLF_DEPTH) {
#pragma unroll
        for (int n = 0; n < STEPS; n++) {
            if (n == STEPS - 1) { /* the first step of the next tile; behind the barrier this one is read by all */
                read = read + STAGE_BYTES == start + CLF_STAGES * STAGE_BYTES ? start : read + STAGE_BYTES;
                clf_nv_wait_tile(CLF_STAGES);
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            read_step(read + a_lane, read + b_lane, (n + 1) % STEPS, x[(n + 1) % 2], y[(n + 1) % 2]);
            if (n == 0) { /* the place of the tile before */
                if (k < depth) {
                    load_tile(&left, CLF_A_DEPTH, CLF_ROWS, k, depth, item, write);
                    load_tile(&right, CLF_B_DEPTH, CLF_COLUMNS, k, depth, item, write + A_BYTES);
                }
                clf_nv_commit();
                write = write + STAGE_BYTES == start + CLF_STAGES * STAGE_BYTES ? start : write + STAGE_BYTES;
            }
            multiply_step(x[n % 2], y[n % 2], sums);
        }
    }
    clf_nv_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);

    __local float *const out = (__local float *)tiles + warp * 16 * PITCH;
    c += matrix_of(tile.z, c_at, shape);
    bias += bias_at.x;
#pragma unroll
    for (int i = 0; i < TALL; i++) {
#pragma unroll
        for (int j = 0; j < 2 * WIDE; j++)
#pragma unroll
            for (int pair = 0; pair < 2; pair++)
                *(__local float2 *)(out + ((lane >> 2) + pair * 8) * PITCH + j * 8 + (lane & 3) * 2) =
                    (float2)(sums[i][j][2 * pair], sums[i][j][2 * pair + 1]);
        clf_nv_warp_barrier();
        for (int n = lane; n < 16 * WIDE * 2; n += 32) {
            const int r = n / (WIDE * 2), e = n % (WIDE * 2) * 8;
            float run[8];
#pragma unroll
            for (int m = 0; m < 8; m++)
                run[m] = out[r * PITCH + e + m];
            store_run(run, tile.x + row + i * 16 + r, tile.y + column + e, shape, c, (int)c_at.s4, bias,
                      (int)bias_at.y, factor);
        }
        clf_nv_warp_barrier();
    }
}
