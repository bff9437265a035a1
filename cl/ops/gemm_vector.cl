/* Matrix products on CPUs: c = alpha a b + beta c + bias, one work-item a group.
 *
 *                                    b: CLF_BLOCK_DEPTH x columns of the group, packed
 *                                  +----------+----------+----------+----
 *                                  | panel of | panel    |          |     a panel (32 KiB) stays in the first-level
 *                                  | 32       |          |          |     cache while all tiles of a pass by
 *      a: rows of the group x      +----------+----------+----------+----
 *      CLF_BLOCK_DEPTH, packed     +----------+----------+
 *      +-----------------------+   | c: 12x32 |          |                CLF_TILE x 32 sums in registers: 24 vectors,
 *      | tile: CLF_TILE rows   |   +----------+----------+                two for b, the rest to spread numbers of a
 *      +-----------------------+   |          |          |
 *      | tile                  |   +----------+----------+
 *
 * Work split: a group owns up to CLF_BLOCK_ROWS x CLF_BLOCK_COLUMNS of one matrix of c and walks over the depth in
 * blocks. Both operands of a block are packed as f32 into private memory, whatever their type and direction: a in
 * lines when its unit stride is along the depth, else in columns of a tile; b always in panels, turned by shuffles
 * where need be. Sums wait in private memory from one block of the depth to the next, so c is written once, rounded
 * once; a depth of one block goes straight from a tile to c. Rows and columns that do not exist are zeros and are
 * not stored. 800 KiB of private memory, of which 300 KiB are in use at a time (second-level cache).
 *
 * A step of a tile is 24 multiply-adds for 14 loads. Sums run over the depth in order: the same bits in every run.
 *
 * What each step gave at 1024^3, as a share of OpenBLAS' sgemm by CPU time of the same two AVX-512 cores (PoCL, f32,
 * least of nine calls in turns; a busy machine, so ranges of several runs): tiles of 8 x 32 in blocks of 128 x 256
 * 0.62 to 0.73; tiles of 12 x 32 in blocks of 240 x 256, whole lines of b packed at once 0.72 to 0.83; private arrays
 * aligned to a line of the cache, without which every vector straddles two of them, 0.74 to 1.0; aligned moves,
 * because unaligned stores of vectors are split in three, 0.76 to 1.06 and steadier. Without packing anything but the
 * first block it was 0.93 to 1.15. Blocks of 192 or 384 in depth gave nothing. By shape, M x N x K: 2048 x 2048 x 64
 * 0.72 to 0.77, 2048 x 64 x 2048 0.99 to 1.1, 512 x 2048 x 512 0.73 to 0.97.
 *
 * NDRange: a group of one work-item for each block, columns first. Build with CLF_LANES=16. ops/gemm.cl explains the
 * arguments; c has unit stride along its columns.
 */
#include "ops/gemm.cl"
#include "prelude/tile.cl"

#ifndef CLF_TILE
#define CLF_TILE 12 /* rows of a tile of sums: 8 or 12 */
#endif
#ifndef CLF_BLOCK_ROWS
#define CLF_BLOCK_ROWS 240 /* of a group: a multiple of CLF_TILE */
#endif
#ifndef CLF_BLOCK_COLUMNS
#define CLF_BLOCK_COLUMNS 256 /* a multiple of 32 */
#endif
#ifndef CLF_BLOCK_DEPTH
#define CLF_BLOCK_DEPTH 256 /* a multiple of 16 */
#endif

#define load16_a CAT(clf_load16_, CLF_A)
#define load16_b CAT(clf_load16_, CLF_B)
#define load16_c CAT(clf_load16_, CLF_C)
#define load16_bias CAT(clf_load16_, CLF_BIAS)
#define store16_c CAT(clf_store16_, CLF_C)

/* Where the packed a keeps row r of a tile and step t. */
#if CLF_A_DEPTH
#define A_ROW (CLF_BLOCK_DEPTH + 16) /* not a power of two: the rows of a tile in different sets of the cache */
#define A_STEP 1
#define A_TILE (CLF_TILE * A_ROW)
#else
#define A_ROW 1
#define A_STEP 16
#define A_TILE (A_STEP * CLF_BLOCK_DEPTH)
#endif
#define PANEL 32
#define B_PANEL (PANEL * (CLF_BLOCK_DEPTH + 1))

