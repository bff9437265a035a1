/* What visual attention does between its products: convolutions of single channels, GELU and the gate.
 *
 *                  c c c c            Images lie with their channels innermost: [images, side, side, channels] f32. A
 *      x . . x . . x . . x            work-item has CLF_LANES neighbouring channels of CLF_CELLS cells c in a row, so
 *      . . . . . . . . . .            that each weight is loaded once for all of them, and walks over the CLF_SIZE^2
 *      x . . x . . x . . x            taps x of the window, CLF_DILATION cells apart. Weights come as [taps, channels]
 *      . . . . . . . . . .            (clf_visual_turn). What is outside the image counts as 0 and is not read.
 *      x . . x . . x . . x
 *
 * Backward to the image is the same with the taps in reverse order (CLF_FLIP). For the gradient of the weights a
 * work-item has one row of taps, sums over a stretch of image rows, and clf_visual_turn_back adds the stretches up.
 */
#include "prelude/lanes.cl"
#include "prelude/math.cl"

#ifndef CLF_SIZE
#define CLF_SIZE 5
#endif
#ifndef CLF_DILATION
#define CLF_DILATION 1
#endif
#define CLF_CELLS 4
#define REACH (CLF_SIZE / 2 * CLF_DILATION)

/* Weights [channels, taps] of any storage type to [taps, channels] f32. */
__kernel void clf_visual_turn(__global const clf_storage *weight, long weight_at, __global float *turned,
                              long turned_at, int2 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long channel = (long)(item % shape.x), tap = (long)(item / shape.x);
    turned[turned_at + tap * shape.x + channel] = clf_load(weight, weight_at + channel * shape.y + tap);
}

/* Stretches [stretches, taps, channels] f32 to their sum [channels, taps]. shape: channels, taps, stretches. */
__kernel void clf_visual_turn_back(__global const float *part, long part_at, __global clf_storage *gradient,
                                   long gradient_at, int4 shape, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long channel = (long)(item % shape.x), tap = (long)(item / shape.x);
    float sum = 0.0f;
    for (int s = 0; s < shape.z; s++)
        sum += part[part_at + ((long)s * shape.y + tap) * shape.x + channel];
    clf_store(sum, gradient, gradient_at + channel * shape.y + tap);
}

/* shape: channels, side, has a bias. Work-items: (image, row, cells, channels), the last fastest. */
__kernel void clf_visual_convolve(__global const float *x, long x_at, __global const float *weight, long weight_at,
                                  __global const float *bias, long bias_at, __global float *y, long y_at, int4 shape,
                                  ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int side = shape.y, blocks = (shape.x + CLF_LANES - 1) / CLF_LANES,
              parts = (side + CLF_CELLS - 1) / CLF_CELLS;
    const int channel = (int)(item % blocks) * CLF_LANES, count = shape.x - channel;
    item /= blocks;
    const int first = (int)(item % parts) * CLF_CELLS;
    item /= parts;
    const int row = (int)(item % side);
    const long image = (long)(item / side) * side * side;
    clf_real start = (clf_real)(0.0f), sum[CLF_CELLS];
    if (shape.z)
        start = clf_load_single(bias, bias_at + channel, count);
    for (int n = 0; n < CLF_CELLS; n++)
        sum[n] = start;
    for (int i = 0; i < CLF_SIZE; i++) {
        const int r = row - REACH + i * CLF_DILATION;
        if (r < 0 || r >= side)
            continue;
        const long line = x_at + (image + (long)r * side) * shape.x + channel;
        for (int j = 0; j < CLF_SIZE; j++) {
#if CLF_FLIP
            const int tap = CLF_SIZE * CLF_SIZE - 1 - (i * CLF_SIZE + j);
#else
            const int tap = i * CLF_SIZE + j;
#endif
            const clf_real w = clf_load_single(weight, weight_at + (long)tap * shape.x + channel, count);
#pragma unroll
            for (int n = 0; n < CLF_CELLS; n++) {
                const int column = first + n - REACH + j * CLF_DILATION;
                if (column >= 0 && column < side)
                    sum[n] = clf_fma(w, clf_load_single(x, line + (long)column * shape.x, count), sum[n]);
            }
        }
    }
    for (int n = 0; n < CLF_CELLS; n++)
        if (first + n < side)
            clf_store_single(sum[n], y, y_at + (image + (long)row * side + first + n) * shape.x + channel, count);
}

/* part[stretch][tap][channel] = sum over the stretch's cells of g[cell] x[cell + tap]. shape: channels, side, rows of a
 * stretch, rows of all images. Work-items: (stretch, row of taps, channels). */
