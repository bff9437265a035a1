/* What a pattern leaves of the scores, in the two forms that kernels walk: lists of tiles for families that compute
 * tiles, sparse rows for those that gather keys one by one. cl/fused/lists.cl tells how both lie in memory.
 *
 * They depend on the pattern and the tile alone: made on the host when planning, in time and memory in proportion to
 * the pairs, and kept by the plan. */
#ifndef CLF_FUSED_SPARSE_H
#define CLF_FUSED_SPARSE_H

#include "fused/fused.h"

/* rows queries x columns keys; what is seen of it is told for every `part` rows. `by_keys`: a list of tiles for each
 * tile of keys, not of queries. */
typedef struct clf__fused_tile {
    int  rows, columns, part;
    bool by_keys;
} clf__fused_tile;

/* Errors: CLF_INVALID_SHAPE for a pattern that does not fit the problem, CLF_OUT_OF_RANGE for more than kernels count
 * in, those of clf_plan_constant. */
clf_status clf__fused_lists_of_tiles(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                     clf__fused_lists *lists);
clf_status clf__fused_lists_of_rows(clf_plan *plan, const clf__fused_problem *problem, bool by_keys,
                                    clf__fused_lists *lists);

/* Does a kernel that gathers keys take less time on this device than one that computes tiles? */
clf_status clf__fused_prefers_rows(const clf_device *device, const clf__fused_problem *problem, bool *prefers);

/* Binds lists and lists_at; nothing where there are none. */
void clf__fused_bind_lists(clf_binder *binder, const clf__fused_lists *lists);

#endif
