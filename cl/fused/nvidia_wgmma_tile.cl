/* What the nvidia_wgmma kernels share: who computes and who loads, and tiles as the tensor cores read them.
 *
 * The first warp group of a work-group loads what passes by, the others own 64 rows each of what rests. Tiles are
 * blocks of 64 columns, see prelude/nvidia_wgmma.cl; what rests lies in one tile of 64 rows for each computing group.
 */
#define CLF_TALL 1
#include "fused/nvidia_mma_tile.cl"
#include "prelude/nvidia_wgmma.cl"

#ifndef CLF_CONSUMERS
#define CLF_CONSUMERS 2 /* warp groups that compute, 64 rows each; one more loads */
#endif
#ifndef CLF_STAGES
#define CLF_STAGES 2 /* tiles of each kind in local memory */
#endif
#if CLF_MASK || defined(CLF_MASK_MOD)
#error nvidia_wgmma has no masks: the tensor cores would multiply hidden values, which may be NaN, by 0
#endif

#define GROUP_ROWS (CLF_CONSUMERS * 64)
#define GROUP_ITEMS (CLF_CONSUMERS * 128 + 128)

/* Registers of a work-item that loads and of one that computes: 64 Ki for all of them. */
#if CLF_CONSUMERS == 2
#ifndef REGISTERS_LOAD
#define REGISTERS_LOAD 40
#endif
#define REGISTERS_COMPUTE ((64 * 1024 / 128 - REGISTERS_LOAD - 8) / 2)
#else
#define REGISTERS_LOAD 32
#define REGISTERS_COMPUTE 160
#endif

/* The products of these widths and of tiles with so many rows. */
#define JOINED(name, rows, width) name##rows##x##width
#define PRODUCT(name, rows, width) JOINED(name, rows, width)
#define scores_D PRODUCT(clf_nv_scores, CLF_COLUMNS, CLF_D)
#define scores_E PRODUCT(clf_nv_scores, CLF_COLUMNS, CLF_E)
#define add_weighted_D PRODUCT(clf_nv_weighted, CLF_COLUMNS, CLF_D)
#define add_weighted_E PRODUCT(clf_nv_weighted, CLF_COLUMNS, CLF_E)
#define wait_scores(n, c) clf_nv_product_wait(n, c, CLF_COLUMNS)
#define wait_sums_D(n, c) clf_nv_product_wait(n, c, CLF_D)
#define wait_sums_E(n, c) clf_nv_product_wait(n, c, CLF_E)

/* Chunk c of row r in a tile of `rows` rows, block after block of 64 columns. */
static uint block_place(int r, int c, int rows)
{
    return (uint)((c >> 3) * rows * 128 + r * 128 + (((c ^ r) & 7) << 4));
}

/* A tile by `items` work-items. */
CLF_INLINE void load_blocks(const matrix *m, int first, int rows, int padded, int item, int items, uint to)
{
    const int chunks = padded / 8;
    if (m->whole && first + rows <= m->limit) {
        const int c = item % chunks, r = item / chunks, step = items / chunks;
        __global const ushort *from = m->p + (first + r) * m->stride + c * 8;
#pragma unroll 16
        for (int i = 0; i < rows / step; i++) /* `items` make whole rows, and those divide the tile */
            clf_nv_copy16(to + block_place(r + i * step, c, rows), from + i * step * m->stride);
    } else {
#pragma unroll 1
        for (int n = item; n < rows * chunks; n += items)
            load_chunk(m, first + n / chunks, n % chunks, to + block_place(n / chunks, n % chunks, rows));
    }
}

/* What a lane knows of its two rows of queries in the backward pass, `row` being the first: their bases, and delta. */
CLF_INLINE void load_numbers(__global const float *lse, int lse_step, __global const float *delta, int delta_step,
                             int row, int queries, float base[2], float mean[2])
{
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
        const int q = row + pair * 8;
        base[pair] = base_of(lse, lse_step, q, queries);
        mean[pair] = q < queries ? delta[q * delta_step] : 0.0f;
    }
}
