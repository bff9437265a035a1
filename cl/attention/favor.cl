/* Attention through random features (FAVOR+), all keys at once: what surrounds the matrix products of ops/gemm.
 *
 * With u = x W d^(-1/4), W drawn, the feature j of a key is exp(+-u_j - |x|^2 / 2 sqrt(d)), that of a query exp(+-u_j):
 * what all features of a row share cancels in the quotient. Features are kept as exponents ("logits") until they are
 * known to be small enough:
 *
 *       keys         top[j] = the largest logit of feature j over all keys,    phi_k = exp(logit - top[j])  <= 1
 *       queries      largest logit + top[j] of the row is taken away,          phi_q = exp(...)             <= 1
 *
 * so some phi_q phi_k of every row is 1 or near, and no denominator vanishes whatever the sizes of q and k. The
 * result does not depend on what was taken away, hence no gradient flows there.
 *
 *       keys        u = K W         phi_k, sum[j] = sum of phi_k       state = phi_k^T V         (features x width)
 *       queries     u = Q W         phi_q / (phi_q . sum)              out   = phi_q state
 *
 * Arrays of features have rows of `drawn` columns padded to a multiple of 16, twice that where both signs are used
 * (first all +, then all -); padding is 0 in phi and never read in u. An array is f32, [items, rows, columns]; items are
 * the (batch, head) pairs of a chunk. Kernels over columns have CLF_LANES features a work-item and walk down the rows;
 * kernels over rows have a work-item (vectors) or a group of 64 (scalars) a row. A hidden key has the norm INFINITY.
 *
 * shape: rows, drawn features, the same padded, signs (1 or 2), heads of the chunk, channels, place of query 0, unused
 */
#include "attention/favor_logits.cl"
#include "prelude/philox.cl"

static float half_square(__global const clf_storage *k, long row, int width)
{
    clf_real sum = (clf_real)(0.0f);
    for (int d = 0; d < width; d += CLF_LANES) {
        const clf_real x = clf_load_lanes(k, row + d, width - d);
        sum = clf_fma(x, x, sum);
    }
    return 0.5f * clf_sum_lanes(sum);
}

/* Half the square of each key's length, times `factor`, less that of the first key that is not hidden: the difference
 * has more digits, and nobody sees a key without seeing the first. A work-item a row. padding_at: offset, batch, key. */
__kernel void clf_favor_norms(__global const clf_storage *k, long4 k_at, __global const uchar *padding, long4 padding_at,
                              int padded, __global float *norm, long norm_at, int8 shape, float factor, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int s = (int)(item % shape.s0), b = (int)(item / shape.s0) / shape.s4, h = (int)(item / shape.s0) % shape.s4;
    int first = 0;
    k += k_at.x + b * k_at.y + h * k_at.z;
    padding += padding_at.x + b * padding_at.y;
    if (padded && padding[s * padding_at.z] == 0) {
        norm[norm_at + item] = INFINITY;
        return;
    }
    while (padded && padding[first * padding_at.z] == 0)
        first++;
    norm[norm_at + item] = factor * (half_square(k, s * k_at.w, shape.s5) - half_square(k, first * k_at.w, shape.s5));
}

/* A work-item: KEYS_WIDE blocks of CLF_LANES columns of u in both signs, of an item, all keys. With one
 * vector of a row at a time, on a CPU, where rows lie far apart, the whole forward pass took 1.2 times as long. */
#define KEYS_WIDE (CLF_LANES == 1 ? 1 : 2)
#define KEYS_FEATURES (2 * KEYS_WIDE)

