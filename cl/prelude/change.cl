/* What may become of a score beyond a mask: softcap, ALiBi and snippets, with the kernel arguments that they bring.
 *
 *     score = scale q k^T  ->  softcap * tanh(score / softcap)  ->  CLF_SCORE_MOD  ->  + slope * distance  ->  mask
 *
 * Everything up to CLF_SCORE_MOD bends the score: kernels then hold natural scores (clf_query_scale) and multiply its
 * gradient by clf_score_slope. Additional arguments of a kernel come last, in the order of this file.
 *
 * CLF_SCORE_MOD(score, b, h, q, k) makes a new natural score, CLF_SCORE_SLOPE (same arguments) is its derivative by
 * score, CLF_MASK_MOD(b, h, q, k) tells visibility. They are expressions over clf_real and clf_int and may read the
 * tables CLF_EXTRA_0 .. CLF_EXTRA_3, each the name that the expressions use, of CLF_EXTRA_0_TYPE and so on. Each stands
 * in a file of its own, which compilers then name where the expression is wrong.
 */
#include "prelude/types.cl"
#include "prelude/math.cl"
#include "prelude/pattern.cl"

#ifndef CLF_SOFTCAP
#define CLF_SOFTCAP 0 /* 1: a kernel argument is the cap */
#endif
#ifndef CLF_ALIBI
#define CLF_ALIBI 0 /* 1: kernel arguments are slopes, their {offset, stride}, how far shape.s4 is ahead */
#endif
#if CLF_SOFTCAP || defined(CLF_SCORE_MOD)
#define CLF_BENDS 1
#else
#define CLF_BENDS 0
#endif

#if CLF_SOFTCAP
#define CLF_SOFTCAP_PARAMETERS , float softcap
#define CLF_SOFTCAP_ARGUMENTS , softcap
#else
#define CLF_SOFTCAP_PARAMETERS
#define CLF_SOFTCAP_ARGUMENTS
#endif
#if CLF_ALIBI
#define CLF_ALIBI_PARAMETERS , __global const float *alibi, long2 alibi_at, int alibi_ahead
#define CLF_ALIBI_ARGUMENTS , alibi, alibi_at, alibi_ahead
#else
#define CLF_ALIBI_PARAMETERS
#define CLF_ALIBI_ARGUMENTS
#endif
#ifdef CLF_EXTRA_0
#define CLF_PARAMETERS_0 , __global const CLF_EXTRA_0_TYPE *clf_extra_0, long clf_at_0
#define CLF_ARGUMENTS_0 , clf_extra_0, clf_at_0
#define CLF_TABLE_0 __global const CLF_EXTRA_0_TYPE *CLF_EXTRA_0 = clf_extra_0 + clf_at_0;
#else
#define CLF_PARAMETERS_0
#define CLF_ARGUMENTS_0
#define CLF_TABLE_0
#endif
#ifdef CLF_EXTRA_1
#define CLF_PARAMETERS_1 , __global const CLF_EXTRA_1_TYPE *clf_extra_1, long clf_at_1
#define CLF_ARGUMENTS_1 , clf_extra_1, clf_at_1
#define CLF_TABLE_1 __global const CLF_EXTRA_1_TYPE *CLF_EXTRA_1 = clf_extra_1 + clf_at_1;
#else
#define CLF_PARAMETERS_1
#define CLF_ARGUMENTS_1
#define CLF_TABLE_1
#endif
#ifdef CLF_EXTRA_2
#define CLF_PARAMETERS_2 , __global const CLF_EXTRA_2_TYPE *clf_extra_2, long clf_at_2
#define CLF_ARGUMENTS_2 , clf_extra_2, clf_at_2
#define CLF_TABLE_2 __global const CLF_EXTRA_2_TYPE *CLF_EXTRA_2 = clf_extra_2 + clf_at_2;
#else
#define CLF_PARAMETERS_2
#define CLF_ARGUMENTS_2
#define CLF_TABLE_2
#endif
#ifdef CLF_EXTRA_3
#define CLF_PARAMETERS_3 , __global const CLF_EXTRA_3_TYPE *clf_extra_3, long clf_at_3
#define CLF_ARGUMENTS_3 , clf_extra_3, clf_at_3
#define CLF_TABLE_3 __global const CLF_EXTRA_3_TYPE *CLF_EXTRA_3 = clf_extra_3 + clf_at_3;
#else
#define CLF_PARAMETERS_3
#define CLF_ARGUMENTS_3
#define CLF_TABLE_3
#endif
#define CLF_TABLES CLF_TABLE_0 CLF_TABLE_1 CLF_TABLE_2 CLF_TABLE_3

