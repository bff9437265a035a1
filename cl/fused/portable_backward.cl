/* Fused attention for GPUs, backward: the gradients of q, k and v, tiles in local memory, no atomics.
 *
 *     clf_fused_delta_portable         delta = sum(out * grad_out)           a work-item a row
 *     clf_fused_backward_q_portable    rows are queries, keys pass by        s, dp -> ds;  dq += ds k
 *     clf_fused_backward_kv_portable   rows are keys, queries pass by,       s, dp -> p, ds;  dv += p^T grad_out,
 *                                      one head after the other                               dk += ds^T q
 *
 * p = exp(s - lse), dp = grad_out v^T, ds = p (dp - delta). Scores are computed twice (seven products, not five),
 * which is what it costs to have every sum owned by one group: the result does not depend on scheduling.
 *
 * Work split and lists as in portable_forward.cl; the kernel whose rows are keys has lists of tiles of queries. A
 * work-item holds HEIGHT x WIDTH numbers of s and of dp, and HEIGHT x SHARE sums of each gradient; p and ds go through
 * the same local memory one after the other. No tops; 27 KiB for 64 x 64.
 *
 * NDRange: one dimension, 64 for each 64 rows (delta), ITEMS for each ROWS queries or keys, in each head.
 */
#include "fused/portable_tile.cl"

#if defined(CLF_SCORE_MOD) && !defined(CLF_SCORE_SLOPE)
#error the backward pass of CLF_SCORE_MOD needs its derivative, CLF_SCORE_SLOPE
#endif

#define D_SHARE SHARE(CLF_D)
#define E_SHARE SHARE(CLF_E)
#define TURNED (CLF_DEPTH * (PITCH(CLF_ROWS) + PITCH(CLF_COLUMNS)))
#define STRAIGHT (CLF_STEPS * WIDEST)
#define OPERANDS (TURNED > STRAIGHT ? TURNED : STRAIGHT)

/* delta = sum(out * grad_out) of a row, a work-item each. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_delta_portable(__global const clf_result *out, long4 out_at,
                              __global const clf_result *grad_out, long4 grad_out_at,
                              __global float *delta, long4 delta_at, int8 shape CLF_SEQUENCE_PARAMETERS)
{
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row >= shape.s2)
        return;
    out += clf_queries_at(out_at, b, h, start) + row * out_at.w;
    grad_out += clf_queries_at(grad_out_at, b, h, start) + row * grad_out_at.w;
    float sum = 0.0f;
    for (int e = 0; e < shape.s6; e++)
        sum = clf_fma(clf_load_result(out, e), clf_load_result(grad_out, e), sum);
    delta[clf_queries_at(delta_at, b, h, start) + row * delta_at.w] = sum;
}

/* The gradient of queries: rows are queries, tiles of keys pass by. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_q_portable(__global const clf_storage *q, long4 q_at,
                                   __global const clf_storage *k, long4 k_at,
                                   __global const clf_storage *v, long4 v_at,
                                   __global const clf_mask *mask, long8 mask_at,
                                   __global const uchar *padding, long4 padding_at,
                                   __global const clf_result *grad_out, long4 grad_out_at,
                                   __global const float *lse, long4 lse_at,
                                   __global const float *delta, long4 delta_at,
                                   __global clf_storage *grad_q, long4 grad_q_at,
                                   int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                   CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float operands[OPERANDS] __attribute__((aligned(64)));
    __local float weights[CLF_COLUMNS * PITCH(CLF_ROWS)] __attribute__((aligned(64)));
    __local int wild;
#if CLF_BENDS
    __local float slopes[CLF_COLUMNS * PITCH(CLF_ROWS)] __attribute__((aligned(64)));
#endif

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
    grad_out += clf_queries_at(grad_out_at, b, h, start);
    grad_q += clf_queries_at(grad_q_at, b, h, start);
    lse += clf_queries_at(lse_at, b, h, start);
    delta += clf_queries_at(delta_at, b, h, start);
    const float scale = clf_query_scale(factor.x);
    __local float *mine = weights + ty * CLF_HEIGHT;

#define LOG_SUM(i) log_sum_of(lse, lse_at.w, q_mine + i, shape.s2).x
#define LOG_REST(i) log_sum_of(lse, lse_at.w, q_mine + i, shape.s2).y
#define MEAN(i) delta[min(q_mine + i, shape.s2 - 1) * (int)delta_at.w]
    const rows log_sum = MAKE_ROWS(LOG_SUM), log_rest = MAKE_ROWS(LOG_REST), mean = MAKE_ROWS(MEAN);
    rows acc[D_SHARE];
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
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
        rows s[CLF_WIDTH], ds[CLF_WIDTH];
#define CLEAR(j) s[j] = ds[j] = (rows)(0.0f);
        EACH_COLUMN(CLEAR)
        tile_product(q, INPUT, q_at.w, q_first, shape.s2, k, INPUT, k_at.w, first, shape.s3, shape.s5,
                     item, tx, ty, operands, s);
        EACH_COLUMN(SCALE)
        tile_product(grad_out, RESULT, grad_out_at.w, q_first, shape.s2, v, INPUT, v_at.w, first, shape.s3, shape.s6,
                     item, tx, ty, operands, ds);

        const int look = NEEDS_MASKING(q_first, CLF_ROWS, first, CLF_COLUMNS, shape) || LISTED_PARTIAL;
        if (look) {
            EACH_COLUMN(PARK)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (look)
            for (int n = item; n < CLF_ROWS * CLF_COLUMNS; n += ITEMS) {
                const int row = n / CLF_COLUMNS, column = n % CLF_COLUMNS, i = min(q_first + row, shape.s2 - 1);
                __local float *score = weights + column * PITCH(CLF_ROWS) + row;
#if CLF_BENDS
                slopes[score - weights] = clf_score_slope(*score, b, h, i, min(first + column, shape.s3 - 1)
                                                          CLF_EXTRA_ARGUMENTS);
#endif
                *score = clf_score(*score, b, h, i, first + column, shape,
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
#define SOFTEN(j) s[j] = rows_exp2(s[j] - log_sum - log_rest);
        EACH_COLUMN(SOFTEN)
#if CLF_DROPOUT
        EACH_COLUMN(PARK)
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int n = item; n < CLF_ROWS * CLF_COLUMNS / 4; n += ITEMS) {
            const int row = n / (CLF_COLUMNS / 4), column = n % (CLF_COLUMNS / 4) * 4;
            drop4(weights + column * PITCH(CLF_ROWS) + row, PITCH(CLF_ROWS), (first + column) / 4, q_first + row,
                  bh, random);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#define DROP(j) ds[j] = PARKED(j) == (rows)(0.0f) ? (rows)(0.0f) : ds[j] * factor.y;
        EACH_COLUMN(DROP)
#endif
        /* Where the probability is 0 the other factor may be NaN, from a masked row of V. */
