/* What compositional attention does between retrieval and its output projection: which rule each head selects.
 *
 *     score[row][r] = u[row] . a[row][r]                      a: [rows, rules, width], what was retrieved
 *     weight        = softmax over r of the scores            row = (batch * queries + query) * heads + head
 *     out[row]      = sum over r of weight[row][r] a[row][r]
 *
 * The same two sums, of other numbers, are the gradients of weight and u. Work-items own a (row, rule), a row, or
 * CLF_LANES neighbouring channels of a row; nothing is shared between them and each sum has one order. Places are
 * {offset, elements from row to row}.
 */
#include "prelude/lanes.cl"
#include "prelude/math.cl"

/* u[left ...] . a[right ...] */
static float multiply_rule(__global const float *u, long left, __global const clf_storage *a, long right, int width)
{
    clf_real sum = (clf_real)(0.0f);
    for (int v = 0; v < width; v += CLF_LANES)
        sum = clf_fma(clf_load_single(u, left + v, width - v), clf_load_lanes(a, right + v, width - v), sum);
    return clf_sum_lanes(sum);
}

static void soften(__global float *row, int rules)
{
    float top = row[0], sum = 0.0f;
    for (int r = 1; r < rules; r++)
        top = max(top, row[r]);
    for (int r = 0; r < rules; r++) {
        const float power = exp(row[r] - top);
        row[r] = power;
        sum += power;
    }
    for (int r = 0; r < rules; r++)
        row[r] /= sum;
}

/* CLF_LANES channels from `from` on, of all rules. */
static clf_real mix(__global const float *weight, __global const clf_storage *a, long from, int2 shape, int count)
{
    clf_real sum = (clf_real)(0.0f);
    for (int r = 0; r < shape.x; r++)
        sum = clf_fma((clf_real)(weight[r]), clf_load_lanes(a, from + (long)r * shape.y, count), sum);
    return sum;
}

#if CLF_LANES == 16
/* All three of a row at a time, which the first-level cache then holds, ROWS of them a work-item: for CPUs. u is read
 * where CLF_DIRECT, otherwise the scores are in `weight` already. */
enum { ROWS = 16 };
__kernel void clf_compositional_select(__global const float *u, long2 u_at, __global const clf_storage *a, long2 a_at,
                                       __global float *weight, long2 weight_at, __global float *out, long2 out_at,
                                       int2 shape, ulong rows)
{
    const long first = (long)get_global_id(0) * ROWS, end = min(first + ROWS, (long)rows);
    for (long row = first; row < end; row++) {
        __global float *w = weight + weight_at.x + row * weight_at.y;
        const long from = a_at.x + row * a_at.y;
#if CLF_DIRECT
        for (int r = 0; r < shape.x; r++)
            w[r] = multiply_rule(u, u_at.x + row * u_at.y, a, from + (long)r * shape.y, shape.y);
#endif
        soften(w, shape.x);
        for (int v = 0; v < shape.y; v += CLF_LANES)
            clf_store_single(mix(w, a, from + v, shape, shape.y - v), out, out_at.x + row * out_at.y + v, shape.y - v);
    }
}
#endif

/* shape: rules, width. A work-item for each (row, rule). */
__kernel void clf_compositional_score(__global const float *u, long2 u_at, __global const clf_storage *a, long2 a_at,
                                      __global float *score, long2 score_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long row = (long)(item / shape.x), rule = (long)(item % shape.x);
    score[score_at.x + row * score_at.y + rule] =
        multiply_rule(u, u_at.x + row * u_at.y, a, a_at.x + row * a_at.y + rule * shape.y, shape.y);
}

/* score[row][r] = top . relu(hidden[row][r] + shift[row]). shape: rules, width of the hidden layer. */
__kernel void clf_compositional_network(__global const float *hidden, long2 hidden_at, __global const float *shift,
                                        long2 shift_at, __global const float *top, long2 top_at, __global float *score,
                                        long2 score_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long row = (long)(item / shape.x), rule = (long)(item % shape.x);
    const long place = hidden_at.x + row * hidden_at.y + rule * shape.y, common = shift_at.x + row * shift_at.y;
    clf_real sum = (clf_real)(0.0f);
    for (int s = 0; s < shape.y; s += CLF_LANES) {
        const int count = shape.y - s;
        const clf_real value = clf_load_single(hidden, place + s, count) + clf_load_single(shift, common + s, count);
        sum = clf_fma(clf_max((clf_real)(0.0f), value), clf_load_single(top, top_at.x + s, count), sum);
    }
    score[score_at.x + row * score_at.y + rule] = clf_sum_lanes(sum);
}

