/* The gradients of keys and values on tensor cores: rows are keys, tiles of queries and grad_out pass by,
 * those of one head after the other where several share the keys.
 *
 *     S = K Q^T, P = exp2(S - lse)        dV += P grad_out        dP = V grad_out^T        dS = P (dP - delta)
 *                                                                                          dK += dS Q
 *
 * The scores are turned, so that weights and their gradients are left operands as they stand, as in the forward pass;
 * lse and delta belong to columns now and lie in local memory, two stages like the tiles. Each sum has one owner and
 * one order. Hand-over: one barrier a step, as in nvidia_mma_forward.cl; the numbers of the next step are written
 * behind it to the place that was read before it.
 *
 * H100, f16, 4096 queries and keys, counted as the forward pass's operations: 164 TFLOP/s at width 64 (4 warps, TALL 2,
 * 32 queries a step; 255 registers, 28 bytes spilled), 161 at width 128 (8 warps, TALL 1, 64 queries a step; 255, 20).
 * Tried and left: at width 64 TALL 1 150, 16 queries 129; at width 128 32 queries 139, 16 105. At width 128 both sums
 * take 128 registers, so a warp has 16 rows and each piece that ldmatrix fetches is used by two products only: local
 * memory, not the tensor cores, is the limit (4600 against 3050 cycles a step).
 */
#include "fused/nvidia_mma_tile.cl"
#include "fused/nvidia_mma_drop.cl"

#define K_BYTES BYTES(ROWS, D)
#define V_BYTES BYTES(ROWS, E)
#define Q_BYTES BYTES(CLF_COLUMNS, D)
#define G_BYTES BYTES(CLF_COLUMNS, E)
/* Wide heads: the sums of both gradients do not fit the registers, so the queries pass by twice. */
#define TWICE (CLF_TALL * (D + E) > 256)

/* The scores of a tile become weights, counted from each query's base. */
CLF_INLINE void soften_queries(float s[CLF_TALL][CLF_COLUMNS / 8][4], float scale, __local const float *bases, int lane)
{
#pragma unroll
    for (int j = 0; j < CLF_COLUMNS / 8; j++) {
        const float2 base = *(__local const float2 *)(bases + j * 8 + (lane & 3) * 2);
#pragma unroll
        for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[a][j][i] = clf_nv_exp2(fma(s[a][j][i], scale, -(i % 2 ? base.y : base.x)));
    }
}

/* ds becomes the gradient of the scores; s holds the weights. */
CLF_INLINE void differentiate(float s[CLF_TALL][CLF_COLUMNS / 8][4], float ds[CLF_TALL][CLF_COLUMNS / 8][4],
                          __local const float *means, int lane, int careful)
{
#pragma unroll
    for (int j = 0; j < CLF_COLUMNS / 8; j++) {
        const float2 mean = *(__local const float2 *)(means + j * 8 + (lane & 3) * 2);
#pragma unroll
        for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float x = s[a][j][i] * (ds[a][j][i] - (i % 2 ? mean.y : mean.x));
                /* where the weight is 0 the other factor may be NaN */
                ds[a][j][i] = careful && s[a][j][i] == 0.0f ? 0.0f : x;
            }
    }
}

/* Base and mean of a tile's queries, for the step that follows: the place was read in the step before this one. */
CLF_INLINE void load_numbers(__global const float *lse, int lse_step, __global const float *delta, int delta_step,
                             int first, int queries, int item, __local float *bases, __local float *means)
{
#pragma unroll
    for (int i = item; i < CLF_COLUMNS; i += ITEMS) {
        bases[i] = base_of(lse, lse_step, first + i, queries);
        means[i] = first + i < queries ? delta[(first + i) * delta_step] : 0.0f;
    }
}

/* Where scores are bent their slopes, found at the natural scores, join the weights when those have been packed. */
#if CLF_BENDS
#define SLOPES float slopes[CLF_TALL][CLF_COLUMNS / 8][4];
#define FIND_SLOPE(x, q, k) \
    slopes[a][j][i] = clf_score_slope(x, b, h, q, min(k, shape.s3 - 1) CLF_EXTRA_ARGUMENTS);
#define BEND_WEIGHTS \
    EACH_SCORE(a, j, i) \
        s[a][j][i] = s[a][j][i] == 0.0f ? 0.0f : s[a][j][i] * slopes[a][j][i];
#else
#define SLOPES
#define FIND_SLOPE(x, q, k)
#define BEND_WEIGHTS
#endif

