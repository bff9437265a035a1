/* Fused attention over sparse rows on GPUs, backward: no atomics; gather_portable.cl shows how a group shares its rows.
 *
 *     clf_fused_delta_gather_portable         delta = sum(out * grad_out)      a work-item a row
 *     clf_fused_backward_q_gather_portable    rows of queries gather keys      dq += ds k
 *     clf_fused_backward_kv_gather_portable   keys gather the queries that     dv += p grad_out, dk += ds q
 *                                             see them, from the transposed rows
 */
#include "fused/gather_portable.cl"

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_delta_gather_portable(__global const clf_storage *out, long4 out_at,
                                     __global const clf_storage *grad_out, long4 grad_out_at,
                                     __global float *delta, long4 delta_at, int8 shape)
{
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row >= shape.s2)
        return;
    out += out_at.x + b * out_at.y + h * out_at.z + row * out_at.w;
    grad_out += grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z + row * grad_out_at.w;
    float sum = 0.0f;
    for (int e = 0; e < shape.s6; e++)
        sum = clf_fma(clf_load(out, e), clf_load(grad_out, e), sum);
    delta[delta_at.x + b * delta_at.y + h * delta_at.z + row * delta_at.w] = sum;
}

/* Gradient of a score, and through *weight the probability that weighted the value. A probability of 0 has no
 * gradient, whatever the other factor is. */
