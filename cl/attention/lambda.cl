/* Lambda layers: what surrounds the matrix products of ops/gemm.
 *
 *     out[n] = q[n] (sum over m of softmax(k)[m] v[m]^T)  +  sum over m of (q[n] . R[m - n]) v[m]
 *
 * The first sum is one matrix for all queries. The second has its numbers P[n][m] = q[n] . R[m - n] made a block of rows
 * at a time, as S = q R^T, whose column is the distance m - n: a row of P lies in the same row of S, one column further to the left
 * in each following row. So P is S seen with rows one element shorter, and no element moves:
 *
 *            distance ->                        the block: `rows` queries, columns of S: positions + rows - 1
 *          . . [P P P P P]                      row r of P begins at column rows - 1 - r
 *          . [P P P P P] .                      the corners are no pairs; in gradients they are 0
 *          [P P P P P] . .
 *
 * Arrays are f32, [items, rows, columns]; items are the (batch, head) pairs of a chunk. Kernels over columns have
 * CLF_LANES channels a work-item and walk down the rows.
 *
 * shape: rows, channels, heads of the chunk, first row
 */
#include "prelude/lanes.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"

static clf_real get(__global const float *p, int count) { return clf_load_single(p, 0, count); }
static void put(clf_real x, __global float *p, int count) { clf_store_single(x, p, 0, count); }

static clf_real exponential(clf_real x) { return clf_exp2(x * CLF_LOG2E); }

/* First element of an item, by the strides of batch and head. */
static long start_of(long item, long4 at, int4 shape)
{
    return at.x + item / shape.z * at.y + item % shape.z * at.z;
}

/* Softmax of keys over positions. */
__kernel void clf_lambda_softmax(__global const clf_storage *k, long4 k_at, __global float *weight, long weight_at,
                                 int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, d = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long item = get_global_id(0) / blocks;
    const int count = shape.y - d;
    clf_real largest = (clf_real)(-INFINITY), sum = (clf_real)(0.0f);
    k += start_of(item, k_at, shape) + d;
    weight += weight_at + item * shape.x * shape.y + d;
    for (int m = 0; m < shape.x; m++)
        largest = clf_max(clf_load_lanes(k, m * k_at.w, count), largest);
    for (int m = 0; m < shape.x; m++) {
        const clf_real x = exponential(clf_load_lanes(k, m * k_at.w, count) - largest);
        put(x, weight + (long)m * shape.y, count);
        sum += x;
    }
    for (int m = 0; m < shape.x; m++)
        put(get(weight + (long)m * shape.y, count) / sum, weight + (long)m * shape.y, count);
}

/* From gradients of those weights to those of keys. */
__kernel void clf_lambda_softmax_back(__global const float *weight, long weight_at, __global const float *gradient,
                                      long gradient_at, __global clf_storage *to, long4 to_at, int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, d = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long item = get_global_id(0) / blocks;
    const int count = shape.y - d;
    clf_real all = (clf_real)(0.0f);
    weight += weight_at + item * shape.x * shape.y + d;
    gradient += gradient_at + item * shape.x * shape.y + d;
    to += start_of(item, to_at, shape) + d;
    for (int m = 0; m < shape.x; m++)
        all = clf_fma(get(weight + (long)m * shape.y, count), get(gradient + (long)m * shape.y, count), all);
    for (int m = 0; m < shape.x; m++)
        clf_store_lanes(get(weight + (long)m * shape.y, count) * (get(gradient + (long)m * shape.y, count) - all), to,
                        m * to_at.w, count);
}

/* The same over the channels of a row, as xFormers has it. A work-item a row. */
__kernel void clf_lambda_channels(__global const clf_storage *k, long4 k_at, __global float *weight, long weight_at,
                                  int4 shape, ulong items)
{
    const ulong place = get_global_id(0);
    if (place >= items)
        return;
    clf_real top = (clf_real)(-INFINITY);
    float sum = 0.0f;
    k += start_of(place / shape.x, k_at, shape) + place % shape.x * k_at.w;
    weight += weight_at + place * shape.y;
    for (int d = 0; d < shape.y; d += CLF_LANES)
        top = clf_max(CLF_LANE < (clf_int)(shape.y - d) ? clf_load_lanes(k, d, shape.y - d) : (clf_real)(-INFINITY), top);
#if CLF_LANES == 16
    const float largest = clf_max16(top);
#else
    const float largest = top;
#endif
    for (int d = 0; d < shape.y; d += CLF_LANES) {
        const int count = shape.y - d;
        clf_real x = exponential(clf_load_lanes(k, d, count) - largest);
        x = CLF_LANE < (clf_int)(count) ? x : (clf_real)(0.0f);
        put(x, weight + d, count);
        sum += clf_sum_lanes(x);
    }
    for (int d = 0; d < shape.y; d++)
        weight[d] /= sum;
}

