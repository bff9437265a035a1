/* Attention through random features in causal order: sums over the keys that came before, by chunks of 8 places.
 *
 *       keys ->                 Places are those of the keys; query t stands at place t + keys - queries. A row of a
 *      +---+                    chunk takes what is left of its chunk from a running state (features x width), and from
 *      |\  |                    the keys of its own chunk up to itself pair by pair, exponent by exponent, so that
 *      +---+---+                nothing behind it can change a bit of the result or overflow:
 *      | S |\  |
 *      +---+---+---+              logit of a pair in feature j = row[j] + column[j],  row = +-u - top,
 *      |   S   |\  |                                                                 column = +-u - |k|^2 / 2 sqrt(d)
 *      +-------+---+
 *
 * where top is the row's largest sum of the two. The state of feature j is kept relative to x[j], the largest
 * column logit so far; exp(row + x) and exp(column - x) are at most 1. The gradients of keys and values are the
 * same sum in the other direction with the parts of rows and columns exchanged: `reverse`. What rounding
 * takes from the sum of two exponents goes into a factor.
 *
 *    prefix     (columns)  x[j] and the sum of exp(column - x) before each chunk
 *    weights    (rows)     top and 1 / denominator (`share`), and the weights of the pairs inside a chunk
 *    factors    (columns)  exp(row + x), exp(column - x), and how much the state shrinks with x, a chunk each
 *    scan       (channels) results from factors and state                        (forward; gradients of values)
 *    pairs      (rows)     gradients of the weights inside a chunk
 *    gradient   (columns)  gradients of the row logits, state and all exponents at hand  (queries; keys)
 *
 * Where items times columns are few for the device, all of these but the rows' walk down segments of the places, each on
 * its own, in up to three steps: what a segment alone adds (`ends`: x[j] and the sum; scan and gradient with `alone`: the
 * state), sums of that over the segments before, in their order (`join`, for the state), then the results of each
 * segment from where it begins. x[j] is a maximum, so it does not depend on segments. A state more for a segment, of at
 * least 32 places, keeps memory linear. segments: how many, and chunks of each; they count in the direction of the walk.
 *
 * Arrays have rows up to a whole chunk. There is no array of places x features x width: the state is one for each segment.
 */
#include "attention/favor_logits.cl"

#define CHUNK 8
#define NOTHING (-1e30f) /* below any logit, yet finite: differences stay numbers */

/* The logits of queries; hidden where `top` says that no query is there. */
static clf_real query_logits(__global const float *u, int j, float top, int8 shape)
{
    return top == INFINITY ? (clf_real)(-INFINITY) : logits(u, j, shape);
}

static int chunks_of(int8 shape) { return (shape.s0 + CHUNK - 1) / CHUNK; }

/* A segment's chunks, as places on the walk. */
static int2 walk_of(int segment, int2 segments, int8 shape)
{
    return (int2)(segment * segments.y, min(chunks_of(shape), (segment + 1) * segments.y));
}

/* x[j] where a segment begins, and the sum there; `tops` and `sums` are those of segments alone. */
static clf_real begin(__global const float *tops, __global const float *sums, int segment, int features, clf_real *sum)
{
    clf_real x = (clf_real)(NOTHING);
    *sum = (clf_real)(0.0f);
    for (int g = 0; g < segment; g++)
        x = clf_max(get(tops + g * features), x);
    for (int g = 0; g < segment; g++)
        *sum = clf_fma(get(sums + g * features), exponential(get(tops + g * features) - x), *sum);
    return x;
}

