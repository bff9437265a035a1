/* Kernel families of fused attention: a table row each, and what they share. */
#ifndef CLF_FUSED_FAMILY_H
#define CLF_FUSED_FAMILY_H

#include "fused/fused.h"

/* What a problem may ask for that not every family can do. */
enum {
    CLF__FUSED_WINDOW       = 1 << 0,
    CLF__FUSED_MASK         = 1 << 1,
    CLF__FUSED_PADDING      = 1 << 2,
    CLF__FUSED_MASK_MOD     = 1 << 3,
    CLF__FUSED_DROPOUT      = 1 << 4,
    CLF__FUSED_GROUPS       = 1 << 5,  /* fewer heads of k and v than of q */
    CLF__FUSED_MASK_GRAD    = 1 << 6,
    CLF__FUSED_SOFTCAP      = 1 << 7,
    CLF__FUSED_ALIBI        = 1 << 8,
    CLF__FUSED_SINKS        = 1 << 9,
    CLF__FUSED_SCORE_MOD    = 1 << 10,
    CLF__FUSED_EXTRAS       = 1 << 11, /* tensors for snippets */
    CLF__FUSED_STARTS       = 1 << 12, /* sequences of different lengths */
    CLF__FUSED_LENGTHS      = 1 << 13,
    CLF__FUSED_PAGES        = 1 << 14,
    CLF__FUSED_BLOCKS       = 1 << 15,
    CLF__FUSED_OUT_TYPE     = 1 << 16, /* out has another type than q */
    CLF__FUSED_QUANTISED    = 1 << 17,
    CLF__FUSED_ZERO_KEYS    = 1 << 18, /* a pattern over more keys than there are */
};

/* The bits of a problem; what a bit stands for, "a window" (NULL beyond the last). */
unsigned    clf__fused_features_of(const clf__fused_problem *problem);
const char *clf__fused_feature_name(int bit);