/* Sixteen numbers of private memory, which is aligned so that they are one line of the cache. */
static float16 get16(const float *p) { return *(const float16 *)p; }
static void put16(float16 x, float *p) { *(float16 *)p = x; }

/* Up to sixteen neighbours, zeros beyond `count`; a function for each type of operand. */
#define DEFINE_LOAD_SOME(name, type, load, load16)                              \
    static float16 name(__global const type *p, int i, int count)              \
    {                                                                           \
        float x[16] __attribute__((aligned(64)));                                                            \
        if (count >= 16)                                                        \
            return load16(p, i);                                                \
        for (int n = 0; n < 16; n++)                                            \
            x[n] = n < count ? load(p, i + n) : 0.0f;                           \
        return get16(x);                                                        \
    }
DEFINE_LOAD_SOME(load_some_a, type_a, load_a, load16_a)
DEFINE_LOAD_SOME(load_some_b, type_b, load_b, load16_b)
DEFINE_LOAD_SOME(load_some_c, type_c, load_c, load16_c)
DEFINE_LOAD_SOME(load_some_bias, type_bias, load_bias, load16_bias)

static void store_some_c(float16 x, __global type_c *p, int i, int count)
{
    float y[16] __attribute__((aligned(64)));
    if (count >= 16) {
        store16_c(x, p, i);
        return;
    }
    put16(x, y);
    for (int n = 0; n < count; n++)
        store_c(y[n], p, i + n);
}

/* `rows` x `depth` of a into tiles of CLF_TILE rows; the rows up to a whole tile become zeros. */
static void pack_a(__global const type_a *a, int step, int rows, int depth, float *to)
{
#if CLF_A_DEPTH
    const int all = (rows + CLF_TILE - 1) / CLF_TILE * CLF_TILE;
    for (int r = 0; r < all; r++)
        for (int t = 0; t < depth; t += 16)
            put16(r < rows ? load_some_a(a, r * step + t, depth - t) : (float16)(0.0f), to + r * A_ROW + t);
#else
    for (int t = 0; t < depth; t++)
        for (int r = 0; r < rows; r += CLF_TILE)
            put16(load_some_a(a, t * step + r, rows - r), to + r / CLF_TILE * A_TILE + t * A_STEP);
#endif
}

/* `depth` x `columns` of b into panels of 32 columns; columns that b does not have become zeros. */
static void pack_b(__global const type_b *b, int step, int columns, int depth, float *to)
{
    const int all = (columns + PANEL - 1) / PANEL * PANEL;
#if CLF_B_DEPTH
    for (int n = 0; n < all; n += 16)
        for (int t = 0; t < depth; t += 16) {
            float square[256] __attribute__((aligned(64)));
            for (int i = 0; i < 16; i++)
                put16(n + i < columns ? load_some_b(b, (n + i) * step + t, depth - t) : (float16)(0.0f),
                      square + 16 * i);
            clf_transpose16(square, 16, to + n / PANEL * B_PANEL + t * PANEL + n % PANEL, PANEL);
        }
#else
    for (int t = 0; t < depth; t++)
        for (int n = 0; n < all; n += 16)
            put16(load_some_b(b, t * step + n, columns - n),
                  to + n / PANEL * B_PANEL + t * PANEL + n % PANEL);
#endif
}