__kernel void clf_favor_keys(__global const float *u, long u_at, __global const float *norm, long norm_at,
                             __global float *phi, long phi_at, __global float *top, long top_at, __global float *sum,
                             long sum_at, int8 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, wide = KEYS_WIDE * CLF_LANES, blocks = (shape.s2 + wide - 1) / wide;
    const int j = (int)(get_global_id(0) % blocks) * wide, both = shape.s3 > 1;
    const int count = min(KEYS_WIDE, (shape.s2 - j) / CLF_LANES);
    const long item = get_global_id(0) / blocks;
    clf_real largest[KEYS_FEATURES], total[KEYS_FEATURES];
    u += u_at + item * shape.s0 * shape.s2;
    norm += norm_at + item * shape.s0;
    phi += phi_at + item * shape.s0 * features + j;
    for (int n = 0; n < KEYS_FEATURES; n++) {
        largest[n] = (clf_real)(-INFINITY);
        total[n] = (clf_real)(0.0f);
    }
    for (int s = 0; s < shape.s0; s++)
#pragma unroll
        for (int n = 0; n < KEYS_FEATURES; n++)
            if (n / 2 < count && (both || n % 2 == 0))
                largest[n] = clf_max(key_logits(u + (long)s * shape.s2, j + n / 2 * CLF_LANES + n % 2 * shape.s2, norm[s],
                                                shape), largest[n]);
    for (int n = 0; n < KEYS_FEATURES; n++)
        largest[n] = largest[n] == (clf_real)(-INFINITY) ? (clf_real)(0.0f) : largest[n];
    for (int s = 0; s < shape.s0; s++)
#pragma unroll
        for (int n = 0; n < KEYS_FEATURES; n++)
            if (n / 2 < count && (both || n % 2 == 0)) {
                const int column = n / 2 * CLF_LANES + n % 2 * shape.s2;
                const clf_real x = exponential(key_logits(u + (long)s * shape.s2, j + column, norm[s], shape) - largest[n]);
                put(x, phi + (long)s * features + column);
                total[n] += x;
            }
    top += top_at + item * features + j;
    sum += sum_at + item * features + j;
    for (int n = 0; n < KEYS_FEATURES; n++)
        if (n / 2 < count && (both || n % 2 == 0)) {
            put(largest[n], top + n / 2 * CLF_LANES + n % 2 * shape.s2);
            put(total[n], sum + n / 2 * CLF_LANES + n % 2 * shape.s2);
        }
}

/* Rows of queries: phi times `scale` over the denominator, 0 where no key is there. */
__kernel void clf_favor_queries(__global const float *u, long u_at, __global const float *top, long top_at,
                                __global const float *sum, long sum_at, __global float *phi, long phi_at, int8 shape,
                                float scale, ulong items)
{
    __local float scratch[ROW_ITEMS];
    const long row = get_global_id(0) / ROW_ITEMS, item = row / shape.s0;
    const int features = shape.s2 * shape.s3, first = (int)(get_global_id(0) % ROW_ITEMS) * CLF_LANES;
    clf_real largest = (clf_real)(-INFINITY), total = (clf_real)(0.0f);
    u += u_at + row * shape.s2;
    phi += phi_at + row * features;
    top += top_at + item * features;
    sum += sum_at + item * features;
    for (int j = first; j < features; j += ROW_STEP)
        largest = clf_max(logits(u, j, shape) + get(top + j), largest);
    const float base = row_max(largest, scratch);
    for (int j = first; j < features; j += ROW_STEP) {
        const clf_real x = pair_factor(logits(u, j, shape), get(top + j), base);
        put(x, phi + j);
        total = clf_fma(x, get(sum + j), total);
    }
    const float denominator = row_sum(total, scratch), factor = denominator == 0.0f ? 0.0f : scale / denominator;
    for (int j = first; j < features; j += ROW_STEP)
        put(get(phi + j) * factor, phi + j);
}

/* From gradients of phi to those of u, down the rows: d = phi (gradient + rho column), u = d+ - d-, sigma = the sum
 * of all d. Without rho, 1 stands for it; without phi, `gradient` holds d. */