__kernel void clf_favor_prefix(__global const float *u, long u_at, __global const float *norm, long norm_at,
                               __global const float *tops, long tops_at, __global const float *sums, long sums_at,
                               __global float *prefix, long prefix_at, __global float *before, long before_at,
                               int8 shape, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / CLF_LANES, chunks = chunks_of(shape);
    const int j = (int)(get_global_id(0) % blocks) * CLF_LANES, segment = (int)(get_global_id(0) / blocks % segments.x);
    const long item = get_global_id(0) / blocks / segments.x, ends = item * segments.x * features + j;
    const int2 walk = walk_of(segment, segments, shape);
    clf_real sum, x = begin(tops + tops_at + ends, sums + sums_at + ends, segment, features, &sum);
    u += u_at + item * shape.s0 * shape.s2;
    norm += norm_at + item * shape.s0;
    prefix += prefix_at + item * chunks * features + j;
    before += before_at + item * chunks * features + j;
    for (int c = walk.x; c < walk.y; c++) {
        const int end = min(shape.s0, (c + 1) * CHUNK);
        put(x, prefix + (long)c * features);
        put(sum, before + (long)c * features);
        clf_real largest = x;
        for (int p = c * CHUNK; p < end; p++)
            largest = clf_max(key_logits(u + (long)p * shape.s2, j, norm[p], shape), largest);
        sum *= exponential(x - largest);
        for (int p = c * CHUNK; p < end; p++)
            sum += exponential(key_logits(u + (long)p * shape.s2, j, norm[p], shape) - largest);
        x = largest;
    }
}

/* Rows of places. weights: CHUNK numbers a place, those of the keys behind it and of places without a query 0. */
__kernel void clf_favor_weights(__global const float *uq, long uq_at, __global const float *uk, long uk_at,
                                __global const float *norm, long norm_at, __global const float *prefix, long prefix_at,
                                __global const float *before, long before_at, __global float *top, long top_at,
                                __global float *share, long share_at, __global float *weights, long weights_at,
                                int8 shape, ulong items)
{
    __local float scratch[ROW_ITEMS];
    const long place = get_global_id(0) / ROW_ITEMS, item = place / shape.s0;
    const int p = (int)(place % shape.s0), base = p / CHUNK * CHUNK, features = shape.s2 * shape.s3;
    const int first = (int)(get_global_id(0) % ROW_ITEMS) * CLF_LANES;
    const int visible = p >= shape.s6 ? p - base + 1 : 0;
    clf_real largest = (clf_real)(2.0f * NOTHING), sum = (clf_real)(0.0f), weight[CHUNK];
    uq += uq_at + place * shape.s2;
    uk += uk_at + (item * shape.s0 + base) * shape.s2;
    norm += norm_at + item * shape.s0 + base;
    prefix += prefix_at + (item * chunks_of(shape) + base / CHUNK) * features;
    before += before_at + (item * chunks_of(shape) + base / CHUNK) * features;
    for (int j = first; visible && j < features; j += ROW_STEP) {
        clf_real key = get(prefix + j);
        for (int s = 0; s < visible; s++)
            key = clf_max(key_logits(uk + s * shape.s2, j, norm[s], shape), key);
        largest = clf_max(logits(uq, j, shape) + key, largest);
    }
    const float all = row_max(largest, scratch);
    for (int s = 0; s < CHUNK; s++)
        weight[s] = (clf_real)(0.0f);
    for (int j = first; visible && j < features; j += ROW_STEP) {
        const clf_real row = logits(uq, j, shape);
        sum = clf_fma(pair_factor(row, get(prefix + j), all), get(before + j), sum);
        for (int s = 0; s < visible; s++)
            weight[s] += pair_factor(row, key_logits(uk + s * shape.s2, j, norm[s], shape), all);
    }
    float denominator = row_sum(sum, scratch), each[CHUNK];
    for (int s = 0; s < CHUNK; s++) {
        each[s] = row_sum(weight[s], scratch);
        denominator += each[s];
    }
    const int empty = visible == 0 || all < 0.5f * NOTHING;
    if (first == 0) {
        top[top_at + place] = empty ? INFINITY : all;
        share[share_at + place] = empty ? 0.0f : 1.0f / denominator;
        for (int s = 0; s < CHUNK; s++)
            weights[weights_at + place * CHUNK + s] = empty ? 0.0f : each[s] / denominator;
    }
}

