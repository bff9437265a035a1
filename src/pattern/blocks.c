/* Patterns of blocks: a layout with each entry standing for block x block pairs; and gathering what is present.
 *
 * Own numbers: 6 block, 7 columns of the layout. Table: a bit for each block, heads x rows x columns. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <string.h>

enum { BLOCK = CLF__PATTERN_OWN, COLUMNS };

static uint64_t rows_of(const int32_t *words)
{
    return ((uint64_t)words[CLF__PATTERN_QUERIES] + (uint64_t)words[BLOCK] - 1) / (uint64_t)words[BLOCK];
}

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    const uint64_t columns = (uint64_t)words[COLUMNS], rows = rows_of(words);

    (void)b;
    return clf__bit(words + CLF__PATTERN_TABLE,
                    ((uint64_t)h * rows + (uint64_t)(q / words[BLOCK])) * columns + (uint64_t)(k / words[BLOCK]));
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const uint64_t columns = (uint64_t)words[COLUMNS], rows = rows_of(words);
    const uint64_t first = ((uint64_t)h * rows + (uint64_t)(q / words[BLOCK])) * columns, end = first + columns;
    int32_t count = 0;

    (void)b;
    for (uint64_t bit = first; bit < end; bit++) {
        if (words[CLF__PATTERN_TABLE + bit / 32] == 0) {
            bit |= 31; /* none in this word */
            continue;
        }
        const int32_t k = (int32_t)(bit - first) * words[BLOCK];
        for (int32_t i = 0; clf__bit(words + CLF__PATTERN_TABLE, bit) && i < words[BLOCK] && k + i < words[CLF__PATTERN_KEYS];
             i++)
            keys[count++] = k + i;
    }
    return count;
}

const clf__pattern_kind clf__pattern_blocks = { "blocks", 6, sees, row, NULL };

clf_status clf_pattern_blocks(int64_t heads, int64_t rows, int64_t columns, int64_t block, const uint8_t *layout,
                              clf_pattern **pattern)
{
    const int64_t largest = CLF__PATTERN_LARGEST;
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if (block < 1 || block > largest || heads < 1 || heads > largest || rows < 0 || rows > largest / block ||
        columns < 0 || columns > largest / block || rows * columns > INT64_C(32) * INT32_MAX / heads)
        return clf__fail(CLF_INVALID_SHAPE, "a layout of %lld heads x %lld x %lld blocks of %lld", (long long)heads,
                         (long long)rows, (long long)columns, (long long)block);
    const int64_t count = heads * rows * columns;
    if (!layout && count > 0)
        return clf__fail(CLF_INVALID_VALUE, "layout is NULL");
    status = clf__pattern_new(&clf__pattern_blocks, 1, heads, rows * block, columns * block,
                              clf__bit_words((uint64_t)count), pattern);
    if (status)
        return status;
    (*pattern)->words[BLOCK] = (int32_t)block;
    (*pattern)->words[COLUMNS] = (int32_t)columns;
    for (int64_t i = 0; i < count; i++)
        if (layout[i])
            clf__bit_set((*pattern)->words + CLF__PATTERN_TABLE, (uint64_t)i);
    return CLF_SUCCESS;
}

clf_status clf__pattern_cut(clf_pattern *pattern, int64_t queries, int64_t keys)
{
    int32_t *words = pattern->words;
    const int32_t block = words[BLOCK], rows = words[CLF__PATTERN_QUERIES], columns = words[CLF__PATTERN_KEYS];

    if (queries > rows || queries <= rows - block || keys > columns || keys <= columns - block)
        return clf__fail(CLF_INVALID_SHAPE, "%d x %d pairs in blocks of %d do not fit %lld queries x %lld keys", rows,
                         columns, block, (long long)queries, (long long)keys);
    words[CLF__PATTERN_QUERIES] = (int32_t)queries;
    words[CLF__PATTERN_KEYS] = (int32_t)keys;
    return CLF_SUCCESS;
}

/* ---- gathering ------------------------------------------------------------------------------------------- */

/* block x block elements of `from`, rows of `length`, side by side. */
static void copy_block(const char *from, int64_t length, int64_t block, size_t element, char *to)
{
    const size_t line = (size_t)block * element;

    for (int64_t i = 0; i < block; i++)
        memcpy(to + (size_t)i * line, from + (size_t)(i * length) * element, line);
}

clf_status clf_layout_gather(int64_t batch, int64_t heads, int64_t length, int64_t block, const uint8_t *layout,
                             size_t element, const void *array, void *blocks, int64_t *present)
{
    int64_t count = 0;
    char *to = blocks;

    if (!layout || (blocks && !array))
        return clf__fail(CLF_INVALID_VALUE, "%s is NULL", layout ? "array" : "layout");
    if (batch < 0 || heads < 0 || length < 0 || block < 1 || length % block)
        return clf__fail(CLF_INVALID_SHAPE, "batch = %lld, heads = %lld, length = %lld in blocks of %lld",
                         (long long)batch, (long long)heads, (long long)length, (long long)block);
    const int64_t n = length / block;
    for (int64_t i = 0; i < heads * n * n; i++)
        count += layout[i] != 0;
    if (present)
        *present = count;
    for (int64_t b = 0; blocks && b < batch; b++)
        for (int64_t i = 0; i < heads * n * n; i++)
            if (layout[i]) {
                const int64_t h = i / (n * n), row = i / n % n, column = i % n;
                const int64_t at = ((b * heads + h) * length + row * block) * length + column * block;
                copy_block((const char *)array + (size_t)at * element, length, block, element, to);
                to += (size_t)(block * block) * element;
            }
    return CLF_SUCCESS;
}
