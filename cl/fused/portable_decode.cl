/* Attention of few queries on GPUs: a slice of the keys, CLF_ITEMS work-items a group.
 *
 *     scores: PARTS work-items share a key          sums: QUARTERS work-items share a value
 *            D                                             E
 *     +--+--+--+--+                                  +----+----+----+----+
 *     |0 |1 |2 |3 | ... key 0                        | 0  | 1  | 2  | 3  |  keys 0, SLICES, 2 SLICES ...
 *     |4 |5 |6 |7 | ... key 1     --> s, p -->       | 4  | 5  | 6  | 7  |  keys 1, SLICES + 1 ...
 *     +--+--+--+--+   in local memory                +----+----+----+----+
 *       four columns at a time                          four columns, all of them in registers
 *
 * Work split: a group owns all queries that read one head of keys, and one slice of its keys (decode_rows.cl).
 * Neighbouring work-items read neighbouring columns, so keys and values arrive in whole lines and once; the queries
 * lie in local memory. Softmax: eight work-items a row. A weight of 0 skips its value: NaN in a hidden row goes
 * nowhere.
 *
 * Local memory, floats: queries CLF_ROWS x D (later the sums, CLF_ROWS x E), parts CLF_ROWS x CLF_ITEMS, s CLF_ROWS x
 * CLF_KEYS: 17 KiB for 8 rows of 128. Registers: CLF_ROWS x 4 sums.
 *
 * NDRange: one dimension, CLF_ITEMS for each slice of each head of keys.
 */
#include "fused/decode_rows.cl"

#ifndef CLF_ITEMS
#define CLF_ITEMS 128
#endif
#ifndef CLF_KEYS
#define CLF_KEYS 64 /* of a block */
#endif
#define PARTS 8 /* work-items that share a key */
#define QUARTERS (E_PADDED <= 16 ? 4 : E_PADDED <= 32 ? 8 : E_PADDED <= 64 ? 16 : E_PADDED <= 128 ? 32 : 64)
#define SLICES (CLF_ITEMS / QUARTERS)
#define LANES (CLF_ITEMS / 16) /* work-items of a row of softmax */
#define WIDEST (D_PADDED > E_PADDED ? D_PADDED : E_PADDED)

/* Columns n .. n + 3 of a row of `width` that starts at `at`, as floats. */
CLF_INLINE float4 load4(const clf_kept_rows *rows, long at, long scales_at, int n, int width)
{
#if CLF_BITS
    const float scale = clf_load_f16(rows->scales, scales_at + n / CLF_SPAN * 2);
    const float shift = clf_load_f16(rows->scales, scales_at + n / CLF_SPAN * 2 + 1);
#if CLF_BITS == 8
    const float4 number = convert_float4(vload4(0, rows->p + at + n));
#else
    const uchar2 pairs = vload2(0, rows->p + at + n / 2);
    const float4 number = (float4)(pairs.x & 15, pairs.x >> 4, pairs.y & 15, pairs.y >> 4);
#endif
    return clf_fma(number, (float4)(scale), (float4)(shift));
#else
    if (n + 4 <= width) {
#if CLF_STORAGE == CLF_F32
        return vload4(0, rows->p + at + n);
#elif CLF_STORAGE == CLF_F16
        const ushort4 bits = vload4(0, (__global const ushort *)rows->p + at + n);
        return vload_half4(0, (const half *)&bits); /* not in place: see clf_load16_f16 */
#else
        return as_float4(convert_uint4(vload4(0, rows->p + at + n)) << 16);
#endif
    }
    return (float4)(n < width ? clf_load(rows->p, at + n) : 0.0f, n + 1 < width ? clf_load(rows->p, at + n + 1) : 0.0f,
                    n + 2 < width ? clf_load(rows->p, at + n + 2) : 0.0f, 0.0f);
#endif
}

/* Four columns of a group's share of a key times all queries, into `parts`. */
CLF_INLINE void multiply(const clf_kept_rows *keys, int key, int part, __local const float *queries,
                         __local float *parts, int item)
{
    const long at = clf_kept_at(keys, key), scales_at = CLF_BITS ? clf_scales_at(keys, key) : 0;
    float sum[CLF_ROWS];
#pragma unroll
    for (int r = 0; r < CLF_ROWS; r++)
        sum[r] = 0.0f;
    for (int n = part * 4; n < D_PADDED; n += PARTS * 4) {
        const float4 x = load4(keys, at, scales_at, n, CLF_D);
#pragma unroll
        for (int r = 0; r < CLF_ROWS; r++) {
            const float4 y = vload4(0, queries + r * D_PADDED + n);
            sum[r] = clf_fma(x.x, y.x, clf_fma(x.y, y.y, clf_fma(x.z, y.z, clf_fma(x.w, y.w, sum[r]))));
        }
    }
#pragma unroll
    for (int r = 0; r < CLF_ROWS; r++)
        parts[r * CLF_ITEMS + item] = sum[r];
}