typedef struct clf__fused_family {
    const char *name;
    unsigned    forward_features, backward_features; /* what it can do: asked before `supports` */
    int         widest_values; /* columns forward takes at once, without a backward pass; 0 = as many as everybody */
    bool        reads_packed; /* pages and quantised numbers; others that claim them get plain rows (unpack.c) */
    /* Can this device do it? Otherwise `why` gets the reason. */
    bool (*supports)(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size);
    /* Reserves memory beyond lse and delta, creates the kernels. */
    clf_status (*plan)(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
    clf_status (*forward)(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
    clf_status (*backward)(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
} clf__fused_family;

extern const clf__fused_family clf__fused_reference, clf__fused_portable, clf__fused_vector,
                                clf__fused_gather_portable, clf__fused_gather_vector,
                                clf__fused_nvidia_mma, clf__fused_nvidia_wgmma, clf__fused_nvidia_wgmma_f32,
                                clf__fused_vector_decode, clf__fused_portable_decode, clf__fused_nvidia_decode;

/* The extents of a problem: those of its tensors, or how many sequences there are and the most rows of one. */
typedef struct clf__fused_shape {
    int64_t batch, heads, queries, keys, width, value_width;
} clf__fused_shape;
clf__fused_shape clf__fused_shape_of(const clf__fused_problem *problem);
/* The plan's passes, as far as the problem takes part in them. */
int clf__fused_passes(const clf_plan *plan, const clf__fused_problem *problem);
/* Heads of q for each head of k. */
int clf__fused_groups(const clf__fused_problem *problem);
/* Could any family do it? */
enum { CLF__FUSED_WIDEST = 256 }; /* columns of a head; values may be wider where a family says so */
bool clf__fused_is_possible(const clf__fused_problem *problem, int passes, char *why, size_t size);

#define CLF__FUSED_OPTIONS 2304 /* enough for three snippets and four names of the lengths that snippet.h allows */

/* -D options of the problem: storage, causal, mask, padding, dropout; the widths to compile for; `more`; then what
 * may become of a score. */
void clf__fused_options(const clf__fused_problem *problem, int width, int value_width, const char *more, char *options,
                        size_t size);

/* Where forward leaves and backward finds lse; where delta is. */
clf_tensor clf__fused_lse(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_tensor clf__fused_delta(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

/* Binding in the kernels' common order. Tensors of rank 0 become a null pointer. */
void clf__fused_bind(clf_binder *binder, const clf_tensor *tensor);
void clf__fused_bind_inputs(clf_binder *binder, const clf__fused_problem *problem); /* q k v mask padding */
void clf__fused_bind_shape(clf_binder *binder, const clf__fused_problem *problem);
/* what changes scores need, which comes last in every kernel */
void clf__fused_bind_changes(clf_binder *binder, const clf__fused_problem *problem);
/* shape factor random, and those */
void clf__fused_bind_numbers(clf_binder *binder, const clf__fused_problem *problem);

/* The family's scratch, where groups or the delta kernel write maps for a copy engine. */
void clf__fused_bind_maps(clf_binder *binder, const clf_run *run, const clf__fused *fused);

/* Sequences: options and arguments (behind shape) of all kernels that count their rows, and what is possible. What rows
 * of no sequence hold is written after each pass. */
bool       clf__fused_has_sequences(const clf__fused_problem *problem);
void       clf__fused_sequence_options(const clf__fused_problem *problem, char *options, size_t size);
void       clf__fused_bind_sequences(clf_binder *binder, const clf__fused_problem *problem);
bool       clf__fused_sequences_fit(const clf__fused_problem *problem, char *why, size_t size);
clf_status clf__fused_plan_gaps(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
clf_status clf__fused_forward_gaps(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__fused_backward_gaps(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

/* Pages and quantised numbers become plain rows ahead of forward: the problem that a family without `reads_packed`
 * sees, with descriptions of tensors only; in a run with memory, the kernels enqueued. */
bool               clf__fused_is_packed(const clf__fused_problem *problem);
clf__fused_problem clf__fused_unpacked(const clf__fused_problem *problem);
bool               clf__fused_unpack_fits(const clf__fused_problem *problem, char *why, size_t size);
clf_status         clf__fused_plan_unpack(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
clf_status         clf__fused_unpack(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                                     clf__fused_problem *plain);

/* Sinks: behind lse among the arguments of forward kernels, where the problem has them; their gradient, when lse and
 * delta are there. */
void       clf__fused_bind_sinks(clf_binder *binder, const clf__fused_problem *problem);
clf_status clf__fused_plan_sinks(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
clf_status clf__fused_backward_sinks(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

/* Pairs that are lost: their kernels; the problem that the families plan, which hides them by a snippet in `text`; and
 * the one that they run, behind the kernels that find them (the problem itself where nothing is lost). */
clf_status         clf__fused_plan_lost(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
clf__fused_problem clf__fused_without_lost(const clf__fused_problem *problem, char *text, size_t size);
clf_status         clf__fused_find_lost(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                                        clf__fused_problem *rest);

/* Is a grid of groups of `items` for `rows` rows each within what devices count in? */
bool clf__fused_grid_fits(const clf__fused_problem *problem, int rows, int items, char *why, size_t size);

/* Does the device see loops of so many rounds a work-item to their end? How many blocks a count makes; how many rows of
 * keys, or of queries, at most pass by a group that owns `own` rows of the others; the rounds of the gradient of a
 * mask. */
bool   clf__fused_rounds_fit(const clf_device *device, double rounds, char *why, size_t size);
double clf__fused_blocks_of(int64_t count, int64_t block);
double clf__fused_passing(const clf__fused_problem *problem, bool queries, int own);
double clf__fused_grad_mask_rounds(const clf__fused_problem *problem);

/* A one-dimensional grid: a group of `items` for every `rows` of `count`, in every head of q, or of k. */
clf_status clf__fused_launch_rows(clf_run *run, const clf_binder *binder, const clf__fused_problem *problem,
                                  int64_t count, int rows, int items);
clf_status clf__fused_launch_key_rows(clf_run *run, const clf_binder *binder, const clf__fused_problem *problem,
                                      int64_t count, int rows, int items);

/* The gradient of an additive mask, for every family that leaves lse and delta where they belong: can it be done, its
 * kernel, and its launch behind the backward pass. */
bool       clf__fused_grad_mask_fits(const clf__fused_problem *problem, char *why, size_t size);
clf_status clf__fused_grad_mask_plan(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);
clf_status clf__fused_grad_mask_run(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

/* Families whose groups own rows: forward is one kernel; backward is delta (64 rows a group), then grad_q, then
 * grad_k and grad_v. Kernels are named clf_fused_<what>_<family>; options are those of forward and backward. */
clf_status clf__fused_forward_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__fused_backward_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
/* The last two kernels of backward alone, for families with a delta of their own. */
clf_status clf__fused_gradients_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__fused_kernels_rows(clf_plan *plan, const char *family, const char *const options[2], clf__fused *fused);

#endif
