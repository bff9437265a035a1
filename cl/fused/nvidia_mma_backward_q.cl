/* The gradient of queries on tensor cores: rows are queries, tiles of keys and values pass by (the picture and the
 * hand-over are those of nvidia_mma_forward.cl, with grad_out resting beside the queries).
 *
 *     S = Q K^T, P = exp2(S - lse)        dP = grad_out V^T        dS = P (dP - delta)        dQ += dS K
 *
 * No atomics: this kernel and the one for keys and values each compute the scores once more, seven products in place of
 * five, and every sum has one owner and one order.
 *
 * H100, f16, 4096 queries and keys, both gradient kernels and delta together, counted as 2.5 times the forward pass:
 * width 64 235 (222 causal), width 128 247 (224) TFLOP/s. This kernel: width 64 4 warps, TALL 2, 64 keys, 255
 * registers; width 128 4 warps, TALL 2, 32 keys, 255 registers and 92 bytes spilled. Without spilling, 16 keys a step:
 * a fifth slower.
 */
#include "fused/nvidia_mma_tile.cl"
#include "fused/nvidia_mma_drop.cl"

#define Q_BYTES BYTES(ROWS, D)
#define G_BYTES BYTES(ROWS, E)
#define K_BYTES BYTES(CLF_COLUMNS, D)
#define V_BYTES BYTES(CLF_COLUMNS, E)

/* From weights s and the products ds of grad_out and values to the gradients of the scores, in place. */
CLF_INLINE void differentiate(float s[CLF_TALL][CLF_COLUMNS / 8][4], float ds[CLF_TALL][CLF_COLUMNS / 8][4],
                          float mean[CLF_TALL][2], int careful)
{
    EACH_SCORE(a, j, i) {
        const float x = s[a][j][i] * (ds[a][j][i] - mean[a][i / 2]);
        /* where the weight is 0 the other factor may be NaN, from a hidden row of V */
        ds[a][j][i] = careful && s[a][j][i] == 0.0f ? 0.0f : x;
    }
}

