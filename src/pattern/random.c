/* Random pairs by themselves: a function of the position, as in dropout. And the drawing that others need.
 *
 * Own numbers: none. Table: seed low, seed high, threshold. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <math.h>

#define TAG 0x70617474u /* "patt": apart from the words of dropout */

static void draw4(const int32_t *words, int32_t h, int32_t q, int32_t k4, uint32_t drawn[4])
{
    const int32_t *table = words + CLF__PATTERN_TABLE;
    const uint32_t counter[4] = { (uint32_t)k4, (uint32_t)q, (uint32_t)h, TAG };
    const uint32_t key[2] = { (uint32_t)table[0], (uint32_t)table[1] };

    clf__philox(counter, key, drawn);
}

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    uint32_t drawn[4];

    (void)b;
    draw4(words, h, q, k / 4, drawn);
    return drawn[k % 4] >= (uint32_t)words[CLF__PATTERN_TABLE + 2];
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const uint32_t threshold = (uint32_t)words[CLF__PATTERN_TABLE + 2];
    uint32_t drawn[4] = { 0 };
    int32_t count = 0;

    (void)b;
    for (int32_t k = 0; k < words[CLF__PATTERN_KEYS]; k++) {
        if (k % 4 == 0)
            draw4(words, h, q, k / 4, drawn);
        if (drawn[k % 4] >= threshold)
            keys[count++] = k;
    }
    return count;
}

const clf__pattern_kind clf__pattern_random = { "random", 5, sees, row, NULL };

clf_status clf_pattern_random(int64_t heads, int64_t queries, int64_t keys, double sparsity, uint64_t seed,
                              clf_pattern **pattern)
{
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if (!(sparsity > 0 && sparsity < 1))
        return clf__fail(CLF_OUT_OF_RANGE, "sparsity = %g; it lies between 0 and 1", sparsity);
    status = clf__pattern_new(&clf__pattern_random, 1, heads, queries, keys, 3, pattern);
    if (status)
        return status;
    const double threshold = floor(sparsity * 0x1p32 + 0.5);
    int32_t *table = (*pattern)->words + CLF__PATTERN_TABLE;
    table[0] = (int32_t)(uint32_t)seed;
    table[1] = (int32_t)(uint32_t)(seed >> 32);
    table[2] = (int32_t)(threshold > 0x1p32 - 1 ? UINT32_MAX : (uint32_t)threshold);
    return CLF_SUCCESS;
}

void clf__draw_distinct(const clf__stream *stream, uint64_t first, int64_t range, int64_t count, int64_t *drawn)
{
    for (int64_t j = 0; j < count; j++) {
        const int64_t top = range - count + j; /* the largest number of this step */
        int64_t x = (int64_t)(clf__stream_uniform(stream, first + (uint64_t)j) * (double)(top + 1)), at = j;

        while (at > 0 && drawn[at - 1] > x)
            at--;
        if (at > 0 && drawn[at - 1] == x)
            x = top, at = j; /* taken: `top` is larger than all so far */
        for (int64_t i = j; i > at; i--)
            drawn[i] = drawn[i - 1];
        drawn[at] = x;
    }
}
