/* Gradients of attention the naive way: a work-item computes a row of grad_q, or a row of grad_k and grad_v.
 *
 *     p = exp(score - lse)     dp = grad_out v^T     ds = p (dp - delta)
 *     grad_q = scale ds k      grad_k = scale ds^T q      grad_v = p^T grad_out
 */
#include "fused/reference_row.cl"
#if defined(CLF_SCORE_MOD) && !defined(CLF_SCORE_SLOPE)
#error the backward pass of CLF_SCORE_MOD needs its derivative, CLF_SCORE_SLOPE
#endif

static float dot_results(__global const clf_result *x, __global const clf_result *y)
{
    float sum = 0.0f;
    for (int n = 0; n < WHOLE(CLF_E); n += STEP)
#pragma unroll
        for (int i = 0; i < STEP; i++)
            sum = clf_fma(clf_load_result(x, n + i), clf_load_result(y, n + i), sum);
    for (int n = WHOLE(CLF_E); n < CLF_E; n++)
        sum = clf_fma(clf_load_result(x, n), clf_load_result(y, n), sum);
    return sum;
}

static float dot_values(__global const clf_result *x, __global const clf_storage *v)
{
    float sum = 0.0f;
    for (int n = 0; n < WHOLE(CLF_E); n += STEP)
#pragma unroll
        for (int i = 0; i < STEP; i++)
            sum = clf_fma(clf_load_result(x, n + i), clf_load(v, n + i), sum);
    for (int n = WHOLE(CLF_E); n < CLF_E; n++)
        sum = clf_fma(clf_load_result(x, n), clf_load(v, n), sum);
    return sum;
}

/* total += factor * x */
static void add_row(float factor, __global const clf_storage *x, float *total)
{
    for (int n = 0; n < WHOLE(CLF_D); n += STEP)
#pragma unroll
        for (int i = 0; i < STEP; i++)
            total[n + i] = clf_fma(factor, clf_load(x, n + i), total[n + i]);
    for (int n = WHOLE(CLF_D); n < CLF_D; n++)
        total[n] = clf_fma(factor, clf_load(x, n), total[n]);
}

static void add_result(float factor, __global const clf_result *x, float *total)
{
    for (int n = 0; n < WHOLE(CLF_E); n += STEP)
#pragma unroll
        for (int i = 0; i < STEP; i++)
            total[n + i] = clf_fma(factor, clf_load_result(x, n + i), total[n + i]);
    for (int n = WHOLE(CLF_E); n < CLF_E; n++)
        total[n] = clf_fma(factor, clf_load_result(x, n), total[n]);
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_delta_reference(__global const clf_result *out, long4 out_at,
                               __global const clf_result *grad_out, long4 grad_out_at,
                               __global float *delta, long4 delta_at, int8 shape CLF_SEQUENCE_PARAMETERS)
{
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row < shape.s2)
        delta[clf_queries_at(delta_at, b, h, start) + row * delta_at.w] =
            dot_results(out + clf_queries_at(out_at, b, h, start) + row * out_at.w,
                        grad_out + clf_queries_at(grad_out_at, b, h, start) + row * grad_out_at.w);
}

/* The gradient of one raw score (before `scale`), and through *weight the dropped-out probability. Pointers are
 * at the rows in question. */
