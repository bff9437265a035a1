/* Between the plan of orthoformer and its passes.
 *
 *     far = softmax(m k^T) v        m: the landmarks, through which no gradient goes
 *     x   = softmax(q m^T) far      out = dropout(x)
 */
#ifndef CLF_ATTENTION_ORTHOFORMER_RUN_H
#define CLF_ATTENTION_ORTHOFORMER_RUN_H

#include "attention/orthoformer_select.h"
#include "fused/fused.h"
#include "ops/piece.h"
#include "ops/single.h"

typedef enum orthoformer_piece {
    Q_COPY, K_COPY, V_COPY,         /* f32, where the tensors of the call are not */
    MARKS,
    SOME,                           /* [B, L] bytes: which landmarks there are */
    FAR, X,
    GRAD_X, GRAD_Q, GRAD_K, GRAD_V, /* f32, where those of the call are not */
    GRAD_FAR,
    PIECES
} orthoformer_piece;

typedef struct orthoformer_state {
    bool       exact;    /* as many landmarks as keys: plain attention */
    bool       single;   /* f32 copies of q, k, v and out */
    float      dropout;  /* 0 without, and when not training */
    bool       masked;   /* the exact case takes an attention mask */
    clf__piece piece[PIECES];
    clf__fused far, near;     /* near serves the exact case, too */
    clf__single copies;
    orthoformer_selection selection;
} orthoformer_state;

/* The tensors of a call: of `run`, or descriptions alone while planning (run NULL). */
typedef struct orthoformer_call {
    const orthoformer_state *state;
    const clf_args          *args;
    clf_tensor               piece[PIECES];
    clf_tensor               q, k, v, x, grad_x, grad_q, grad_k, grad_v; /* f32: the caller's, or copies */
} orthoformer_call;

orthoformer_call   clf__orthoformer_call_of(clf_run *run, const orthoformer_state *state, const clf_args *args);
clf__fused_problem clf__orthoformer_far(const orthoformer_call *call);
clf__fused_problem clf__orthoformer_near(const orthoformer_call *call); /* or exact attention */

clf_status clf__orthoformer_plan(clf_plan *plan);
clf_status clf__orthoformer_forward(clf_run *run);
clf_status clf__orthoformer_backward(clf_run *run);

#endif