__kernel __attribute__((reqd_work_group_size(CLF_ITEMS, 1, 1)))
void clf_fused_decode_portable(__global const clf_storage *q, long4 q_at,
                               __global const clf_kept *k, long4 k_at,
                               __global const clf_kept *v, long4 v_at,
                               __global const clf_mask *mask, long8 mask_at,
                               __global const uchar *padding, long4 padding_at,
                               __global const clf_f16 *k_scales, long4 k_scales_at,
                               __global const clf_f16 *v_scales, long4 v_scales_at,
                               __global const int *pages, long2 pages_at,
                               __global float *sums, long sums_at, __global float *bases, long bases_at,
                               int4 slice, int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                               CLF_EXTRA_PARAMETERS)
{
    __local float queries[CLF_ROWS * WIDEST] __attribute__((aligned(64)));
    __local float parts[CLF_ROWS * CLF_ITEMS] __attribute__((aligned(64)));
    __local float s[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    __local float shrinks[16], totals[16 * LANES];

    const int item = get_local_id(0), heads = shape.s1 / slice.x;
    const int part = get_group_id(0) % slice.y, matrix = get_group_id(0) / slice.y;
    const int b = matrix / heads, head = matrix % heads;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_decode_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int rows = slice.x * shape.s2;
    if (rows == 0)
        return;
    const clf_kept_rows keys = clf_kept_rows_of(k, k_at, k_scales, k_scales_at, pages, pages_at, slice.w, b, head);
    const clf_kept_rows values = clf_kept_rows_of(v, v_at, v_scales, v_scales_at, pages, pages_at, slice.w, b, head);

    const float scale = clf_query_scale(factor.x);
    for (int n = item; n < CLF_ROWS * D_PADDED; n += CLF_ITEMS) {
        const int one = min(n / D_PADDED, rows - 1), h = head * slice.x + one / shape.s2, d = n % D_PADDED;
        const long row = clf_queries_at(q_at, b, h, start) + one % shape.s2 * q_at.w;
        queries[n] = d < CLF_D ? scale * clf_load(q, row + d) : 0.0f;
    }

    const int softmax_row = item / LANES, lane = item % LANES, column = item % QUARTERS * 4, turn = item / QUARTERS;
    float4 acc[CLF_ROWS];
#pragma unroll
    for (int r = 0; r < CLF_ROWS; r++)
        acc[r] = (float4)(0.0f);
    float base = -INFINITY, sum = 0.0f;

    const int begin = max(part * slice.z, clf_first_key(0, shape) / CLF_KEYS * CLF_KEYS);
    const int end = min((part + 1) * slice.z, clf_keys_seen(shape.s2 - 1, shape.s3, shape.s4));
    for (int first = begin; first < end; first += CLF_KEYS) {
        const int count = min(CLF_KEYS, end - first);
        for (int j = 0; j < CLF_KEYS; j += CLF_ITEMS / PARTS) {
            const int key = first + min(j + item / PARTS, count - 1);
            barrier(CLK_LOCAL_MEM_FENCE);
            multiply(&keys, key, item % PARTS, queries, parts, item);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int n = item; n < CLF_ROWS * (CLF_ITEMS / PARTS); n += CLF_ITEMS) {
                const int r = n / (CLF_ITEMS / PARTS), mine = n % (CLF_ITEMS / PARTS);
                __local const float *products = parts + r * CLF_ITEMS + mine * PARTS;
                const float4 x = vload4(0, products) + vload4(1, products);
                const int one = min(r, rows - 1);
                float score = (x.x + x.y) + (x.z + x.w);
                score = clf_score(score, b, head * slice.x + one / shape.s2, one % shape.s2, first + j + mine, shape,
                                  mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
                s[r * CLF_KEYS + j + mine] = first + j + mine < end ? score : -INFINITY;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);

        float top = -INFINITY;
        if (softmax_row < CLF_ROWS)
            for (int n = lane; n < CLF_KEYS; n += LANES)
                top = fmax(top, s[softmax_row * CLF_KEYS + n]);
        totals[item] = top;
        barrier(CLK_LOCAL_MEM_FENCE);
        top = base;
        for (int n = 0; n < LANES; n++)
            top = fmax(top, totals[softmax_row * LANES + n]);
        const float anchor = top == -INFINITY ? 0.0f : top, shrink = clf_exp2(base - anchor);
        base = top;
        sum *= shrink;
        if (softmax_row < CLF_ROWS)
            for (int n = lane; n < CLF_KEYS; n += LANES) {
                const float p = clf_exp2(s[softmax_row * CLF_KEYS + n] - anchor);
                s[softmax_row * CLF_KEYS + n] = p;
                sum += p;
            }
        if (lane == 0)
            shrinks[softmax_row] = shrink;
        barrier(CLK_LOCAL_MEM_FENCE);

#pragma unroll
        for (int r = 0; r < CLF_ROWS; r++)
            acc[r] *= shrinks[r];
        for (int j = turn; column < E_PADDED && j < count; j += SLICES) {
            const long at = clf_kept_at(&values, first + j), scales_at = CLF_BITS ? clf_scales_at(&values, first + j) : 0;
            const float4 x = load4(&values, at, scales_at, column, CLF_E);
#pragma unroll
            for (int r = 0; r < CLF_ROWS; r++) {
                const float p = s[r * CLF_KEYS + j];
                acc[r] = p == 0.0f ? acc[r] : clf_fma((float4)(p), x, acc[r]);
            }
        }
    }

    /* The turns of the keys are added in their order; `queries` has become room for that. */
    for (int t = 0; t < SLICES; t++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (turn == t && column < E_PADDED) {
#pragma unroll
            for (int r = 0; r < CLF_ROWS; r++) {
                __local float *to = queries + r * E_PADDED + column;
                vstore4(t == 0 ? acc[r] : vload4(0, to) + acc[r], 0, to);
            }
        }
    }
    totals[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    const long row_at = ((b * heads + head) * (long)slice.y + part) * CLF_ROWS;
    for (int n = item; n < rows * E_PADDED; n += CLF_ITEMS)
        sums[sums_at + row_at * E_PADDED + n] = queries[n];
    if (lane == 0 && softmax_row < rows) {
        sum = 0.0f;
        for (int n = 0; n < LANES; n++)
            sum += totals[softmax_row * LANES + n];
        bases[bases_at + (row_at + softmax_row) * 2] = base;
        bases[bases_at + (row_at + softmax_row) * 2 + 1] = sum;
    }
}