static float differentiate(__global const clf_storage *q, __global const clf_storage *k,
                           __global const clf_storage *v, __global const clf_result *grad_out,
                           float log_sum, float mean, int b, int h, int row, int key, float *weight,
                           __global const clf_mask *mask, long8 mask_at, __global const uchar *padding, long4 padding_at,
                           int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS)
{
    *weight = 0.0f;
    const float raw = dot_product(q, k, CLF_D) * clf_query_scale(factor.x);
    const float score = clf_score(raw, b, h, row, key, shape, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
    if (score == -INFINITY || log_sum == -INFINITY)
        return 0.0f;
    float rest;
    const float log_sum2 = clf_log_sum2(log_sum, &rest), p = clf_exp2(score - log_sum2 - rest);
    float dp = 0.0f;
#if CLF_DROPOUT
    if (clf_keep(key, row, b * shape.s1 + h, random)) {
        *weight = p * factor.y;
        dp = dot_values(grad_out, v) * factor.y;
    }
#else
    *weight = p;
    dp = dot_values(grad_out, v);
#endif
    float slope = 1.0f;
#if CLF_BENDS
    slope = clf_score_slope(raw, b, h, row, key CLF_EXTRA_ARGUMENTS);
#endif
    return p == 0.0f ? 0.0f : p * (dp - mean) * slope;
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_backward_q_reference(__global const clf_storage *q, long4 q_at,
                                    __global const clf_storage *k, long4 k_at,
                                    __global const clf_storage *v, long4 v_at,
                                    __global const clf_mask *mask, long8 mask_at,
                                    __global const uchar *padding, long4 padding_at,
                                    __global const clf_result *grad_out, long4 grad_out_at,
                                    __global const float *lse, long4 lse_at,
                                    __global const float *delta, long4 delta_at,
                                    __global clf_storage *grad_q, long4 grad_q_at,
                                    int8 shape CLF_SEQUENCE_PARAMETERS,
                                    float4 factor, uint8 random
                                    CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row >= shape.s2)
        return;
    q += clf_queries_at(q_at, b, h, start) + row * q_at.w;
    padding_at = clf_padding_at(padding_at, start);
    k += clf_keys_at(k_at, b, h, start);
    v += clf_keys_at(v_at, b, h, start);
    grad_out += clf_queries_at(grad_out_at, b, h, start) + row * grad_out_at.w;
    grad_q += clf_queries_at(grad_q_at, b, h, start) + row * grad_q_at.w;
    const float log_sum = lse[clf_queries_at(lse_at, b, h, start) + row * lse_at.w];
    const float mean = delta[clf_queries_at(delta_at, b, h, start) + row * delta_at.w];

    float total[CLF_D];
    for (int d = 0; d < CLF_D; d++)
        total[d] = 0.0f;
    const int2 entries = ENTRIES(b, h, row, (int2)(clf_first_key(row, shape), clf_keys_seen(row, shape.s3, shape.s4)));
    for (int i = entries.x; i < entries.y; i++) {
        const int key = ENTRY(i);
        float weight;
        if (key < 0)
            continue;
        const float ds = differentiate(q, k + key * k_at.w, v + key * v_at.w, grad_out, log_sum, mean, b, h, row, key,
                                       &weight, mask, mask_at, padding, padding_at, shape, factor,
                                       random CLF_EXTRA_ARGUMENTS);
        if (ds != 0.0f)
            add_row(ds, k + key * k_at.w, total);
    }
    for (int d = 0; d < CLF_D; d++)
        clf_store(total[d] * factor.x, grad_q, d);
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_backward_kv_reference(__global const clf_storage *q, long4 q_at,
                                     __global const clf_storage *k, long4 k_at,
                                     __global const clf_storage *v, long4 v_at,
                                     __global const clf_mask *mask, long8 mask_at,
                                     __global const uchar *padding, long4 padding_at,
                                     __global const clf_result *grad_out, long4 grad_out_at,
                                     __global const float *lse, long4 lse_at,
                                     __global const float *delta, long4 delta_at,
                                     __global clf_storage *grad_k, long4 grad_k_at,
                                     __global clf_storage *grad_v, long4 grad_v_at,
                                     int8 shape CLF_SEQUENCE_PARAMETERS,
                                     float4 factor, uint8 random
                                     CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    const int groups = (shape.s3 + 63) / 64, bh = get_group_id(0) / groups;
    const int heads = shape.s1 / CLF_GROUPS, b = bh / heads, first_head = bh % heads * CLF_GROUPS;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int key = get_group_id(0) % groups * 64 + get_local_id(0);
    if (key >= shape.s3)
        return;
    padding_at = clf_padding_at(padding_at, start);
    k += clf_keys_at(k_at, b, first_head, start) + key * k_at.w;
    v += clf_keys_at(v_at, b, first_head, start) + key * v_at.w;

    float total_k[CLF_D], total_v[CLF_E];
    for (int d = 0; d < CLF_D; d++)
        total_k[d] = 0.0f;
    for (int e = 0; e < CLF_E; e++)
        total_v[e] = 0.0f;
    const int2 all = (int2)(clf_first_query(key, shape.s2, shape.s4), clf_queries_end(key, shape));
    for (int h = first_head; h < first_head + CLF_GROUPS; h++)
    for (int i = ENTRIES(b, h, key, all).x; i < ENTRIES(b, h, key, all).y; i++) {
        const int row = ENTRY(i);
        __global const clf_storage *query = q + clf_queries_at(q_at, b, h, start) + row * q_at.w;
        __global const clf_result *grad = grad_out + clf_queries_at(grad_out_at, b, h, start) + row * grad_out_at.w;
        const float log_sum = lse[clf_queries_at(lse_at, b, h, start) + row * lse_at.w];
        const float mean = delta[clf_queries_at(delta_at, b, h, start) + row * delta_at.w];
        float weight;
        const float ds = differentiate(query, k, v, grad, log_sum, mean, b, h, row, key, &weight, mask, mask_at,
                                       padding, padding_at, shape, factor, random CLF_EXTRA_ARGUMENTS);
        if (ds != 0.0f)
            add_row(ds, query, total_k);
        if (weight != 0.0f)
            add_result(weight, grad, total_v);
    }
    for (int d = 0; d < CLF_D && grad_k; d++)
        clf_store(total_k[d] * factor.x, grad_k, clf_keys_at(grad_k_at, b, first_head, start) + key * grad_k_at.w + d);
    for (int e = 0; e < CLF_E && grad_v; e++)
        clf_store(total_v[e], grad_v, clf_keys_at(grad_v_at, b, first_head, start) + key * grad_v_at.w + e);
}
