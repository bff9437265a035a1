/* Global tokens: they see all keys and all queries see them.
 *
 * Table: a bit for each position. */
#include "pattern/pattern.h"
#include "core/status.h"

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    const int32_t *bits = words + CLF__PATTERN_TABLE;

    (void)b;
    (void)h;
    return clf__bit(bits, (uint64_t)q) || clf__bit(bits, (uint64_t)k);
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const int32_t *bits = words + CLF__PATTERN_TABLE, end = words[CLF__PATTERN_KEYS];
    const bool all = clf__bit(bits, (uint64_t)q);
    int32_t count = 0;

    (void)b;
    (void)h;
    for (int32_t k = 0; k < end; k++) {
        if (!all && bits[k / 32] == 0)
            k |= 31; /* none in this word */
        else if (all || clf__bit(bits, (uint64_t)k))
            keys[count++] = k;
    }
    return count;
}

const clf__pattern_kind clf__pattern_global = { "global", 4, sees, row, NULL };

clf_status clf_pattern_global(int64_t length, const uint8_t *is_global, clf_pattern **pattern)
{
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if (!is_global && length > 0)
        return clf__fail(CLF_INVALID_VALUE, "is_global is NULL");
    status = clf__pattern_new(&clf__pattern_global, 1, 1, length, length,
                              length > 0 ? clf__bit_words((uint64_t)length) : 0, pattern);
    for (int64_t i = 0; status == CLF_SUCCESS && i < length; i++)
        if (is_global[i])
            clf__bit_set((*pattern)->words + CLF__PATTERN_TABLE, (uint64_t)i);
    return status;
}
