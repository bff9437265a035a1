/* Products of floats by warp groups: each number is three parts of bf16 (nvidia_parts.cl), and a product is six, the
 * small ones first; what is left out is less than 2^-21 of it, some 2^-24 on average:
 *
 *     x y  =  x0 y2  +  x1 y1 + x0 y1  +  x2 y0 + x1 y0 + x0 y0
 *
 * So the last part of the right operand is used once, the one before twice, the first three times: they arrive in this
 * order, each a UNIT with barriers of its own, and leave in it. Tensor cores cut off what their sums cannot hold,
 * always towards 0: the products of a tile begin at 0, and join sums over many tiles by an ordinary, rounded addition.
 */
#include "fused/nvidia_wgmma_tile.cl"
#include "fused/nvidia_maps.cl"

#define PARTS 3
#define UNITS (2 * PARTS)                /* of a step: the parts of two tensors */
#define PART_BYTES BYTES(64, D)          /* of what rests: 64 rows */
#define UNIT_BYTES BYTES(CLF_COLUMNS, D) /* of what passes by */
#define BOX (CLF_COLUMNS < 64 ? CLF_COLUMNS : 64) /* rows that maps describe */
#if CLF_D != CLF_E
#error nvidia_wgmma_f32 pads both widths to one
#endif

#ifndef SUM_WIDTH
#define SUM_WIDTH CLF_D /* columns that are summed up at a time */
#endif
#define more_scores_D PRODUCT(clf_nv_more_scores, CLF_COLUMNS, CLF_D)
#define add_weighted PRODUCT(clf_nv_weighted, CLF_COLUMNS, SUM_WIDTH)
#define first_weighted PRODUCT(clf_nv_first_weighted, CLF_COLUMNS, SUM_WIDTH)
#define wait_sums(n, c) clf_nv_product_wait(n, c, SUM_WIDTH)

/* Units go round a ring of STAGES places, each with two barriers; unit n is its place's n / STAGES-th. */
enum { FULL = 0, FREE = CLF_STAGES };
#define SLOT(unit) ((unit) % CLF_STAGES)
#define PHASE(unit) ((unit) / CLF_STAGES & 1)
#define AWAIT(unit) clf_nv_barrier_wait(at + 8 * (FULL + SLOT(unit)), PHASE(unit))
#define TILE(unit, block_bytes) clf_nv_tile(units + clf_nv_same(SLOT(unit)) * UNIT_BYTES, block_bytes)

/* One lane asks for a unit as soon as its place is free. */
CLF_INLINE void ask_for_unit(__global const uchar *map, int item, int head, int first, int unit, uint units, uint at)
{
    const uint full = at + 8 * (FULL + SLOT(unit));
    clf_nv_barrier_wait(at + 8 * (FREE + SLOT(unit)), PHASE(unit) ^ 1);
    clf_nv_barrier_expect(full, UNIT_BYTES);
    ask_for(map, item, head, first, CLF_COLUMNS, BOX, D, units + SLOT(unit) * UNIT_BYTES, full);
    clf_nv_barrier_arrive(full);
}

/* The places of PARTS units from `first` on are free for others. */
CLF_INLINE void free_units(int first, int lane, uint at)
{
    if (lane == 0)
        for (int unit = first; unit < first + PARTS; unit++)
            clf_nv_barrier_arrive(at + 8 * (FREE + SLOT(unit)));
}

/* s = 64 rows that rest, in parts from `x_tile` on, by those of the units from `first` on. Runs on. */
CLF_INLINE void start_scores(float *s, uint x_tile, int first, uint units, uint at)
{
    AWAIT(first);
    scores_D(s, clf_nv_tile(x_tile + (PARTS - 1) * PART_BYTES, 16), TILE(first, 16));
#pragma unroll
    for (int i = 1; i < PARTS; i++) {
        AWAIT(first + i);
        const ulong y = TILE(first + i, 16);
#pragma unroll
        for (int part = PARTS - 1 - i; part < PARTS; part++)
            more_scores_D(s, clf_nv_tile(x_tile + part * PART_BYTES, 16), y);
    }
}

/* sum = weights by the rows of the units from `first` on, SUM_WIDTH columns from the block of 64 `block` on. Runs
 * on. */
CLF_INLINE void start_sums(float *sum, uint p[PARTS][CLF_COLUMNS / 4], int first, int block, uint units, uint at)
{
    const ulong columns = block * CLF_COLUMNS * 128 / 16;
    AWAIT(first);
    first_weighted(sum, p[PARTS - 1], TILE(first, CLF_COLUMNS * 128) + columns);
#pragma unroll
    for (int i = 1; i < PARTS; i++) {
        AWAIT(first + i);
        const ulong y = TILE(first + i, CLF_COLUMNS * 128) + columns;
#pragma unroll
        for (int part = PARTS - 1 - i; part < PARTS; part++)
            add_weighted(sum, p[part], y);
    }
}

/* Weights as left operands, in parts, the last part first. */
CLF_INLINE void split_weights(float s[1][CLF_COLUMNS / 8][4], uint p[PARTS][CLF_COLUMNS / 4])
{
#pragma unroll
    for (int n = 0; n < CLF_COLUMNS / 4; n++) {
        float x = s[0][n / 2][n % 2 * 2], y = s[0][n / 2][n % 2 * 2 + 1];
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            p[PARTS - 1 - part][n] = clf_nv_upper(x, y);
            x = clf_nv_without_upper(x);
            y = clf_nv_without_upper(y);
        }
    }
}
