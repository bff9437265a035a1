/* Fused attention over sparse rows on CPUs, backward: no atomics.
 *
 *     clf_fused_delta_gather_vector         delta = sum(out * grad_out)       a work-item a row
 *     clf_fused_backward_q_gather_vector    a row of queries gathers keys     dq += ds k
 *     clf_fused_backward_kv_gather_vector   a key gathers the queries that    dv += p grad_out, dk += ds q
 *                                           see it, from the transposed rows
 *
 * Scores are computed twice, so that every sum belongs to one work-item and comes out the same each time. Sixteen pairs
 * at a time as in gather_vector_forward.cl: the sums along the width are vectors, the probabilities of sixteen pairs
 * are one. A probability of 0 (a masked pair) adds nothing, whatever the other factor is.
 */
#include "fused/gather_vector.cl"

/* Must a pair be looked at, though it is in the pattern? */
#if CLF_MASK || CLF_KEY_PADDING || defined(CLF_MASK_MOD) || CLF_CAUSAL
#define MASKED 1
#else
#define MASKED 0
#endif

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_delta_gather_vector(__global const clf_storage *out, long4 out_at,
                                   __global const clf_storage *grad_out, long4 grad_out_at,
                                   __global float *delta, long4 delta_at, int8 shape)
{
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row >= shape.s2)
        return;
    float16 x[E_VECTORS];
    load_row(out, out_at.x + b * out_at.y + h * out_at.z + row * out_at.w, CLF_E, 1.0f, x);
    delta[delta_at.x + b * delta_at.y + h * delta_at.z + row * delta_at.w] =
        dot_row(x, grad_out, grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z + row * grad_out_at.w, CLF_E);
}

/* Sixteen scores and gradients of weights become gradients of scores; `weight` gets what weighted the values. */
static float16 differentiate(float16 score, float16 gradient, float16 log_sum, float16 log_rest, float16 mean,
                             int16 kept, float keep_scale, float16 *weight)
{
    const float16 zero = (float16)(0.0f), p = clf_exp2(score - log_sum - log_rest);
    *weight = kept ? p * keep_scale : zero;
    gradient = kept ? gradient * keep_scale : zero;
    return p == zero ? zero : p * (gradient - mean);
}

