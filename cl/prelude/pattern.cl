/* Patterns: does query q see key k? The same answers as clf_pattern_sees of <clformers/pattern.h>, from the words
 * of the pattern uploaded as they are (src/pattern/pattern.h tells what they mean).
 *
 * Build with CLF_PATTERN = the number of the kind. clf_score then asks the pattern too, beside any CLF_MASK_MOD, and
 * the words are two more arguments of the kernel, so that other numbers need no other program. Code over clf_int: in
 * vectors only the key varies, and tables are read lane by lane.
 */
#include "prelude/types.cl"

#ifndef CLF_PATTERN
#define CLF_PATTERN 0 /* 0 none, 1 range, 2 labels, 3 grid, 4 global, 5 random, 6 blocks, 7 rows */
#endif

#if CLF_PATTERN
#define CLF_PATTERN_PARAMETERS , __global const int *pattern, long pattern_at
#define CLF_PATTERN_ARGUMENTS , pattern, pattern_at
#else
#define CLF_PATTERN_PARAMETERS
#define CLF_PATTERN_ARGUMENTS
#endif

/* A number for each lane. */
#if CLF_LANES == 16
#define CLF_GATHER_INT(table, i)                                                                                     \
    ((int16)((table)[(i).s0], (table)[(i).s1], (table)[(i).s2], (table)[(i).s3], (table)[(i).s4], (table)[(i).s5],   \
             (table)[(i).s6], (table)[(i).s7], (table)[(i).s8], (table)[(i).s9], (table)[(i).sa], (table)[(i).sb],   \
             (table)[(i).sc], (table)[(i).sd], (table)[(i).se], (table)[(i).sf]))
#else
#define CLF_GATHER_INT(table, i) ((table)[i])
#endif

/* k / d for k >= 0, d > 0. Division of integer vectors is done lane by lane on CPUs; multiplying by the reciprocal
 * in floats is not: the quotient is off by a little, what is left is divided again, and then it is off by one. */
static clf_int clf_divide(clf_int k, int d)
{
#if CLF_LANES == 16
    const float16 inverse = (float16)(1.0f / d);
    int16 quotient = convert_int16(convert_float16(k) * inverse), rest = k - quotient * d;
    const int16 more = convert_int16(convert_float16(rest) * inverse);
    quotient += more;
    rest -= more * d;
    return quotient + (rest < 0) - (rest >= d);
#else
    return k / d;
#endif
}

/* A number for each lane, at indices that mostly follow each other. */
static clf_int clf_gather_near(__global const int *table, clf_int i)
{
#if CLF_LANES == 16
    if (i.sf == i.s0 + 15)
        return vload16(0, table + i.s0);
#endif
    return CLF_GATHER_INT(table, i);
}

/* Rules without a table, for snippets too: q + low <= k <= q + high, or k among the first `below`. Causal order is
 * low = -2^30, high = shift; a sliding window of w keys up to the query's own is low = 1 - w, high = 0; with
 * below = p, p sinks; causal order with below = p is the prefix language model. */
static clf_bool clf_sees_range(int q, clf_int k, int low, int high, int below)
{
    return ((k >= q + low) & (k <= q + high)) | (k < below);
}

/* Every step-th key counted from the query's own. */
static clf_bool clf_sees_dilated(int q, clf_int k, int step)
{
    return k - clf_divide(k, step) * step == q % step;
}

/* Neighbourhood on an image of `width` columns: at most `rows` up or down and `columns` to either side. */
static clf_bool clf_sees_neighbours(int q, clf_int k, int width, int rows, int columns)
{
    const clf_int row = clf_divide(k, width), down = row - q / width, right = k - row * width - q % width;
    return (down >= -rows) & (down <= rows) & (right >= -columns) & (right <= columns);
}

/* Same label in a table of labels: packed documents. */
static clf_bool clf_sees_label(__global const int *labels, int q, clf_int k)
{
    return clf_gather_near(labels, k) == labels[q];
}

#if CLF_PATTERN
#define CLF_PATTERN_TABLE 8

static clf_bool clf_table_bits(__global const int *table, clf_int i)
{
    return ((CLF_GATHER_INT(table, i >> 5) >> (i & 31)) & 1) != 0;
}
#endif

