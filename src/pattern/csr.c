/* What is made of the rows of a pattern: counts, masks, compressed sparse rows. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

/* Room for one row. */
static clf_status row_buffer(const clf_pattern *pattern, int64_t batch, int64_t head, int32_t **keys)
{
    const clf_status status = clf__pattern_check_item(pattern, batch, head);

    *keys = NULL;
    if (status)
        return status;
    const size_t bytes = ((size_t)pattern->words[CLF__PATTERN_KEYS] + 1) * sizeof **keys;
    *keys = malloc(bytes);
    return *keys ? CLF_SUCCESS : clf__no_memory(bytes);
}

clf_status clf_pattern_count(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t *pairs)
{
    int32_t *keys;
    clf_status status;

    if (!pairs)
        return clf__fail(CLF_INVALID_VALUE, "pairs is NULL");
    *pairs = 0;
    if ((status = row_buffer(pattern, batch, head, &keys)))
        return status;
    for (int32_t q = 0; q < pattern->words[CLF__PATTERN_QUERIES]; q++)
        *pairs += clf__pattern_row(pattern, batch, head, q, keys);
    free(keys);
    return CLF_SUCCESS;
}

clf_status clf_pattern_write(const clf_pattern *pattern, int64_t batch, int64_t head, uint8_t *mask)
{
    int32_t *keys;
    clf_status status = row_buffer(pattern, batch, head, &keys);

    if (status)
        return status;
    const int64_t width = pattern->words[CLF__PATTERN_KEYS], rows = pattern->words[CLF__PATTERN_QUERIES];
    if (!mask && rows * width > 0)
        status = clf__fail(CLF_INVALID_VALUE, "mask is NULL");
    for (int64_t q = 0; status == CLF_SUCCESS && q < rows; q++) {
        const int32_t count = clf__pattern_row(pattern, batch, head, q, keys);
        memset(mask + q * width, 0, (size_t)width);
        for (int32_t i = 0; i < count; i++)
            mask[q * width + keys[i]] = 1;
    }
    free(keys);
    return status;
}

clf_status clf_pattern_layout(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t block, uint8_t *layout)
{
    int32_t *keys;
    clf_status status = row_buffer(pattern, batch, head, &keys);

    if (status)
        return status;
    const int64_t queries = pattern->words[CLF__PATTERN_QUERIES], width = pattern->words[CLF__PATTERN_KEYS];
    if (block < 1 || queries % block || width % block) {
        status = clf__fail(CLF_INVALID_SHAPE, "blocks of %lld do not tile %lld x %lld", (long long)block,
                           (long long)queries, (long long)width);
    } else if (!layout && queries * width > 0) {
        status = clf__fail(CLF_INVALID_VALUE, "layout is NULL");
    } else if (queries * width > 0) {
        memset(layout, 0, (size_t)(queries / block * (width / block)));
        for (int64_t q = 0; q < queries; q++) {
            const int32_t count = clf__pattern_row(pattern, batch, head, q, keys);
            for (int32_t i = 0; i < count; i++)
                layout[q / block * (width / block) + keys[i] / block] = 1;
        }
    }
    free(keys);
    return status;
}

/* ---- compressed sparse rows -------------------------------------------------------------------------- */

/* Arrays for rows and entries; on failure *csr is empty. */
static clf_status reserve(clf_csr *csr, int64_t rows, int64_t width, int64_t entries, bool with_origin)
{
    *csr = (clf_csr){ .size = sizeof *csr };
    if (entries > INT32_MAX)
        return clf__fail(CLF_OUT_OF_RANGE, "%lld entries; sparse rows hold at most %d", (long long)entries, INT32_MAX);
    csr->offsets = calloc((size_t)rows + 1, sizeof *csr->offsets);
    csr->order = calloc((size_t)rows + 1, sizeof *csr->order);
    csr->columns = calloc((size_t)entries + 1, sizeof *csr->columns);
    csr->origin = with_origin ? calloc((size_t)entries + 1, sizeof *csr->origin) : NULL;
    if (!csr->offsets || !csr->order || !csr->columns || (with_origin && !csr->origin)) {
        clf_csr_free(csr);
        return clf__no_memory((size_t)(2 * rows + 2 * entries) * sizeof *csr->columns);
    }
    csr->rows = rows;
    csr->width = width;
    csr->entries = entries;
    return CLF_SUCCESS;
}

