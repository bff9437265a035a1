/* Who sees whom, and what the score becomes: causal order, masks, key padding, user-written snippets.
 *
 * Inside the kernels scores count in powers of two: softmax is then exp2 alone, and the factor log2(e) is
 * hidden in the scale of the queries (clf_query_scale). A masked score is -INFINITY; every kernel skips
 * such a key, so that NaN in a masked row of K or V goes nowhere.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/math.cl"
#include "prelude/change.cl"

#ifndef CLF_CAUSAL
#define CLF_CAUSAL 0 /* 1: key k is visible to query q iff k <= q + shift */
#endif
#ifndef CLF_WINDOW
#define CLF_WINDOW 0 /* 1, with CLF_CAUSAL: and iff k > q + shift - window */
#endif
#ifndef CLF_MASK
#define CLF_MASK 0 /* 0 none, 1 boolean (nonzero = attend), 2 3 4 additive f32 f16 bf16 (-inf = masked) */
#endif
#ifndef CLF_KEY_PADDING
#define CLF_KEY_PADDING 0 /* 1: a byte per key, nonzero = keep */
#endif

/* With these every score passes clf_score; otherwise only those of tiles that the last key or the edge of causal order
 * or window crosses, or in which the lists of a mask snippet (CLF_BLOCKS 2) tell of hidden pairs. */
#if CLF_MASK || CLF_KEY_PADDING || CLF_BENDS || CLF_ALIBI || CLF_PATTERN || (defined(CLF_MASK_MOD) && CLF_BLOCKS != 2)
#define CLF_EVERY_SCORE 1
#else
#define CLF_EVERY_SCORE 0
#endif

#if CLF_MASK == 2
typedef float clf_mask;
#elif CLF_MASK == 3
typedef clf_f16 clf_mask;
#elif CLF_MASK == 4
typedef clf_bf16 clf_mask;
#else
typedef uchar clf_mask;
#endif

/* Multiply queries (or dot products) by this before clf_score. */
static float clf_query_scale(float scale)
{
#if CLF_BENDS
    return scale; /* what bends is promised natural scores */
#else
    return scale * CLF_LOG2E;
#endif
}

/* Causal order and window: query q sees the keys [clf_first_key, clf_keys_seen), key k is seen by the queries
 * [clf_first_query, clf_queries_end). Whole tiles beyond are never touched. */
static int clf_keys_seen(int q, int keys, int shift)
{
#if CLF_CAUSAL
    return clamp(q + shift + 1, 0, keys);
#else
    return keys;
#endif
}

static int clf_first_key(int q, int8 shape)
{
#if CLF_WINDOW
    return clamp(q + shape.s4 + 1 - shape.s7, 0, shape.s3);
#else
    return 0;
#endif
}

static int clf_first_query(int k, int queries, int shift)
{
#if CLF_CAUSAL
    return clamp(k - shift, 0, queries);
#else
    return 0;
#endif
}

static int clf_queries_end(int k, int8 shape)
{
#if CLF_WINDOW
    return clamp(k - shape.s4 + shape.s7, 0, shape.s2);
#else
    return shape.s2;
#endif
}

/* Where the mask's row for (b, h, q) starts. mask_at = {offset, strides of batch, head, query, key, tile}:
 * with tile > 0 the mask's items repeat over all b * heads + h, and there is no head stride. */
static long clf_mask_row(long8 mask_at, int b, int h, int heads, int q)
{
    const long item = mask_at.s5 > 0 ? ((long)b * heads + h) % mask_at.s5 * mask_at.s1
                                     : b * mask_at.s1 + h * mask_at.s2;
    return mask_at.s0 + item + q * mask_at.s3;
}

/* One lane's share of a mask: what is added to a score that counts in powers of two. A finite value stays
 * finite there, because only -inf hides a key. */
static float clf_mask_bias(__global const clf_mask *mask, long i)
{
#if CLF_MASK == 1
    return mask[i] ? 0.0f : -INFINITY;
#else
#if CLF_MASK == 2
    const float bias = clf_load_f32(mask, i);
#elif CLF_MASK == 3
    const float bias = clf_load_f16(mask, i);
#elif CLF_MASK == 4
    const float bias = clf_load_bf16(mask, i);
#else
    const float bias = 0.0f;
#endif
    return bias == -INFINITY ? bias : fmax(bias * CLF_LOG2E, -FLT_MAX);
#endif
}

