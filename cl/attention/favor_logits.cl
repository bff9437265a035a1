/* What the kernels of favor share: vectors or scalars along the features, sums over a row, and logits (favor.cl explains
 * them, the arrays and `shape`).
 */
#include "prelude/lanes.cl"
#include "prelude/math.cl"

#if CLF_LANES == 16
#define ROW_ITEMS 1
static clf_real get(__global const float *p) { return vload16(0, p); }
static void put(clf_real x, __global float *p) { vstore16(x, 0, p); }
CLF_INLINE float row_max(clf_real x, __local float *scratch) { return clf_max16(x); }
CLF_INLINE float row_sum(clf_real x, __local float *scratch) { return clf_sum16(x); }
#else
#define ROW_ITEMS 64
static clf_real get(__global const float *p) { return p[0]; }
static void put(clf_real x, __global float *p) { p[0] = x; }

CLF_INLINE float row_max(float x, __local float *scratch)
{
    const int lane = get_local_id(0);
    scratch[lane] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int n = ROW_ITEMS / 2; n > 0; n /= 2) {
        if (lane < n)
            scratch[lane] = clf_max(scratch[lane], scratch[lane + n]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    x = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return x;
}

CLF_INLINE float row_sum(float x, __local float *scratch)
{
    const int lane = get_local_id(0);
    scratch[lane] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int n = ROW_ITEMS / 2; n > 0; n /= 2) {
        if (lane < n)
            scratch[lane] += scratch[lane + n];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    x = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return x;
}
#endif
#define ROW_STEP (ROW_ITEMS * CLF_LANES)

static clf_real exponential(clf_real x) { return clf_exp2(x * CLF_LOG2E); }

/* The logits of features j .. of a row, from where its u begins: +-u, hidden beyond what is drawn. */
static clf_real logits(__global const float *u, int j, int8 shape)
{
    const int second = j >= shape.s2, column = j - (second ? shape.s2 : 0);
    const clf_real x = get(u + column);
    return CLF_LANE < (clf_int)(shape.s1 - column) ? (second ? -x : x) : (clf_real)(-INFINITY);
}

static clf_real key_logits(__global const float *u, int j, float norm, int8 shape)
{
    return norm == INFINITY ? (clf_real)(-INFINITY) : logits(u, j, shape) - norm;
}

/* a + b, and what rounding took from it: of exponents in the thousands the last bit is worth 1e-4 of a weight. */
static clf_real add_exactly(clf_real a, clf_real b, clf_real *rest)
{
    const clf_real sum = a + b, second = sum - a;
    const clf_real lost = (a - (sum - second)) + (b - second);
    *rest = sum == (clf_real)(-INFINITY) ? (clf_real)(0.0f) : lost;
    return sum;
}

/* exp(query + key - top) */
static clf_real pair_factor(clf_real query, clf_real key, float top)
{
    clf_real rest;
    const clf_real sum = add_exactly(query, key, &rest);
    return exponential(sum - top) * (1.0f + rest);
}
