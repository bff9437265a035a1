/* Attention through random features, all keys at once, on CPUs: features live and die in the caches of a core
 * (favor.cl explains features, logits and sums, and has the same steps around products of whole matrices).
 *
 *                   W: width x columns       A panel is 64 features: 32 columns of u in both signs, or 64 in one.
 *                    +---------+             Tiles of 13 x 32 sums are in registers: 26 vectors, two for the right
 *                    |         |             operand; 13 because 5 x 13 rows of a state are hardly more than 64.
 *                    +---------+
 *      rows x width  +---------+             keys      a group: a panel of an item, and all its keys or a segment of
 *      +--------+    | u       |                       them, up to 104 rows at a time. top grows on the way, and
 *      |  k, q  |    +---------+                       sums and state shrink with it.
 *      +--------+    +---------+---------+   merge     segments of an item into one
 *                    | phi     |         |   queries   a group: up to 104 rows. u of all features and the largest
 *                    +---------+---------+             logit of each row; then a panel at a time phi and its part of
 *      state: 64 x channels                            the result, which the denominator divides in the end
 *
 * Work split: a group is a work-item. Segments are more than one only where items times panels are few for the cores.
 * 500 KiB of private memory, of which 100 to 250 are in use at a time (second-level cache). What is not there (rows,
 * columns of the last panel, channels) is packed as zeros and not stored.
 *
 * A forward pass at 8 heads, 2048 rows, width 64, 448 features on two AVX-512 cores of a busy machine beside the same
 * with OpenBLAS' products (clf_bench_peers: their time over ours, of medians by the clock and of least CPU times):
 * matrices in memory, a head after the other, 0.63 and 0.85; panels 0.85 and 1.05; one group in eight works (see SPREAD)
 * 1.05 and 1.04; signs known to the compiler and values in panels of 32 channels, so that their rows lie in all sets of
 * the cache, 1.08 and 1.05. Products run at the speed of multiply-adds and take two thirds; exponentials take an eighth.
 */
#include "attention/favor_logits.cl"

#define TILE 13
#define ROWS 104    /* at most, of a group */
#ifndef CLF_SIGNS
#define CLF_SIGNS 2 /* of the exponent: 1 or 2 */
#endif
#define PANEL 64    /* features: */
#define COLUMNS (PANEL / CLF_SIGNS) /* of u, and where there are two signs, first all +, then all - */
#define PHI_ROW 80  /* rows of phi lie apart so that neighbours are in other sets of the cache */
#define PACKED (ROWS * 144) /* numbers of the rows of an operand */
#define WIDTH 512
#define CHANNELS 256
#define LOGITS 32768 /* of u, all features of the rows of a group */
/* One group in so many works. PoCL deals out half of a small grid at a time, at most 32 neighbours for each core, and
 * the half of a core that others slow down is what all wait for. */
#define SPREAD 8

static float16 get16(const float *p) { return *(const float16 *)p; }
static void put16(float16 x, float *p) { *(float16 *)p = x; }
static int up(int n, int block) { return (n + block - 1) / block * block; }