/* What a place contributes to the state: a logit, whose x is taken away later, and a factor. */
static clf_real column_logits(clf_real query, clf_real key, float top, float share, int reverse, clf_real *factor)
{
    clf_real rest;
    *factor = (clf_real)(1.0f);
    if (!reverse)
        return key;
    const clf_real sum = add_exactly(query, (clf_real)(-top), &rest);
    *factor = (1.0f + rest) * share;
    return sum;
}

/* What a place takes from the state. */
static clf_real row_factor(clf_real query, clf_real key, clf_real x, float top, float share, int reverse)
{
    return reverse ? exponential(key + x) : pair_factor(query, x, top) * share;
}

/* The largest logit of a segment alone, and what gradients call `shared` relative to it. */
__kernel void clf_favor_ends(__global const float *uq, long uq_at, __global const float *top, long top_at,
                             __global const float *share, long share_at, __global const float *uk, long uk_at,
                             __global const float *norm, long norm_at, __global const float *rho, long rho_at,
                             __global float *tops, long tops_at, __global float *sums, long sums_at, int8 shape,
                             int reverse, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / CLF_LANES, chunks = chunks_of(shape);
    const int j = (int)(get_global_id(0) % blocks) * CLF_LANES, segment = (int)(get_global_id(0) / blocks % segments.x);
    const long item = get_global_id(0) / blocks / segments.x, place = item * shape.s0;
    const int2 walk = walk_of(segment, segments, shape);
    clf_real x = (clf_real)(NOTHING), sum = (clf_real)(0.0f);
    uq += uq_at + place * shape.s2;
    uk += uk_at + place * shape.s2;
    for (int n = walk.x; n < walk.y; n++) {
        const int base = (reverse ? chunks - 1 - n : n) * CHUNK, count = min(CHUNK, shape.s0 - base);
        clf_real largest = x, logit[CHUNK], scale[CHUNK];
        for (int r = 0; r < count; r++) {
            const long p = base + r, at = p * shape.s2;
            scale[r] = (clf_real)(1.0f);
            if (reverse) {
                const float most = top[top_at + place + p];
                logit[r] = column_logits(query_logits(uq + at, j, most, shape), (clf_real)(0.0f), most,
                                         share[share_at + place + p], reverse, &scale[r]);
                scale[r] *= rho[rho_at + place + p];
            } else {
                logit[r] = key_logits(uk + at, j, norm[norm_at + place + p], shape);
            }
            largest = clf_max(logit[r], largest);
        }
        sum *= exponential(x - largest);
        for (int r = 0; r < count; r++)
            sum = clf_fma(exponential(logit[r] - largest), scale[r], sum);
        x = largest;
    }
    put(x, tops + tops_at + (item * segments.x + segment) * features + j);
    put(sum, sums + sums_at + (item * segments.x + segment) * features + j);
}

/* States of segments alone into those where segments begin, in the order of the walk. A matrix has features along its
 * columns (`across`, rows are channels) or its rows, which lie `step` apart. A work-item: CLF_LANES columns of a row. */
__kernel void clf_favor_join(__global float *state, long state_at, long size, __global const float *tops, long tops_at,
                             int rows, int blocks, int step, int across, int8 shape, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, column = (int)(get_global_id(0) % blocks) * CLF_LANES;
    const int row = (int)(get_global_id(0) / blocks % rows);
    const long item = get_global_id(0) / blocks / rows;
    clf_real x = (clf_real)(NOTHING), sum = (clf_real)(0.0f);
    state += state_at + item * segments.x * size + (long)row * step + column;
    tops += tops_at + item * segments.x * features + (across ? column : row);
    for (int g = 0; g < segments.x; g++) {
        const clf_real largest = clf_max(across ? get(tops + g * features) : (clf_real)(tops[g * features]), x);
        const clf_real alone = g < segments.x - 1 ? get(state + g * size) : (clf_real)(0.0f);
        put(sum, state + g * size);
        sum = clf_fma(sum, exponential(x - largest), alone);
        x = largest;
    }
}

