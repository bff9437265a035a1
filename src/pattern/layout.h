/* Layouts of blocks from the inside: a kind checks its options and fills one head. */
#ifndef CLF_PATTERN_LAYOUT_H
#define CLF_PATTERN_LAYOUT_H

#include "pattern/pattern.h"

/* One head that is being filled. */
typedef struct clf__layout {
    const clf_layout_options *options;
    int64_t                   head, n;  /* n x n blocks */
    uint8_t                  *blocks;
} clf__layout;

typedef struct clf__layout_kind {
    clf_status (*check)(const clf_layout_options *options, int64_t n);
    void       (*fill)(const clf__layout *layout, int64_t *drawn); /* drawn: room for random_blocks numbers */
} clf__layout_kind;

extern const clf__layout_kind clf__layout_dense, clf__layout_fixed, clf__layout_variable, clf__layout_bigbird,
    clf__layout_longformer;

/* Blocks [first, end) of a row, as far as there are any. */
void clf__layout_fill(const clf__layout *layout, int64_t row, int64_t first, int64_t end);
/* random_blocks in each row. */
void clf__layout_random(const clf__layout *layout, int64_t *drawn);
/* sliding_blocks around the diagonal. */
void clf__layout_sliding(const clf__layout *layout);
/* Blocks [first, end) are seen by all rows (from `first` on when unidirectional); with `rows` they see all, too. */
void clf__layout_global(const clf__layout *layout, int64_t first, int64_t end, bool rows);

/* horizontal_global asks for what unidirectional forbids. */
clf_status clf__layout_check_horizontal(const clf_layout_options *options);

#endif