/* What turns a row's scores into probabilities; infinite where it saw nothing. */
static float log_sum_of(float natural, float *rest)
{
    const float sum = clf_log_sum2(natural, rest);
    *rest = natural == -INFINITY ? 0.0f : *rest;
    return natural == -INFINITY ? INFINITY : sum;
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_backward_q_gather_vector(__global const clf_storage *q, long4 q_at,
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
    const int groups = (shape.s2 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const float keep_scale = CLF_DROPOUT ? factor.y : 1.0f;
    __global const int *columns = lists + lists_at.s4;
    int row[CLF_ROWS], begin[CLF_ROWS], end[CLF_ROWS], steps;
    float16 queries[CLF_ROWS * D_VECTORS], grads[CLF_ROWS * E_VECTORS], sums[CLF_ROWS * D_VECTORS];
    float log_sum[CLF_ROWS], rest[CLF_ROWS], mean[CLF_ROWS];
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    grad_out += grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z;
    grad_q += grad_q_at.x + b * grad_q_at.y + h * grad_q_at.z;
    lse += lse_at.x + b * lse_at.y + h * lse_at.z;
    delta += delta_at.x + b * delta_at.y + h * delta_at.z;

    const int rows = find_rows(lists, lists_at, b, h, get_group_id(0) % groups * CLF_ROWS, row, begin, end, &steps);
    for (int r = 0; r < rows; r++) {
        load_row(q, row[r] * q_at.w, CLF_D, clf_query_scale(factor.x), queries + r * D_VECTORS);
        load_row(grad_out, row[r] * grad_out_at.w, CLF_E, 1.0f, grads + r * E_VECTORS);
        clear_row(CLF_D, sums + r * D_VECTORS);
        log_sum[r] = log_sum_of(lse[row[r] * lse_at.w], &rest[r]);
        mean[r] = delta[row[r] * delta_at.w];
    }
    for (int step = 0; step < steps; step++)
        for (int r = 0; r < rows; r++) {
            const int first = begin[r] + 16 * step, count = min(16, end[r] - first);
            if (count <= 0)
                break; /* as are those behind */
            float16 x[D_VECTORS], y[E_VECTORS], acc[D_VECTORS];
            copy_row(queries + r * D_VECTORS, CLF_D, x);
            copy_row(grads + r * E_VECTORS, CLF_E, y);
            copy_row(sums + r * D_VECTORS, CLF_D, acc);
            float s[16], dp[16];
            int keys[16], kept[16];
            for (int n = 0; n < 16; n++) {
                const int key = columns[first + (n < count ? n : 0)], is_there = n < count && key >= 0;
                keys[n] = key;
                s[n] = is_there ? dot_row(x, k, key * k_at.w, CLF_D) : 0.0f;
                dp[n] = is_there ? dot_row(y, v, key * v_at.w, CLF_E) : 0.0f;
                kept[n] = is_there && keeps(key, row[r], bh, random) ? -1 : 0;
            }
            const int16 at = vload16(0, keys), there = (CLF_LANE < count) & (at >= 0);
            float16 weight, score = clf_score(vload16(0, s), b, h, row[r], at, shape, mask, mask_at,
                                              padding, padding_at CLF_EXTRA_ARGUMENTS);
            score = there ? score : (float16)(-INFINITY);
            vstore16(differentiate(score, vload16(0, dp), (float16)(log_sum[r]), (float16)(rest[r]), (float16)(mean[r]),
                                   vload16(0, kept), keep_scale, &weight), 0, s);
            for (int n = 0; n < count; n++)
                if (s[n] != 0.0f)
                    add_row(s[n], k, keys[n] * k_at.w, CLF_D, acc);
            copy_row(acc, CLF_D, sums + r * D_VECTORS);
        }
    for (int r = 0; r < rows; r++)
        store_row(sums + r * D_VECTORS, factor.x, grad_q, row[r] * grad_q_at.w, CLF_D);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_backward_kv_gather_vector(__global const clf_storage *q, long4 q_at,
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
    const int groups = (shape.s3 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const float keep_scale = CLF_DROPOUT ? factor.y : 1.0f;
    __global const int *columns = lists + lists_at.s4;
    int key[CLF_ROWS], begin[CLF_ROWS], end[CLF_ROWS], steps;
    float16 keys[CLF_ROWS * D_VECTORS], values[CLF_ROWS * E_VECTORS];
    float16 sums_k[CLF_ROWS * D_VECTORS], sums_v[CLF_ROWS * E_VECTORS];
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    grad_out += grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z;
    lse += lse_at.x + b * lse_at.y + h * lse_at.z;
    delta += delta_at.x + b * delta_at.y + h * delta_at.z;
    const long to_k = grad_k_at.x + b * grad_k_at.y + h * grad_k_at.z;
    const long to_v = grad_v_at.x + b * grad_v_at.y + h * grad_v_at.z;

    const int count_keys = find_rows(lists, lists_at, b, h, get_group_id(0) % groups * CLF_ROWS, key, begin, end, &steps);
    for (int r = 0; r < count_keys; r++) {
        load_row(k, key[r] * k_at.w, CLF_D, clf_query_scale(factor.x), keys + r * D_VECTORS);
        load_row(v, key[r] * v_at.w, CLF_E, 1.0f, values + r * E_VECTORS);
        clear_row(CLF_D, sums_k + r * D_VECTORS);
        clear_row(CLF_E, sums_v + r * E_VECTORS);
    }
    for (int step = 0; step < steps; step++)
        for (int r = 0; r < count_keys; r++) {
            const int first = begin[r] + 16 * step, count = min(16, end[r] - first);
            if (count <= 0)
                break; /* as are those behind */
            float16 x[D_VECTORS], y[E_VECTORS], acc_k[D_VECTORS], acc_v[E_VECTORS];
            copy_row(keys + r * D_VECTORS, CLF_D, x);
            copy_row(values + r * E_VECTORS, CLF_E, y);
            copy_row(sums_k + r * D_VECTORS, CLF_D, acc_k);
            copy_row(sums_v + r * E_VECTORS, CLF_E, acc_v);
            float s[16], dp[16], log_sum[16], rest[16], mean[16], p[16];
            int rows[16], kept[16];
            for (int n = 0; n < 16; n++) {
                const int row = columns[first + (n < count ? n : 0)];
                rows[n] = row;
                log_sum[n] = log_sum_of(lse[row * lse_at.w], &rest[n]);
                mean[n] = delta[row * delta_at.w];
                s[n] = n < count ? dot_row(x, q, row * q_at.w, CLF_D) : -INFINITY;
                dp[n] = n < count ? dot_row(y, grad_out, row * grad_out_at.w, CLF_E) : 0.0f;
                if (MASKED && n < count)
                    s[n] = clf_score((float16)(s[n]), b, h, row, (int16)(key[r]), shape, mask, mask_at,
                                     padding, padding_at CLF_EXTRA_ARGUMENTS).s0;
                kept[n] = n < count && keeps(key[r], row, bh, random) ? -1 : 0;
            }
            float16 weight;
            const float16 ds = differentiate(vload16(0, s), vload16(0, dp), vload16(0, log_sum), vload16(0, rest),
                                             vload16(0, mean), vload16(0, kept), keep_scale, &weight);
            vstore16(ds, 0, s);
            vstore16(weight, 0, p);
            for (int n = 0; n < count; n++) {
                if (s[n] != 0.0f)
                    add_row(s[n], q, rows[n] * q_at.w, CLF_D, acc_k);
                if (p[n] != 0.0f)
                    add_row(p[n], grad_out, rows[n] * grad_out_at.w, CLF_E, acc_v);
            }
            copy_row(acc_k, CLF_D, sums_k + r * D_VECTORS);
            copy_row(acc_v, CLF_E, sums_v + r * E_VECTORS);
        }
    for (int r = 0; r < count_keys; r++) {
        if (grad_k)
            store_row(sums_k + r * D_VECTORS, factor.x, grad_k, to_k + key[r] * grad_k_at.w, CLF_D);
        if (grad_v)
            store_row(sums_v + r * E_VECTORS, 1.0f, grad_v, to_v + key[r] * grad_v_at.w, CLF_E);
    }
}
