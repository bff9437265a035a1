/* Copies between views of four axes.
 *
 *     to[b][h][n][d] = (to[b][h][n][d] +) sum over slices i of from[b][h][n][d + i * step]
 *
 * A work-item makes CLF_LANES neighbouring elements of a row, so that both sides are read and written in whole cache
 * lines by a CPU's vectors and by neighbouring work-items alike; the slices are added one after another in f32. Places
 * are {offset, strides of b, h, n}, in elements. Rows whose byte in `keep` (CLF_KEEP) is 0 become 0 and are not read.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

#ifndef CLF_FROM
#define CLF_FROM f32
#endif
#ifndef CLF_TO
#define CLF_TO f32
#endif

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
typedef float copy_f32;
typedef clf_f16 copy_f16;
typedef clf_bf16 copy_bf16;
typedef CAT(copy_, CLF_FROM) copy_from;
typedef CAT(copy_, CLF_TO) copy_to;

#if CLF_LANES == 16
static clf_real load_from(__global const copy_from *p, long i, int count)
{
    float lane[16];
    if (count >= 16)
        return CAT(clf_load16_, CLF_FROM)(p, i);
    for (int n = 0; n < 16; n++)
        lane[n] = n < count ? CAT(clf_load_, CLF_FROM)(p, i + n) : 0.0f;
    return vload16(0, lane);
}

static clf_real load_to(__global const copy_to *p, long i, int count)
{
    float lane[16];
    if (count >= 16)
        return CAT(clf_load16_, CLF_TO)(p, i);
    for (int n = 0; n < 16; n++)
        lane[n] = n < count ? CAT(clf_load_, CLF_TO)(p, i + n) : 0.0f;
    return vload16(0, lane);
}

static void store_to(clf_real x, __global copy_to *p, long i, int count)
{
    float lane[16];
    if (count >= 16) {
        CAT(clf_store16_, CLF_TO)(x, p, i);
        return;
    }
    vstore16(x, 0, lane);
    for (int n = 0; n < count; n++)
        CAT(clf_store_, CLF_TO)(lane[n], p, i + n);
}
#else
static clf_real load_from(__global const copy_from *p, long i, int count) { return CAT(clf_load_, CLF_FROM)(p, i); }
static clf_real load_to(__global const copy_to *p, long i, int count) { return CAT(clf_load_, CLF_TO)(p, i); }
static void store_to(clf_real x, __global copy_to *p, long i, int count) { CAT(clf_store_, CLF_TO)(x, p, i); }
#endif

/* shape = {heads, rows, columns}; slices = {how many make a row, step, limit} */
__kernel void clf_copy(__global const copy_from *from, long4 from_at, __global copy_to *to, long4 to_at,
                       __global const uchar *keep, long4 keep_at, long4 shape, long4 slices, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long blocks = (shape.z + CLF_LANES - 1) / CLF_LANES, d = (long)(item % blocks) * CLF_LANES;
    const int count = (int)min(shape.z - d, (long)CLF_LANES);
    item /= blocks;
    const long h = (long)(item % shape.x);
    item /= shape.x;
    const long n = (long)(item % shape.y), b = (long)(item / shape.y);
    const long first = from_at.s0 + b * from_at.s1 + h * from_at.s2 + n * from_at.s3 + d;
    const long place = to_at.s0 + b * to_at.s1 + h * to_at.s2 + n * to_at.s3 + d;
    long last = min(slices.s0, slices.s2 - n * slices.s0);
    clf_real sum = (clf_real)(0.0f);
#if CLF_KEEP
    last = keep[keep_at.s0 + b * keep_at.s1 + n * keep_at.s2] ? last : 0;
#endif
    for (long i = 0; i < last; i++)
        sum += load_from(from, first + i * slices.s1, count);
#if CLF_ACCUMULATE
    sum += load_to(to, place, count);
#endif
    store_to(sum, to, place, count);
}
