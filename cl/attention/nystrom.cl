/* What Nystrom attention does around fused attention and its matrix products: means of segments, the softmax of small
 * matrices, and what becomes of the result: a convolution of the values is added, some elements are dropped.
 *
 *      rows of x     |  0 .. |       |  ...  |       |   segment l of `count`: the last rows % count of them are one
 *                    +-------+-------+-------+-------+   row longer
 *      landmarks     |   0   |   1   |       |count-1|   share[l] times the sum of the rows that are kept
 *
 * A work-item owns CLF_LANES neighbouring channels of a row (a landmark, a result) and reads what it needs of other
 * rows; nothing is shared between work-items, and sums run in one order. Tensors are {first element, strides of batch,
 * head, row}; keep, [batch, rows] bytes, may be absent: then all rows are kept. Inside everything is f32, CLF_STORAGE
 * is the type of the tensors of the call, CLF_WEIGHT that of the convolution's weights; `taps` is its length, 0 for
 * none.
 *
 * PoCL, two AVX-512 cores, N = 2048, D = 64, 8 heads, 64 landmarks: a launch for the means of q took 0.40 ms sixteen
 * channels a work-item and 0.08 for its shares, 0.20 for both by whole rows; the softmax 0.22 a number at a time, 0.05
 * in vectors, and 0.11 instead of 0.16 with the product before it in one launch.
 */
#include "prelude/single.cl"
#include "prelude/math.cl"
#ifdef CLF_MARKS
#include "prelude/tile.cl"
#endif

#ifndef CLF_WEIGHT
#define CLF_WEIGHT CLF_F32
#endif
#if CLF_WEIGHT == CLF_F16
typedef clf_f16 clf_weight;
#define clf_load_weight clf_load_f16
#define clf_store_weight clf_store_f16
#elif CLF_WEIGHT == CLF_BF16
typedef clf_bf16 clf_weight;
#define clf_load_weight clf_load_bf16
#define clf_store_weight clf_store_bf16
#else
typedef float clf_weight;
#define clf_load_weight clf_load_f32
#define clf_store_weight clf_store_f32
#endif

/* The first row of segment l, and the segment of a row. */
static int segment_start(int l, int rows, int count)
{
    const int size = rows / count, longer = rows % count;
    return l * size + max(l - (count - longer), 0);
}

static int segment_of(int row, int rows, int count)
{
    const int size = rows / count, shorter = count - rows % count;
    return row < shorter * size ? row / size : shorter + (row - shorter * size) / (size + 1);
}

/* Channels whose means a work-item takes. */
#define SPAN (CLF_LANES == 16 ? 64 : 1)

/* keep = the mask as bytes; an additive one hides at -inf. kind: 0 bytes, 1 f32, 2 f16, 3 bf16.
 * A work-item for each of batch x rows. */
__kernel void clf_nystrom_keep(__global const uchar *mask, long4 mask_at, __global uchar *keep, long4 keep_at, int rows,
                               int kind, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int b = (int)(item / rows), row = (int)(item % rows);
    const long at = mask_at.x + b * mask_at.y + row * mask_at.z;
    float bias = 0.0f;
    if (kind == 0)
        bias = mask[at] ? 0.0f : -INFINITY;
    else if (kind == 1)
        bias = clf_load_f32((__global const float *)mask, at);
    else if (kind == 2)
        bias = clf_load_f16((__global const clf_f16 *)mask, at);
    else
        bias = clf_load_bf16((__global const clf_bf16 *)mask, at);
    keep[keep_at.x + b * keep_at.y + row] = bias != -INFINITY;
}

/* Means of the segments, and what a kept row of one counts, share: one by its rows, or with `kept_only` by its kept
 * rows; 0 where there are none. `some` tells where there are. shape: heads, rows, width, count. A work-item for each
 * SPAN channels of batch x heads x count: CPUs read whole rows, in the order of memory. */