/* The same for keys k .., `stride` elements apart; lanes from `last` on see key `last` again. */
static clf_real clf_mask_biases(__global const clf_mask *mask, long row, long stride, clf_int k)
{
#if CLF_LANES == 1
    return clf_mask_bias(mask, row + k * stride);
#else
    if (stride == 1 && k.sf == k.s0 + 15) {
        const long i = row + k.s0;
#if CLF_MASK == 1
        const int16 seen = convert_int16(vload16(0, mask + i)) != 0;
        return seen ? (float16)(0.0f) : (float16)(-INFINITY);
#elif CLF_MASK > 1
#if CLF_MASK == 2
        const float16 bias = clf_load16_f32(mask, i);
#elif CLF_MASK == 3
        const float16 bias = clf_load16_f16(mask, i);
#else
        const float16 bias = clf_load16_bf16(mask, i);
#endif
        const float16 hidden = (float16)(-INFINITY);
        return bias == hidden ? hidden : clf_max(bias * CLF_LOG2E, (float16)(-FLT_MAX));
#endif
    }
    int at[16];
    float bias[16];
    vstore16(k, 0, at);
    for (int lane = 0; lane < 16; lane++)
        bias[lane] = clf_mask_bias(mask, row + at[lane] * stride);
    return vload16(0, bias);
#endif
}

/* Which lanes key padding keeps. padding_at = {offset, strides of batch, key}. */
static clf_bool clf_unpadded(__global const uchar *padding, long4 padding_at, int b, clf_int k)
{
    const long row = padding_at.x + b * padding_at.y;
#if CLF_LANES == 1
    return padding[row + k * padding_at.z] != 0;
#else
    int at[16], keep[16];
    vstore16(k, 0, at);
    for (int lane = 0; lane < 16; lane++)
        keep[lane] = padding[row + at[lane] * padding_at.z];
    return vload16(0, keep) != 0;
#endif
}

/* From the scaled dot product to the final score, in powers of two, -INFINITY where query q does not see
 * the key. k may run beyond the last key, which hides the lane and reads nothing out of bounds.
 * shape = {B, H, Nq, Nk, causal shift, D, E, window}. */
static clf_real clf_score(clf_real score, int b, int h, int q, clf_int k, int8 shape,
                          __global const clf_mask *mask, long8 mask_at,
                          __global const uchar *padding, long4 padding_at CLF_EXTRA_PARAMETERS)
{
    clf_bool seen = k < clf_keys_seen(q, shape.s3, shape.s4);
#if CLF_WINDOW
    seen = seen & (k >= clf_first_key(q, shape));
#endif
    const clf_int last = (clf_int)(shape.s3 - 1);
    k = k < last ? k : last;
#if CLF_BENDS
    score = clf_bend(score, b, h, q, k CLF_EXTRA_ARGUMENTS) * CLF_LOG2E;
#endif
#if CLF_ALIBI
    score += clf_to_real(k - (q + shape.s4 - alibi_ahead)) * (alibi[alibi_at.x + h * alibi_at.y] * CLF_LOG2E);
#endif
#ifdef CLF_MASK_MOD
    seen = seen & clf_mask_mod(b, h, q, k CLF_EXTRA_ARGUMENTS);
#endif
#if CLF_PATTERN
    seen = seen & clf_pattern_sees(pattern + pattern_at, b, h, q, k);
#endif
#if CLF_KEY_PADDING
    seen = seen & clf_unpadded(padding, padding_at, b, k);
#endif
#if CLF_MASK
    const clf_real bias = clf_mask_biases(mask, clf_mask_row(mask_at, b, h, shape.s1, q), mask_at.s4, k);
    seen = seen & (bias != (clf_real)(-INFINITY));
    score += bias;
#endif
    return seen ? score : (clf_real)(-INFINITY);
}
