/* Fused attention on CPUs, backward: the gradients of q, k and v, one work-item a group, no atomics.
 *
 *                    CLF_KEYS keys                   Five products, each in 8 x 32 register tiles
 *                +------------------+                (prelude/tile.cl):
 *      CLF_ROWS  | p   = exp2(s)    |                  s   = queries x keys_turned      row by row of 8
 *      queries   | ds  = p (dp - d) |                  dp  = grads x values_turned
 *                +------------------+                  dq += ds x keys
 *                  |            |                      dv += p^T x grads                key by key of 8
 *                dv, dk      dq (added to partial_q)   dk += ds^T x queries
 *
 * Work split: a group owns every splits-th block of CLF_KEYS keys of one head. It keeps the block's keys,
 * values, dk and dv at hand and walks over all queries that see the block, head by head where several share it. dq
 * gathers in the group's own slice of partial_q; clf_fused_backward_q_vector adds the slices, in order. So each product
 * is computed once (a kernel for dq beside one for dk and dv would compute s and dp twice: seven products, not five)
 * and the result depends on `splits` but not on scheduling. About 165 KiB of private memory with D = E = 64, never more
 * than about 270 KiB; no __local memory.
 *
 * With CLF_BLOCKS the queries that pass are those in the block's list (lists.cl), eights of rows that see nothing of
 * it are left out of all five products, and so are the sixteens of keys of which a pattern or window lets them see
 * nothing (vector_sixteens.cl): 0.45 of the time with a window of 5, 0.6 with BigBird's blocks of 16.
 *
 * What is masked has p and ds exactly 0; blocks of keys, queries or grads with NaN or infinity go through a
 * product that skips the zeros.
 *
 * Share of OpenBLAS' sgemm of 2048^3 on the same two AVX-512 cores (PoCL, f32, D = 64, H = 8, N = 2048),
 * counted as 2.5 times the flops of forward: 0.68, causal 0.64, dropout 0.59, D = 128 0.71, D = 40 0.61.
 *
 * Order and NDRange, local always (1, 1, 1), CLF_LANES=16, CLF_ROWS and CLF_KEYS of this program:
 *   clf_fused_delta_vector       (ceil(Nq / CLF_ROWS), H, B)   delta = sum(out * grad_out)
 *   clf_fused_backward_vector    (splits, heads of k, B)   splits in 1 .. ceil(Nk / CLF_KEYS), so that
 *                                                 splits * heads * B keeps all cores busy
 *   clf_fused_backward_q_vector  (ceil(Nq / CLF_ROWS), H, B)
 * partial_q: splits * B * H * Nq * (D rounded up to 16) floats, need not be cleared; partial_step from slice to slice.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "prelude/tile.cl"
#include "fused/place.cl"
#include "fused/lists.cl"
#include "fused/vector_sixteens.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_ROWS
#define CLF_ROWS (CLF_D + CLF_E <= 128 ? 64 : 32) /* queries a step, a multiple of 8 */
#endif
#ifndef CLF_KEYS
#define CLF_KEYS (CLF_D + CLF_E <= 256 ? 64 : 32) /* keys a block, a multiple of 32 */
#endif
#if defined(CLF_SCORE_MOD) && !defined(CLF_SCORE_SLOPE)
#error the backward pass of CLF_SCORE_MOD needs its derivative, CLF_SCORE_SLOPE
#endif

#define D_PADDED ((CLF_D + 15) / 16 * 16)
#define E_PADDED ((CLF_E + 15) / 16 * 16)

/* Has the mask snippet something to hide from these rows? */
#if CLF_BLOCKS == 2
#define SNIPPET_HIDES ((tile.z >> part) & 1)
#else
#define SNIPPET_HIDES 0
#endif

/* What the gradients need to know of the rows: the logarithm that turns scores into probabilities, in two parts,
 * and sum(out * grad_out). A row that saw nothing has an infinite logarithm: all its probabilities are 0. */
static void fetch_rows(__global const float *lse, long lse_at, long lse_stride,
                       __global const float *delta, long delta_at, long delta_stride,
                       int count, float *log_sum, float *log_rest, float *mean)
{
    for (int r = 0; r < CLF_ROWS; r++) {
        const float natural = r < count ? lse[lse_at + r * lse_stride] : -INFINITY;
        const float sum = clf_log_sum2(natural, &log_rest[r]);
        log_sum[r] = natural == -INFINITY ? INFINITY : sum;
        log_rest[r] = natural == -INFINITY ? 0.0f : log_rest[r];
        mean[r] = r < count ? delta[delta_at + r * delta_stride] : 0.0f;
    }
}

