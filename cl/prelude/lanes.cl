/* Neighbouring channels as the lanes of a clf_real: sixteen of them, or the one of this work-item. A block at the
 * end of a row may have fewer: `count` of them are touched, the rest is 0.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

#if CLF_LANES == 16
static clf_real clf_load_lanes(__global const clf_storage *p, long i, int count)
{
    if (count >= 16)
        return clf_load16(p, i);
    float lane[16];
    for (int n = 0; n < 16; n++)
        lane[n] = n < count ? clf_load(p, i + n) : 0.0f;
    return vload16(0, lane);
}

static void clf_store_lanes(clf_real x, __global clf_storage *p, long i, int count)
{
    if (count >= 16) {
        clf_store16(x, p, i);
        return;
    }
    float lane[16];
    vstore16(x, 0, lane);
    for (int n = 0; n < count; n++)
        clf_store(lane[n], p, i + n);
}
#else
static clf_real clf_load_lanes(__global const clf_storage *p, long i, int count) { return clf_load(p, i); }
static void clf_store_lanes(clf_real x, __global clf_storage *p, long i, int count) { clf_store(x, p, i); }
#endif

/* The same with f32 tensors, whatever the storage type of the call. */
#if CLF_LANES == 16
static clf_real clf_load_single(__global const float *p, long i, int count)
{
    if (count >= 16)
        return vload16(0, p + i);
    float lane[16];
    for (int n = 0; n < 16; n++)
        lane[n] = n < count ? p[i + n] : 0.0f;
    return vload16(0, lane);
}

static void clf_store_single(clf_real x, __global float *p, long i, int count)
{
    if (count >= 16) {
        vstore16(x, 0, p + i);
        return;
    }
    float lane[16];
    vstore16(x, 0, lane);
    for (int n = 0; n < count; n++)
        p[i + n] = lane[n];
}
#else
static clf_real clf_load_single(__global const float *p, long i, int count) { return p[i]; }
static void clf_store_single(clf_real x, __global float *p, long i, int count) { p[i] = x; }
#endif