__kernel void clf_lambda_channels_back(__global const float *weight, long weight_at, __global const float *gradient,
                                       long gradient_at, __global clf_storage *to, long4 to_at, int4 shape, ulong items)
{
    const ulong place = get_global_id(0);
    if (place >= items)
        return;
    float all = 0.0f;
    weight += weight_at + place * shape.y;
    gradient += gradient_at + place * shape.y;
    to += start_of(place / shape.x, to_at, shape) + place % shape.x * to_at.w;
    for (int d = 0; d < shape.y; d++)
        all = clf_fma(weight[d], gradient[d], all);
    for (int d = 0; d < shape.y; d++)
        clf_store(weight[d] * (gradient[d] - all), to, d);
}

/* What dropout makes of channels: 0, or `scale` times. first: number of the chunk's first item, heads of the tensor. */
static clf_real kept(int channel, int row, long item, int4 shape, int2 first, float scale, uint8 random)
{
    const int number = first.x + (int)(item / shape.z) * first.y + (int)(item % shape.z);
    float lane[CLF_LANES];
    for (int n = 0; n < CLF_LANES; n++) {
        const int e = channel + n;
        const uint4 words = clf_dropout_words(e / 4, row, number, random);
        const uint2 pair = e & 2 ? words.hi : words.lo;
        lane[n] = (e & 1 ? pair.y : pair.x) >= random.s4 ? scale : 0.0f;
    }
#if CLF_LANES == 16
    return vload16(0, lane);
#else
    return lane[0];
#endif
}

/* Rows of a tensor from `first row` on as f32, with or without dropout. A work-item: channels of a row. */
__kernel void clf_lambda_copy(__global const clf_storage *x, long4 x_at, __global float *y, long y_at, int4 shape,
                              int2 first, int drops, float scale, uint8 random, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, channel = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long place = get_global_id(0) / blocks, item = place / shape.x;
    const int row = (int)(place % shape.x) + shape.w, count = shape.y - channel;
    clf_real value = clf_load_lanes(x, start_of(item, x_at, shape) + row * x_at.w + channel, count);
    if (drops)
        value *= kept(channel, row, item, shape, first, scale, random);
    put(value, y + y_at + place * shape.y + channel, count);
}

/* And back. */
__kernel void clf_lambda_store(__global const float *x, long x_at, __global clf_storage *y, long4 y_at, int4 shape,
                               int2 first, int drops, float scale, uint8 random, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, channel = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long place = get_global_id(0) / blocks, item = place / shape.x;
    const int row = (int)(place % shape.x), count = shape.y - channel;
    clf_real value = get(x + x_at + place * shape.y + channel, count);
    if (drops)
        value *= kept(channel, row, item, shape, first, scale, random);
    clf_store_lanes(value, y, start_of(item, y_at, shape) + row * y_at.w + channel, count);
}

/* Zeroes the corners of a block: shape.x rows of shape.y columns, of which row r has shape.w from shape.x - 1 - r on.
 * A work-item a row. */
__kernel void clf_lambda_corners(__global float *s, long s_at, int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int row = (int)(get_global_id(0) % shape.x), begin = shape.x - 1 - row;
    s += s_at + (long)get_global_id(0) * shape.y;
    for (int c = 0; c < begin; c++)
        s[c] = 0.0f;
    for (int c = begin + shape.w; c < shape.y; c++)
        s[c] = 0.0f;
}

__kernel void clf_lambda_zero(__global float *x, long x_at, ulong items)
{
    if (get_global_id(0) < items)
        x[x_at + get_global_id(0)] = 0.0f;
}

/* xFormers: r[n] = the sum over m of R at the distance n - m, all of which contain the distance 0: what lies before
 * it (itself included) and what lies behind are summed from there, so that nothing is taken away again. table_at: first
 * row, stride; shape.w: the row of distance 0. A work-item: channels. */
__kernel void clf_lambda_windows(__global const clf_storage *table, long2 table_at, __global float *r, long r_at,
                                 int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int d = (int)get_global_id(0) * CLF_LANES, count = shape.y - d;
    clf_real before = (clf_real)(0.0f), behind = before;
    table += table_at.x + shape.w * table_at.y + d;
    r += r_at + d;
    for (int n = shape.x - 1; n >= 0; n--) {
        before += clf_load_lanes(table, (n - (shape.x - 1)) * table_at.y, count);
        put(before, r + (long)n * shape.y, count);
    }
    for (int n = 1; n < shape.x; n++) {
        behind += clf_load_lanes(table, n * table_at.y, count);
        put(get(r + (long)n * shape.y, count) + behind, r + (long)n * shape.y, count);
    }
}

