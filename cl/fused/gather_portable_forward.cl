/* Fused attention over sparse rows on GPUs, forward; gather_portable.cl shows how a group shares its rows.
 *
 * NDRange: one dimension, ITEMS work-items for each CLF_ROWS queries of each head. Widths are run-time numbers.
 */
#include "fused/gather_portable.cl"

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_forward_gather_portable(__global const clf_storage *q, long4 q_at,
                                       __global const clf_storage *k, long4 k_at,
                                       __global const clf_storage *v, long4 v_at,
                                       __global const clf_mask *mask, long8 mask_at,
                                       __global const uchar *padding, long4 padding_at,
                                       __global clf_storage *out, long4 out_at,
                                       __global float *lse, long4 lse_at,
                                       int8 shape, float4 factor, uint8 random
                                       CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    __local float own[CLF_ROWS * CLF_D], scores[ITEMS], weights[ITEMS];
    __local int keys[ITEMS];

    const int item = get_local_id(0), side = item % CLF_SIDE, r = item / CLF_SIDE;
    const int tiles = (shape.s2 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / tiles;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const line mine = find_line(lists, lists_at, b, h, get_group_id(0) % tiles * CLF_ROWS, r);
    __global const int *columns = lists + lists_at.s4;
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    const float scale = clf_query_scale(factor.x);

    float acc[E_SHARE], top = -INFINITY, sum = 0.0f;
#pragma unroll
    for (int c = 0; c < E_SHARE; c++)
        acc[c] = 0.0f;
    load_own(q, mine.row * (int)q_at.w, mine.row >= 0, shape.s5, 1.0f, side, own + r * CLF_D);
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int step = 0; step < mine.steps; step++) {
        const int n = mine.begin + step * CLF_SIDE + side, key = n < mine.end ? columns[n] : -1;
        float score = n < mine.end ? 0.0f : -INFINITY;
        if (key >= 0)
            score = clf_score(dot_own(own + r * CLF_D, k, key * (int)k_at.w, shape.s5) * scale, b, h, mine.row, key,
                              shape, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
        scores[item] = score;
        keys[item] = max(key, 0);
        barrier(CLK_LOCAL_MEM_FENCE);
        float largest = top;
        for (int i = 0; i < CLF_SIDE; i++)
            largest = fmax(largest, scores[r * CLF_SIDE + i]);
        const float anchor = largest == -INFINITY ? 0.0f : largest, shrink = clf_exp2(top - anchor);
        const float p = clf_exp2(score - anchor);
        top = largest;
        sum = sum * shrink + p;
        weights[item] = key >= 0 && keeps(key, mine.row, bh, random) ? p : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int c = 0; c < E_SHARE; c++)
            acc[c] *= shrink;
        add_rows(weights + r * CLF_SIDE, keys + r * CLF_SIDE, v, v_at.w, shape.s6, side, E_SHARE, acc);
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    scores[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = 0.0f;
    for (int i = 0; i < CLF_SIDE; i++)
        sum += scores[r * CLF_SIDE + i];
    if (mine.row < 0)
        return;
    out += out_at.x + b * out_at.y + h * out_at.z;
    store_sums(acc, sum == 0.0f ? 0.0f : factor.y / sum, out, mine.row * (int)out_at.w, shape.s6, side, E_SHARE);
    if (lse && side == 0)
        lse[lse_at.x + b * lse_at.y + h * lse_at.z + mine.row * lse_at.w] =
            sum == 0.0f ? -INFINITY : clf_log_sum(top, sum);
}