__kernel void clf_visual_weigh(__global const float *x, long x_at, __global const float *g, long g_at,
                               __global float *part, long part_at, int4 shape, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int side = shape.y, blocks = (shape.x + CLF_LANES - 1) / CLF_LANES;
    const int channel = (int)(item % blocks) * CLF_LANES, count = shape.x - channel;
    item /= blocks;
    const int i = (int)(item % CLF_SIZE), stretch = (int)(item / CLF_SIZE);
    const int last = min((stretch + 1) * shape.z, shape.w);
    clf_real sum[CLF_SIZE];
    for (int j = 0; j < CLF_SIZE; j++)
        sum[j] = (clf_real)(0.0f);
    for (int line = stretch * shape.z; line < last; line++) { /* a row of some image */
        const int r = line % side - REACH + i * CLF_DILATION;
        if (r < 0 || r >= side)
            continue;
        const long from = x_at + ((long)(line / side) * side + r) * side * shape.x + channel;
        const long at = g_at + (long)line * side * shape.x + channel;
        for (int c = 0; c < side; c++) {
            const clf_real gradient = clf_load_single(g, at + (long)c * shape.x, count);
#pragma unroll
            for (int j = 0; j < CLF_SIZE; j++) {
                const int column = c - REACH + j * CLF_DILATION;
                if (column >= 0 && column < side)
                    sum[j] = clf_fma(gradient, clf_load_single(x, from + (long)column * shape.x, count), sum[j]);
            }
        }
    }
    for (int j = 0; j < CLF_SIZE; j++)
        clf_store_single(sum[j], part,
                     part_at + ((long)stretch * CLF_SIZE * CLF_SIZE + i * CLF_SIZE + j) * shape.x + channel, count);
}

/* ---- one number at a time ------------------------------------------------------------------------------ */

/* A work-item has so many neighbouring numbers of `count`: one, or as many vectors as make a group of one work-item worth
 * its start. */
#define STRETCH (CLF_LANES == 1 ? 1 : 32 * CLF_LANES)

static long stretch_end(long count) { return min(((long)get_global_id(0) + 1) * STRETCH, count); }

/* The normal distribution up to x, by what its tail is relative to e^(-x^2 / 2): a polynomial in 1 / (1 + 0.35 |x| / sqrt 2),
 * minimax, relative error 1e-8 before rounding. */
static clf_real normal_sum(clf_real x, clf_real *bell)
{
    const clf_real far = fabs(x), u = 1.0f / clf_fma(far, (clf_real)(0.247487373f), (clf_real)(1.0f));
    clf_real p = (clf_real)(0.0418460816f);
    p = clf_fma(p, u, (clf_real)(-0.177909091f));
    p = clf_fma(p, u, (clf_real)(0.226788163f));
    p = clf_fma(p, u, (clf_real)(-0.0891586766f));
    p = clf_fma(p, u, (clf_real)(0.139037132f));
    p = clf_fma(p, u, (clf_real)(0.117593832f));
    p = clf_fma(p, u, (clf_real)(0.161216721f));
    p = clf_fma(p, u, (clf_real)(0.185708016f));
    p = clf_fma(p, u, (clf_real)(0.197408199f));
    p = clf_fma(p, u, (clf_real)(0.197469577f));
    *bell = clf_exp2(x * x * (-0.5f * CLF_LOG2E));
    const clf_real tail = 0.5f * p * u * *bell;
    return x < (clf_real)(0.0f) ? tail : 1.0f - tail;
}

/* y = gelu(x), the exact one */
__kernel void clf_visual_gelu(__global const float *x, long x_at, __global float *y, long y_at, long count,
                              ulong items)
{
    clf_real bell;
    const long end = stretch_end(count);
    for (long at = (long)get_global_id(0) * STRETCH; at < end; at += CLF_LANES) {
        const int left = (int)(end - at);
        const clf_real value = clf_load_single(x, x_at + at, left);
        clf_store_single(value * normal_sum(value, &bell), y, y_at + at, left);
    }
}

__kernel void clf_visual_gate(__global const float *u, long u_at, __global const float *g, long g_at, __global float *y,
                              long y_at, long count, ulong items)
{
    const long end = stretch_end(count);
    for (long at = (long)get_global_id(0) * STRETCH; at < end; at += CLF_LANES) {
        const int left = (int)(end - at);
        clf_store_single(clf_load_single(u, u_at + at, left) * clf_load_single(g, g_at + at, left), y, y_at + at, left);
    }
}

/* Gradients of both sides of the gate; that of u into the place of that of the product. */
__kernel void clf_visual_gate_back(__global const float *u, long u_at, __global const float *g, long g_at,
                                   __global float *gradient, long gradient_at, __global float *to_g, long to_g_at,
                                   long count, ulong items)
{
    const long end = stretch_end(count);
    for (long at = (long)get_global_id(0) * STRETCH; at < end; at += CLF_LANES) {
        const int left = (int)(end - at);
        const clf_real upstream = clf_load_single(gradient, gradient_at + at, left);
        clf_store_single(upstream * clf_load_single(u, u_at + at, left), to_g, to_g_at + at, left);
        clf_store_single(upstream * clf_load_single(g, g_at + at, left), gradient, gradient_at + at, left);
    }
}

/* a = (a + b) gelu'(x) */
__kernel void clf_visual_gelu_back(__global const float *x, long x_at, __global const float *b, long b_at,
                                   __global float *a, long a_at, long count, ulong items)
{
    clf_real bell;
    const long end = stretch_end(count);
    for (long at = (long)get_global_id(0) * STRETCH; at < end; at += CLF_LANES) {
        const int left = (int)(end - at);
        const clf_real value = clf_load_single(x, x_at + at, left), sum = normal_sum(value, &bell);
        const clf_real slope = clf_fma(value * 0.39894228f, bell, sum);
        clf_store_single((clf_load_single(a, a_at + at, left) + clf_load_single(b, b_at + at, left)) * slope, a, a_at + at,
                         left);
    }
}
