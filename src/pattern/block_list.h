/* Block lists on the device: which tiles of the scores a fused kernel has to look at, and in which of those it has
 * to look at every pair. cl/prelude/blocks.cl tells how they are kept.
 *
 * A part or kernel family calls clf__block_lists_plan from its `plan`; in a run clf__block_lists_build enqueues the
 * two kernels, and clf__block_lists_bind hands the lists on. Nothing is read back: their room is what the pattern
 * can need at most, linear in the sequence for patterns of bounded width.
 *
 * Where the pattern is known when an instance is made, clf__block_lists_make counts its pairs on the host; the result,
 * kept in a buffer of the instance, is used as it is, or as `base` where a mask, key padding or causal order comes on
 * top. Then no call costs more than the tiles that the pattern has. */
#ifndef CLF_PATTERN_BLOCK_LIST_H
#define CLF_PATTERN_BLOCK_LIST_H

#include "pattern/pattern.h"
#include <clformers/author.h>

/* What hides pairs, and the tiles. In `plan` tensors are descriptions only. */
typedef struct clf__block_problem {
    int64_t            batch, heads, queries, keys;
    int                rows, columns; /* queries and keys of a tile */
    bool               by_keys;       /* lists of query tiles for each key tile: for gradients of keys and values */
    bool               causal;        /* key <= query + shift */
    int64_t            shift;
    int64_t            window;        /* with causal: the last `window` of those only; 0 = all */
    const char        *mask_mod;      /* an expression over (b, h, q, k) that must hold, without spaces; NULL = none */
    bool               by_batch, by_head; /* which of b and h mask_mod looks at */
    clf_tensor         mask;          /* [B, H, Nq, Nk], stride 0 where it repeats; or [M, Nq, Nk], item b*H + h takes
                                       * (b*H + h) mod M; rank 0 = none */
    clf_tensor         padding;       /* [B, Nk], nonzero = keep */
    const clf_pattern *pattern;       /* NULL = none */
    clf_tensor         words;         /* of the pattern, by clf__pattern_upload; needed to build */
    const struct clf__block_lists *base; /* of the same tiles: look at no others; NULL = none */
    clf_tensor         base_data;     /* i32, what clf__block_lists_make gave; needed to build */
} clf__block_problem;

/* A plain value without a destructor: the kernels belong to the plan. */
typedef struct clf__block_lists {
    cl_kernel         classify, compact;
    clf__pattern_hull hull;
    int               rows, columns;   /* of a tile */
    bool              by_keys;
    int64_t           batch, heads;    /* 1 = shared */
    int64_t           tiles, capacity; /* lists of a head, entries of a list */
    uint64_t          bytes;
} clf__block_lists;

/* Checks the problem; hull, batch, heads and tiles of the lists. */
clf_status clf__block_lists_begin(const clf__block_problem *problem, clf__block_lists *lists);

/* The same, and capacity and bytes of lists made on the device.
 * Errors: CLF_INVALID_SHAPE for a pattern that does not fit the problem; CLF_OUT_OF_RANGE, CLF_UNSUPPORTED beyond
 * what kernels count in. */
clf_status clf__block_lists_measure(const clf__block_problem *problem, clf__block_lists *lists);

/* The same again, and the kernels. The caller reserves `bytes` where it likes: in the workspace, or in what is
 * saved. */
clf_status clf__block_lists_plan(clf_plan *plan, const clf__block_problem *problem, clf__block_lists *lists);

/* Enqueues the building into `mem` from byte `offset` (a multiple of 4) on. */
clf_status clf__block_lists_build(clf_run *run, const clf__block_lists *lists, const clf__block_problem *problem,
                                  cl_mem mem, uint64_t offset);

/* Lists of a pattern, in time in proportion to its pairs. *data (counts and entries, `bytes` bytes) is the caller's.
 * Errors: CLF_OUT_OF_RANGE for senseless tiles and beyond 2^31 - 1 entries, CLF_OUT_OF_HOST_MEMORY. */
clf_status clf__block_lists_make(const clf_pattern *pattern, int rows, int columns, bool by_keys,
                                 clf__block_lists *lists, int32_t **data);

/* Binds lists and lists_at. */
void clf__block_lists_bind(clf_binder *binder, const clf__block_lists *lists, cl_mem mem, uint64_t offset);

#endif
