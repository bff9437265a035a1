/* Patterns along one axis: a range of keys around the diagonal, and a range from the first key on.
 *
 * Table: {low, high, below} for each head: key in [query + low, query + high], or key < below. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <math.h>

static const int32_t *triple(const int32_t *words, int32_t h)
{
    return words + CLF__PATTERN_TABLE + 3 * (int64_t)h;
}

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    const int32_t *t = triple(words, h);

    (void)b;
    return (k >= q + t[0] && k <= q + t[1]) || k < t[2];
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const int32_t *t = triple(words, h), end = words[CLF__PATTERN_KEYS];
    const int32_t first = q + t[0], last = q + t[1] < end - 1 ? q + t[1] : end - 1;
    int32_t count = 0, k = 0;

    (void)b;
    for (; k < t[2] && k < end; k++)
        keys[count++] = k;
    for (k = first > k ? first : k; k <= last; k++)
        keys[count++] = k;
    return count;
}

static clf__pattern_hull hull(const int32_t *words)
{
    clf__pattern_hull all = { CLF__PATTERN_NO_LIMIT, -CLF__PATTERN_NO_LIMIT, 0 };

    for (int32_t h = 0; h < words[CLF__PATTERN_HEADS]; h++) {
        const int32_t *t = triple(words, h);
        all.low = t[0] < all.low ? t[0] : all.low;
        all.high = t[1] > all.high ? t[1] : all.high;
        all.below = t[2] > all.below ? t[2] : all.below;
    }
    return all;
}

const clf__pattern_kind clf__pattern_range = { "range", 1, sees, row, hull };

static int32_t clamp(int64_t x)
{
    return x < -CLF__PATTERN_NO_LIMIT ? -CLF__PATTERN_NO_LIMIT
         : x > CLF__PATTERN_NO_LIMIT ? CLF__PATTERN_NO_LIMIT : (int32_t)x;
}

clf_status clf_pattern_window(int64_t queries, int64_t keys, int64_t shift, int64_t left, int64_t right,
                              int64_t prefix, clf_pattern **pattern)
{
    const int64_t largest = CLF__PATTERN_LARGEST;
    clf_status status = clf__pattern_new(&clf__pattern_range, 1, 1, queries, keys, 3, pattern);

    if (status)
        return status;
    if (shift < -largest || shift > largest || left > largest || right > largest || prefix < 0 || prefix > largest) {
        status = clf__fail(CLF_OUT_OF_RANGE, "shift = %lld, left = %lld, right = %lld, prefix = %lld: numbers up to %d "
                           "are possible, and prefix is not negative", (long long)shift, (long long)left,
                           (long long)right, (long long)prefix, CLF__PATTERN_LARGEST);
        clf_pattern_free(*pattern);
        *pattern = NULL;
        return status;
    }
    int32_t *t = (*pattern)->words + CLF__PATTERN_TABLE;
    t[0] = left < 0 ? -CLF__PATTERN_NO_LIMIT : clamp(shift - left);
    t[1] = right < 0 ? CLF__PATTERN_NO_LIMIT : clamp(shift + right);
    t[2] = (int32_t)prefix;
    return CLF_SUCCESS;
}

clf_status clf_pattern_causal(int64_t queries, int64_t keys, int64_t shift, clf_pattern **pattern)
{
    return clf_pattern_window(queries, keys, shift, -1, 0, 0, pattern);
}

clf_status clf_pattern_local(int64_t length, int64_t window, clf_pattern **pattern)
{
    if (pattern)
        *pattern = NULL;
    if (window < 1 || window % 2 == 0)
        return clf__fail(CLF_OUT_OF_RANGE, "window = %lld; it is an odd number of keys", (long long)window);
    const int64_t side = window / 2 < CLF__PATTERN_LARGEST ? window / 2 : CLF__PATTERN_LARGEST;
    return clf_pattern_window(length, length, 0, side, side, 0, pattern);
}

/* ---- linear biases --------------------------------------------------------------------------------------- */

/* 2^(-8 i / n) for n heads, n a power of two, i = 1 ...; the heads beyond take those of 2 n heads with odd i. */
static float slope_of(int64_t head, int64_t heads)
{
    int64_t n = 1;

    while (2 * n <= heads)
        n *= 2;
    return (float)(head < n ? exp2(-8.0 * (double)(head + 1) / (double)n)
                            : exp2(-4.0 * (double)(2 * (head - n) + 1) / (double)n));
}

clf_status clf_alibi_slopes(int64_t heads, float *slopes)
{
    if (!slopes)
        return clf__fail(CLF_INVALID_VALUE, "slopes is NULL");
    if (heads < 1 || heads > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_OUT_OF_RANGE, "heads = %lld; 1 to %d are possible", (long long)heads,
                         CLF__PATTERN_LARGEST);
    for (int64_t h = 0; h < heads; h++)
        slopes[h] = slope_of(h, heads);
    return CLF_SUCCESS;
}

/* The first distance, at most `end`, whose bias reaches the threshold. */
static int32_t reach(float slope, float threshold, int32_t end)
{
    int32_t n = 0;

    while (n < end && slope * (float)n < threshold)
        n++;
    return n;
}

clf_status clf_pattern_alibi(int64_t heads, int64_t length, float threshold, clf_semantics semantics,
                             clf_pattern **pattern)
{
    const clf_status status = clf__pattern_new(&clf__pattern_range, 1, heads, length, length,
                                               heads > 0 ? 3 * (uint64_t)heads : 0, pattern);

    for (int64_t h = 0; status == CLF_SUCCESS && h < heads; h++) {
        const int32_t n = reach(slope_of(h, heads), threshold, (int32_t)length);
        int32_t *t = (*pattern)->words + CLF__PATTERN_TABLE + 3 * h;
        t[0] = semantics == CLF_SEMANTICS_XFORMERS ? CLF__PATTERN_NO_LIMIT : 1 - n;
        t[1] = semantics == CLF_SEMANTICS_XFORMERS ? -CLF__PATTERN_NO_LIMIT : n - 1;
        t[2] = semantics == CLF_SEMANTICS_XFORMERS ? n : 0;
    }
    return status;
}
