/* Life of a pattern, and what every kind answers in the same way. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------- */

static clf_status check_extents(int64_t batch, int64_t heads, int64_t queries, int64_t keys)
{
    const struct { const char *name; int64_t value, least; } extents[] = {
        { "batch", batch, 1 }, { "heads", heads, 1 }, { "queries", queries, 0 }, { "keys", keys, 0 }
    };

    for (size_t i = 0; i < 4; i++)
        if (extents[i].value < extents[i].least || extents[i].value > CLF__PATTERN_LARGEST)
            return clf__fail(CLF_INVALID_SHAPE, "a pattern with %lld %s: %lld to %d are possible",
                             (long long)extents[i].value, extents[i].name, (long long)extents[i].least,
                             CLF__PATTERN_LARGEST);
    return CLF_SUCCESS;
}

clf_status clf__pattern_new(const clf__pattern_kind *kind, int64_t batch, int64_t heads, int64_t queries,
                            int64_t keys, uint64_t table, clf_pattern **pattern)
{
    const uint64_t count = CLF__PATTERN_TABLE + table;
    clf_status status;

    if (!pattern)
        return clf__fail(CLF_INVALID_VALUE, "pattern is NULL: nowhere to put the new one");
    *pattern = NULL;
    if ((status = check_extents(batch, heads, queries, keys)))
        return status;
    if (table > INT32_MAX - CLF__PATTERN_TABLE)
        return clf__fail(CLF_OUT_OF_RANGE, "a table of %llu words; at most %d are possible", (unsigned long long)table,
                         INT32_MAX - CLF__PATTERN_TABLE);
    clf_pattern *made = calloc(1, sizeof *made + (size_t)count * sizeof made->words[0]);
    if (!made)
        return clf__no_memory((size_t)count * sizeof made->words[0]);
    made->kind = kind;
    made->count = (size_t)count;
    made->words[CLF__PATTERN_CAUSAL] = CLF__PATTERN_NO_LIMIT;
    made->words[CLF__PATTERN_DIAGONAL] = -CLF__PATTERN_NO_LIMIT;
    made->words[CLF__PATTERN_BATCH] = (int32_t)batch;
    made->words[CLF__PATTERN_HEADS] = (int32_t)heads;
    made->words[CLF__PATTERN_QUERIES] = (int32_t)queries;
    made->words[CLF__PATTERN_KEYS] = (int32_t)keys;
    *pattern = made;
    return CLF_SUCCESS;
}

void clf_pattern_free(clf_pattern *pattern)
{
    free(pattern);
}

clf_pattern_info clf_pattern_get_info(const clf_pattern *pattern)
{
    const int32_t *words = pattern->words;

    return (clf_pattern_info){
        .size = sizeof(clf_pattern_info),
        .kind = pattern->kind->name,
        .batch = words[CLF__PATTERN_BATCH],
        .heads = words[CLF__PATTERN_HEADS],
        .queries = words[CLF__PATTERN_QUERIES],
        .keys = words[CLF__PATTERN_KEYS],
    };
}

/* ---- causal order and diagonal --------------------------------------------------------------------- */

static clf_status check_shift(const clf_pattern *pattern, int64_t shift)
{
    if (!pattern)
        return clf__fail(CLF_INVALID_VALUE, "pattern is NULL");
    if (shift < -CLF__PATTERN_LARGEST || shift > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_OUT_OF_RANGE, "shift = %lld; -%d to %d are possible", (long long)shift,
                         CLF__PATTERN_LARGEST, CLF__PATTERN_LARGEST);
    return CLF_SUCCESS;
}

clf_status clf_pattern_make_causal(clf_pattern *pattern, int64_t shift)
{
    const clf_status status = check_shift(pattern, shift);

    if (status == CLF_SUCCESS && shift < pattern->words[CLF__PATTERN_CAUSAL])
        pattern->words[CLF__PATTERN_CAUSAL] = (int32_t)shift;
    return status;
}

clf_status clf_pattern_keep_diagonal(clf_pattern *pattern, int64_t shift)
{
    const clf_status status = check_shift(pattern, shift);

    if (status == CLF_SUCCESS)
        pattern->words[CLF__PATTERN_DIAGONAL] = (int32_t)shift;
    return status;
}

/* ---- pairs and rows ---------------------------------------------------------------------------------- */