__kernel void clf_nystrom_landmarks(__global const clf_storage *x, long4 x_at, __global const uchar *keep,
                                    long4 keep_at, __global float *share, long4 share_at, __global uchar *some,
                                    long4 some_at, __global float *marks, long4 marks_at, int4 shape, int kept_only,
                                    ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int spans = (shape.z + SPAN - 1) / SPAN, l = (int)(item / spans % shape.w), channel = item % spans * SPAN;
    const int head = (int)(item / spans / shape.w);
    const clf_place p = { head / shape.x, head % shape.x, l, channel, shape.z - channel };
    const int first = segment_start(l, shape.y, shape.w), end = segment_start(l + 1, shape.y, shape.w);
    clf_real sum[SPAN / CLF_LANES];
    int kept = 0;
    for (int n = 0; n < SPAN / CLF_LANES; n++)
        sum[n] = (clf_real)(0.0f);
    for (int row = first; row < end; row++) {
        if (!clf_is_kept(keep, keep_at, p.b, row))
            continue;
        kept++;
        for (int n = 0; n < SPAN && n < p.left; n += CLF_LANES)
            sum[n / CLF_LANES] += clf_load_lanes(x, clf_row_at(p, row, x_at) + n, p.left - n);
    }
    if (!kept_only)
        kept = end - first;
    const float part = kept ? 1.0f / (float)kept : 0.0f;
    for (int n = 0; n < SPAN && n < p.left; n += CLF_LANES)
        clf_store_single(sum[n / CLF_LANES] * part, marks, clf_row_at(p, l, marks_at) + n, p.left - n);
    if (p.h > 0 || channel > 0)
        return;
    share[share_at.x + p.b * share_at.y + l] = part;
    if (some)
        some[some_at.x + p.b * some_at.y + l] = kept > 0;
}

/* out = what dropout leaves of x + the convolution of v along the rows. shape: heads, rows, width. */
__kernel void clf_nystrom_finish(__global const float *x, long4 x_at, __global const clf_storage *v, long4 v_at,
                                 __global const uchar *keep, long4 keep_at, __global const clf_weight *weight,
                                 long weight_at, __global clf_storage *out, long4 out_at, int4 shape, int taps,
                                 float scale, uint8 random, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const clf_place p = clf_place_of(item, shape.x, shape.y, shape.z);
    clf_real value = clf_load_single(x, clf_row_at(p, p.row, x_at), p.left);
    for (int t = 0; t < taps; t++) {
        const int row = p.row + t - taps / 2;
        if (row >= 0 && row < shape.y && clf_is_kept(keep, keep_at, p.b, row))
            value += clf_load_weight(weight, weight_at + p.h * taps + t) *
                     clf_load_lanes(v, clf_row_at(p, row, v_at), p.left);
    }
    clf_store_lanes(clf_drop(value, p, shape.x, scale, random), out, clf_row_at(p, p.row, out_at), p.left);
}

/* The gradient of q or k: of the row itself and, where there are landmarks, its share of its landmark's. With `hides`
 * rows that are not kept have none. shape: heads, rows, width, count; `row` and `to` may be the same memory. */
__kernel void clf_nystrom_gradient(__global const float *row, long4 at, __global const uchar *keep, long4 keep_at,
                                   __global const float *share, long4 share_at, __global const float *marks,
                                   long4 marks_at, __global clf_storage *to, long4 to_at, int4 shape, int hides,
                                   ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const clf_place p = clf_place_of(item, shape.x, shape.y, shape.z);
    const int kept = clf_is_kept(keep, keep_at, p.b, p.row);
    clf_real value = clf_load_single(row, clf_row_at(p, p.row, at), p.left);
    if (marks && kept) {
        const int l = segment_of(p.row, shape.y, shape.w);
        value += clf_load_single(marks, clf_row_at(p, l, marks_at), p.left) * share[share_at.x + p.b * share_at.y + l];
    }
    clf_store_lanes(kept || !hides ? value : (clf_real)(0.0f), to, clf_row_at(p, p.row, to_at), p.left);
}

/* The gradient of v: its own, and what comes through the convolution. grad: of the result. shape: heads, rows,
 * width. */
