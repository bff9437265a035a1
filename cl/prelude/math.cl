/* Arithmetic that softmax needs: powers of two, and reductions over a vector. */
#include "prelude/types.cl"

#define CLF_LOG2E 1.4426950408889634f
#define CLF_LN2 0.6931471805599453f

/* 2^x for x <= 127, to about one ulp; below -126 it fades out and is exactly 0 from -127 on, -inf
 * included. NaN stays NaN.
 *
 * Adding 1.5 * 2^23 rounds x to an integer n and leaves n in the low bits, ready to be added to the
 * exponent of the polynomial for 2^(x - n), |x - n| <= 1/2: minimax, relative error 2e-9 before rounding. */
static clf_real clf_exp2(clf_real x)
{
    const clf_real lowest = (clf_real)(-127.0f), magic = (clf_real)(12582912.0f);
    x = x < lowest ? lowest : x;
    const clf_real shifted = x + magic;
    const clf_real f = x - (shifted - magic);
    clf_real p = (clf_real)(1.53533621e-4f);
    p = clf_fma(p, f, (clf_real)(1.33988746e-3f));
    p = clf_fma(p, f, (clf_real)(9.61843736e-3f));
    p = clf_fma(p, f, (clf_real)(5.55033247e-2f));
    p = clf_fma(p, f, (clf_real)(2.40226479e-1f));
    p = clf_fma(p, f, (clf_real)(6.93147203e-1f));
    p = clf_fma(p, f, (clf_real)(1.0f));
    return clf_as_real(clf_as_int(p) + (clf_as_int(shifted) << 23));
}

/* The larger one; y where x is NaN. Comparing is one instruction everywhere; the library's fmax() of a
 * vector is not. */
static clf_real clf_max(clf_real x, clf_real y) { return x > y ? x : y; }

/* A row's log-sum-exp, from its base in powers of two and the sum relative to it: base ln 2 + log(sum), and back to
 * powers of two as the sum of the result and *rest. Both keep the last bits of large numbers (a logit of 1e4 has
 * no more than three digits behind the point): the factors are split so that the leading products are exact. */
static float clf_log_sum(float base, float sum)
{
    const float high = as_float(as_int(base) & (int)0xfffff000), low = base - high;
    return high * 0.693359375f + (low * 0.693359375f + (base * -2.12194440e-4f + log(sum)));
}

static float clf_log_sum2(float natural, float *rest)
{
    const float high = as_float(as_int(natural) & (int)0xfffff000), low = natural - high;
    *rest = low * 1.4423828125f + natural * 3.12228389e-4f;
    return high * 1.4423828125f;
}

#if CLF_LANES == 16
/* Largest and sum over the lanes, always in the same tree. */
static float clf_max16(float16 x)
{
    const float8 a = x.lo > x.hi ? x.lo : x.hi;
    const float4 b = a.lo > a.hi ? a.lo : a.hi;
    const float2 c = b.lo > b.hi ? b.lo : b.hi;
    return c.x > c.y ? c.x : c.y;
}

static float clf_sum16(float16 x)
{
    const float8 a = x.lo + x.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static float clf_sum_lanes(clf_real x) { return clf_sum16(x); }
static float clf_max_lanes(clf_real x) { return clf_max16(x); }
#else
static float clf_sum_lanes(clf_real x) { return x; }
static float clf_max_lanes(clf_real x) { return x; }
#endif

/* Is any lane true? A tree of our own: any() of a vector is slow on some CPUs. */
static int clf_any_lane(clf_bool x)
{
#if CLF_LANES == 16
    const int8 a = x.lo | x.hi;
    const int4 b = a.lo | a.hi;
    const int2 c = b.lo | b.hi;
    return (c.x | c.y) != 0;
#else
    return x != 0;
#endif
}
