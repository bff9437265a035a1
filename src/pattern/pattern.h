/* What a pattern is inside: a kind of rule and a table of words.
 *
 * The words are all that a kernel needs: uploaded as they are, they are the argument `pattern` of
 * cl/prelude/pattern.cl, which answers the same as clf_pattern_sees.
 *
 *     0 causal      a key is seen only if key <= query + causal (NO_LIMIT: always)
 *     1 diagonal    and always if key = query + diagonal (-NO_LIMIT: never)
 *     2 batch, 3 heads, 4 queries, 5 keys
 *     6, 7          the kind's own numbers
 *     8 ...         the kind's own table
 */
#ifndef CLF_PATTERN_PATTERN_H
#define CLF_PATTERN_PATTERN_H

#include "component/random.h"
#include <clformers/pattern.h>

#define CLF__PATTERN_LARGEST  ((1 << 30) - 1)
#define CLF__PATTERN_NO_LIMIT (1 << 30)

enum {
    CLF__PATTERN_CAUSAL   = 0,
    CLF__PATTERN_DIAGONAL = 1,
    CLF__PATTERN_BATCH    = 2,
    CLF__PATTERN_HEADS    = 3,
    CLF__PATTERN_QUERIES  = 4,
    CLF__PATTERN_KEYS     = 5,
    CLF__PATTERN_OWN      = 6,
    CLF__PATTERN_TABLE    = 8
};

/* Keys that the queries can see at all: q + low .. q + high, and those below `below`. */
typedef struct clf__pattern_hull {
    int32_t low, high, below;
} clf__pattern_hull;

/* Callbacks get batch and head within the pattern's own extents, and know nothing of causal order and diagonal. */
typedef struct clf__pattern_kind {
    const char *name;
    int         number; /* CLF_PATTERN in cl/prelude/pattern.cl */
    bool      (*sees)(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k);
    /* The keys of a row, ascending; room for all. Returns how many. */
    int32_t   (*row)(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys);
    /* NULL = anywhere. */
    clf__pattern_hull (*hull)(const int32_t *words);
} clf__pattern_kind;

struct clf_pattern {
    const clf__pattern_kind *kind;
    size_t                   count;   /* words */
    int32_t                  words[];
};

extern const clf__pattern_kind clf__pattern_range, clf__pattern_labels, clf__pattern_grid, clf__pattern_global,
    clf__pattern_random, clf__pattern_blocks, clf__pattern_rows;

/* A pattern with `table` words of its own, zeroed. Checks extents and the pointer that gets it. */
clf_status clf__pattern_new(const clf__pattern_kind *kind, int64_t batch, int64_t heads, int64_t queries,
                            int64_t keys, uint64_t table, clf_pattern **pattern);

/* The keys of a row with causal order and diagonal; any batch and head. */
int32_t clf__pattern_row(const clf_pattern *pattern, int64_t b, int64_t h, int64_t q, int32_t *keys);

clf__pattern_hull clf__pattern_hull_of(const clf_pattern *pattern);

/* CLF_INVALID_VALUE, CLF_OUT_OF_RANGE for a batch or head that the pattern does not have. */
clf_status clf__pattern_check_item(const clf_pattern *pattern, int64_t batch, int64_t head);

/* The words on the device; blocks until they are there. clf_tensor_free releases them. */
clf_status clf__pattern_upload(clf_device *device, const clf_pattern *pattern, clf_tensor *words);

/* A pattern of blocks whose last ones reach beyond the last query or key. */
clf_status clf__pattern_cut(clf_pattern *pattern, int64_t queries, int64_t keys);

/* What xFormers makes of a pattern for one batch and head: at a density of at most 0.3, or when it is forced to, its
 * sparse path (*sparse), which drops the last pairs until their number is a multiple of 4. Then only the first `rows`
 * rows are kept. On failure *pattern is as it was. */
clf_status clf__pattern_as_shipped(clf_pattern **pattern, int64_t rows, bool force, bool *sparse);

/* Words that hold `bits` bits, and one of them. */
uint64_t clf__bit_words(uint64_t bits);
bool     clf__bit(const int32_t *words, uint64_t i);
void     clf__bit_set(int32_t *words, uint64_t i);

/* `count` different numbers below `range`, ascending, by Floyd's method: step j takes element first + j of the
 * stream. count <= range. */
void clf__draw_distinct(const clf__stream *stream, uint64_t first, int64_t range, int64_t count, int64_t *drawn);

#endif