__kernel void clf_favor_fold(__global const float *gradient, long gradient_at, __global const float *phi, long phi_at,
                             int has_phi, __global const float *rho, long rho_at, int has_rho,
                             __global const float *column, long column_at, __global float *u, long u_at,
                             __global float *sigma, long sigma_at, int8 shape, ulong items)
{
    __local float scratch[ROW_ITEMS];
    const long row = get_global_id(0) / ROW_ITEMS, item = row / shape.s0;
    const int features = shape.s2 * shape.s3, first = (int)(get_global_id(0) % ROW_ITEMS) * CLF_LANES;
    const float share = has_rho ? rho[rho_at + row] : 1.0f;
    clf_real total = (clf_real)(0.0f);
    gradient += gradient_at + row * features;
    phi += phi_at + row * features;
    column += column_at + item * features;
    u += u_at + row * shape.s2;
    for (int j = first; j < shape.s2; j += ROW_STEP) {
        clf_real d[2] = { (clf_real)(0.0f), (clf_real)(0.0f) };
        for (int sign = 0; sign < shape.s3; sign++) {
            const int at = j + sign * shape.s2;
            d[sign] = get(gradient + at);
            if (has_phi)
                d[sign] = get(phi + at) * clf_fma((clf_real)(share), get(column + at), d[sign]);
            d[sign] = CLF_LANE < (clf_int)(shape.s1 - j) ? d[sign] : (clf_real)(0.0f);
        }
        put(d[0] - d[1], u + j);
        total += d[0] + d[1];
    }
    const float all = row_sum(total, scratch);
    if (first == 0)
        sigma[sigma_at + row] = all;
}

/* column[j] = sum over the rows of phi rho. A work-item: CLF_LANES features of an item. */
__kernel void clf_favor_columns(__global const float *phi, long phi_at, __global const float *rho, long rho_at,
                                __global float *column, long column_at, int8 shape, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / CLF_LANES;
    const int j = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long item = get_global_id(0) / blocks;
    clf_real total = (clf_real)(0.0f);
    phi += phi_at + item * shape.s0 * features + j;
    rho += rho_at + item * shape.s0;
    for (int t = 0; t < shape.s0; t++)
        total = clf_fma((clf_real)(rho[t]), get(phi + (long)t * features), total);
    put(total, column + column_at + item * features + j);
}

/* rho = -factor times the product of a query's upstream gradient and result; 0 in places without a query. A work-item
 * a row. */
__kernel void clf_favor_rho(__global const clf_storage *g, long4 g_at, __global const clf_storage *y, long4 y_at,
                            __global float *rho, long rho_at, int8 shape, float factor, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int t = (int)(item % shape.s0) - shape.s6, b = (int)(item / shape.s0) / shape.s4;
    const int h = (int)(item / shape.s0) % shape.s4;
    clf_real sum = (clf_real)(0.0f);
    g += g_at.x + b * g_at.y + h * g_at.z + t * g_at.w;
    y += y_at.x + b * y_at.y + h * y_at.z + t * y_at.w;
    for (int e = 0; t >= 0 && e < shape.s5; e += CLF_LANES)
        sum = clf_fma(clf_load_lanes(g, e, shape.s5 - e), clf_load_lanes(y, e, shape.s5 - e), sum);
    rho[rho_at + item] = -factor * clf_sum_lanes(sum);
}

/* 1 where dropout keeps a channel, else 0. */
static clf_real kept(int channel, int row, int item, uint8 random)
{
#if CLF_LANES == 16
    float lane[16];
    for (int quad = 0; quad < 4; quad++) {
        const uint4 words = clf_dropout_words(channel / 4 + quad, row, item, random);
        lane[4 * quad] = words.x >= random.s4 ? 1.0f : 0.0f;
        lane[4 * quad + 1] = words.y >= random.s4 ? 1.0f : 0.0f;
        lane[4 * quad + 2] = words.z >= random.s4 ? 1.0f : 0.0f;
        lane[4 * quad + 3] = words.w >= random.s4 ? 1.0f : 0.0f;
    }
    return vload16(0, lane);
#else
    return clf_keep(channel, row, item, random) ? 1.0f : 0.0f;
#endif
}

/* Rows as f32, `padded` channels, those beyond the width 0, times `scale`. Rows are 0 in places without a row and where the norm hides them; with
 * `drops`, channels are 0 that dropout takes. first: number of the chunk's first item, heads of the tensor. A work-item: CLF_LANES channels. */
__kernel void clf_favor_copy(__global const clf_storage *x, long4 x_at, __global const float *norm, long norm_at,
                             int has_norm, __global float *y, long y_at, int padded, int8 shape, int2 first, int drops,
                             float scale, uint8 random, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = padded / CLF_LANES, channel = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long place = get_global_id(0) / blocks;
    const int row = (int)(place % shape.s0) - shape.s6, item = (int)(place / shape.s0);
    const int b = item / shape.s4, h = item % shape.s4;
    clf_real value = (clf_real)(0.0f);
    if (row >= 0 && channel < shape.s5 && !(has_norm && norm[norm_at + place] == INFINITY)) {
        value = scale * clf_load_lanes(x, x_at.x + b * x_at.y + h * x_at.z + row * x_at.w + channel, shape.s5 - channel);
        if (drops)
            value = scale == 0.0f ? (clf_real)(0.0f)
                                  : kept(channel, row, first.x + b * first.y + h, random) != (clf_real)(0.0f)
                                        ? value : (clf_real)(0.0f);
    }
    put(value, y + y_at + place * padded + channel);
}

