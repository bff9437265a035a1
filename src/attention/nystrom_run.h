/* Between the plan of nystrom and its passes: the pieces of memory, and the products in between.
 *
 *     far    = softmax(q~ k^T) v           q~, k~: the landmarks, means of segments of q and k
 *     near   = softmax(q~ k~^T), inverse = its pseudo-inverse
 *     values = inverse far
 *     x      = softmax(q k~^T) values      out = dropout(x + convolution of v)
 */
#ifndef CLF_ATTENTION_NYSTROM_RUN_H
#define CLF_ATTENTION_NYSTROM_RUN_H

#include "attention/nystrom.h"
#include "fused/fused.h"
#include "ops/piece.h"
#include "ops/pseudo_inverse.h"
#include "ops/single.h"

typedef enum nystrom_piece {
    KEEP,                          /* [B, Nk] bytes: which keys are no padding */
    SOME,                          /* [B, L] bytes: which landmarks there are */
    Q_SHARE, K_SHARE,              /* [B, L]: what a row of a segment counts */
    Q_COPY, K_COPY, V_COPY,        /* f32, where the tensors of the call are not, or q has rows hidden */
    Q_MARKS, K_MARKS,
    NEAR, FAR, VALUES, X,
    GRAD_X, GRAD_Q, GRAD_K, GRAD_V, /* f32, where those of the call are not */
    GRAD_NEAR, GRAD_FAR, GRAD_VALUES, GRAD_INVERSE, GRAD_Q_MARKS, GRAD_K_MARKS,
    TAPS,                          /* partial sums of the convolution's gradient */
    PIECES
} nystrom_piece;

typedef struct nystrom_state {
    int        lanes;
    bool       exact;     /* as many landmarks as keys: plain attention */
    bool       xformers, causal;
    bool       single;    /* f32 copies of q, k, v and out */
    float      dropout;   /* 0 without, and when not training */
    bool       padded;    /* there is a key padding mask */
    bool       hides;     /* rows of q that are padding become 0 */
    bool       finishes;  /* out is more than x */
    int        taps;      /* of the convolution, 0 without */
    float      scale;     /* of the scores */
    clf__piece piece[PIECES];
    clf__fused far, near;          /* near serves the exact case, too */
    clf__pinv  inverse;
    clf__gemm_choice scores, values, grad_far, grad_inverse, grad_q_marks, grad_k_marks;
    clf__single copies;
    bool       small;  /* soft_scores makes the product and the softmax of a head in one work-item */
    cl_kernel  keep, landmarks, finish, softmax, soft_scores, softmax_back,
               gradient, gradient_v, taps_sum, weights;
} nystrom_state;

/* The tensors of a call: of `run`, or descriptions alone while planning (run NULL). */
typedef struct nystrom_call {
    clf_run             *run;
    const nystrom_state *state;
    const clf_args      *args;
    clf_tensor           piece[PIECES + 1]; /* the last is always absent */
    clf_tensor           q, k, v, x, grad_x, grad_q, grad_k, grad_v; /* f32: the caller's, or copies */
    clf_tensor           inverse;
    clf_tensor           weight, grad_weight;
} nystrom_call;

nystrom_call clf__nystrom_call_of(clf_run *run, const nystrom_state *state, const clf_args *args);

clf__fused_problem clf__nystrom_far(const nystrom_call *call);
clf__fused_problem clf__nystrom_near(const nystrom_call *call); /* or exact attention */

/* The products, in the order of nystrom_state. */
clf__gemm_problem clf__nystrom_scores(const nystrom_call *call);
clf__gemm_problem clf__nystrom_values(const nystrom_call *call);
clf__gemm_problem clf__nystrom_grad_far(const nystrom_call *call);
clf__gemm_problem clf__nystrom_grad_inverse(const nystrom_call *call);
clf__gemm_problem clf__nystrom_grad_q_marks(const nystrom_call *call);
clf__gemm_problem clf__nystrom_grad_k_marks(const nystrom_call *call);

/* What both passes begin with: bytes of the mask, copies, landmarks. */
clf_status clf__nystrom_prepare(const nystrom_call *call);

clf_status clf__nystrom_plan(clf_plan *plan);
clf_status clf__nystrom_forward(clf_run *run);
clf_status clf__nystrom_backward(clf_run *run);

#endif
