/* Patterns given row by row: masks, and sets that were drawn.
 *
 * Table: where the rows of all heads start (heads * queries + 1 numbers), then the keys of the rows, ascending. */
#include "pattern/rows.h"
#include "core/status.h"
#include <string.h>

static const int32_t *row_at(const int32_t *words, int32_t h, int32_t q, int32_t *count)
{
    const int64_t rows = (int64_t)words[CLF__PATTERN_HEADS] * words[CLF__PATTERN_QUERIES];
    const int32_t *offsets = words + CLF__PATTERN_TABLE;
    const int64_t i = (int64_t)h * words[CLF__PATTERN_QUERIES] + q;

    *count = offsets[i + 1] - offsets[i];
    return offsets + rows + 1 + offsets[i];
}

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    int32_t count;
    const int32_t *keys = row_at(words, h, q, &count);

    (void)b;
    while (count > 0) {
        const int32_t half = count / 2;
        if (keys[half] == k)
            return true;
        if (keys[half] < k) {
            keys += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return false;
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    int32_t count;
    const int32_t *from = row_at(words, h, q, &count);

    (void)b;
    if (count > 0)
        memcpy(keys, from, (size_t)count * sizeof *keys);
    return count;
}

const clf__pattern_kind clf__pattern_rows = { "rows", 7, sees, row, NULL };

clf_status clf__pattern_rows_new(int64_t heads, int64_t queries, int64_t keys, uint64_t entries, clf_pattern **pattern,
                                 int32_t **offsets, int32_t **columns)
{
    const int64_t largest = CLF__PATTERN_LARGEST;
    const bool plausible = heads > 0 && queries >= 0 && heads <= largest && queries <= largest;
    const uint64_t rows = plausible ? (uint64_t)heads * (uint64_t)queries : 0;

    if (entries > INT32_MAX)
        entries = INT32_MAX; /* refused there */
    const clf_status status = clf__pattern_new(&clf__pattern_rows, 1, heads, queries, keys, rows + 1 + entries,
                                               pattern);
    if (status == CLF_SUCCESS) {
        *offsets = (*pattern)->words + CLF__PATTERN_TABLE;
        *columns = *offsets + rows + 1;
    }
    return status;
}

clf_status clf_pattern_mask(int64_t heads, int64_t queries, int64_t keys, const uint8_t *mask, clf_pattern **pattern)
{
    int32_t *offsets, *columns, count = 0;
    uint64_t entries = 0;
    clf_status status = clf__pattern_new(&clf__pattern_rows, 1, heads, queries, keys, 0, pattern);

    if (status)
        return status; /* extents that make no sense; from here on they do */
    clf_pattern_free(*pattern);
    *pattern = NULL;
    const int64_t rows = heads * queries;
    if (!mask && rows * keys > 0)
        return clf__fail(CLF_INVALID_VALUE, "mask is NULL");
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < keys; k++)
            entries += mask[i * keys + k] != 0;
    status = clf__pattern_rows_new(heads, queries, keys, entries, pattern, &offsets, &columns);
    for (int64_t i = 0; status == CLF_SUCCESS && i < rows; i++) {
        for (int64_t k = 0; k < keys; k++)
            if (mask[i * keys + k])
                columns[count++] = (int32_t)k;
        offsets[i + 1] = count;
    }
    return status;
}
