/* Patterns as text, for the tests: a row of '1' and '0' for each query. */
#ifndef CLF_UNIT_PATTERNS_H
#define CLF_UNIT_PATTERNS_H

#include <clformers/pattern.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define made(call_) cr_assert_eq((call_), CLF_SUCCESS, "%s", clf_error_message())

/* Refused with this status and these words, and nothing was made. */
#define refused(call_, status_, words_)                                                                              \
    do {                                                                                                             \
        cr_expect_eq((call_), (status_), "%s", clf_error_message());                                                 \
        cr_expect(strstr(clf_error_message(), (words_)) != NULL, "no '%s' in: %s", (words_), clf_error_message());    \
    } while (0)

/* rows x columns bytes against rows that blanks separate. */
static inline void expect_rows(const char *what, const uint8_t *bytes, int64_t rows, int64_t columns, const char *text)
{
    char    got[8192] = "";
    size_t  n = 0;

    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++)
            got[n++] = (char)('0' + bytes[i * columns + j]);
        got[n++] = i + 1 < rows ? ' ' : '\0';
    }
    cr_expect_str_eq(got, text, "%s: %s, expected %s", what, got, text);
}

/* The mask of one head; the caller frees it. Pair by pair, by rows, by counting and as sparse rows it is the same. */
static inline uint8_t *mask_of(const clf_pattern *pattern, int64_t batch, int64_t head)
{
    const clf_pattern_info info = clf_pattern_get_info(pattern);
    uint8_t *mask = malloc((size_t)(info.queries * info.keys) + 1);
    int64_t  pairs = -1, sum = 0;
    clf_csr  csr;

    made(clf_pattern_write(pattern, batch, head, mask));
    made(clf_pattern_count(pattern, batch, head, &pairs));
    made(clf_pattern_csr(pattern, batch, head, CLF_SEMANTICS_PAPER, &csr));
    for (int64_t q = 0; q < info.queries; q++)
        for (int64_t k = 0; k < info.keys; k++) {
            const bool seen = clf_pattern_sees(pattern, batch, head, q, k);
            cr_assert_eq(mask[q * info.keys + k], seen, "%s: pair (%d, %d)", info.kind, (int)q, (int)k);
            if (seen) {
                cr_assert(csr.offsets[q] <= sum && sum < csr.offsets[q + 1], "%s: row %d", info.kind, (int)q);
                cr_assert_eq(csr.columns[sum], k, "%s: row %d", info.kind, (int)q);
            }
            sum += seen;
        }
    cr_assert_eq(pairs, sum);
    cr_assert_eq(csr.entries, sum);
    clf_csr_free(&csr);
    return mask;
}

/* Expects one head and frees the pattern when it is the last that is wanted. */
static inline void expect_head(const clf_pattern *pattern, int64_t head, const char *text)
{
    const clf_pattern_info info = clf_pattern_get_info(pattern);
    uint8_t *mask = mask_of(pattern, 0, head);

    expect_rows(info.kind, mask, info.queries, info.keys, text);
    free(mask);
}

static inline void expect_pattern(clf_pattern *pattern, const char *text)
{
    expect_head(pattern, 0, text);
    clf_pattern_free(pattern);
}

static inline int64_t count_of(clf_pattern *pattern)
{
    int64_t pairs = -1;

    free(mask_of(pattern, 0, 0));
    made(clf_pattern_count(pattern, 0, 0, &pairs));
    clf_pattern_free(pattern);
    return pairs;
}

#endif