__kernel void clf_favor_factors(__global const float *uq, long uq_at, __global const float *top, long top_at,
                                __global const float *share, long share_at, __global const float *uk, long uk_at,
                                __global const float *norm, long norm_at, __global float *row, long row_at,
                                __global float *column, long column_at, __global float *shrink, long shrink_at,
                                __global const float *tops, long tops_at, __global const float *sums, long sums_at,
                                int8 shape, int reverse, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / CLF_LANES, chunks = chunks_of(shape);
    const int j = (int)(get_global_id(0) % blocks) * CLF_LANES, segment = (int)(get_global_id(0) / blocks % segments.x);
    const long item = get_global_id(0) / blocks / segments.x, ends = item * segments.x * features + j;
    const int2 walk = walk_of(segment, segments, shape);
    clf_real sum, x = begin(tops + tops_at + ends, sums + sums_at + ends, segment, features, &sum);
    uq += uq_at + item * shape.s0 * shape.s2;
    uk += uk_at + item * shape.s0 * shape.s2;
    top += top_at + item * shape.s0;
    share += share_at + item * shape.s0;
    norm += norm_at + item * shape.s0;
    row += row_at + item * chunks * CHUNK * features + j;
    column += column_at + item * chunks * CHUNK * features + j;
    shrink += shrink_at + item * chunks * features + j;
    for (int n = walk.x; n < walk.y; n++) {
        const int base = (reverse ? chunks - 1 - n : n) * CHUNK, count = min(CHUNK, shape.s0 - base);
        clf_real largest = x, logit[CHUNK], scale[CHUNK];
        for (int r = 0; r < CHUNK; r++) {
            const int p = base + min(r, count - 1);
            const long at = (long)p * shape.s2;
            const clf_real query = query_logits(uq + at, j, top[p], shape), key = key_logits(uk + at, j, norm[p], shape);
            logit[r] = column_logits(query, key, top[p], share[p], reverse, &scale[r]);
            logit[r] = r < count ? logit[r] : (clf_real)(-INFINITY);
            largest = clf_max(logit[r], largest);
            put(r < count ? row_factor(query, key, x, top[p], share[p], reverse) : (clf_real)(0.0f),
                row + (long)(base + r) * features);
        }
        for (int r = 0; r < CHUNK; r++)
            put(exponential(logit[r] - largest) * scale[r], column + (long)(base + r) * features);
        put(exponential(x - largest), shrink + (long)(base / CHUNK) * features);
        x = largest;
    }
}

/* values: f32 rows of `padded` channels by place. A work-item: CLF_LANES channels of a segment, and their column of the
 * state; `alone`: only the state, from nothing. y_at and `first` place results in the tensor: offset, strides of batch,
 * head, row; row of place 0. */