static float differentiate(float score, float gradient, float natural, float mean, int kept, float keep_scale,
                           float *weight)
{
    float rest;
    const float log_sum = clf_log_sum2(natural, &rest);
    const float p = score == -INFINITY || natural == -INFINITY ? 0.0f : clf_exp2(score - log_sum - rest);
    *weight = kept ? p : 0.0f;
    return p == 0.0f ? 0.0f : p * ((kept ? gradient * keep_scale : 0.0f) - mean);
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_q_gather_portable(__global const clf_storage *q, long4 q_at,
                                          __global const clf_storage *k, long4 k_at,
                                          __global const clf_storage *v, long4 v_at,
                                          __global const clf_mask *mask, long8 mask_at,
                                          __global const uchar *padding, long4 padding_at,
                                          __global const clf_storage *grad_out, long4 grad_out_at,
                                          __global const float *lse, long4 lse_at,
                                          __global const float *delta, long4 delta_at,
                                          __global clf_storage *grad_q, long4 grad_q_at,
                                          int8 shape, float4 factor, uint8 random
                                          CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float own[CLF_ROWS * CLF_D], own_grad[CLF_ROWS * CLF_E], weights[ITEMS];
    __local int keys[ITEMS];

    const int item = get_local_id(0), side = item % CLF_SIDE, r = item / CLF_SIDE;
    const int tiles = (shape.s2 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / tiles;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const line mine = find_line(lists, lists_at, b, h, get_group_id(0) % tiles * CLF_ROWS, r);
    __global const int *columns = lists + lists_at.s4;
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    grad_out += grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z;
    const int row = max(mine.row, 0);
    const float natural = lse[lse_at.x + b * lse_at.y + h * lse_at.z + row * lse_at.w];
    const float mean = delta[delta_at.x + b * delta_at.y + h * delta_at.z + row * delta_at.w];
    const float scale = clf_query_scale(factor.x);

    float acc[D_SHARE];
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
        acc[c] = 0.0f;
    load_own(q, mine.row * (int)q_at.w, mine.row >= 0, shape.s5, 1.0f, side, own + r * CLF_D);
    load_own(grad_out, mine.row * (int)grad_out_at.w, mine.row >= 0, shape.s6, 1.0f, side, own_grad + r * CLF_E);
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int step = 0; step < mine.steps; step++) {
        const int n = mine.begin + step * CLF_SIDE + side, key = n < mine.end ? columns[n] : -1;
        float score = -INFINITY, gradient = 0.0f, weight;
        if (key >= 0) {
            score = clf_score(dot_own(own + r * CLF_D, k, key * (int)k_at.w, shape.s5) * scale, b, h, row, key,
                              shape, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
            gradient = dot_own(own_grad + r * CLF_E, v, key * (int)v_at.w, shape.s6);
        }
        weights[item] = differentiate(score, gradient, natural, mean, key >= 0 && keeps(key, row, bh, random), factor.y,
                                      &weight);
        keys[item] = max(key, 0);
        barrier(CLK_LOCAL_MEM_FENCE);
        add_rows(weights + r * CLF_SIDE, keys + r * CLF_SIDE, k, k_at.w, shape.s5, side, D_SHARE, acc);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (mine.row >= 0)
        store_sums(acc, factor.x, grad_q + grad_q_at.x + b * grad_q_at.y + h * grad_q_at.z, mine.row * (int)grad_q_at.w,
                   shape.s5, side, D_SHARE);
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_backward_kv_gather_portable(__global const clf_storage *q, long4 q_at,
                                           __global const clf_storage *k, long4 k_at,
                                           __global const clf_storage *v, long4 v_at,
                                           __global const clf_mask *mask, long8 mask_at,
                                           __global const uchar *padding, long4 padding_at,
                                           __global const clf_storage *grad_out, long4 grad_out_at,
                                           __global const float *lse, long4 lse_at,
                                           __global const float *delta, long4 delta_at,
                                           __global clf_storage *grad_k, long4 grad_k_at,
                                           __global clf_storage *grad_v, long4 grad_v_at,
                                           int8 shape, float4 factor, uint8 random
                                           CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float own[CLF_ROWS * CLF_D], own_value[CLF_ROWS * CLF_E], weights[ITEMS], slopes[ITEMS];
    __local int queries[ITEMS];

    const int item = get_local_id(0), side = item % CLF_SIDE, r = item / CLF_SIDE;
    const int tiles = (shape.s3 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / tiles;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const line mine = find_line(lists, lists_at, b, h, get_group_id(0) % tiles * CLF_ROWS, r);
    __global const int *columns = lists + lists_at.s4;
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    grad_out += grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z;
    lse += lse_at.x + b * lse_at.y + h * lse_at.z;
    delta += delta_at.x + b * delta_at.y + h * delta_at.z;
    const float scale = clf_query_scale(factor.x);

    float acc_k[D_SHARE], acc_v[E_SHARE];
#pragma unroll
    for (int c = 0; c < D_SHARE; c++)
        acc_k[c] = 0.0f;
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc_v[c] = 0.0f;
    load_own(k, mine.row * (int)k_at.w, mine.row >= 0, shape.s5, 1.0f, side, own + r * CLF_D);
    load_own(v, mine.row * (int)v_at.w, mine.row >= 0, shape.s6, 1.0f, side, own_value + r * CLF_E);
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int step = 0; step < mine.steps; step++) {
        const int n = mine.begin + step * CLF_SIDE + side, row = n < mine.end ? columns[n] : 0;
        float score = -INFINITY, gradient = 0.0f, weight;
        if (n < mine.end) {
            score = clf_score(dot_own(own + r * CLF_D, q, row * (int)q_at.w, shape.s5) * scale, b, h, row, mine.row,
                              shape, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
            gradient = dot_own(own_value + r * CLF_E, grad_out, row * (int)grad_out_at.w, shape.s6);
        }
        slopes[item] = differentiate(score, gradient, lse[row * lse_at.w], delta[row * delta_at.w],
                                     n < mine.end && keeps(mine.row, row, bh, random), factor.y, &weight);
        weights[item] = weight * factor.y;
        queries[item] = row;
        barrier(CLK_LOCAL_MEM_FENCE);
        add_rows(slopes + r * CLF_SIDE, queries + r * CLF_SIDE, q, q_at.w, shape.s5, side, D_SHARE, acc_k);
        add_rows(weights + r * CLF_SIDE, queries + r * CLF_SIDE, grad_out, grad_out_at.w, shape.s6, side, E_SHARE, acc_v);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (mine.row < 0)
        return;
    if (grad_k)
        store_sums(acc_k, factor.x, grad_k + grad_k_at.x + b * grad_k_at.y + h * grad_k_at.z,
                   mine.row * (int)grad_k_at.w, shape.s5, side, D_SHARE);
    if (grad_v)
        store_sums(acc_v, 1.0f, grad_v + grad_v_at.x + b * grad_v_at.y + h * grad_v_at.z,
                   mine.row * (int)grad_v_at.w, shape.s6, side, E_SHARE);
}