void clf_csr_free(clf_csr *csr)
{
    if (!csr)
        return;
    free(csr->offsets);
    free(csr->order);
    free(csr->columns);
    free(csr->origin);
    *csr = (clf_csr){ .size = sizeof *csr };
}

/* Counting sort by length: as many steps as rows and columns. */
static clf_status sort_rows(clf_csr *csr)
{
    int32_t *start = calloc((size_t)csr->width + 2, sizeof *start); /* start[n]: of the rows of length width - n */

    if (!start)
        return clf__no_memory(((size_t)csr->width + 2) * sizeof *start);
    for (int64_t i = 0; i < csr->rows; i++)
        start[csr->width - (csr->offsets[i + 1] - csr->offsets[i]) + 1]++;
    for (int64_t n = 0; n <= csr->width; n++)
        start[n + 1] += start[n];
    for (int64_t i = 0; i < csr->rows; i++)
        csr->order[start[csr->width - (csr->offsets[i + 1] - csr->offsets[i])]++] = (int32_t)i;
    free(start);
    return CLF_SUCCESS;
}

/* Rows one after another until `entries` are there. */
static void fill(const clf_pattern *pattern, int64_t batch, int64_t head, int32_t *keys, clf_csr *csr)
{
    int64_t at = 0;

    for (int64_t q = 0; q < csr->rows; q++) {
        int64_t count = clf__pattern_row(pattern, batch, head, q, keys);
        count = count < csr->entries - at ? count : csr->entries - at;
        if (count > 0)
            memcpy(csr->columns + at, keys, (size_t)count * sizeof *keys);
        at += count;
        csr->offsets[q + 1] = (int32_t)at;
    }
}

clf_status clf_pattern_csr(const clf_pattern *pattern, int64_t batch, int64_t head, clf_semantics semantics,
                           clf_csr *csr)
{
    int64_t entries;
    int32_t *keys;
    clf_status status;

    if (!csr)
        return clf__fail(CLF_INVALID_VALUE, "csr is NULL");
    *csr = (clf_csr){ .size = sizeof *csr };
    if ((status = clf_pattern_count(pattern, batch, head, &entries)) ||
        (status = row_buffer(pattern, batch, head, &keys)))
        return status;
    if (semantics == CLF_SEMANTICS_XFORMERS)
        entries -= entries % 4;
    status = reserve(csr, pattern->words[CLF__PATTERN_QUERIES], pattern->words[CLF__PATTERN_KEYS], entries, false);
    if (status == CLF_SUCCESS) {
        fill(pattern, batch, head, keys, csr);
        status = sort_rows(csr);
    }
    free(keys);
    if (status)
        clf_csr_free(csr);
    return status;
}

clf_status clf_csr_transpose(const clf_csr *csr, clf_csr *transposed)
{
    clf_status status;

    if (!csr || !transposed)
        return clf__fail(CLF_INVALID_VALUE, "%s is NULL", csr ? "transposed" : "csr");
    if ((status = reserve(transposed, csr->width, csr->rows, csr->entries, true)))
        return status;
    int32_t *offsets = transposed->offsets;
    for (int64_t i = 0; i < csr->entries; i++)
        offsets[csr->columns[i] + 1]++;
    for (int64_t i = 0; i < csr->width; i++)
        offsets[i + 1] += offsets[i];
    /* Each row's offset counts up as its entries come, and ends where the next row began. */
    for (int32_t row = 0; row < csr->rows; row++)
        for (int32_t i = csr->offsets[row]; i < csr->offsets[row + 1]; i++) {
            const int32_t at = offsets[csr->columns[i]]++;
            transposed->columns[at] = row;
            transposed->origin[at] = i;
        }
    for (int64_t i = csr->width; i > 0; i--)
        offsets[i] = offsets[i - 1];
    offsets[0] = 0;
    if ((status = sort_rows(transposed)))
        clf_csr_free(transposed);
    return status;
}