#define CLF_EXTRA_PARAMETERS CLF_PATTERN_PARAMETERS CLF_SOFTCAP_PARAMETERS CLF_ALIBI_PARAMETERS CLF_PARAMETERS_0 \
    CLF_PARAMETERS_1 CLF_PARAMETERS_2 CLF_PARAMETERS_3
#define CLF_EXTRA_ARGUMENTS CLF_PATTERN_ARGUMENTS CLF_SOFTCAP_ARGUMENTS CLF_ALIBI_ARGUMENTS CLF_ARGUMENTS_0 \
    CLF_ARGUMENTS_1 CLF_ARGUMENTS_2 CLF_ARGUMENTS_3

/* tanh(x) to about 1e-7 of itself: a polynomial in x^2 near 0 (relative error 3e-8), beyond it by exponentials, where
 * 1 - 2 / (e^2x + 1) loses nothing. */
static clf_real clf_tanh(clf_real x)
{
    const clf_real size = clf_max(x, -x), z = x * x;
    clf_real p = (clf_real)(-5.92372626e-3f);
    p = clf_fma(p, z, (clf_real)(2.08734606e-2f));
    p = clf_fma(p, z, (clf_real)(-5.38237589e-2f));
    p = clf_fma(p, z, (clf_real)(1.33325837e-1f));
    p = clf_fma(p, z, (clf_real)(-3.33333270e-1f));
    const clf_real near = clf_fma(p * z, x, x);
    const clf_real power = clf_exp2((size < 10.0f ? size : (clf_real)(10.0f)) * (2.0f * CLF_LOG2E));
    const clf_real far = 1.0f - 2.0f / (power + 1.0f);
    return size < 0.65f ? near : x < 0.0f ? -far : far;
}

#ifdef CLF_MASK_MOD
static clf_bool clf_mask_mod(int b, int h, int q, clf_int k CLF_EXTRA_PARAMETERS)
{
    CLF_TABLES
#include "prelude/mask_mod.cl"
}
#endif

#ifdef CLF_SCORE_MOD
static clf_real clf_score_mod(clf_real score, int b, int h, int q, clf_int k CLF_EXTRA_PARAMETERS)
{
    CLF_TABLES
#include "prelude/score_mod.cl"
}
#endif

#ifdef CLF_SCORE_SLOPE
static clf_real clf_score_mod_slope(clf_real score, int b, int h, int q, clf_int k CLF_EXTRA_PARAMETERS)
{
    CLF_TABLES
#include "prelude/score_mod_slope.cl"
}
#endif

/* The natural score of the dot product `score`; k is a key that exists. */
static clf_real clf_bend(clf_real score, int b, int h, int q, clf_int k CLF_EXTRA_PARAMETERS)
{
#if CLF_SOFTCAP
    score = clf_tanh(score / softcap) * softcap;
#endif
#ifdef CLF_SCORE_MOD
    score = clf_score_mod(score, b, h, q, k CLF_EXTRA_ARGUMENTS);
#endif
    return score;
}

/* Its derivative by that dot product. */
static clf_real clf_score_slope(clf_real score, int b, int h, int q, clf_int k CLF_EXTRA_PARAMETERS)
{
    clf_real slope = (clf_real)(1.0f);
#if CLF_SOFTCAP
    const clf_real bent = clf_tanh(score / softcap);
    slope = (1.0f - bent) * (1.0f + bent);
    score = bent * softcap;
#endif
#ifdef CLF_SCORE_SLOPE
    slope *= clf_score_mod_slope(score, b, h, q, k CLF_EXTRA_ARGUMENTS);
#endif
    return slope;
}
