/* Fused attention for GPUs, forward: out = softmax(scale q k^T + mask) v, tiles in local memory.
 *
 *                       keys: COLUMNS at a time                values, the same keys
 *                    +-----------------------+                +-------------------+
 *                    | DEPTH of the width    |                | STEPS of the keys |
 *                    +-----------------------+                +-------------------+
 *      queries       +-----------------------+  parked in     +-------------------+
 *      ROWS of them  | s -> p: in registers  |  local memory  | acc: in registers |
 *                    +-----------------------+  ------------> +-------------------+
 *
 * Work split: a group of ITEMS work-items owns ROWS queries of one head and walks over all keys they see; a
 * work-item holds HEIGHT x WIDTH scores and HEIGHT x SHARE(E) sums (portable_tile.cl). A row's largest score is
 * agreed on through `tops`; its sum stays split over the work-items until the end. Keys beyond the edges of
 * causal order and window are never read, tiles that nothing crosses skip masking. Masked probabilities are exactly 0;
 * from the first infinity or NaN among the values on, products skip the zeros (`wild`).
 *
 * Local memory, floats: operands DEPTH (ROWS + COLUMNS) or STEPS E, p COLUMNS x ROWS, tops TX x ROWS: 29 KiB for
 * 64 x 64. Registers: 64 scores and HEIGHT SHARE(E) sums. The scale is applied after the product: both passes then
 * find the very same scores, whichever operand they keep.
 *
 * What counted on llvmpipe, where a read of eight lanes costs tens of cycles and registers that are indexed by a
 * variable become memory (GFLOP/s of one shape, the a*b+c loop gives 27 to 31): indexed registers 0.6, constant
 * places only 2.8, reads without branches 3.2.
 *
 * With CLF_BLOCKS the tiles of keys are those in the list of the queries' tile (lists.cl).
 *
 * NDRange: one dimension, ITEMS for each tile of queries in each head, the last tiles (which see most) first.
 * shape = {B, H, Nq, Nk, causal shift, D, E, window}: widths are run-time numbers, CLF_D and CLF_E may be rounded up.
 */
#define STORED clf_result
#define STORE clf_store_result
#include "fused/portable_tile.cl"

#define E_SHARE SHARE(CLF_E)
#define TURNED (CLF_DEPTH * (PITCH(CLF_ROWS) + PITCH(CLF_COLUMNS)))
#define STRAIGHT (CLF_STEPS * PADDED(CLF_E))

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_forward_portable(__global const clf_storage *q, long4 q_at,
                                __global const clf_storage *k, long4 k_at,
                                __global const clf_storage *v, long4 v_at,
                                __global const clf_mask *mask, long8 mask_at,
                                __global const uchar *padding, long4 padding_at,
                                __global clf_result *out, long4 out_at,
                                __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float operands[TURNED > STRAIGHT ? TURNED : STRAIGHT] __attribute__((aligned(64)));
    __local float weights[CLF_COLUMNS * PITCH(CLF_ROWS)] __attribute__((aligned(64)));
    __local float tops[TX * CLF_ROWS] __attribute__((aligned(64)));
    __local int wild;

    const int item = get_local_id(0), tx = item % TX, ty = item / TX;
    const int tiles = (shape.s2 + CLF_ROWS - 1) / CLF_ROWS;
    const int bh = get_group_id(0) / tiles, b = bh / shape.s1, h = bh % shape.s1;
#if CLF_BLOCKS == 1
    const int tile = clf_list_in_turn(lists, lists_at, b, h, get_group_id(0) % tiles);
#else
    const int tile = tiles - 1 - get_group_id(0) % tiles;
#endif
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && tile * CLF_ROWS >= shape.s2)
        return;
    const int q_first = tile * CLF_ROWS, q_mine = q_first + ty * CLF_HEIGHT;
    q += clf_queries_at(q_at, b, h, start);
    k += clf_keys_at(k_at, b, h, start);
    v += clf_keys_at(v_at, b, h, start);
    const float scale = clf_query_scale(factor.x);
    __local float *mine = weights + ty * CLF_HEIGHT;

    const float sink = CLF_SINK(h);
    rows acc[E_SHARE], base = (rows)(sink), sum = (rows)(tx == 0 && sink != -INFINITY ? 1.0f : 0.0f);
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc[c] = (rows)(0.0f);
    if (item == 0)
        wild = 0;

    const int seen = clf_keys_seen(min(q_first + CLF_ROWS, shape.s2) - 1, shape.s3, shape.s4);