#if CLF_PATTERN == 1
static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    __global const int *t = pattern + CLF_PATTERN_TABLE + 3 * h;
    return clf_sees_range(q, k, t[0], t[1], t[2]);
}
#elif CLF_PATTERN == 2
static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    return clf_sees_label(pattern + CLF_PATTERN_TABLE + (long)b * pattern[5], q, k);
}
#elif CLF_PATTERN == 3
static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    __global const int *sizes = pattern + CLF_PATTERN_TABLE;
    clf_int number = (clf_int)(0);
    int unit = 1;
    for (int axis = pattern[6] - 1; axis >= 0; axis--) {
        const int size = sizes[axis];
        const clf_int rest = clf_divide(k, size), d = k - rest * size - q % size;
        number += max(d, -d) * unit;
        unit *= size;
        k = rest;
        q /= size;
    }
    return clf_table_bits(sizes + 4, number);
}
#elif CLF_PATTERN == 4
static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    __global const int *bits = pattern + CLF_PATTERN_TABLE;
    const clf_bool all = clf_table_bits(bits, (clf_int)(q));
    return all | clf_table_bits(bits, k);
}
#elif CLF_PATTERN == 5
#include "prelude/philox.cl"

static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    __global const int *t = pattern + CLF_PATTERN_TABLE;
    const uint2 key = (uint2)((uint)t[0], (uint)t[1]);
    const uint threshold = (uint)t[2];
#if CLF_LANES == 1
    const uint4 words = clf_philox((uint4)((uint)k >> 2, (uint)q, (uint)h, 0x70617474u), key);
    const uint2 half_of_them = k & 2 ? words.hi : words.lo;
    return (k & 1 ? half_of_them.y : half_of_them.x) >= threshold;
#else
    int at[16], kept[16], drawn = -1;
    uint words[4];
    vstore16(k, 0, at);
    for (int lane = 0; lane < 16; lane++) {
        if (at[lane] >> 2 != drawn) {
            drawn = at[lane] >> 2;
            vstore4(clf_philox((uint4)((uint)drawn, (uint)q, (uint)h, 0x70617474u), key), 0, words);
        }
        kept[lane] = words[at[lane] & 3] >= threshold;
    }
    return vload16(0, kept) != 0;
#endif
}
#elif CLF_PATTERN == 6
static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    const int block = pattern[6];
    const long first = ((long)h * ((pattern[4] + block - 1) / block) + q / block) * pattern[7];
    return clf_table_bits(pattern + CLF_PATTERN_TABLE + (first >> 5), clf_divide(k, block) + (int)(first & 31));
}
#elif CLF_PATTERN == 7
static int clf_row_has(__global const int *keys, int count, int k)
{
    while (count > 0) {
        const int middle = count / 2, key = keys[middle];
        if (key == k)
            return 1;
        if (key < k) {
            keys += middle + 1;
            count -= middle + 1;
        } else {
            count = middle;
        }
    }
    return 0;
}

static clf_bool clf_pattern_rule(__global const int *pattern, int b, int h, int q, clf_int k)
{
    __global const int *offsets = pattern + CLF_PATTERN_TABLE;
    const long row = (long)h * pattern[4] + q;
    const int first = offsets[row], count = offsets[row + 1] - first;
    __global const int *keys = offsets + (long)pattern[3] * pattern[4] + 1 + first;
#if CLF_LANES == 1
    return clf_row_has(keys, count, k);
#else
    int at[16], has[16];
    vstore16(k, 0, at);
    for (int lane = 0; lane < 16; lane++)
        has[lane] = clf_row_has(keys, count, at[lane]);
    return vload16(0, has) != 0;
#endif
}
#elif CLF_PATTERN
#error CLF_PATTERN must be 0 to 7
#endif

#if CLF_PATTERN
/* With the diagonal and causal order that go with every kind. A pattern of one batch or head serves all. */
static clf_bool clf_pattern_sees(__global const int *pattern, int b, int h, int q, clf_int k)
{
    const clf_bool seen = clf_pattern_rule(pattern, pattern[2] == 1 ? 0 : b, pattern[3] == 1 ? 0 : h, q, k);
    return (seen | (k == q + pattern[1])) & (k <= q + pattern[0]);
}
#endif