/* c (+)= a b for a tile of CLF_TILE x 32; `fresh` starts from zero. */
static void multiply(const float *a, const float *b, int depth, int fresh, float *c, int c_step)
{
    float16 left[CLF_TILE], right[CLF_TILE];
#pragma unroll
    for (int r = 0; r < CLF_TILE; r++) {
        left[r] = fresh ? (float16)(0.0f) : get16(c + r * c_step);
        right[r] = fresh ? (float16)(0.0f) : get16(c + r * c_step + 16);
    }
    for (int t = 0; t < depth; t++) {
        const float16 b_left = get16(b + t * PANEL), b_right = get16(b + t * PANEL + 16);
#pragma unroll
        for (int r = 0; r < CLF_TILE; r++) {
            const float16 spread = (float16)(a[r * A_ROW + t * A_STEP]);
            left[r] = clf_fma(spread, b_left, left[r]);
            right[r] = clf_fma(spread, b_right, right[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < CLF_TILE; r++) {
        put16(left[r], c + r * c_step);
        put16(right[r], c + r * c_step + 16);
    }
}

/* A finished tile of sums: alpha, beta, bias, and out. `c` and `bias` start at the tile. */
static void store_tile(const float *sums, int sums_step, int rows, int columns, __global type_c *c, int step,
                       __global const type_bias *bias, int bias_step, int along, float2 factor)
{
    for (int n = 0; n < columns; n += 16) {
        float16 added = (float16)(0.0f);
        if (along == 1)
            added = load_some_bias(bias, n, columns - n);
        for (int r = 0; r < rows; r++) {
            if (along == 2)
                added = (float16)(load_bias(bias, r * bias_step));
            float16 x = get16(sums + r * sums_step + n) * factor.x;
            if (factor.y != 0.0f)
                x += factor.y * load_some_c(c, r * step + n, columns - n);
            store_some_c(x + added, c, r * step + n, columns - n);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_gemm_vector(__global const type_a *a, long8 a_at, __global const type_b *b, long8 b_at,
                     __global type_c *c, long8 c_at, __global const type_bias *bias, long2 bias_at,
                     int8 shape, float2 factor)
{
    float a_packed[CLF_BLOCK_ROWS / CLF_TILE * A_TILE] __attribute__((aligned(64)));
    float b_packed[(CLF_BLOCK_COLUMNS + PANEL - 1) / PANEL * B_PANEL] __attribute__((aligned(64)));
    float sums[CLF_BLOCK_ROWS * CLF_BLOCK_COLUMNS] __attribute__((aligned(64)));
    float tile[CLF_TILE * PANEL] __attribute__((aligned(64)));

    const int4 block = block_of(get_group_id(0), shape);
    const int rows = min(shape.s6, shape.s0 - block.x), columns = min(shape.s7, shape.s1 - block.y), depth = shape.s2;
    const int a_step = a_at.s4, b_step = b_at.s4, c_step = c_at.s4, along = shape.s5;
    a += matrix_of(block.z, a_at, shape) + block.x * (CLF_A_DEPTH ? a_step : 1);
    b += matrix_of(block.z, b_at, shape) + block.y * (CLF_B_DEPTH ? b_step : 1);
    c += matrix_of(block.z, c_at, shape) + block.x * c_step + block.y;
    bias += bias_at.x + (along == 1 ? block.y : along == 2 ? block.x * (int)bias_at.y : 0);

    int k = 0;
    do {
        const int deep = min(CLF_BLOCK_DEPTH, depth - k), last = k + deep >= depth;
        pack_a(a + k * (CLF_A_DEPTH ? 1 : a_step), a_step, rows, deep, a_packed);
        pack_b(b + k * (CLF_B_DEPTH ? 1 : b_step), b_step, columns, deep, b_packed);
        for (int n = 0; n < columns; n += PANEL)
            for (int r = 0; r < rows; r += CLF_TILE) {
                const int alone = k == 0 && last;
                float *to = alone ? tile : sums + r * CLF_BLOCK_COLUMNS + n;
                const int to_step = alone ? PANEL : CLF_BLOCK_COLUMNS;
                multiply(a_packed + r / CLF_TILE * A_TILE, b_packed + n / PANEL * B_PANEL, deep, k == 0, to, to_step);
                if (last)
                    store_tile(to, to_step, min(CLF_TILE, rows - r), min(PANEL, columns - n),
                               c + r * c_step + n, c_step,
                               bias + (along == 1 ? n : along == 2 ? r * (int)bias_at.y : 0),
                               bias_at.y, along, factor);
            }
        k += deep;
    } while (k < depth);
}