/* Sixteen scores and gradients of dropped-out probabilities, in place, become the probabilities that
 * weighted the values and the gradients of the scores. Where the probability is 0 the other number may be
 * NaN, from a masked row of V: it is selected away. */
static void differentiate(float *p, float *ds, float16 score, float log_sum, float log_rest, float mean,
                          int16 kept, float keep_scale)
{
    const float16 zero = (float16)(0.0f);
    const float16 probability = clf_exp2(score - log_sum - log_rest);
    float16 weight = probability, gradient = vload16(0, ds);
    if (CLF_DROPOUT) {
        weight = kept ? weight * keep_scale : zero;
        gradient = kept ? gradient * keep_scale : zero;
    }
    gradient = probability * (gradient - mean);
    vstore16(weight, 0, p);
    vstore16(probability == zero ? zero : gradient, 0, ds);
}

/* The same for keys `first` .. of a tile of up to 8 rows. p holds scaled dot products, ds grad_out times V, on entry;
 * `bits` tell which pairs the pattern has, NULL = all. */
static void differentiate_tile(float *p, float *ds, int first, int width, int masked, int rows,
                               const float *log_sum, const float *log_rest, const float *mean, int b, int h, int q, int k,
                               int8 shape, float keep_scale, uint8 random, __global const int *bits,
                               __global const clf_mask *mask, long8 mask_at,
                               __global const uchar *padding, long4 padding_at CLF_EXTRA_PARAMETERS)
{
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < width; n += 32) {
            int16 kept[2] = {CLF_TRUE, CLF_TRUE};
            if (CLF_DROPOUT)
                clf_keep32(k + n, q + r, b * shape.s1 + h, random, &kept[0], &kept[1]);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                if (n + 16 * i >= width)
                    break;
                const int at = r * CLF_KEYS + n + 16 * i;
                const int16 key = k + n + 16 * i + CLF_LANE;
                const float16 raw = vload16(0, p + at);
                float16 score = raw;
                if (masked)
                    score = clf_score(raw, b, h, q + r, key, shape, mask, mask_at,
                                      padding, padding_at CLF_EXTRA_ARGUMENTS);
#if CLF_BLOCKS == 1
                if (bits)
                    score = clf_list_seen(score, bits[r * (CLF_KEYS / 32) + (first + n + 16 * i) / 32],
                                          (first + n + 16 * i) % 32);
#endif
                differentiate(p + at, ds + at, score, log_sum[r], log_rest[r], mean[r], kept[i], keep_scale);
#if CLF_BENDS
                const int16 last = (int16)(shape.s3 - 1), inside = key < last ? key : last;
                const float16 gradient = vload16(0, ds + at);
                const float16 slope = clf_score_slope(raw, b, h, q + r, inside CLF_EXTRA_ARGUMENTS);
                vstore16(gradient == 0.0f ? gradient : gradient * slope, 0, ds + at);
#endif
            }
        }
}

/* CLF_ROWS rows of grad_out, as clf_pack does it; its type may be another. */
static int pack_grads(__global const clf_result *p, long at, long stride, int rows, float *to)
{
#if CLF_RESULT == CLF_STORAGE
    return clf_pack(p, at, stride, rows, CLF_ROWS, CLF_E, to, E_PADDED);
#else
    int16 largest = (int16)(0);
    for (int r = 0; r < rows; r++)
        clf_load_result_row(p, at + r * stride, CLF_E, to + r * E_PADDED, E_PADDED);
    for (int n = 0; n < rows * E_PADDED; n += 16)
        largest = max(largest, as_int16(vload16(0, to + n)) & 0x7fffffff);
    for (int n = rows * E_PADDED; n < CLF_ROWS * E_PADDED; n += 16)
        vstore16((float16)(0.0f), 0, to + n);
    return !any(largest >= (int16)(0x7f800000));
#endif
}

static void clear(float *x, int count)
{
    for (int n = 0; n < count; n += 16)
        vstore16((float16)(0.0f), 0, x + n);
}