/* Scores to weights, in place. A work-item for each row. */
__kernel void clf_compositional_softmax(__global float *score, long2 score_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    soften(score + score_at.x + (long)item * score_at.y, shape.x);
}

/* Gradients of weights to gradients of scores, in place. */
__kernel void clf_compositional_softmax_back(__global const float *weight, long2 weight_at, __global float *gradient,
                                             long2 gradient_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    __global const float *w = weight + weight_at.x + (long)item * weight_at.y;
    __global float *g = gradient + gradient_at.x + (long)item * gradient_at.y;
    float mean = 0.0f;
    for (int r = 0; r < shape.x; r++)
        mean = clf_fma(w[r], g[r], mean);
    for (int r = 0; r < shape.x; r++)
        g[r] = w[r] * (g[r] - mean);
}

/* out[row] = sum over r of weight[row][r] a[row][r]. A work-item for each block of channels of a row. */
__kernel void clf_compositional_mix(__global const float *weight, long2 weight_at, __global const clf_storage *a,
                                    long2 a_at, __global float *out, long2 out_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, v = (int)(item % blocks) * CLF_LANES;
    const long row = (long)(item / blocks);
    clf_store_single(mix(weight + weight_at.x + row * weight_at.y, a, a_at.x + row * a_at.y + v, shape, shape.y - v), out,
                     out_at.x + row * out_at.y + v, shape.y - v);
}

/* Gradient of what was retrieved: weight[row][r] g[row] + slope[row][r] u[row], the second where CLF_DIRECT. */
__kernel void clf_compositional_retrieved(__global const float *weight, long2 weight_at, __global const float *g,
                                          long2 g_at, __global const float *slope, long2 slope_at,
                                          __global const float *u, long2 u_at, __global clf_storage *to, long2 to_at,
                                          int2 shape, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, v = (int)(item % blocks) * CLF_LANES;
    item /= blocks;
    const long rule = (long)(item % shape.x), row = (long)(item / shape.x);
    clf_real sum = clf_load_single(g, g_at.x + row * g_at.y + v, shape.y - v) *
                   weight[weight_at.x + row * weight_at.y + rule];
#if CLF_DIRECT
    sum = clf_fma((clf_real)(slope[slope_at.x + row * slope_at.y + rule]),
                  clf_load_single(u, u_at.x + row * u_at.y + v, shape.y - v), sum);
#endif
    clf_store_lanes(sum, to, to_at.x + row * to_at.y + rule * shape.y + v, shape.y - v);
}

/* Back through the network: from the gradients of the scores (slope) to those of hidden and shift, and each row's
 * share of that of top. A work-item for each block of the hidden layer of a row. */
__kernel void clf_compositional_network_back(__global const float *hidden, long2 hidden_at, __global const float *shift,
                                             long2 shift_at, __global const float *top, long2 top_at,
                                             __global const float *slope, long2 slope_at, __global float *to_hidden,
                                             long2 to_hidden_at, __global float *to_shift, long2 to_shift_at,
                                             __global float *to_top, long2 to_top_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int blocks = (shape.y + CLF_LANES - 1) / CLF_LANES, s = (int)(item % blocks) * CLF_LANES;
    const int count = shape.y - s;
    const long row = (long)(item / blocks);
    const clf_real common = clf_load_single(shift, shift_at.x + row * shift_at.y + s, count);
    const clf_real factor = clf_load_single(top, top_at.x + s, count), zero = (clf_real)(0.0f);
    clf_real shift_sum = zero, top_sum = zero;
    for (int r = 0; r < shape.x; r++) {
        const long place = row * hidden_at.y + (long)r * shape.y + s;
        const clf_real value = clf_load_single(hidden, hidden_at.x + place, count) + common;
        const clf_real gradient = (clf_real)(slope[slope_at.x + row * slope_at.y + r]);
        const clf_real through = value > zero ? gradient * factor : zero;
        clf_store_single(through, to_hidden, to_hidden_at.x + place, count);
        shift_sum += through;
        top_sum = clf_fma(gradient, clf_max(zero, value), top_sum);
    }
    clf_store_single(shift_sum, to_shift, to_shift_at.x + row * to_shift_at.y + s, count);
    clf_store_single(top_sum, to_top, to_top_at.x + row * to_top_at.y + s, count);
}

/* Has a row of gradients anything but zeros? Keys that no query sees may hold anything: their rows stay out of
 * products. shape: -, width. A work-item for each row. */
__kernel void clf_compositional_seen(__global const float *gradient, long2 at, __global uchar *seen, long2 seen_at,
                                     int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    int any_other = 0;
    for (int d = 0; d < shape.y; d++)
        any_other |= gradient[at.x + (long)item * at.y + d] != 0.0f;
    seen[seen_at.x + (long)item] = any_other ? 1 : 0;
}
