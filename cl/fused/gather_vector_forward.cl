/* Fused attention over sparse rows on CPUs, forward: the keys of each query are gathered one by one.
 *
 *     columns of a row:  3 17 18 40 ...   sixteen at a time
 *     s[n] = x . k[column n]              vectors along the width, summed across at the end
 *     p    = exp2(s - top)                a vector of sixteen
 *     acc += p[n] v[column n]             vectors along the width; a weight of 0 reads nothing
 *
 * Work split: a group of one work-item has CLF_ROWS rows of a head, neighbours in the order of their lengths, and takes
 * sixteen pairs of each in turn: long rows (those of global tokens) then go through the keys side by side and find them
 * in the cache. Between its turns a row rests in memory. Nothing but the pairs of the pattern is computed; a pair costs
 * about four times as much as one inside a full tile (vector_forward.cl), more where keys lie beyond the caches.
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
    __global const int *columns = lists + lists_at.s4;
    int row[CLF_ROWS], begin[CLF_ROWS], end[CLF_ROWS], steps;
    float16 queries[CLF_ROWS * D_VECTORS], sums[CLF_ROWS * E_VECTORS], sum[CLF_ROWS];
    float tops[CLF_ROWS];
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    out += out_at.x + b * out_at.y + h * out_at.z;

    const int rows = find_rows(lists, lists_at, b, h, get_group_id(0) % groups * CLF_ROWS, row, begin, end, &steps);
    for (int r = 0; r < rows; r++) {
        load_row(q, row[r] * q_at.w, CLF_D, clf_query_scale(factor.x), queries + r * D_VECTORS);
        clear_row(CLF_E, sums + r * E_VECTORS);
        sum[r] = (float16)(0.0f);
        tops[r] = -INFINITY;
    }
    for (int step = 0; step < steps; step++)
        for (int r = 0; r < rows; r++) {
            const int first = begin[r] + 16 * step, count = min(16, end[r] - first);
            if (count <= 0)
                break; /* as are those behind */
            float16 x[D_VECTORS], acc[E_VECTORS];
            float top = tops[r];
            copy_row(queries + r * D_VECTORS, CLF_D, x);
            copy_row(sums + r * E_VECTORS, CLF_E, acc);
            int16 at;
            float16 s = score_entries(x, k, k_at.w, first, count, columns, &at);
            const float16 seen = clf_score(s, b, h, row[r], at, shape, mask, mask_at,
                                           padding, padding_at CLF_EXTRA_ARGUMENTS);
            s = CLF_LANE < count ? (at >= 0 ? seen : (float16)(0.0f)) : (float16)(-INFINITY);
            const float largest = clf_max16(s);
            if (largest > top) {
                const float shrink = top == -INFINITY ? 0.0f : clf_exp2((float16)(top - largest)).s0;
                tops[r] = top = largest;
                sum[r] *= shrink;
#pragma unroll
                for (int n = 0; n < E_VECTORS; n++)
                    acc[n] *= shrink;
            }
            const float16 p = clf_exp2(s - (top == -INFINITY ? 0.0f : top));
            sum[r] += p;
            float weights[16];
            int keys[16];
            vstore16(p, 0, weights);
            vstore16(at, 0, keys);
            for (int n = 0; n < count; n++)
                if (weights[n] != 0.0f && keys[n] >= 0 && keeps(keys[n], row[r], bh, random))
                    add_row(weights[n], v, keys[n] * v_at.w, CLF_E, acc);
            copy_row(acc, CLF_E, sums + r * E_VECTORS);
        }

    for (int r = 0; r < rows; r++) {
        const float total = clf_sum16(sum[r]);
        store_row(sums + r * E_VECTORS, total == 0.0f ? 0.0f : (CLF_DROPOUT ? factor.y : 1.0f) / total,
                  out, row[r] * out_at.w, CLF_E);
        if (lse)
            lse[lse_at.x + b * lse_at.y + h * lse_at.z + row[r] * lse_at.w] =
                total == 0.0f ? -INFINITY : clf_log_sum(tops[r], total);
    }
}
