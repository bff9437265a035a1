/* What a pattern leaves of the scores, in the two forms that kernels walk: lists of tiles for families that compute
 * tiles, sparse rows for those that gather keys one by one. cl/fused/lists.cl tells how both lie in memory.
 *
 * They depend on the pattern and the tile alone: made on the host when planning, in time and memory in proportion to
 * the pairs, and kept by the plan. What a mask snippet leaves depends on tables that may change from run to run: its
 * lists of tiles are made on the device ahead of each pass, in the workspace. */
#ifndef CLF_FUSED_SPARSE_H
#define CLF_FUSED_SPARSE_H

#include "fused/fused.h"

/* Errors: CLF_INVALID_SHAPE for a pattern that does not fit the problem, CLF_OUT_OF_RANGE for more than kernels count
 * in, those of clf_plan_constant. */
clf_status clf__fused_lists_of_tiles(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                     clf__fused_lists *lists);
clf_status clf__fused_lists_of_rows(clf_plan *plan, const clf__fused_problem *problem, bool by_keys,
                                    clf__fused_lists *lists);

/* Does a kernel that gathers keys take less time on this device than one that computes tiles? */
clf_status clf__fused_prefers_rows(const clf_device *device, const clf__fused_problem *problem, bool *prefers);

/* What a kernel walks over (CLF_BLOCKS of its program): everything, the tiles of a pattern, or those of a mask snippet,
 * where there are several and the lists take no more memory than the tensors. */
typedef enum clf__fused_listing {
    CLF__FUSED_UNLISTED = 0,
    CLF__FUSED_LISTED_PATTERN = 1,
    CLF__FUSED_LISTED_SNIPPET = 2
} clf__fused_listing;
clf__fused_listing clf__fused_listing_of(const clf__fused_problem *problem, const clf__fused_tile *tile);

/* Lists of a mask snippet: their room in the workspace and kernels; and, ahead of a pass, lists first .. end - 1 where
 * they are such. */
clf_status clf__fused_plan_mask_lists(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                      clf__fused_lists *lists);
clf_status clf__fused_make_lists(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem, int first,
                                 int end);

/* Lists of either sort for a tile; none without. */
clf_status clf__fused_plan_lists(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                 clf__fused_lists *lists);

/* Binds lists and lists_at; nothing where there are none. */
void clf__fused_bind_lists(clf_binder *binder, const clf_run *run, const clf__fused_lists *lists);

#endif