static void scale_rows(float *x, int count, float scale)
{
    for (int n = 0; n < count; n += 16)
        vstore16(vload16(0, x + n) * scale, 0, x + n);
}

/* c += a b; `finite` tells whether all of b is. */
static void multiply(int finite, const float *a, int a_row, int a_step, const float *b, int depth,
                     float *c, int columns)
{
    if (finite)
        clf_product(a, a_row, a_step, b, depth, c, columns);
    else
        clf_product_careful(a, a_row, a_step, b, columns, depth, c, columns, columns);
}

/* dv += p^T grads and dk += ds^T queries over the rows at hand, for each eight of keys those that see any of it; `live`:
 * the sixteens of keys that each eight of rows has computed. */
static void add_to_keys(const int *live, int q_count, int q_first, int k_first, int k_count, int8 shape,
                        int grads_finite, int queries_finite, const float *p, const float *ds,
                        const float *grads, const float *queries, float *dv, float *dk)
{
    for (int n = 0; n < k_count; n += CLF_TILE_ROWS) {
        const int begin = max(clf_first_query(k_first + n, shape.s2, shape.s4) - q_first, 0);
        const int last = min(n + CLF_TILE_ROWS, k_count) - 1;
        const int end = min(q_count, clf_queries_end(k_first + last, shape) - q_first);
        for (int r = 0; r < end;) { /* runs of rows */
            int first = r;
            while (r < end && ((live[r / CLF_TILE_ROWS] >> n / 16) & 1))
                r += CLF_TILE_ROWS;
            const int depth = min(r, end) - max(first, begin);
            r = r > first ? r : r + CLF_TILE_ROWS;
            first = max(first, begin);
            if (depth <= 0)
                continue;
            const int at = first * CLF_KEYS + n;
            multiply(grads_finite, p + at, 1, CLF_KEYS, grads + first * E_PADDED, depth, dv + n * E_PADDED, E_PADDED);
            multiply(queries_finite, ds + at, 1, CLF_KEYS, queries + first * D_PADDED, depth, dk + n * D_PADDED, D_PADDED);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_delta_vector(__global const clf_result *out, long4 out_at,
                            __global const clf_result *grad_out, long4 grad_out_at,
                            __global float *delta, long4 delta_at, int8 shape CLF_SEQUENCE_PARAMETERS)
{
    float x[E_PADDED] __attribute__((aligned(64))), y[E_PADDED] __attribute__((aligned(64)));
    const int h = get_group_id(1), b = get_group_id(2);
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int first = get_group_id(0) * CLF_ROWS, end = min(first + CLF_ROWS, shape.s2);
    for (int q = first; q < end; q++) {
        clf_load_result_row(out, clf_queries_at(out_at, b, h, start) + q * out_at.w, CLF_E, x, E_PADDED);
        clf_load_result_row(grad_out, clf_queries_at(grad_out_at, b, h, start) + q * grad_out_at.w, CLF_E, y,
                            E_PADDED);
        float16 sum = (float16)(0.0f);
        for (int n = 0; n < E_PADDED; n += 16)
            sum = clf_fma(vload16(0, x + n), vload16(0, y + n), sum);
        delta[clf_queries_at(delta_at, b, h, start) + q * delta_at.w] = clf_sum16(sum);
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_backward_vector(__global const clf_storage *q, long4 q_at,
                               __global const clf_storage *k, long4 k_at,
                               __global const clf_storage *v, long4 v_at,
                               __global const clf_mask *mask, long8 mask_at,
                               __global const uchar *padding, long4 padding_at,
                               __global const clf_result *grad_out, long4 grad_out_at,
                               __global const float *lse, long4 lse_at,
                               __global const float *delta, long4 delta_at,
                               __global clf_storage *grad_k, long4 grad_k_at,
                               __global clf_storage *grad_v, long4 grad_v_at,
                               __global float *partial_q, long4 partial_at, long partial_step,
                               int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                               CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    float keys[CLF_KEYS * D_PADDED] __attribute__((aligned(64)));
    float keys_turned[D_PADDED * CLF_KEYS] __attribute__((aligned(64)));
    float values_turned[E_PADDED * CLF_KEYS] __attribute__((aligned(64)));
    float dk[CLF_KEYS * D_PADDED] __attribute__((aligned(64)));
    float dv[CLF_KEYS * E_PADDED] __attribute__((aligned(64)));
    float queries[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float grads[CLF_ROWS * E_PADDED] __attribute__((aligned(64)));
    float dq[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float p[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    float ds[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    float log_sum[CLF_ROWS], log_rest[CLF_ROWS], mean[CLF_ROWS];
    int live[CLF_ROWS / CLF_TILE_ROWS];

    const int split = get_group_id(0), splits = get_num_groups(0), b = get_group_id(2);
    const int first_head = get_group_id(1) * CLF_GROUPS;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    const long k_base = clf_keys_at(k_at, b, first_head, start), v_base = clf_keys_at(v_at, b, first_head, start);
    const float q_scale = clf_query_scale(factor.x), keep_scale = CLF_DROPOUT ? factor.y : 1.0f;

    partial_q += clf_queries_at(partial_at, b, first_head, start) + split * partial_step;
    for (int h = 0; h < CLF_GROUPS; h++)
    for (long n = 0; n < (long)shape.s2 * D_PADDED; n += 16)
        vstore16((float16)(0.0f), 0, partial_q + h * partial_at.z + n);

    for (int k_first = split * CLF_KEYS; k_first < shape.s3; k_first += splits * CLF_KEYS) {
        const int k_count = min(CLF_KEYS, shape.s3 - k_first);
        const int keys_finite = clf_pack(k, k_base + k_first * k_at.w, k_at.w, k_count, CLF_KEYS,
                                         CLF_D, keys, D_PADDED);
        clf_transpose(keys, CLF_KEYS, D_PADDED, keys_turned);
        clf_pack(v, v_base + k_first * v_at.w, v_at.w, k_count, CLF_KEYS, CLF_E, dv, E_PADDED);
        clf_transpose(dv, CLF_KEYS, E_PADDED, values_turned);
        clear(dk, CLF_KEYS * D_PADDED);
        clear(dv, CLF_KEYS * E_PADDED);

        const int q_end = clf_queries_end(k_first + k_count - 1, shape);
        for (int h = first_head; h < first_head + CLF_GROUPS; h++)
#if CLF_BLOCKS
        for (int list = clf_lists_of(lists_at, b, h) + k_first / CLF_KEYS, entry = clf_list_begin(lists, lists_at, list);
             entry < clf_list_end(lists, lists_at, list); entry++) {
            const int4 tile = clf_list_tile(lists, lists_at, entry);
            const int q_first = tile.x * CLF_ROWS;
            if (q_first >= q_end)
                break;
#else
        for (int q_first = clf_first_query(k_first, shape.s2, shape.s4); q_first < q_end; q_first += CLF_ROWS) {
#endif
            const long q_base = clf_queries_at(q_at, b, h, start), grad_base = clf_queries_at(grad_out_at, b, h, start);
            const long lse_base = clf_queries_at(lse_at, b, h, start), delta_base = clf_queries_at(delta_at, b, h, start);
            const int q_count = min(CLF_ROWS, q_end - q_first);
            const int queries_finite = clf_pack(q, q_base + q_first * q_at.w, q_at.w, q_count, CLF_ROWS,
                                                CLF_D, queries, D_PADDED);
            const int grads_finite = pack_grads(grad_out, grad_base + q_first * grad_out_at.w, grad_out_at.w,
                                                q_count, grads);
            scale_rows(queries, CLF_ROWS * D_PADDED, q_scale);
            fetch_rows(lse, lse_base + q_first * lse_at.w, lse_at.w,
                       delta, delta_base + q_first * delta_at.w, delta_at.w, q_count, log_sum, log_rest, mean);
            __global float *partial = partial_q + (h - first_head) * partial_at.z + (long)q_first * D_PADDED;
            for (int n = 0; n < q_count * D_PADDED; n += 16)
                vstore16(vload16(0, partial + n), 0, dq + n);

            for (int r = 0; r < q_count; r += CLF_TILE_ROWS) {
                const int tile_rows = min(CLF_TILE_ROWS, q_count - r), row = q_first + r;
                const int seen_by_one = clf_keys_seen(row, shape.s3, shape.s4) - k_first;
                const int seen = clf_keys_seen(row + tile_rows - 1, shape.s3, shape.s4) - k_first;
                const int count = min(k_count, seen), part = r / CLF_TILE_ROWS;
                __global const int *bits = 0;
                live[part] = 0;
#if CLF_BLOCKS
                if (!((tile.y >> part) & 1))
                    continue;
#endif
                const int unseen = max(clf_first_key(row, shape) - k_first, 0);
                if (unseen >= count)
                    continue;
                const int from = first_sixteen(unseen, count);
                int sixteens = (1 << (count - from + 15) / 16) - 1;
#if CLF_BLOCKS == 1
                if ((tile.z >> part) & 1) {
                    bits = clf_list_bits(lists, tile, part, CLF_TILE_ROWS * (CLF_KEYS / 32));
                    sixteens &= find_sixteens(tile_rows, bits);
                }
                live[part] = sixteens;
#else
                live[part] = -1;
                if (CLF_WINDOW) { /* what is not computed is read all the same */
                    clear(p + r * CLF_KEYS, tile_rows * CLF_KEYS);
                    clear(ds + r * CLF_KEYS, tile_rows * CLF_KEYS);
                }
#endif
                while (sixteens != 0) {
                    const int2 run = next_sixteens(&sixteens);
                    const int first = from + run.x, width = run.y, at = r * CLF_KEYS + first;
                    const int ahead = max(unseen - first, 0), depth = min(count - first, width) - ahead;
                    score_sixteens(queries + r * D_PADDED, D_PADDED, CLF_D, keys_turned + first, width,
                                   !WINDOW_SETS_FIRST, p + at);
                    score_sixteens(grads + r * E_PADDED, E_PADDED, CLF_E, values_turned + first, width,
                                   !WINDOW_SETS_FIRST, ds + at);
                    differentiate_tile(p + at, ds + at, first, width,
                                       CLF_EVERY_SCORE || first + width > seen_by_one ||
                                           clf_first_key(row + tile_rows - 1, shape) > k_first + first || SNIPPET_HIDES,
                                       tile_rows, log_sum + r, log_rest + r, mean + r, b, h, row, k_first + first, shape,
                                       keep_scale, random, bits, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS);
                    multiply(keys_finite, ds + at + ahead, CLF_KEYS, 1, keys + (first + ahead) * D_PADDED, depth,
                             dq + r * D_PADDED, D_PADDED);
                }
            }
            add_to_keys(live, q_count, q_first, k_first, k_count, shape, grads_finite, queries_finite, p, ds, grads,
                        queries, dv, dk);
            for (int n = 0; n < q_count * D_PADDED; n += 16)
                vstore16(vload16(0, dq + n), 0, partial + n);
        }

        scale_rows(dk, CLF_KEYS * D_PADDED, factor.x / q_scale);
        for (int r = 0; r < k_count; r++) {
            if (grad_k)
                clf_store_row(dk + r * D_PADDED, CLF_D, grad_k,
                              clf_keys_at(grad_k_at, b, first_head, start) + (k_first + r) * grad_k_at.w);
            if (grad_v)
                clf_store_row(dv + r * E_PADDED, CLF_E, grad_v,
                              clf_keys_at(grad_v_at, b, first_head, start) + (k_first + r) * grad_v_at.w);
        }
    }
}

/* grad_q = scale * (sum of the slices). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_backward_q_vector(__global const float *partial_q, long4 partial_at, long partial_step, int splits,
                                 __global clf_storage *grad_q, long4 grad_q_at,
                                 int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor)
{
    float total[D_PADDED] __attribute__((aligned(64)));
    const int h = get_group_id(1), b = get_group_id(2);
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int first = get_group_id(0) * CLF_ROWS, end = min(first + CLF_ROWS, shape.s2);
    for (int q = first; q < end; q++) {
        for (int n = 0; n < D_PADDED; n += 16) {
            float16 sum = (float16)(0.0f);
            for (int split = 0; split < splits; split++) {
                sum += vload16(0, partial_q + clf_queries_at(partial_at, b, h, start) + split * partial_step +
                                      (long)q * D_PADDED + n);
            }
            vstore16(sum * factor.x, 0, total + n);
        }
        clf_store_row(total, CLF_D, grad_q,
                      clf_queries_at(grad_q_at, b, h, start) + q * grad_q_at.w);
    }
}