#if CLF_BLOCKS
    const int list = clf_lists_of(lists_at, b, h) + tile;
    const int list_end = clf_list_end(lists, lists_at, list);
    for (int entry = clf_list_begin(lists, lists_at, list); entry < list_end; entry++) {
        const int4 listed = clf_list_tile(lists, lists_at, entry);
        const int first = listed.x * CLF_COLUMNS;
        if (first >= seen)
            break;
#else
    for (int first = clf_first_key(q_first, shape) / CLF_COLUMNS * CLF_COLUMNS; first < seen; first += CLF_COLUMNS) {
#endif
        rows s[CLF_WIDTH];
#pragma unroll
        for (int j = 0; j < CLF_WIDTH; j++)
            s[j] = (rows)(0.0f);
        tile_product(q, INPUT, q_at.w, q_first, shape.s2, k, INPUT, k_at.w, first, shape.s3, shape.s5,
                     item, tx, ty, operands, s);
        EACH_COLUMN(SCALE)

        const int look = NEEDS_MASKING(q_first, CLF_ROWS, first, CLF_COLUMNS, shape) || LISTED_PARTIAL;
        if (look) {
            EACH_COLUMN(PARK)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (look)
            for (int n = item; n < CLF_ROWS * CLF_COLUMNS; n += ITEMS) {
                const int row = n / CLF_COLUMNS, column = n % CLF_COLUMNS;
                __local float *score = weights + column * PITCH(CLF_ROWS) + row;
                *score = clf_score(*score, b, h, min(q_first + row, shape.s2 - 1), first + column, shape,
                                   mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
#if CLF_BLOCKS == 1
                if (LISTED_PARTIAL)
                    *score = clf_list_seen(*score, lists[listed.w + row * COLUMN_WORDS + column / 32], column % 32);
#endif
            }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (look) {
            EACH_COLUMN(FETCH)
        }

        rows top = s[0];
#pragma unroll
        for (int j = 1; j < CLF_WIDTH; j++)
            top = fmax(top, s[j]);
        *(__local rows *)(tops + tx * CLF_ROWS + ty * CLF_HEIGHT) = top;
        barrier(CLK_LOCAL_MEM_FENCE);
        top = base;
        for (int x = 0; x < TX; x++)
            top = fmax(top, *(__local const rows *)(tops + x * CLF_ROWS + ty * CLF_HEIGHT));
        const rows anchor = top == (rows)(-INFINITY) ? (rows)(0.0f) : top;
        const rows shrink = rows_exp2(base - anchor);
        base = top;
        sum *= shrink;
#pragma unroll
        for (int c = 0; c < E_SHARE; c++)
            acc[c] *= shrink;
#define SOFTEN(j) s[j] = rows_exp2(s[j] - anchor); sum += s[j];
        EACH_COLUMN(SOFTEN)
        EACH_COLUMN(PARK)
#if CLF_DROPOUT
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int n = item; n < CLF_ROWS * CLF_COLUMNS / 4; n += ITEMS) {
            const int row = n / (CLF_COLUMNS / 4), column = n % (CLF_COLUMNS / 4) * 4;
            drop4(weights + column * PITCH(CLF_ROWS) + row, PITCH(CLF_ROWS), (first + column) / 4, q_first + row,
                  bh, random);
        }
#endif

        add_weighted(weights, v, INPUT, v_at.w, first, min(CLF_COLUMNS, seen - first), shape.s3, shape.s6, E_SHARE,
                     item, tx, ty, operands, &wild, acc);
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    *(__local rows *)(tops + tx * CLF_ROWS + ty * CLF_HEIGHT) = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = (rows)(0.0f);
    for (int x = 0; x < TX; x++)
        sum += *(__local const rows *)(tops + x * CLF_ROWS + ty * CLF_HEIGHT);
    const rows inverse = sum == (rows)(0.0f) ? (rows)(0.0f) : factor.y / sum;
    out += clf_queries_at(out_at, b, h, start);
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc[c] *= inverse;
    STORE_SUMS(acc, E_SHARE, out, out_at.w, q_first, shape.s2, shape.s6)
    if (lse && tx == 0) {
        lse += clf_queries_at(lse_at, b, h, start);
#define STORE_LSE(i) \
        if (q_mine + i < shape.s2) \
            lse[(q_mine + i) * (int)lse_at.w] = sum.s##i == 0.0f ? -INFINITY : clf_log_sum(base.s##i, sum.s##i);
        EACH_ROW(STORE_LSE)
    }
}
