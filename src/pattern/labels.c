/* Patterns of groups: a query sees the keys that carry its own label. Packed documents, windows of an image.
 *
 * Table: batch x queries labels, which are those of the keys too. */
#include "pattern/pattern.h"
#include "core/status.h"
#include <string.h>

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    const int32_t *label = words + CLF__PATTERN_TABLE + (int64_t)b * words[CLF__PATTERN_KEYS];

    (void)h;
    return label[q] == label[k];
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const int32_t *label = words + CLF__PATTERN_TABLE + (int64_t)b * words[CLF__PATTERN_KEYS];
    int32_t count = 0;

    (void)h;
    for (int32_t k = 0; k < words[CLF__PATTERN_KEYS]; k++)
        if (label[k] == label[q])
            keys[count++] = k;
    return count;
}

const clf__pattern_kind clf__pattern_labels = { "labels", 2, sees, row, NULL };

clf_status clf_pattern_documents(int64_t batch, int64_t length, const int32_t *labels, clf_pattern **pattern)
{
    const bool plausible = batch > 0 && length >= 0 && batch <= CLF__PATTERN_LARGEST && length <= CLF__PATTERN_LARGEST;
    const uint64_t count = plausible ? (uint64_t)batch * (uint64_t)length : 0;
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if (!labels && count > 0)
        return clf__fail(CLF_INVALID_VALUE, "labels is NULL");
    status = clf__pattern_new(&clf__pattern_labels, batch, 1, length, length, count, pattern);
    if (status == CLF_SUCCESS && count > 0)
        memcpy((*pattern)->words + CLF__PATTERN_TABLE, labels, (size_t)count * sizeof *labels);
    return status;
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
                                   (uint64_t)(height * width), pattern)))
        return status;
    /* Windows begin at multiples of `window` less `back`. */
    const int64_t back = (window - shift) % window, across = width / window + 1;
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++)
            (*pattern)->words[CLF__PATTERN_TABLE + i * width + j] =
                (int32_t)((i + back) / window * across + (j + back) / window);
    return status;
}
