/* Between the plan of linformer and its passes: its tensors, and the problem of each step.
 *
 * E and F serve all heads, so that each projection is one product a batch entry where keys and values are rows of whole
 * tokens, or are copied to become such because some of them are padding; where heads lie apart it is a product a head,
 * which takes less than the copy. Fused attention does the rest. Backward runs the same in reverse: fused attention gives dK',
 * dK = E^T dK', and dE = sum over the batch of dK' K^T with all heads side by side in the depth of the product.
 */
#ifndef CLF_ATTENTION_LINFORMER_STEPS_H
#define CLF_ATTENTION_LINFORMER_STEPS_H

#include "attention/linformer.h"
#include "fused/fused.h"
#include "ops/copy.h"
#include "ops/gemm.h"

/* What becomes of the keys, and of the values. */
typedef struct linformer_side {
    bool             gathers;    /* their rows are copied into the workspace */
    bool             apart;      /* but not in forward, which takes head by head */
    clf__copy        gather, scatter, finish, zero;
    clf__gemm_choice shorten, weigh, lengthen;
    uint64_t         rows;       /* bytes into the workspace: [B, N, H, D], padding 0 */
    uint64_t         shortened;  /* bytes into `saved`, forward only: into the workspace: [B, k, H, D] */
    uint64_t         gradient;   /* bytes into the workspace: of that */
    uint64_t         sum;        /* bytes into the workspace: [k, N] f32, gradient of the weight */
} linformer_side;

typedef struct linformer_state {
    int            lanes;
    clf__fused     fused;
    linformer_side sides[2];          /* keys, values */
    cl_kernel      drop;              /* second dropout; else NULL */
    uint64_t       plain, plain_grad; /* bytes into saved (forward only: workspace) and workspace: out before that */
} linformer_state;

typedef struct linformer_context {
    clf_plan               *plan;
    clf_run                *run; /* NULL while planning */
    const linformer_config *config;
    const clf_args         *args;
    linformer_state        *state;
    clf_buffer              workspace, kept; /* kept: `saved` where there is a backward pass */
} linformer_context;

linformer_context clf__linformer_context(clf_plan *plan, clf_run *run);

/* Of keys (`which` 0) and values (1): the slot of the call, rows of tokens, mixtures of them and their gradient, and
 * the gradient of the weight that is still summed up. Without memory while planning. */
extern const int clf__linformer_slots[2];
clf_tensor clf__linformer_rows(const linformer_context *c, int which);
clf_tensor clf__linformer_shortened(const linformer_context *c, int which);
clf_tensor clf__linformer_short_gradient(const linformer_context *c, int which);
clf_tensor clf__linformer_weight_sum(const linformer_context *c, int which);

/* What each step works on. */

clf__copy_problem clf__linformer_gather(const linformer_context *c, int which);

/* K' = E K */
clf_status clf__linformer_shorten(const linformer_context *c, int which, clf__gemm_problem *problem);

/* dE = sum over b of dK'[b] K[b]^T, one product after another. */
clf__gemm_problem clf__linformer_weigh(const linformer_context *c, int which, int64_t b);

/* dK = E^T dK', head by head; by way of the workspace where padding has to become 0. */
clf_status clf__linformer_lengthen(const linformer_context *c, int which, clf__gemm_problem *problem);

clf__copy_problem clf__linformer_scatter(const linformer_context *c, int which);

/* The sum into the gradient of the weight, whose columns behind the sequence are 0. */
clf_status clf__linformer_finish(const linformer_context *c, int which, clf__copy_problem *problem);

clf_status clf__linformer_zero(const linformer_context *c, int which, clf__copy_problem *problem);

clf__fused_problem clf__linformer_attention(const linformer_context *c);

/* ---- the passes -------------------------------------------------------------------------------------- */

clf_status clf__linformer_plan(clf_plan *plan);
clf_status clf__linformer_forward(clf_run *run);
clf_status clf__linformer_backward(clf_run *run);

#endif
