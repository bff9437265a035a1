/* Attention the naive way: a work-item computes a row of the result, reads what it needs when it needs it and
 * keeps nothing, so that there is little to get wrong. Any shape; used where no other family can, and by tests.
 *
 *     pass 1: the row's largest score        pass 2: the sum of exponentials        pass 3: out
 */
#include "fused/reference_row.cl"

#define SEEN(key) clf_score(dot_product(q, k + (key) * k_at.w, CLF_D) * clf_query_scale(factor.x), b, h, row, key, shape, \
                            mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS)
#define SCORE(i) (ENTRY(i) < 0 ? 0.0f : SEEN(ENTRY(i)))

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_forward_reference(__global const clf_storage *q, long4 q_at,
                                 __global const clf_storage *k, long4 k_at,
                                 __global const clf_storage *v, long4 v_at,
                                 __global const clf_mask *mask, long8 mask_at,
                                 __global const uchar *padding, long4 padding_at,
                                 __global clf_result *out, long4 out_at,
                                 __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                 int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
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
    out += clf_queries_at(out_at, b, h, start) + row * out_at.w;

    const int2 entries = ENTRIES(b, h, row, (int2)(clf_first_key(row, shape), clf_keys_seen(row, shape.s3, shape.s4)));
    const float sink = CLF_SINK(h);
    float top = sink;
    for (int i = entries.x; i < entries.y; i++)
        top = fmax(top, SCORE(i));
    const float anchor = top == -INFINITY ? 0.0f : top;
    float sum = sink == -INFINITY ? 0.0f : clf_exp2(sink - anchor);
    for (int i = entries.x; i < entries.y; i++)
        sum += clf_exp2(SCORE(i) - anchor);

    for (int e = 0; e < CLF_E; e++)
        clf_store_result(0.0f, out, e);
    for (int first = 0; first < CLF_E && sum != 0.0f; first += STEP) {
        float total[STEP];
        for (int e = 0; e < STEP; e++)
            total[e] = 0.0f;
        for (int i = entries.x; i < entries.y; i++) {
            const float p = clf_exp2(SCORE(i) - anchor);
            const int key = ENTRY(i);
            if (p == 0.0f || key < 0)
                continue;
#if CLF_DROPOUT
            if (!clf_keep(key, row, bh, random))
                continue;
#endif
            __global const clf_storage *value = v + key * v_at.w + first;
            if (first < WHOLE(CLF_E)) {
#pragma unroll
                for (int e = 0; e < STEP; e++)
                    total[e] = clf_fma(p, clf_load(value, e), total[e]);
            } else {
                for (int e = 0; e < CLF_E % STEP; e++)
                    total[e] = clf_fma(p, clf_load(value, e), total[e]);
            }
        }
        for (int e = 0; e < STEP && first + e < CLF_E; e++)
            clf_store_result(total[e] * (CLF_DROPOUT ? factor.y : 1.0f) / sum, out, first + e);
    }
    if (lse)
        lse[clf_queries_at(lse_at, b, h, start) + row * lse_at.w] =
            sum == 0.0f ? -INFINITY : clf_log_sum(top, sum);
}
