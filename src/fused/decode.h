/* What the families for few queries share: all but one kernel, cl/fused/<style>_decode.cl. */
#ifndef CLF_FUSED_DECODE_H
#define CLF_FUSED_DECODE_H

#include "fused/family.h"

enum {
    CLF__DECODE_FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD |
                           CLF__FUSED_GROUPS | CLF__FUSED_LENGTHS | CLF__FUSED_PAGES | CLF__FUSED_QUANTISED |
                           CLF__FUSED_SINKS | CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD |
                           CLF__FUSED_EXTRAS,
    CLF__DECODE_ITEMS = 128 /* of a group; those of vector_decode have one */
};

/* Rows that a kernel computes for each head of keys: a power of two. */
int clf__decode_rows(const clf__fused_problem *problem);

/* What no kernel can do. */
bool clf__decode_fits(const clf__fused_problem *problem, int passes, char *why, size_t size);

/* The kernel clf_fused_decode_<style>. */
typedef struct clf__decode_kernel {
    const char *style, *own; /* options of its own */
    int lanes;               /* of the kernel that merges */
    int busy;                /* groups that a compute unit should have */
    int fewest, unit;        /* keys of the shortest slice; slices are multiples of this, and this of what a group reads */
} clf__decode_kernel;

clf_status clf__decode_plan(clf_plan *plan, const clf__fused_problem *problem, const clf__decode_kernel *kernel,
                            clf__fused *fused);
clf_status clf__decode_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

#endif
