/* Making patterns of the kind "rows". */
#ifndef CLF_PATTERN_ROWS_H
#define CLF_PATTERN_ROWS_H

#include "pattern/pattern.h"

/* A pattern with room for `entries`: the caller fills offsets (heads * queries + 1 numbers, zeros so far) and
 * columns (ascending in each row). */
clf_status clf__pattern_rows_new(int64_t heads, int64_t queries, int64_t keys, uint64_t entries, clf_pattern **pattern,
                                 int32_t **offsets, int32_t **columns);

#endif