__kernel void clf_favor_scan(__global const float *row, long row_at, __global const float *column, long column_at,
                             __global const float *shrink, long shrink_at, __global const float *weights,
                             long weights_at, __global const float *values, long values_at, __global float *state,
                             long state_at, int padded, __global clf_storage *y, long4 y_at, int8 shape, int reverse,
                             int from, float scale, int alone, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = padded / CLF_LANES, chunks = chunks_of(shape);
    const int channel = (int)(get_global_id(0) % blocks) * CLF_LANES, left = shape.s5 - channel;
    const int segment = (int)(get_global_id(0) / blocks % segments.x);
    const long item = get_global_id(0) / blocks / segments.x;
    const int2 walk = walk_of(segment, segments, shape);
    const int first = reverse ? 0 : shape.s6;
    if (left <= 0 || (alone && segment == segments.x - 1))
        return;
    row += row_at + item * chunks * CHUNK * features;
    column += column_at + item * chunks * CHUNK * features;
    shrink += shrink_at + item * chunks * features;
    weights += weights_at + item * shape.s0 * CHUNK;
    values += values_at + item * shape.s0 * padded + channel;
    state += state_at + (item * segments.x + segment) * features * padded + channel;
    y += y_at.x + item / shape.s4 * y_at.y + item % shape.s4 * y_at.z + channel;
    for (int n = walk.x; n < walk.y; n++) {
        const int base = (reverse ? chunks - 1 - n : n) * CHUNK, count = min(CHUNK, shape.s0 - base);
        const int empty = n == walk.x && (alone || segment == 0);
        clf_real sum[CHUNK], value[CHUNK];
        __global const float *rows = row + (long)base * features, *columns = column + (long)base * features;
        __global const float *less = shrink + (long)(base / CHUNK) * features;
#pragma unroll
        for (int r = 0; r < CHUNK; r++) {
            sum[r] = (clf_real)(0.0f);
            value[r] = r < count ? get(values + (long)(base + r) * padded) : (clf_real)(0.0f);
        }
        for (int j = 0; alone && j < features; j++) {
            clf_real next = empty ? (clf_real)(0.0f) : get(state + (long)j * padded) * less[j];
#pragma unroll
            for (int r = 0; r < CHUNK; r++)
                next = clf_fma((clf_real)(columns[r * features + j]), value[r], next);
            put(next, state + (long)j * padded);
        }
        if (alone)
            continue;
        for (int j = 0; j < features; j++) {
            clf_real s = !empty ? get(state + (long)j * padded) : (clf_real)(0.0f), next = s * less[j];
#pragma unroll
            for (int r = 0; r < CHUNK; r++) {
                sum[r] = clf_fma((clf_real)(rows[r * features + j]), s, sum[r]);
                next = clf_fma((clf_real)(columns[r * features + j]), value[r], next);
            }
            put(next, state + (long)j * padded);
        }
#pragma unroll
        for (int r = 0; r < CHUNK; r++) {
            for (int s = 0; s < CHUNK; s++) {
                const int t = reverse ? s : r, key = reverse ? r : s;
                if (r < count && s < count && key <= t)
                    sum[r] = clf_fma((clf_real)(weights[(base + t) * CHUNK + key]), value[s], sum[r]);
            }
            if (r < count && base + r >= first)
                clf_store_lanes(sum[r] * scale, y, (long)(base + r - from) * y_at.w, left);
        }
    }
}

/* What the loss gains per weight: the product of the query's upstream gradient and the key's value, less what all
 * weights of the row share. A work-item a place. */
__kernel void clf_favor_pairs(__global const float *g, long g_at, __global const float *v, long v_at,
                              __global const float *rho, long rho_at, __global float *pairs, long pairs_at, int padded,
                              int8 shape, ulong items)
{
    const ulong place = get_global_id(0);
    if (place >= items)
        return;
    const int r = (int)(place % shape.s0) % CHUNK;
    g += g_at + place * padded;
    v += v_at + (place - r) * padded;
    for (int s = 0; s < CHUNK; s++) {
        clf_real sum = (clf_real)(0.0f);
        for (int e = 0; s <= r && e < padded; e += CLF_LANES)
            sum = clf_fma(get(g + e), get(v + s * padded + e), sum);
        pairs[pairs_at + place * CHUNK + s] = s <= r ? clf_sum_lanes(sum) + rho[rho_at + place] : 0.0f;
    }
}

/* g, v, rho by place; see scan. A work-item: CLF_LANES features of a segment, and their columns of the state, [width,
 * features]; `alone`: only the state, from nothing. */
