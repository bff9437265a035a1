/* Tiles for tensor cores: what the nvidia_mma kernels are made of.
 *
 * A tile is a run of rows of a matrix in local memory, padded with zeros to a width of 32, 64, 96, 128, 192 or 256.
 * Rows are chunks of 16 bytes, and chunk c of row r lies at c ^ (r mod 8) (at c ^ (r / 2 mod 4) where a row
 * is an odd number of half cache lines): any eight neighbouring rows of a column of chunks, which is what one phase of
 * ldmatrix reads, lie in different banks, and so do the chunks of a row, which is what copies write.
 *
 *     one warp:     b: a tile of COLUMNS rows        The warp's TALL * 16 rows of a meet every row of b. One
 *                 +---------+---------+---           ldmatrix gives 16 rows x 2 chunks of either operand, as four
 *                 | 16 rows | 16 rows |  ...         registers; each such piece of b is used TALL times, by
 *     a: TALL*16  +---------+---------+---           2 * TALL products. A piece of a costs as much as a piece of
 *     rows   +--+ | c 16x8 16x8       |              b, so TALL = 2 reads 20 pieces for 64 products of 128-wide
 *            |  | |                   |              heads and TALL = 1 reads 18 for 32.
 *            +--+ +---------+---------+---
 *
 * What is done with pieces depends on the type: nvidia_mma_products.cl for f16 and bf16, nvidia_mma_products_f32.cl.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "prelude/nvidia.cl"
#include "fused/place.cl"

#ifndef CLF_D
#define CLF_D 64
#endif
#ifndef CLF_E
#define CLF_E CLF_D
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_WARPS
#define CLF_WARPS 4 /* of a group */
#endif
#ifndef CLF_TALL
#define CLF_TALL 2 /* times 16 rows of the resting tile that a warp owns */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64 /* rows of the tiles that pass by */
#endif

#ifndef CLF_PRESCALE
#define CLF_PRESCALE 0 /* 1: scores are scaled before their maximum is taken: negative scales */
#endif
#if CLF_MASK > 1 || CLF_PRESCALE || CLF_BENDS || CLF_ALIBI
#define SCALED 1
#else
#define SCALED 0
#endif
#if CLF_EVERY_SCORE || CLF_WINDOW
#define LOOK_AT_ALL 1
#else
#define LOOK_AT_ALL 0
#endif

#define ITEMS (CLF_WARPS * 32)
#define ROWS (CLF_WARPS * CLF_TALL * 16)
#define PADDED(width) \
    ((width) <= 32 ? 32 : (width) <= 64 ? 64 : (width) <= 96 ? 96 : (width) <= 128 ? 128 : (width) <= 192 ? 192 : 256)
#define D PADDED(CLF_D)
#define E PADDED(CLF_E)

/* An element; how many are a chunk. */
#if CLF_STORAGE == CLF_F32
typedef uint cell;
#define CHUNK 4
#else
typedef ushort cell;
#define CHUNK 8
#endif
#define PIECE_WIDTH (2 * CHUNK) /* columns of a piece */
#define CELL_BYTES (16 / CHUNK)
#define BYTES(rows, width) ((rows) * (width) * CELL_BYTES)

#define EACH_SCORE(a, j, i) \
    _Pragma("unroll") for (int a = 0; a < CLF_TALL; a++) \
    _Pragma("unroll") for (int j = 0; j < CLF_COLUMNS / 8; j++) \
    _Pragma("unroll") for (int i = 0; i < 4; i++)

#define EACH_SUM(sum, width) \
    _Pragma("unroll") for (int a = 0; a < CLF_TALL; a++) \
    _Pragma("unroll") for (int j = 0; j < (width) / 8; j++) \
    _Pragma("unroll") for (int i = 0; i < 4; i++) \
        sum[a][j][i]

/* A matrix of one head: where it starts, and whether its rows can be copied 16 bytes at a time. */
typedef struct matrix {
    __global const cell *p;
    int stride, limit, width;
    int aligned, whole;
} matrix;

CLF_INLINE matrix matrix_of(__global const clf_storage *p, long first, long stride, int limit, int width, int padded)
{
    matrix m;
    m.p = (__global const cell *)p + first;
    m.stride = (int)stride;
    m.limit = limit;
    m.width = width;
    m.aligned = (((ulong)m.p | (ulong)(CELL_BYTES * stride)) & 15) == 0;
    m.whole = m.aligned && width == padded;
    return m;
}

/* Byte of chunk c in row r. */
static uint place(int r, int c, int chunks)
{
    const int turn = chunks % 8 == 0 ? r & 7 : (r >> 1) & 3;
    return (uint)(r * chunks + (c ^ turn)) * 16;
}