/* A pattern for all batches or heads answers for any. */
static int32_t within(int64_t index, int32_t extent)
{
    return extent == 1 ? 0 : (int32_t)index;
}

bool clf_pattern_sees(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t query, int64_t key)
{
    const int32_t *words = pattern->words;
    const int32_t batches = words[CLF__PATTERN_BATCH], heads = words[CLF__PATTERN_HEADS];

    if (query < 0 || query >= words[CLF__PATTERN_QUERIES] || key < 0 || key >= words[CLF__PATTERN_KEYS] || batch < 0 ||
        (batches > 1 && batch >= batches) || head < 0 || (heads > 1 && head >= heads))
        return false;
    if (key > query + words[CLF__PATTERN_CAUSAL])
        return false;
    return key == query + words[CLF__PATTERN_DIAGONAL] ||
           pattern->kind->sees(words, within(batch, batches), within(head, heads), (int32_t)query, (int32_t)key);
}

int32_t clf__pattern_row(const clf_pattern *pattern, int64_t b, int64_t h, int64_t q, int32_t *keys)
{
    const int32_t *words = pattern->words;
    const int64_t last = q + words[CLF__PATTERN_CAUSAL], diagonal = q + words[CLF__PATTERN_DIAGONAL];
    int32_t count = pattern->kind->row(words, within(b, words[CLF__PATTERN_BATCH]),
                                       within(h, words[CLF__PATTERN_HEADS]), (int32_t)q, keys);

    while (count > 0 && keys[count - 1] > last)
        count--;
    if (diagonal < 0 || diagonal >= words[CLF__PATTERN_KEYS] || diagonal > last)
        return count;
    int32_t at = count;
    while (at > 0 && keys[at - 1] > diagonal)
        at--;
    if (at > 0 && keys[at - 1] == diagonal)
        return count;
    memmove(keys + at + 1, keys + at, (size_t)(count - at) * sizeof *keys);
    keys[at] = (int32_t)diagonal;
    return count + 1;
}

clf__pattern_hull clf__pattern_hull_of(const clf_pattern *pattern)
{
    const int32_t causal = pattern->words[CLF__PATTERN_CAUSAL], diagonal = pattern->words[CLF__PATTERN_DIAGONAL];
    clf__pattern_hull hull = { -CLF__PATTERN_NO_LIMIT, CLF__PATTERN_NO_LIMIT, 0 };

    if (pattern->kind->hull)
        hull = pattern->kind->hull(pattern->words);
    if (diagonal > -CLF__PATTERN_NO_LIMIT) {
        hull.low = hull.low < diagonal ? hull.low : diagonal;
        hull.high = hull.high > diagonal ? hull.high : diagonal;
    }
    hull.high = hull.high < causal ? hull.high : causal;
    return hull;
}

clf_status clf__pattern_check_item(const clf_pattern *pattern, int64_t batch, int64_t head)
{
    if (!pattern)
        return clf__fail(CLF_INVALID_VALUE, "pattern is NULL");
    const int32_t batches = pattern->words[CLF__PATTERN_BATCH], heads = pattern->words[CLF__PATTERN_HEADS];
    if (batch < 0 || (batches > 1 && batch >= batches))
        return clf__fail(CLF_OUT_OF_RANGE, "batch %lld of a pattern for %d", (long long)batch, batches);
    if (head < 0 || (heads > 1 && head >= heads))
        return clf__fail(CLF_OUT_OF_RANGE, "head %lld of a pattern for %d", (long long)head, heads);
    return CLF_SUCCESS;
}

/* ---- small tools ---------------------------------------------------------------------------------------- */

uint64_t clf__bit_words(uint64_t bits)
{
    return (bits + 31) / 32;
}

bool clf__bit(const int32_t *words, uint64_t i)
{
    return ((uint32_t)words[i / 32] >> i % 32 & 1) != 0;
}

void clf__bit_set(int32_t *words, uint64_t i)
{
    words[i / 32] = (int32_t)((uint32_t)words[i / 32] | (uint32_t)1 << i % 32);
}

clf_status clf__pattern_upload(clf_device *device, const clf_pattern *pattern, clf_tensor *words)
{
    const int64_t count = (int64_t)pattern->count;
    clf_status status = clf_tensor_alloc(device, CLF_I32, 1, &count, words);

    if (status == CLF_SUCCESS && (status = clf_tensor_write(device, words, pattern->words)))
        clf_tensor_free(device, words);
    return status;
}