/* The weight of a finished score; where scores are bent, times the slope at the natural score `x`. */
#if CLF_BENDS
#define SLOPE(x, q, k) clf_score_slope(x, b, h, q, min(k, shape.s3 - 1) CLF_EXTRA_ARGUMENTS)
#else
#define SLOPE(x, q, k) 1.0f
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_q_nvidia_mma(__global const clf_storage *q, long4 q_at,
                                     __global const clf_storage *k, long4 k_at,
                                     __global const clf_storage *v, long4 v_at,
                                     __global const clf_mask *mask, long8 mask_at,
                                     __global const uchar *padding, long4 padding_at,
                                     __global const clf_storage *grad_out, long4 grad_out_at,
                                     __global const float *lse, long4 lse_at,
                                     __global const float *delta, long4 delta_at,
                                     __global clf_storage *grad_q, long4 grad_q_at,
                                     int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor,
                                     uint8 random CLF_EXTRA_PARAMETERS)
{
    __local uint4 tiles[(Q_BYTES + G_BYTES + 2 * (K_BYTES + V_BYTES)) / 16] __attribute__((aligned(128)));
    const uint q_tile = clf_nv_address(tiles), g_tile = q_tile + Q_BYTES;
    const uint k_tiles = g_tile + G_BYTES, v_tiles = k_tiles + 2 * K_BYTES;

    const int item = get_local_id(0), lane = item & 31, warp = item >> 5;
    const int count = (shape.s2 + ROWS - 1) / ROWS;
    const int tile = count - 1 - get_group_id(0) % count, bh = get_group_id(0) / count;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && tile * ROWS >= shape.s2)
        return;
    const int q_first = tile * ROWS, q_warp = q_first + warp * CLF_TALL * 16, q_mine = q_warp + (lane >> 2);
    const matrix queries = matrix_of(q, clf_queries_at(q_at, b, h, start), q_at.w, shape.s2, shape.s5, D);
    const matrix grads = matrix_of(grad_out, clf_queries_at(grad_out_at, b, h, start), grad_out_at.w, shape.s2,
                                   shape.s6, E);
    const matrix keys = matrix_of(k, clf_keys_at(k_at, b, h, start), k_at.w, shape.s3, shape.s5, D);
    const matrix values = matrix_of(v, clf_keys_at(v_at, b, h, start), v_at.w, shape.s3, shape.s6, E);
    const float scale = clf_query_scale(factor.x), later_scale = SCALED ? 1.0f : scale;
    const uint q_lane = q_tile + warp * BYTES(CLF_TALL * 16, D) + row_at(D, lane);
    const uint g_lane = g_tile + warp * BYTES(CLF_TALL * 16, E) + row_at(E, lane);

    float sum[CLF_TALL][D / 8][4], base[CLF_TALL][2], mean[CLF_TALL][2];
    lse += clf_queries_at(lse_at, b, h, start);
    delta += clf_queries_at(delta_at, b, h, start);
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++) {
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            const int row = q_mine + a * 16 + pair * 8;
            base[a][pair] = base_of(lse, (int)lse_at.w, row, shape.s2);
            mean[a][pair] = row < shape.s2 ? delta[row * (int)delta_at.w] : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < D / 8; j++)
            sum[a][j][0] = sum[a][j][1] = sum[a][j][2] = sum[a][j][3] = 0.0f;
    }

    const int seen = clf_keys_seen(min(q_first + ROWS, shape.s2) - 1, shape.s3, shape.s4);
    const int seen_by_last = clf_keys_seen(q_warp + CLF_TALL * 16 - 1, shape.s3, shape.s4);
    const int begin_at = clf_first_key(q_first, shape) / CLF_COLUMNS, steps = (seen + CLF_COLUMNS - 1) / CLF_COLUMNS;
    const int plain = LOOK_AT_ALL ? 0 : clf_keys_seen(q_first, shape.s3, shape.s4) / CLF_COLUMNS;

    load_tile(&queries, q_first, ROWS, D, item, q_tile);
    load_tile(&grads, q_first, ROWS, E, item, g_tile);
    if (begin_at < steps) {
        load_tile(&keys, begin_at * CLF_COLUMNS, CLF_COLUMNS, D, item, k_tiles + (begin_at & 1) * K_BYTES);
        load_tile(&values, begin_at * CLF_COLUMNS, CLF_COLUMNS, E, item, v_tiles + (begin_at & 1) * V_BYTES);
    }
    clf_nv_commit();

    int step = begin_at;
    for (; step < min(plain, steps); step++) {
        const uint k_tile = k_tiles + (step & 1) * K_BYTES, v_tile = v_tiles + (step & 1) * V_BYTES;
        begin_step(&keys, D, k_tiles, &values, E, v_tiles, step, steps, item);
        float s[CLF_TALL][CLF_COLUMNS / 8][4], ds[CLF_TALL][CLF_COLUMNS / 8][4];
        multiply_tiles(q_lane, k_tile + column_at(D, lane), D, s);
        multiply_tiles(g_lane, v_tile + column_at(E, lane), E, ds);
#if SCALED
        EACH_SCORE(a, j, i)
            s[a][j][i] *= scale;
#endif
#if CLF_DROPOUT
        drop(ds, lane, q_mine, step * CLF_COLUMNS, bh, random, factor.y);
#endif
        EACH_SCORE(a, j, i)
            s[a][j][i] = clf_nv_exp2(fma(s[a][j][i], later_scale, -base[a][i / 2]));
        differentiate(s, ds, mean, 0);
        uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4];
        pack_weights(ds, p);
        ADD_WEIGHTED(p, k_tile + turned_at(D, lane), D, sum);
    }
    for (; step < steps; step++) {
        const int first = step * CLF_COLUMNS;
        const uint k_tile = k_tiles + (step & 1) * K_BYTES, v_tile = v_tiles + (step & 1) * V_BYTES;
        begin_step(&keys, D, k_tiles, &values, E, v_tiles, step, steps, item);
        if (first >= seen_by_last)
            continue; /* on the diagonal, above this warp's rows */
        float s[CLF_TALL][CLF_COLUMNS / 8][4], ds[CLF_TALL][CLF_COLUMNS / 8][4];
        multiply_tiles(q_lane, k_tile + column_at(D, lane), D, s);
        multiply_tiles(g_lane, v_tile + column_at(E, lane), E, ds);
        EACH_SCORE(a, j, i) {
            const float x = SCALED ? s[a][j][i] * scale : s[a][j][i];
            const int row = min(q_mine + a * 16 + i / 2 * 8, shape.s2 - 1), key = first + j * 8 + (lane & 3) * 2 + i % 2;
            const float score = clf_score(x, b, h, row, key, shape, mask, mask_at, padding,
                                          padding_at CLF_EXTRA_ARGUMENTS);
            const float weight = clf_nv_exp2(fma(score, later_scale, -base[a][i / 2]));
            s[a][j][i] = CLF_BENDS && weight != 0.0f ? weight * SLOPE(x, row, key) : weight;
        }
#if CLF_DROPOUT
        drop(ds, lane, q_mine, first, bh, random, factor.y);
#endif
        differentiate(s, ds, mean, 1);
        uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4];
        pack_weights(ds, p);
#if LOOK_AT_ALL
        ADD_WEIGHTED_CAREFULLY(p, k_tile + turned_at(D, lane), D, sum);
#else
        ADD_WEIGHTED(p, k_tile + turned_at(D, lane), D, sum);
#endif
    }
    clf_nv_wait(0);

    grad_q += clf_queries_at(grad_q_at, b, h, start);
    STORE_ROWS(sum, factor.x, grad_q, (int)grad_q_at.w, q_mine, shape.s2, D, shape.s5, lane);
}
