/* Fused attention over sparse rows on CPUs, forward: the keys of each query are gathered one by one.
 *
 *     columns of a row:  3 17 18 40 ...   sixteen at a time
 *     s[n] = x . k[column n]              vectors along the width, summed across at the end
 *     p    = exp2(s - top)                a vector of sixteen
 *     acc += p[n] v[column n]             vectors along the width; a weight of 0 reads nothing
 *
 * Work split: a group of one work-item owns every so-and-so-manieth row of a head in the order of their lengths, so
 * that all groups have long and short ones alike. Nothing but the pairs of the pattern is computed; a pair costs about
 * four times as much as one inside a full tile (vector_forward.cl).
 *
 * NDRange: one dimension, one work-item for each CLF_ROWS rows in each head. Build with CLF_LANES=16 and CLF_BLOCKS=1.
 */
#include "fused/gather_vector.cl"

/* Scores of up to sixteen pairs from entry `first` on; `at` gets the keys. Lanes without one repeat the first: then the
 * last is fifteen behind the first only where all keys are neighbours, which clf_mask_biases counts on. */
static float16 score_entries(const float16 *x, __global const clf_storage *k, long k_row, int first, int count,
                             __global const int *columns, int16 *at)
{
    float scores[16];
    int keys[16];
    for (int n = 0; n < 16; n++) {
        keys[n] = columns[first + (n < count ? n : 0)];
        scores[n] = n < count && keys[n] >= 0 ? dot_row(x, k, keys[n] * k_row, CLF_D) : 0.0f;
    }
    *at = vload16(0, keys);
    return vload16(0, scores);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_forward_gather_vector(__global const clf_storage *q, long4 q_at,
                                     __global const clf_storage *k, long4 k_at,
                                     __global const clf_storage *v, long4 v_at,
                                     __global const clf_mask *mask, long8 mask_at,
                                     __global const uchar *padding, long4 padding_at,
                                     __global clf_storage *out, long4 out_at,
                                     __global float *lse, long4 lse_at,
                                     int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    const int groups = (shape.s2 + CLF_ROWS - 1) / CLF_ROWS, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int first_list = clf_lists_of(lists_at, b, h);
    __global const int *columns = lists + lists_at.s4;
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    out += out_at.x + b * out_at.y + h * out_at.z;

    for (int turn = get_group_id(0) % groups; turn < shape.s2; turn += groups) {
        const int row = clf_list_in_turn(lists, lists_at, b, h, turn);
        const int begin = lists[first_list + row], end = lists[first_list + row + 1];
        float16 x[D_VECTORS], acc[E_VECTORS], sum = (float16)(0.0f);
        float top = -INFINITY;
        load_row(q, row * q_at.w, CLF_D, clf_query_scale(factor.x), x);
#pragma unroll
        for (int n = 0; n < E_VECTORS; n++)
            acc[n] = (float16)(0.0f);

        for (int first = begin; first < end; first += 16) {
            const int count = min(16, end - first);
            int16 at;
            float16 s = score_entries(x, k, k_at.w, first, count, columns, &at);
            const int16 there = at >= 0;
            const float16 seen = clf_score(s, b, h, row, at, shape, mask, mask_at,
                                           padding, padding_at CLF_EXTRA_ARGUMENTS);
            s = CLF_LANE < count ? (there ? seen : (float16)(0.0f)) : (float16)(-INFINITY);
            const float largest = clf_max16(s);
            if (largest > top) {
                const float shrink = top == -INFINITY ? 0.0f : clf_exp2((float16)(top - largest)).s0;
                top = largest;
                sum *= shrink;
#pragma unroll
                for (int n = 0; n < E_VECTORS; n++)
                    acc[n] *= shrink;
            }
            const float16 p = clf_exp2(s - (top == -INFINITY ? 0.0f : top));
            sum += p;
            float weights[16];
            int keys[16];
            vstore16(p, 0, weights);
            vstore16(at, 0, keys);
            for (int n = 0; n < count; n++)
                if (weights[n] != 0.0f && keys[n] >= 0 && keeps(keys[n], row, bh, random))
                    add_row(weights[n], v, keys[n] * v_at.w, CLF_E, acc);
        }

        const float total = clf_sum16(sum);
        store_row(acc, total == 0.0f ? 0.0f : (CLF_DROPOUT ? factor.y : 1.0f) / total, out, row * out_at.w, CLF_E);
        if (lse)
            lse[lse_at.x + b * lse_at.y + h * lse_at.z + row * lse_at.w] =
                total == 0.0f ? -INFINITY : clf_log_sum(top, total);
    }
}