/* From gradients of r to those of the table, f32, whose other rows are 0 already. */
__kernel void clf_lambda_windows_back(__global const float *r, long r_at, __global float *table, long table_at,
                                      int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int d = (int)get_global_id(0) * CLF_LANES, count = shape.y - d;
    clf_real before = (clf_real)(0.0f), behind = before;
    table += table_at + (long)shape.w * shape.y + d;
    r += r_at + d;
    for (int n = 0; n < shape.x; n++) {
        before += get(r + (long)n * shape.y, count);
        put(before, table + (long)(n - (shape.x - 1)) * shape.y, count);
    }
    for (int n = shape.x - 1; n > 0; n--) {
        behind += get(r + (long)n * shape.y, count);
        put(behind, table + (long)n * shape.y, count);
    }
}

/* The product of two rows of storage (y) or f32 (x). */
static float dot_rows(__global const float *x, __global const clf_storage *y, int width)
{
    clf_real sum = (clf_real)(0.0f);
    for (int d = 0; d < width; d += CLF_LANES)
        sum = clf_fma(get(x + d, width - d), clf_load_lanes(y, d, width - d), sum);
    return clf_sum_lanes(sum);
}

/* to[n] += factor[n] v[n]. */
static void add_row(float factor, __global const clf_storage *v, __global float *to, int width)
{
    for (int e = 0; e < width; e += CLF_LANES)
        put(clf_fma((clf_real)(factor), clf_load_lanes(v, e, width - e), get(to + e, width - e)), to + e, width - e);
}

/* out[n] += (q[n] . r[n]) v[n]. shape.w: width of v. A work-item a row. */
__kernel void clf_lambda_own(__global const clf_storage *q, long4 q_at, __global const clf_storage *v, long4 v_at,
                             __global const float *r, long r_at, __global float *out, long out_at, int4 shape,
                             ulong items)
{
    const ulong place = get_global_id(0);
    if (place >= items)
        return;
    const long item = place / shape.x, n = place % shape.x;
    q += start_of(item, q_at, shape) + n * q_at.w;
    v += start_of(item, v_at, shape) + n * v_at.w;
    add_row(dot_rows(r + r_at + n * shape.y, q, shape.y), v, out + out_at + place * shape.w, shape.w);
}

/* dq[n] += (g[n] . v[n]) r[n], dv[n] += (q[n] . r[n]) g[n]; gain[n] = g[n] . v[n]. */
__kernel void clf_lambda_own_back(__global const clf_storage *q, long4 q_at, __global const clf_storage *v, long4 v_at,
                                  __global const float *g, long g_at, __global const float *r, long r_at,
                                  __global float *dq, long dq_at, __global float *dv, long dv_at,
                                  __global float *gain, long gain_at, int4 shape, ulong items)
{
    const ulong place = get_global_id(0);
    if (place >= items)
        return;
    const long item = place / shape.x, n = place % shape.x;
    q += start_of(item, q_at, shape) + n * q_at.w;
    v += start_of(item, v_at, shape) + n * v_at.w;
    r += r_at + n * shape.y;
    g += g_at + place * shape.w;
    dq += dq_at + place * shape.y;
    dv += dv_at + place * shape.w;
    const float score = dot_rows(r, q, shape.y), up = dot_rows(g, v, shape.w);
    for (int d = 0; d < shape.y; d += CLF_LANES)
        put(clf_fma((clf_real)(up), get(r + d, shape.y - d), get(dq + d, shape.y - d)), dq + d, shape.y - d);
    for (int e = 0; e < shape.w; e += CLF_LANES)
        put(clf_fma((clf_real)(score), get(g + e, shape.w - e), get(dv + e, shape.w - e)), dv + e, shape.w - e);
    gain[gain_at + place] = up;
}

/* dr[n] += the sum over the chunk's `count` items of gain[n] q[n]. A work-item: channels of a row. */
__kernel void clf_lambda_gather(__global const clf_storage *q, long4 q_at, __global const float *gain, long gain_at,
                                __global float *dr, long dr_at, int count, int4 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, d = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long n = get_global_id(0) / blocks;
    const int left = shape.y - d;
    dr += dr_at + n * shape.y + d;
    clf_real sum = get(dr, left);
    for (int item = 0; item < count; item++)
        sum = clf_fma((clf_real)(gain[gain_at + item * (long)shape.x + n]),
                      clf_load_lanes(q, start_of(item, q_at, shape) + n * q_at.w + d, left), sum);
    put(sum, dr, left);
}
