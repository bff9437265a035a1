/* Patterns of groups: a query sees the keys that carry its own label. Packed documents, windows of an image.
 *
 * Table: batch x length labels; as many times the first position of the same label; as many times the next one (or
 * the length), so that a row is found without looking at the others. Kernels need the labels only. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    const int32_t *label = words + CLF__PATTERN_TABLE + (int64_t)b * words[CLF__PATTERN_KEYS];

    (void)h;
    return label[q] == label[k];
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const int64_t length = words[CLF__PATTERN_KEYS], all = words[CLF__PATTERN_BATCH] * length;
    const int32_t *first = words + CLF__PATTERN_TABLE + all + b * length, *next = first + all;
    int32_t count = 0;

    (void)h;
    for (int32_t k = first[q]; k < length; k = next[k])
        keys[count++] = k;
    return count;
}

const clf__pattern_kind clf__pattern_labels = { "labels", 2, sees, row, NULL };

/* ---- linking equal labels -------------------------------------------------------------------------- */

typedef struct place {
    int32_t label, at;
} place;

static int by_label(const void *a, const void *b)
{
    const place *x = a, *y = b;

    return x->label != y->label ? (x->label < y->label ? -1 : 1) : x->at < y->at ? -1 : 1;
}

/* A pattern of labels; takes the pattern back when memory is short. */
static clf_status link_labels(clf_pattern **pattern)
{
    int32_t *words = (*pattern)->words;
    const int64_t length = words[CLF__PATTERN_KEYS], all = words[CLF__PATTERN_BATCH] * length;
    place *places = malloc((size_t)(length + 1) * sizeof *places);

    if (!places) {
        clf_pattern_free(*pattern);
        *pattern = NULL;
        return clf__no_memory((size_t)length * sizeof *places);
    }
    for (int64_t b = 0; b < words[CLF__PATTERN_BATCH]; b++) {
        int32_t *label = words + CLF__PATTERN_TABLE + b * length, *first = label + all, *next = first + all;
        for (int32_t i = 0; i < length; i++)
            places[i] = (place){ label[i], i };
        qsort(places, (size_t)length, sizeof *places, by_label);
        for (int64_t i = 0; i < length; i++) {
            const bool begins = i == 0 || places[i - 1].label != places[i].label;
            const bool ends = i + 1 == length || places[i + 1].label != places[i].label;
            first[places[i].at] = begins ? places[i].at : first[places[i - 1].at];
            next[places[i].at] = ends ? (int32_t)length : places[i + 1].at;
        }
    }
    free(places);
    return CLF_SUCCESS;
}

clf_status clf_pattern_documents(int64_t batch, int64_t length, const int32_t *labels, clf_pattern **pattern)
{
    const bool plausible = batch > 0 && length >= 0 && batch <= CLF__PATTERN_LARGEST && length <= CLF__PATTERN_LARGEST;
    const uint64_t count = plausible ? (uint64_t)batch * (uint64_t)length : 0;
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if (!labels && count > 0)
        return clf__fail(CLF_INVALID_VALUE, "labels is NULL");
    status = clf__pattern_new(&clf__pattern_labels, batch, 1, length, length, 3 * count, pattern);
    if (status)
        return status;
    if (count > 0)
        memcpy((*pattern)->words + CLF__PATTERN_TABLE, labels, (size_t)count * sizeof *labels);
    return link_labels(pattern);
}

static clf_status check_windows(int64_t height, int64_t width, int64_t window, int64_t shift)
{
    if (height < 0 || width < 0 || height > CLF__PATTERN_LARGEST || width > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_INVALID_SHAPE, "an image of %lld x %lld", (long long)height, (long long)width);
    if (window < 1 || height % window || width % window)
        return clf__fail(CLF_INVALID_SHAPE, "windows of %lld do not tile an image of %lld x %lld", (long long)window,
                         (long long)height, (long long)width);
    if (shift < 0 || shift >= window)
        return clf__fail(CLF_OUT_OF_RANGE, "shift = %lld; 0 to %lld are possible", (long long)shift,
                         (long long)(window - 1));
    return CLF_SUCCESS;
}

clf_status clf_pattern_swin(int64_t height, int64_t width, int64_t window, int64_t shift, clf_pattern **pattern)
{
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if ((status = check_windows(height, width, window, shift)) ||
        (status = clf__pattern_new(&clf__pattern_labels, 1, 1, height * width, height * width,
                                   3 * (uint64_t)(height * width), pattern)))
        return status;
    /* Windows begin at multiples of `window` less `back`. */
    const int64_t back = (window - shift) % window, across = width / window + 1;
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++)
            (*pattern)->words[CLF__PATTERN_TABLE + i * width + j] =
                (int32_t)((i + back) / window * across + (j + back) / window);
    return link_labels(pattern);
}