__kernel void clf_nystrom_gradient_v(__global const float *row, long4 at, __global const float *grad, long4 grad_at,
                                     __global const uchar *keep, long4 keep_at, __global const clf_weight *weight,
                                     long weight_at, __global clf_storage *to, long4 to_at, int4 shape, int taps,
                                     ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const clf_place p = clf_place_of(item, shape.x, shape.y, shape.z);
    clf_real value = clf_load_single(row, clf_row_at(p, p.row, at), p.left);
    for (int t = 0; t < taps && clf_is_kept(keep, keep_at, p.b, p.row); t++) {
        const int result = p.row - t + taps / 2;
        if (result >= 0 && result < shape.y)
            value += clf_load_weight(weight, weight_at + p.h * taps + t) *
                     clf_load_single(grad, clf_row_at(p, result, grad_at), p.left);
    }
    clf_store_lanes(value, to, clf_row_at(p, p.row, to_at), p.left);
}

/* The gradient of a weight, first for 64 rows of a head: sums[batch][head][chunk][tap].
 * shape: heads, rows, width, chunks. A work-item for each of them. */
__kernel void clf_nystrom_taps(__global const clf_storage *v, long4 v_at, __global const float *grad, long4 grad_at,
                               __global const uchar *keep, long4 keep_at, __global float *sums, long sums_at,
                               int4 shape, int taps, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int t = (int)(item % taps), chunk = (int)(item / taps % shape.w);
    const ulong head = item / taps / shape.w;
    clf_place p = { (int)(head / shape.x), (int)(head % shape.x), 0, 0, shape.z };
    clf_real sum = (clf_real)(0.0f);
    for (int row = chunk * 64; row < min(chunk * 64 + 64, shape.y); row++) {
        const int from = row + t - taps / 2;
        if (from < 0 || from >= shape.y || !clf_is_kept(keep, keep_at, p.b, from))
            continue;
        for (p.channel = 0; p.channel < shape.z; p.channel += CLF_LANES)
            sum += clf_load_lanes(v, clf_row_at(p, from, v_at), shape.z - p.channel) *
                   clf_load_single(grad, clf_row_at(p, row, grad_at), shape.z - p.channel);
    }
#if CLF_LANES == 16
    float lane[16], total = 0.0f;
    vstore16(sum, 0, lane);
    for (int n = 0; n < 16; n++)
        total += lane[n];
    sums[sums_at + item] = total;
#else
    sums[sums_at + item] = sum;
#endif
}

/* shape: batch, heads, chunks. A work-item for each weight. */
__kernel void clf_nystrom_weights(__global const float *sums, long sums_at, __global clf_weight *grad, long grad_at,
                                  int4 shape, int taps, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int h = (int)(item / taps), t = (int)(item % taps);
    float sum = 0.0f;
    for (int b = 0; b < shape.x; b++)
        for (int chunk = 0; chunk < shape.z; chunk++)
            sum += sums[sums_at + (((long)b * shape.y + h) * shape.z + chunk) * taps + t];
    clf_store_weight(sum, grad, grad_at + item);
}

/* Softmax of a row, in place. Rows and columns of landmarks that there are none of are 0; the shares say so. */
static void soften_row(__global float *x, int some, __global const float *columns, int count)
{
    const clf_real none = (clf_real)(-INFINITY), zero = (clf_real)(0.0f);
    clf_real tops = none, sums = zero;
    for (int j = 0; j < count; j += CLF_LANES) {
        const clf_real there = clf_load_single(columns, j, count - j);
        tops = clf_max(there != zero ? clf_load_single(x, j, count - j) : none, tops);
    }
    const float top = clf_max_lanes(tops);
    for (int j = 0; j < count; j += CLF_LANES) {
        const clf_real there = some ? clf_load_single(columns, j, count - j) : zero;
        const clf_real power = clf_exp2((clf_load_single(x, j, count - j) - top) * CLF_LOG2E);
        const clf_real value = there != zero ? power : zero;
        clf_store_single(value, x, j, count - j);
        sums += value;
    }
    const float sum = clf_sum_lanes(sums);
    for (int j = 0; j < count; j += CLF_LANES) {
        const clf_real value = sum > 0.0f || sum != sum ? clf_load_single(x, j, count - j) / sum : zero;
        clf_store_single(value, x, j, count - j);
    }
}