/* Sets to 0, where they are, what dropout takes; all of it without `drops`. A work-item: CLF_LANES channels. */
__kernel void clf_favor_drop(__global clf_storage *y, long4 y_at, int8 shape, int2 first, int drops, uint8 random,
                             ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.s5 + CLF_LANES - 1) / CLF_LANES, channel = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const int row = (int)(get_global_id(0) / blocks % shape.s0), item = (int)(get_global_id(0) / blocks / shape.s0);
    const int b = item / shape.s4, h = item % shape.s4, count = shape.s5 - channel;
    const long at = y_at.x + b * y_at.y + h * y_at.z + row * y_at.w + channel;
    clf_real value = (clf_real)(0.0f);
    if (drops)
        value = kept(channel, row, first.x + b * first.y + h, random) != (clf_real)(0.0f)
                    ? clf_load_lanes(y, at, count) : value;
    clf_store_lanes(value, y, at, count);
}

/* Gradients of keys: what came through the product with W, less the norm's share; hidden ones have none. A
 * work-item: CLF_LANES channels of a key. */
__kernel void clf_favor_finish(__global const float *through, long through_at, __global const float *sigma,
                               long sigma_at, __global const float *norm, long norm_at, __global const clf_storage *k,
                               long4 k_at, __global clf_storage *to, long4 to_at, int8 shape, float factor, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int blocks = (shape.s5 + CLF_LANES - 1) / CLF_LANES, d = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const long row = get_global_id(0) / blocks;
    const int s = (int)(row % shape.s0), item = (int)(row / shape.s0), b = item / shape.s4, h = item % shape.s4;
    const int count = shape.s5 - d;
    const float share = factor * sigma[sigma_at + row];
    clf_real value = (clf_real)(0.0f);
    if (norm[norm_at + row] != INFINITY) {
        float lane[CLF_LANES];
        through += through_at + row * shape.s5 + d;
        for (int n = 0; n < CLF_LANES; n++)
            lane[n] = n < count ? through[n] : 0.0f;
#if CLF_LANES == 16
        value = vload16(0, lane);
#else
        value = lane[0];
#endif
        value -= share * clf_load_lanes(k, k_at.x + b * k_at.y + h * k_at.z + s * k_at.w + d, count);
    }
    clf_store_lanes(value, to, to_at.x + b * to_at.y + h * to_at.z + s * to_at.w + d, count);
}

/* What xFormers computes when causal: the mean of a row's channels up to each; backward of it with `transpose`. A
 * work-item a row; dropout as for the other results. */
__kernel void clf_favor_mean(__global const clf_storage *x, long4 x_at, __global clf_storage *y, long4 y_at, int8 shape,
                             int2 first, int transpose, int drops, float scale, uint8 random, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int row = (int)(item % shape.s0), b = (int)(item / shape.s0) / shape.s4;
    const int h = (int)(item / shape.s0) % shape.s4;
    float sum = 0.0f;
    x += x_at.x + b * x_at.y + h * x_at.z + row * x_at.w;
    y += y_at.x + b * y_at.y + h * y_at.z + row * y_at.w;
    for (int n = 0; n < shape.s5; n++) {
        const int e = transpose ? shape.s5 - 1 - n : n;
        float share = 1.0f / (float)(e + 1);
        if (drops) {
            const uint4 words = clf_dropout_words(e / 4, row, first.x + b * first.y + h, random);
            const uint2 pair = e & 2 ? words.hi : words.lo;
            share *= (e & 1 ? pair.y : pair.x) >= random.s4 ? scale : 0.0f;
        }
        sum += transpose ? clf_load(x, e) * share : clf_load(x, e);
        clf_store(transpose ? sum : sum * share, y, e);
    }
}