/* Everything that a step does with its tile of queries: LOOK says whether scores need a look each. */
#define STEP(LOOK, ADD) { \
        const int first = step * CLF_COLUMNS; \
        const uint x_tile = q_tiles + (step & 1) * Q_BYTES, g_tile = g_tiles + (step & 1) * G_BYTES; \
        begin_step(&queries, D, q_tiles, &grads, E, g_tiles, step, steps, item); \
        if (step + 1 < steps) \
            load_numbers(lses, (int)lse_at.w, deltas, (int)delta_at.w, first + CLF_COLUMNS, shape.s2, item, \
                         bases[~step & 1], means[~step & 1]); \
        if (LOOK && clf_keys_seen(first + CLF_COLUMNS - 1, shape.s3, shape.s4) <= k_warp) \
            continue; /* on the diagonal: none of these queries sees this warp's keys */ \
        float s[CLF_TALL][CLF_COLUMNS / 8][4], ds[CLF_TALL][CLF_COLUMNS / 8][4]; \
        uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4]; \
        multiply_tiles(k_lane, x_tile + column_at(D, lane), D, s); \
        if (SCALED && !LOOK) { \
            EACH_SCORE(a, j, i) \
                s[a][j][i] *= scale; \
        } \
        SLOPES \
        if (LOOK) { \
            EACH_SCORE(a, j, i) { \
                const float x = SCALED ? s[a][j][i] * scale : s[a][j][i]; \
                const int row = min(first + j * 8 + (lane & 3) * 2 + i % 2, shape.s2 - 1); \
                const int key = k_mine + a * 16 + i / 2 * 8; \
                FIND_SLOPE(x, row, key) \
                s[a][j][i] = clf_score(x, b, h, row, key, shape, mask, mask_at, padding, \
                                       padding_at CLF_EXTRA_ARGUMENTS); \
            } \
        } \
        soften_queries(s, later_scale, bases[step & 1], lane); \
        if (part != 1) { \
            EACH_SCORE(a, j, i) \
                ds[a][j][i] = s[a][j][i]; \
            if (CLF_DROPOUT) \
                drop_turned(ds, lane, k_mine, first, bh, random, 1.0f); \
            pack_weights(ds, p); \
        } \
        BEND_WEIGHTS \
        if (part != 1) { \
            ADD(p, g_tile + turned_at(E, lane), E, sum_v); \
        } \
        if (part != 0) { \
            multiply_tiles(v_lane, g_tile + column_at(E, lane), E, ds); \
            if (CLF_DROPOUT) \
                drop_turned(ds, lane, k_mine, first, bh, random, factor.y); \
            differentiate(s, ds, means[step & 1], lane, LOOK); \
            pack_weights(ds, p); \
            ADD(p, x_tile + turned_at(D, lane), D, sum_k); \
        } \
    }

#if LOOK_AT_ALL
#define ADD_LOOKED ADD_WEIGHTED_CAREFULLY
#else
#define ADD_LOOKED ADD_WEIGHTED
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_kv_nvidia_mma(__global const clf_storage *q, long4 q_at,
                                      __global const clf_storage *k, long4 k_at,
                                      __global const clf_storage *v, long4 v_at,
                                      __global const clf_mask *mask, long8 mask_at,
                                      __global const uchar *padding, long4 padding_at,
                                      __global const clf_storage *grad_out, long4 grad_out_at,
                                      __global const float *lse, long4 lse_at,
                                      __global const float *delta, long4 delta_at,
                                      __global clf_storage *grad_k, long4 grad_k_at,
                                      __global clf_storage *grad_v, long4 grad_v_at,
                                      int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor,
                                      uint8 random CLF_EXTRA_PARAMETERS)
{
    __local uint4 tiles[(K_BYTES + V_BYTES + 2 * (Q_BYTES + G_BYTES)) / 16] __attribute__((aligned(128)));
    __local float bases[2][CLF_COLUMNS] __attribute__((aligned(16))), means[2][CLF_COLUMNS] __attribute__((aligned(16)));
    const uint k_tile = clf_nv_address(tiles), v_tile = k_tile + K_BYTES;
    const uint q_tiles = v_tile + V_BYTES, g_tiles = q_tiles + 2 * Q_BYTES;

    const int item = get_local_id(0), lane = item & 31, warp = item >> 5;
    const int count = (shape.s3 + ROWS - 1) / ROWS;
    const int tile = get_group_id(0) % count, owner = get_group_id(0) / count;
    const int heads = shape.s1 / CLF_GROUPS, b = owner / heads, first_head = owner % heads * CLF_GROUPS;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && tile * ROWS >= shape.s3)
        return;
    const int k_first = tile * ROWS, k_warp = k_first + warp * CLF_TALL * 16, k_mine = k_warp + (lane >> 2);
    const matrix keys = matrix_of(k, clf_keys_at(k_at, b, first_head, start), k_at.w, shape.s3, shape.s5, D);
    const matrix values = matrix_of(v, clf_keys_at(v_at, b, first_head, start), v_at.w, shape.s3, shape.s6, E);
    const float scale = clf_query_scale(factor.x), later_scale = SCALED ? 1.0f : scale;
    const uint k_lane = k_tile + warp * BYTES(CLF_TALL * 16, D) + row_at(D, lane);
    const uint v_lane = v_tile + warp * BYTES(CLF_TALL * 16, E) + row_at(E, lane);

    /* Queries before `begin_at` and from `steps` on see none of these keys, those from `plain` on see all of them. */
    const int begin_at = clf_first_query(k_first, shape.s2, shape.s4) / CLF_COLUMNS;
    const int k_last = min(k_first + ROWS, shape.s3) - 1;
    const int steps = (clf_queries_end(k_last, shape) + CLF_COLUMNS - 1) / CLF_COLUMNS;
    const int all_from = clf_first_query(k_last, shape.s2, shape.s4);
    const int plain = LOOK_AT_ALL ? steps : (all_from + CLF_COLUMNS - 1) / CLF_COLUMNS;

    load_tile(&keys, k_first, ROWS, D, item, k_tile);
    load_tile(&values, k_first, ROWS, E, item, v_tile);