/* Softmax of the rows of matrices [batch, heads, count, count]. shape: heads, count. A work-item for each row. */
__kernel void clf_nystrom_softmax(__global float *x, long4 x_at, __global const float *rows, long4 rows_at,
                                  __global const float *columns, long4 columns_at, int4 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int count = shape.y, i = (int)(item % count), b = (int)(item / count / shape.x);
    soften_row(x + x_at.x + (long)item * count, rows[rows_at.x + b * rows_at.y + i] != 0.0f,
               columns + columns_at.x + b * columns_at.y, count);
}

#ifdef CLF_MARKS
/* The product of landmarks before that softmax and the softmax itself, on CPUs: x = softmax(scale q~ k~^T). CLF_MARKS
 * and CLF_WIDTH are the count and the width of landmarks in whole tiles. shape: heads, count, width. A work-item for
 * each matrix. */
__kernel void clf_nystrom_near(__global float *x, long4 x_at, __global const float *rows, long4 rows_at,
                               __global const float *columns, long4 columns_at, int4 shape, __global const float *q,
                               long4 q_at, __global const float *k, long4 k_at, float scale, ulong items)
{
    float queries[CLF_MARKS * CLF_WIDTH] __attribute__((aligned(64)));
    float keys[CLF_MARKS * CLF_WIDTH] __attribute__((aligned(64)));
    float turned[CLF_MARKS * CLF_WIDTH] __attribute__((aligned(64)));
    float tile[CLF_TILE_ROWS * CLF_MARKS] __attribute__((aligned(64)));
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int count = shape.y, b = (int)(item / shape.x), h = (int)(item % shape.x);
    x += x_at.x + (long)item * count * count;
    q += q_at.x + b * q_at.y + h * q_at.z;
    k += k_at.x + b * k_at.y + h * k_at.z;
    for (int i = 0; i < CLF_MARKS; i++)
        for (int n = 0; n < CLF_WIDTH; n += 16) {
            const int left = i < count ? shape.z - n : 0;
            vstore16(clf_load_single(q, i * q_at.w + n, left) * scale, 0, queries + i * CLF_WIDTH + n);
            vstore16(clf_load_single(k, i * k_at.w + n, left), 0, keys + i * CLF_WIDTH + n);
        }
    clf_transpose(keys, CLF_MARKS, CLF_WIDTH, turned);
    for (int i = 0; i < count; i += CLF_TILE_ROWS) {
        for (int j = 0; j < CLF_MARKS; j += 32)
            clf_product32(queries + i * CLF_WIDTH, CLF_WIDTH, 1, turned + j, CLF_MARKS, shape.z, 1, 1,
                          tile + j, CLF_MARKS);
        for (int r = 0; r < CLF_TILE_ROWS && i + r < count; r++) {
            __global float *row = x + (long)(i + r) * count;
            for (int j = 0; j < count; j += 16)
                clf_store_single(vload16(0, tile + r * CLF_MARKS + j), row, j, count - j);
            soften_row(row, rows[rows_at.x + b * rows_at.y + i + r] != 0.0f,
                       columns + columns_at.x + b * columns_at.y, count);
        }
    }
}
#endif

/* The gradient of the scores from that of their softmax p, in place. */
__kernel void clf_nystrom_softmax_back(__global const float *p, long4 p_at, __global float *grad, long4 grad_at,
                                       int4 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    float sum = 0.0f;
    p += p_at.x + (long)item * shape.y;
    grad += grad_at.x + (long)item * shape.y;
    for (int j = 0; j < shape.y; j++)
        sum += p[j] * grad[j];
    for (int j = 0; j < shape.y; j++)
        grad[j] = p[j] * (grad[j] - sum);
}