__kernel void clf_favor_gradient(__global const float *uq, long uq_at, __global const float *top, long top_at,
                                 __global const float *share, long share_at, __global const float *uk, long uk_at,
                                 __global const float *norm, long norm_at,
                                 __global const float *g, long g_at, __global const float *v, long v_at,
                                 __global const float *rho, long rho_at, __global const float *pairs, long pairs_at,
                                 __global float *state, long state_at, int padded, __global float *gradient,
                                 long gradient_at, __global const float *tops, long tops_at, __global const float *sums,
                                 long sums_at, int8 shape, int reverse, int alone, int2 segments, ulong items)
{
    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / CLF_LANES, chunks = chunks_of(shape);
    const int j = (int)(get_global_id(0) % blocks) * CLF_LANES, segment = (int)(get_global_id(0) / blocks % segments.x);
    const long item = get_global_id(0) / blocks / segments.x, ends = item * segments.x * features + j;
    const int2 walk = walk_of(segment, segments, shape);
    clf_real shared, x = begin(tops + tops_at + ends, sums + sums_at + ends, segment, features, &shared);
    if (alone && segment == segments.x - 1)
        return;
    uq += uq_at + item * shape.s0 * shape.s2;
    uk += uk_at + item * shape.s0 * shape.s2;
    top += top_at + item * shape.s0;
    share += share_at + item * shape.s0;
    norm += norm_at + item * shape.s0;
    rho += rho_at + item * shape.s0;
    pairs += pairs_at + item * shape.s0 * CHUNK;
    gradient += gradient_at + item * shape.s0 * features + j;
    state += state_at + (item * segments.x + segment) * padded * features + j;
    __global const float *mine = (reverse ? v + v_at : g + g_at) + item * shape.s0 * padded;
    __global const float *theirs = (reverse ? g + g_at : v + v_at) + item * shape.s0 * padded;
    for (int n = walk.x; n < walk.y; n++) {
        const int empty = n == walk.x && (alone || segment == 0);
        const int base = (reverse ? chunks - 1 - n : n) * CHUNK, count = min(CHUNK, shape.s0 - base);
        clf_real query[CHUNK], key[CHUNK], factor[CHUNK], scale[CHUNK], sum[CHUNK], largest = x;
#pragma unroll
        for (int r = 0; r < CHUNK; r++) {
            const int p = base + min(r, count - 1);
            const long at = (long)p * shape.s2;
            query[r] = query_logits(uq + at, j, top[p], shape);
            key[r] = key_logits(uk + at, j, norm[p], shape);
            factor[r] = column_logits(query[r], key[r], top[p], share[p], reverse, &scale[r]);
            factor[r] = r < count ? factor[r] : (clf_real)(-INFINITY);
            largest = clf_max(factor[r], largest);
            sum[r] = (clf_real)(0.0f);
        }
        const clf_real shrink = exponential(x - largest);
#pragma unroll
        for (int r = 0; r < CHUNK; r++)
            factor[r] = exponential(factor[r] - largest) * scale[r];
        for (int e = 0; e < shape.s5; e++) {
            const clf_real s = !empty ? get(state + (long)e * features) : (clf_real)(0.0f);
            clf_real next = s * shrink;
#pragma unroll
            for (int r = 0; r < CHUNK; r++) {
                const long at = (long)(base + min(r, count - 1)) * padded + e;
                sum[r] = clf_fma((clf_real)(mine[at]), s, sum[r]);
                next = clf_fma((clf_real)(theirs[at]), factor[r], next);
            }
            put(next, state + (long)e * features);
        }
        x = alone ? largest : x;
        if (alone)
            continue;
        const clf_real before = shared;
        shared *= shrink;
        for (int r = 0; r < count; r++)
            shared += factor[r] * (reverse ? rho[base + r] : 1.0f);
        for (int r = 0; r < count; r++) {
            const float own = reverse ? 1.0f : rho[base + r];
            clf_real all = row_factor(query[r], key[r], x, top[base + r], share[base + r], reverse) *
                           clf_fma((clf_real)(own), before, sum[r]);
            for (int s = reverse ? r : 0; s < (reverse ? count : r + 1); s++) {
                const int t = reverse ? s : r, from = reverse ? r : s;
                const float gain = pairs[(base + t) * CHUNK + from] * share[base + t];
                all = clf_fma(pair_factor(query[t], key[from], top[base + t]), (clf_real)(gain), all);
            }
            put(all, gradient + (long)(base + r) * features);
        }
        x = largest;
    }
}
