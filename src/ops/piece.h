/* Tensors of a part's own, in memory that its plan reserves: described while planning, found in a run. */
#ifndef CLF_OPS_PIECE_H
#define CLF_OPS_PIECE_H

#include <clformers/author.h>

typedef struct clf__piece {
    clf_tensor tensor; /* contiguous, without memory; rank 0 = not needed */
    uint64_t   at;     /* bytes into its buffer */
    bool       saved;  /* from forward for backward; else workspace */
} clf__piece;

void clf__piece_reserve(clf_plan *plan, clf__piece *piece, bool saved, clf_dtype dtype, int rank, const int64_t *shape);

/* With memory; its description alone while planning (`run` NULL). */
clf_tensor clf__piece_of(const clf_run *run, const clf__piece *piece);

#endif