/* c (+)= a b, TILE x 32: a is read at r * a_row + t * a_step. */
CLF_INLINE void multiply(const float *a, int a_row, int a_step, const float *b, int b_step, int depth, int fresh,
                         float *c, int c_step)
{
    float16 left[TILE], right[TILE];
#pragma unroll
    for (int r = 0; r < TILE; r++) {
        left[r] = fresh ? (float16)(0.0f) : get16(c + r * c_step);
        right[r] = fresh ? (float16)(0.0f) : get16(c + r * c_step + 16);
    }
    for (int t = 0; t < depth; t++) {
        const float16 b_left = get16(b + t * b_step), b_right = get16(b + t * b_step + 16);
#pragma unroll
        for (int r = 0; r < TILE; r++) {
            const float16 spread = (float16)(a[r * a_row + t * a_step]);
            left[r] = clf_fma(spread, b_left, left[r]);
            right[r] = clf_fma(spread, b_right, right[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < TILE; r++) {
        put16(left[r], c + r * c_step);
        put16(right[r], c + r * c_step + 16);
    }
}

/* A feature's logit is +-x. */
CLF_INLINE float16 with_sign(float16 x, int n) { return 16 * n < COLUMNS ? x : -x; }

/* `rows` of `count` numbers as rows of `padded`, zeros up to `all` rows. */
CLF_INLINE void pack(__global const clf_storage *x, long step, int rows, int all, int count, float *to, int padded)
{
    for (int r = 0; r < all; r++)
        if (r < rows)
            clf_load_row(x, r * step, count, to + r * padded, padded);
        else
            for (int n = 0; n < padded; n += 16)
                put16((float16)(0.0f), to + r * padded + n);
}

/* Rows of f32 of which `count` of `columns` numbers are there. */
CLF_INLINE void pack_single(__global const float *x, long step, int rows, int count, int columns, float *to)
{
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < columns; n += 16)
            put16(n < count ? clf_load_single(x, r * step + n, count - n) : (float16)(0.0f), to + r * columns + n);
}

/* A panel's u for `rows`, but for their scale: the packed rows times the panel of W; to rows of `to_step`. */
CLF_INLINE void make_u(const float *x, int width, const float *drawn, int rows, float *to, int to_step)
{
    for (int n = 0; n < COLUMNS; n += 32)
        for (int r = 0; r < rows; r += TILE)
            multiply(x + r * (up(width, 16) + 16), up(width, 16) + 16, 1, drawn + n, COLUMNS, width, 1,
                     to + r * to_step + n, to_step);
}

CLF_INLINE float packed_square(const float *x, int width)
{
    float16 sum = (float16)(0.0f);
    for (int d = 0; d < width; d += 16)
        sum = clf_fma(get16(x + d), get16(x + d), sum);
    return 0.5f * clf_sum16(sum);
}

/* shape: see favor.cl; s0 keys, s5 the width, s7 segments of an item. padding_at: offset, batch, key. `rows` at a time,
 * and of a segment. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_favor_vector_keys(__global const clf_storage *k, long4 k_at, __global const clf_storage *v, long4 v_at,
                           __global const uchar *padding, long4 padding_at, int padded, __global const float *drawn,
                           long2 drawn_at, __global float *top, long top_at, __global float *sum, long sum_at,
                           __global float *state, long state_at, int channels, int8 shape, int2 rows, float scale,
                           ulong items)
{
    float keys[PACKED] __attribute__((aligned(64))), values[PACKED] __attribute__((aligned(64)));
    float w[WIDTH * COLUMNS] __attribute__((aligned(64))), u[ROWS * COLUMNS] __attribute__((aligned(64)));
    float phi[ROWS * PHI_ROW] __attribute__((aligned(64))), sums[(PANEL + 1) * CHANNELS] __attribute__((aligned(64)));
    float norm[ROWS];
    float16 largest[4], total[4];

    const ulong id = get_global_id(0) / SPREAD;
    if (id >= items || get_global_id(0) % SPREAD != 0)
        return;
    const int panels = (shape.s2 + COLUMNS - 1) / COLUMNS, width = shape.s5, features = shape.s2 * CLF_SIGNS;
    const int j = (int)(id % panels) * COLUMNS, segment = (int)(id / panels % shape.s7);
    const long item = id / panels / shape.s7;
    const int b = (int)(item / shape.s4), h = (int)(item % shape.s4), all = up(channels, 32), k_row = up(width, 16) + 16;
    int first = 0;

    k += k_at.x + b * k_at.y + h * k_at.z;
    v += v_at.x + b * v_at.y + h * v_at.z;
    padding += padding_at.x + b * padding_at.y;
    while (padded && first < shape.s0 - 1 && padding[first * padding_at.z] == 0)
        first++;
    pack_single(drawn + drawn_at.x + j, drawn_at.y, width, shape.s1 - j, COLUMNS, w);
    clf_load_row(k, first * k_at.w, width, keys, up(width, 16));
    const float least = packed_square(keys, width);
    for (int n = 0; n < 4; n++) {
        largest[n] = (float16)(-INFINITY);
        total[n] = (float16)(0.0f);
    }
    for (int n = 0; n < (PANEL + 1) * all; n += 16)
        put16((float16)(0.0f), sums + n);
    for (int r = 0; r < ROWS; r++)
        put16((float16)(0.0f), phi + r * PHI_ROW + PANEL);

    const int end = min(shape.s0, (segment + 1) * rows.y);
    for (int from = segment * rows.y; from < end; from += rows.x) {
        const int count = min(rows.x, end - from), whole = up(count, TILE);
        float16 base[4], shrink[4];

        pack(k + from * k_at.w, k_at.w, count, whole, width, keys, k_row);
        for (int n = 0; n < all; n += 32)
            pack(v + from * v_at.w + n, v_at.w, count, whole, clamp(channels - n, 0, 32), values + n * rows.x, 32);
        for (int r = 0; r < whole; r++) {
            const int seen = r < count && (!padded || padding[(from + r) * padding_at.z] != 0);
            norm[r] = seen ? scale * scale * (packed_square(keys + r * k_row, width) - least) : INFINITY;
            if (!seen) {
                for (int n = 0; n < k_row; n += 16)
                    put16((float16)(0.0f), keys + r * k_row + n);
                for (int n = 0; n < 2 * (all / 32); n++)
                    put16((float16)(0.0f), values + n / 2 * 32 * rows.x + r * 32 + n % 2 * 16);
            }
        }
        make_u(keys, width, w, whole, u, COLUMNS);

        for (int n = 0; n < 4; n++)
            base[n] = largest[n];
        for (int r = 0; r < whole; r++)
#pragma unroll
            for (int n = 0; n < COLUMNS / 16; n++) {
                const float16 x = get16(u + r * COLUMNS + 16 * n) * scale;
                put16(x, u + r * COLUMNS + 16 * n);
                largest[n] = clf_max(x - norm[r], largest[n]);
                if (CLF_SIGNS > 1)
                    largest[n + 2] = clf_max(-x - norm[r], largest[n + 2]);
            }
        for (int n = 0; n < 4; n++) {
            shrink[n] = exponential(largest[n] == (float16)(-INFINITY) ? (float16)(0.0f) : base[n] - largest[n]);
            base[n] = largest[n] == (float16)(-INFINITY) ? (float16)(0.0f) : largest[n];
            total[n] *= shrink[n];
        }
        for (int r = 0; r < whole; r++)
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const float16 logit = with_sign(get16(u + r * COLUMNS + 16 * n % COLUMNS), n) - norm[r];
                const float16 x = exponential(logit - base[n]);
                put16(x, phi + r * PHI_ROW + 16 * n);
                total[n] += x;
            }
        for (int f = 0; from > segment * rows.y && f < PANEL; f++) {
            const float less = ((const float *)shrink)[f];
            for (int n = 0; n < all; n += 16)
                put16(get16(sums + f * all + n) * less, sums + f * all + n);
        }
        for (int n = 0; n < all; n += 32)
            for (int f = 0; f < PANEL; f += TILE)
                multiply(phi + f, 1, PHI_ROW, values + n * rows.x, 32, whole, 0, sums + f * all + n, all);
    }

    const long place = (item * shape.s7 + segment) * features;
    for (int n = 0; n < 4; n++) {
        const int column = j + 16 * n % COLUMNS;
        const long at = place + column + (16 * n < COLUMNS ? 0 : shape.s2);
        const int16 there = CLF_LANE < (int16)(shape.s1 - column);
        if (column >= shape.s2)
            continue;
        if (shape.s7 == 1)
            largest[n] = largest[n] == (float16)(-INFINITY) ? (float16)(0.0f) : largest[n];
        put(there ? largest[n] : (float16)(0.0f), top + top_at + at);
        put(there ? total[n] : (float16)(0.0f), sum + sum_at + at);
        for (int f = 0; f < 16; f++)
            for (int e = 0; e < channels; e += 16)
                clf_store_single(column + f < shape.s1 ? get16(sums + (16 * n + f) * all + e) : (float16)(0.0f),
                                 state + state_at + (at + f) * channels, e, channels - e);
    }
}

/* Segments of an item into one, in their order. A work-item: sixteen features of an item. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_favor_vector_merge(__global const float *tops, long tops_at, __global const float *sums, long sums_at,
                            __global const float *states, long states_at, __global float *top, long top_at,
                            __global float *sum, long sum_at, __global float *state, long state_at, int channels,
                            int8 shape, ulong items)
{
    float16 largest = (float16)(-INFINITY), total = (float16)(0.0f);
    float factor[16] __attribute__((aligned(64)));

    if (get_global_id(0) >= items)
        return;
    const int features = shape.s2 * shape.s3, blocks = features / 16, f = (int)(get_global_id(0) % blocks) * 16;
    const long item = get_global_id(0) / blocks;
    const long from = item * shape.s7 * features + f, to = item * features + f;
    for (int n = 0; n < shape.s7; n++)
        largest = clf_max(get(tops + tops_at + from + n * features), largest);
    largest = largest == (float16)(-INFINITY) ? (float16)(0.0f) : largest;
    state += state_at + to * channels;
    for (int n = 0; n < shape.s7; n++) {
        const float16 share = exponential(get(tops + tops_at + from + n * features) - largest);
        __global const float *part = states + states_at + (from + n * features) * channels;
        total = clf_fma(share, get(sums + sums_at + from + n * features), total);
        put16(share, factor);
        for (int i = 0; i < 16; i++)
            for (int e = 0; e < channels; e += 16) {
                const int at = i * channels + e, left = channels - e;
                const float16 x = factor[i] * clf_load_single(part, at, left);
                clf_store_single(n ? clf_load_single(state, at, left) + x : x, state, at, left);
            }
    }
    put(largest, top + top_at + to);
    put(total, sum + sum_at + to);
}

/* shape: see above; s0 queries. `rows` of a group. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_favor_vector_queries(__global const clf_storage *q, long4 q_at, __global const float *drawn, long2 drawn_at,
                              __global const float *top, long top_at, __global const float *sum, long sum_at,
                              __global const float *state, long state_at, __global clf_storage *y, long4 y_at,
                              int channels, int8 shape, int2 rows, float scale, float result_scale, ulong items)
{
    float queries[PACKED] __attribute__((aligned(64))), out[PACKED] __attribute__((aligned(64)));
    float w[WIDTH * COLUMNS] __attribute__((aligned(64))), u[LOGITS] __attribute__((aligned(64)));
    float phi[ROWS * PHI_ROW] __attribute__((aligned(64))), panel[PANEL * CHANNELS] __attribute__((aligned(64)));
    float base[ROWS];
    float16 total[ROWS];

    const ulong id = get_global_id(0) / SPREAD;
    if (id >= items || get_global_id(0) % SPREAD != 0)
        return;
    const int u_row = up(shape.s2, COLUMNS), width = shape.s5, all = up(channels, 32);
    const int blocks = (shape.s0 + rows.x - 1) / rows.x, from = (int)(id % blocks) * rows.x;
    const int count = min(rows.x, shape.s0 - from), whole = up(count, TILE), features = shape.s2 * CLF_SIGNS;
    const long item = id / blocks;
    const int b = (int)(item / shape.s4), h = (int)(item % shape.s4);

    q += q_at.x + b * q_at.y + h * q_at.z + from * q_at.w;
    y += y_at.x + b * y_at.y + h * y_at.z + from * y_at.w;
    top += top_at + item * features;
    sum += sum_at + item * features;
    state += state_at + item * features * channels;
    pack(q, q_at.w, count, whole, width, queries, up(width, 16) + 16);
    for (int j = 0; j < shape.s2; j += COLUMNS) {
        pack_single(drawn + drawn_at.x + j, drawn_at.y, width, shape.s1 - j, COLUMNS, w);
        make_u(queries, width, w, whole, u + j, u_row);
    }
    for (int r = 0; r < whole; r++) {
        float16 largest = (float16)(-INFINITY);
        for (int j = 0; j < shape.s2; j += 16) {
            const float16 x = get16(u + r * u_row + j) * scale;
            float16 most = x + get(top + j);
            if (CLF_SIGNS > 1)
                most = clf_max(most, get(top + shape.s2 + j) - x);
            largest = clf_max(CLF_LANE < (int16)(shape.s1 - j) ? most : (float16)(-INFINITY), largest);
            put16(x, u + r * u_row + j);
        }
        base[r] = clf_max16(largest);
        total[r] = (float16)(0.0f);
    }
    for (int j = 0; j < shape.s2; j += COLUMNS) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int column = j + 16 * n % COLUMNS, feature = column + (16 * n < COLUMNS ? 0 : shape.s2);
            const int16 there = CLF_LANE < (int16)(shape.s1 - column);
            const float16 most = column < shape.s2 ? get(top + feature) : (float16)(0.0f);
            const float16 share = column < shape.s2 ? get(sum + feature) : (float16)(0.0f);
            for (int r = 0; r < whole; r++) {
                const float16 x = get16(u + r * u_row + column);
                const float16 factor = pair_factor(there ? with_sign(x, n) : (float16)(-INFINITY), most, base[r]);
                put16(factor, phi + r * PHI_ROW + 16 * n);
                total[r] = clf_fma(factor, share, total[r]);
            }
            for (int f = 0; f < 16; f++)
                for (int e = 0; e < all; e += 16)
                    put16(column < shape.s2 && e < channels
                              ? clf_load_single(state, (long)(feature + f) * channels + e, channels - e)
                              : (float16)(0.0f), panel + (16 * n + f) * all + e);
        }
        for (int n = 0; n < all; n += 32)
            for (int r = 0; r < whole; r += TILE)
                multiply(phi + r * PHI_ROW, PHI_ROW, 1, panel + n, all, PANEL, j == 0, out + r * all + n, all);
    }
    for (int r = 0; r < count; r++) {
        const float denominator = clf_sum16(total[r]);
        const float factor = denominator == 0.0f ? 0.0f : result_scale / denominator;
        for (int e = 0; e < channels; e += 16)
            clf_store_lanes(get16(out + r * all + e) * factor, y, r * y_at.w + e, channels - e);
    }
}