/* One chunk where rows are short, odd or at their end. */
static void load_chunk(const matrix *m, int row, int c, uint to)
{
    const int left = row < m->limit ? clamp(m->width - c * CHUNK, 0, CHUNK) : 0;
    __global const cell *from = m->p + (left > 0 ? row * m->stride + c * CHUNK : 0);
    if (m->aligned) {
        clf_nv_copy16_part(to, from, CELL_BYTES * left);
    } else {
        uint word[4] = { 0, 0, 0, 0 };
#pragma unroll
        for (int i = 0; i < CHUNK; i++)
            if (i < left)
                word[i * 4 / CHUNK] |= (uint)from[i] << (i * 4 % CHUNK * (32 / CHUNK));
        clf_nv_put16(to, (uint4)(word[0], word[1], word[2], word[3]));
    }
}

/* The tile of rows first .. of m; `rows` and `padded` are constants. */
CLF_INLINE void load_tile(const matrix *m, int first, int rows, int padded, int item, uint to)
{
    const int chunks = padded / CHUNK, steps = (rows * chunks + ITEMS - 1) / ITEMS;
    if (m->whole && first + rows <= m->limit) {
        if (ITEMS % chunks == 0 && rows * chunks % ITEMS == 0) {
            const int c = item % chunks, r = item / chunks;
            __global const cell *from = m->p + (first + r) * m->stride + c * CHUNK;
#pragma unroll
            for (int i = 0; i < steps; i++)
                clf_nv_copy16(to + place(r + i * (ITEMS / chunks), c, chunks), from + i * (ITEMS / chunks) * m->stride);
        } else {
#pragma unroll
            for (int i = 0; i < steps; i++) {
                const int n = i * ITEMS + item, r = n / chunks, c = n % chunks;
                if (n < rows * chunks)
                    clf_nv_copy16(to + place(r, c, chunks), m->p + (first + r) * m->stride + c * CHUNK);
            }
        }
    } else {
#pragma unroll 1
        for (int n = item; n < rows * chunks; n += ITEMS)
            load_chunk(m, first + n / chunks, n % chunks, to + place(n / chunks, n % chunks, chunks));
    }
}

/* One step along the tiles of x and y that pass by, two of each in local memory: waits for this step's and asks for
 * the next ones. Their place is free, because whoever read it, in the step before, did so before this barrier; and
 * each work-item waits for its own copies, asked for a step ago, before the barrier, which then shows all of them to
 * all. */
CLF_INLINE void begin_step(const matrix *x, int x_width, uint x_tiles, const matrix *y, int y_width, uint y_tiles,
                       int step, int end, int item)
{
    clf_nv_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (step + 1 < end) {
        const int first = (step + 1) * CLF_COLUMNS, other = ~step & 1;
        load_tile(x, first, CLF_COLUMNS, x_width, item, x_tiles + other * BYTES(CLF_COLUMNS, x_width));
        load_tile(y, first, CLF_COLUMNS, y_width, item, y_tiles + other * BYTES(CLF_COLUMNS, y_width));
    }
    clf_nv_commit();
}

/* Where a lane's row of the 16 x 16 piece at the start of a tile lies. The four registers of a piece are, as `row_at`
 * reads it, upper left, lower left, upper right, lower right: a left operand, or turned the two right operands of
 * 16 rows. As `column_at` reads it lower left and upper right change places, which makes neighbours of the two
 * registers of a right operand that is not turned: the products want them so, and would be fed by moves otherwise. */
static uint row_at(int padded, int lane) { return place(lane & 15, lane >> 4, padded / CHUNK); }
static uint column_at(int padded, int lane) { return place((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1, padded / CHUNK); }

/* Piece i of the 16 rows from `row` on, `at` being the lane's place in the tile: what the order of chunks turns is
 * bits 5 and 6 of the address (bit 5 alone where rows are odd), because tiles start at multiples of 128. */
#define TURNS(padded) ((padded) / CHUNK % 8 == 0 ? 4 : 2)
#define PIECE(at, padded, row, i) \
    (((at) ^ (uint)((i) % TURNS(padded) * 32)) + BYTES(row, padded) + (uint)((i) / TURNS(padded) * TURNS(padded) * 32))

/* What a query's scores are counted from in the backward pass, in powers of two, so that weights are sums to one.
 * Rows that saw nothing and rows that do not exist get infinity: all their weights are 0. */
static float base_of(__global const float *lse, int stride, int q, int queries)
{
    const float natural = lse[min(q, queries - 1) * stride];
    float rest;
    const float sum = clf_log_sum2(natural, &rest);
    return natural == -INFINITY || q >= queries ? INFINITY : sum + rest;
}

#if CLF_STORAGE == CLF_F32
#include "fused/nvidia_mma_products_f32.cl"
#else
#include "fused/nvidia_mma_products.cl"
#endif

/* A warp's sums to the rows of a tensor from `row` on, this lane's first. */
#define STORE_ROWS(sum, factor, p, stride, row, limit, padded, width, lane) do { \
        _Pragma("unroll") \
        for (int a = 0; a < CLF_TALL; a++) \
            _Pragma("unroll") \
            for (int pair = 0; pair < 2; pair++) \
                if ((row) + a * 16 + pair * 8 < (limit)) \
                    STORE_ROW(sum[a], pair, factor, p, ((row) + a * 16 + pair * 8) * (stride), padded, width, lane); \
    } while (0)