#define DIFFERENTIATE(j) s[j] = s[j] == (rows)(0.0f) ? (rows)(0.0f) : s[j] * (ds[j] - mean) SLOPE(j);
        EACH_COLUMN(DIFFERENTIATE)
        EACH_COLUMN(PARK)
        add_weighted(weights, k, INPUT, k_at.w, first, min(CLF_COLUMNS, seen - first), shape.s3, shape.s5, D_SHARE,
                     item, tx, ty, operands, &wild, acc);
    }
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
        acc[c] *= factor.x;
    STORE_SUMS(acc, D_SHARE, grad_q, grad_q_at.w, q_first, shape.s2, shape.s5)
}

/* The gradients of keys and values: rows are keys, tiles of queries pass by. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_kv_portable(__global const clf_storage *q, long4 q_at,
                                    __global const clf_storage *k, long4 k_at,
                                    __global const clf_storage *v, long4 v_at,
                                    __global const clf_mask *mask, long8 mask_at,
                                    __global const uchar *padding, long4 padding_at,
                                    __global const clf_result *grad_out, long4 grad_out_at,
                                    __global const float *lse, long4 lse_at,
                                    __global const float *delta, long4 delta_at,
                                    __global clf_storage *grad_k, long4 grad_k_at,
                                    __global clf_storage *grad_v, long4 grad_v_at,
                                    int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                    CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float operands[OPERANDS] __attribute__((aligned(64)));
    __local float weights[CLF_COLUMNS * PITCH(CLF_ROWS)] __attribute__((aligned(64)));
    __local int wild;
#if CLF_BENDS
    __local float slopes[CLF_COLUMNS * PITCH(CLF_ROWS)] __attribute__((aligned(64)));
#endif

    const int item = get_local_id(0), tx = item % TX, ty = item / TX;
    const int tiles = (shape.s3 + CLF_ROWS - 1) / CLF_ROWS;
    const int owner = get_group_id(0) / tiles;
    const int heads = shape.s1 / CLF_GROUPS, b = owner / heads, first_head = owner % heads * CLF_GROUPS;
#if CLF_BLOCKS == 1
    const int tile = clf_list_in_turn(lists, lists_at, b, first_head, get_group_id(0) % tiles);
#else
    const int tile = get_group_id(0) % tiles;
#endif
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && tile * CLF_ROWS >= shape.s3)
        return;
    const int k_first = tile * CLF_ROWS, k_mine = k_first + ty * CLF_HEIGHT;
    q += clf_queries_at(q_at, b, first_head, start);
    k += clf_keys_at(k_at, b, first_head, start);
    v += clf_keys_at(v_at, b, first_head, start);
    grad_out += clf_queries_at(grad_out_at, b, first_head, start);
    const int wants_k = grad_k != 0, wants_v = grad_v != 0;
    grad_k += clf_keys_at(grad_k_at, b, first_head, start);
    grad_v += clf_keys_at(grad_v_at, b, first_head, start);
    lse += clf_queries_at(lse_at, b, first_head, start);
    delta += clf_queries_at(delta_at, b, first_head, start);
    const float scale = clf_query_scale(factor.x);
    __local float *mine = weights + ty * CLF_HEIGHT;

    rows acc_k[D_SHARE], acc_v[E_SHARE];
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
        acc_k[c] = (rows)(0.0f);
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc_v[c] = (rows)(0.0f);
    if (item == 0)
        wild = 0;

    const int q_end = clf_queries_end(min(k_first + CLF_ROWS, shape.s3) - 1, shape);
#if CLF_GROUPS > 1
    for (int h = first_head; h < first_head + CLF_GROUPS; h++, q += q_at.z, grad_out += grad_out_at.z,
             lse += lse_at.z, delta += delta_at.z)
#else
    const int h = first_head;
#endif
#if CLF_BLOCKS
    for (int list = clf_lists_of(lists_at, b, h) + tile, entry = clf_list_begin(lists, lists_at, list);
         entry < clf_list_end(lists, lists_at, list); entry++) {
        const int4 listed = clf_list_tile(lists, lists_at, entry);
        const int first = listed.x * CLF_COLUMNS;
        if (first >= q_end)
            break;
#else
    for (int first = clf_first_query(k_first, shape.s2, shape.s4); first < q_end; first += CLF_COLUMNS) {
#endif
        rows s[CLF_WIDTH], ds[CLF_WIDTH];
        EACH_COLUMN(CLEAR)
        tile_product(k, INPUT, k_at.w, k_first, shape.s3, q, INPUT, q_at.w, first, shape.s2, shape.s5,
                     item, tx, ty, operands, s);
        EACH_COLUMN(SCALE)
        tile_product(v, INPUT, v_at.w, k_first, shape.s3, grad_out, RESULT, grad_out_at.w, first, shape.s2, shape.s6,
                     item, tx, ty, operands, ds);

        const int look = NEEDS_MASKING(first, CLF_COLUMNS, k_first, CLF_ROWS, shape) || LISTED_PARTIAL;
        if (look) {
            EACH_COLUMN(PARK)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (look)
            for (int n = item; n < CLF_ROWS * CLF_COLUMNS; n += ITEMS) {
                const int row = n % CLF_ROWS, column = n / CLF_ROWS, i = min(first + column, shape.s2 - 1);
                __local float *score = weights + column * PITCH(CLF_ROWS) + row;
#if CLF_BENDS
                slopes[score - weights] = clf_score_slope(*score, b, h, i, min(k_first + row, shape.s3 - 1)
                                                          CLF_EXTRA_ARGUMENTS);
#endif
                *score = clf_score(*score, b, h, i, k_first + row, shape,
                                   mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
#if CLF_BLOCKS == 1
                if (LISTED_PARTIAL)
                    *score = clf_list_seen(*score, lists[listed.w + column * ROW_WORDS + row / 32], row % 32);
#endif
            }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (look) {
            EACH_COLUMN(FETCH)
        }
#define SOFTEN_KEYS(j) { \
            const float2 log_sum = log_sum_of(lse, lse_at.w, first + column_of(j, tx, CLF_VECTOR), shape.s2); \
            s[j] = rows_exp2(s[j] - log_sum.x - log_sum.y); \
        }
        EACH_COLUMN(SOFTEN_KEYS)
        EACH_COLUMN(PARK)
#if CLF_DROPOUT
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int n = item; n < CLF_ROWS * CLF_COLUMNS / 4; n += ITEMS) {
            const int row = n % (CLF_ROWS / 4) * 4, column = n / (CLF_ROWS / 4);
            drop4(weights + column * PITCH(CLF_ROWS) + row, 1, (k_first + row) / 4, first + column, b * shape.s1 + h,
                  random);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH_COLUMN(DROP)
#endif
#define DIFFERENTIATE_KEYS(j) { \
            const float mean = delta[min(first + column_of(j, tx, CLF_VECTOR), shape.s2 - 1) * (int)delta_at.w]; \
            s[j] = s[j] == (rows)(0.0f) ? (rows)(0.0f) : s[j] * (ds[j] - mean) SLOPE(j); \
        }
        EACH_COLUMN(DIFFERENTIATE_KEYS)
        const int count = min(CLF_COLUMNS, shape.s2 - first);
        add_weighted(weights, grad_out, RESULT, grad_out_at.w, first, count, shape.s2, shape.s6, E_SHARE,
                     item, tx, ty, operands, &wild, acc_v);
        barrier(CLK_LOCAL_MEM_FENCE);
        EACH_COLUMN(PARK)
        add_weighted(weights, q, INPUT, q_at.w, first, count, shape.s2, shape.s5, D_SHARE,
                     item, tx, ty, operands, &wild, acc_k);
    }
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
        acc_k[c] *= factor.x;
#if CLF_DROPOUT
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc_v[c] *= factor.y;
#endif
    /* Everybody passes the barriers of both: gradients that nobody wants have no rows. */
    STORE_SUMS(acc_k, D_SHARE, grad_k, grad_k_at.w, k_first, wants_k ? shape.s3 : 0, shape.s5)
    STORE_SUMS(acc_v, E_SHARE, grad_v, grad_v_at.w, k_first, wants_v ? shape.s3 : 0, shape.s6)
}