#if TWICE
    for (int part = 0; part < 2; part++) {
        float sum[CLF_TALL][(D > E ? D : E) / 8][4];
#define sum_k sum
#define sum_v sum
        if (part == 1)
            barrier(CLK_LOCAL_MEM_FENCE); /* before the first tiles come back, everybody is done with the last ones */
#else
    {
        const int part = 2;
        float sum_k[CLF_TALL][D / 8][4];
        float sum_v[CLF_TALL][E / 8][4];
        EACH_SUM(sum_v, E) = 0.0f;
#endif
        EACH_SUM(sum_k, TWICE && E > D ? E : D) = 0.0f;
#if CLF_GROUPS > 1
        for (int h = first_head; h < first_head + CLF_GROUPS; h++) {
        if (h > first_head)
            barrier(CLK_LOCAL_MEM_FENCE); /* everybody is done with the last tiles of the head before */
#else
        {
        const int h = first_head;
#endif
        const int bh = b * shape.s1 + h;
        const matrix queries = matrix_of(q, clf_queries_at(q_at, b, h, start), q_at.w, shape.s2, shape.s5, D);
        const matrix grads = matrix_of(grad_out, clf_queries_at(grad_out_at, b, h, start), grad_out_at.w, shape.s2,
                                       shape.s6, E);
        __global const float *lses = lse + clf_queries_at(lse_at, b, h, start);
        __global const float *deltas = delta + clf_queries_at(delta_at, b, h, start);
        if (begin_at < steps) {
            load_tile(&queries, begin_at * CLF_COLUMNS, CLF_COLUMNS, D, item, q_tiles + (begin_at & 1) * Q_BYTES);
            load_tile(&grads, begin_at * CLF_COLUMNS, CLF_COLUMNS, E, item, g_tiles + (begin_at & 1) * G_BYTES);
            load_numbers(lses, (int)lse_at.w, deltas, (int)delta_at.w, begin_at * CLF_COLUMNS, shape.s2, item,
                         bases[begin_at & 1], means[begin_at & 1]);
        }
        clf_nv_commit();
        int step = begin_at;
        for (; step < min(plain, steps); step++)
            STEP(1, ADD_LOOKED)
#if !LOOK_AT_ALL
        for (; step < steps; step++)
            STEP(0, ADD_WEIGHTED)
#endif
        clf_nv_wait(0);
        }
        if (part != 0 && grad_k)
            STORE_ROWS(sum_k, factor.x, grad_k + clf_keys_at(grad_k_at, b, first_head, start), (int)grad_k_at.w, k_mine,
                       shape.s3, D, shape.s5, lane);
        if (part != 1 && grad_v)
            STORE_ROWS(sum_v, CLF_DROPOUT ? factor.y : 1.0f, grad_v + clf_keys_at(grad_v_at, b, first_head, start),
                       (int)grad_v_at.w, k_mine, shape.s3, E, shape.s6, lane);
    }
}
