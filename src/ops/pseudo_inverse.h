/* Pseudo-inverses of a batch of small square matrices by the third-order iteration of Razavi et al. 2014, as
 * Nystromformer uses it: c = largest sum of a column,
 *
 *     Z = K^T / c,  then `iterations` times  Z = Z (13 I - A (15 I - A (7 I - A))) / 4  with A = K Z
 *
 * Rows and columns of K that are 0 stay 0 in Z. A singular value s converges in about log(c / s^2) / 1.2 + 2
 * iterations. The gradient is that of the iteration as it ran.
 *
 * Refined ones take one more step Z (2 I - K Z), with a residual that is exact to f32's last bit: rounding in the
 * iteration is worth the condition of K. Where the iteration has converged, the step has no part in the gradient.
 */
#ifndef CLF_OPS_PSEUDO_INVERSE_H
#define CLF_OPS_PSEUDO_INVERSE_H

#include "ops/gemm.h"

enum { CLF__PINV_WORK = 8 };

/* What a plan decided; kernels belong to the plan. */
typedef struct clf__pinv {
    int64_t          shape[4];                 /* batch, heads, size, size */
    int              iterations;
    bool             shared, backward, refined;
    clf__gemm_choice plain, left, right;       /* a b, a^T b, a b^T */
    cl_kernel        columns, scale, start, shift, dots, end, refine;
    cl_kernel        iterate;                  /* all iterations, where one launch has them; else NULL */
    uint64_t sums, scales, places; /* bytes; the last two and iterates into saved when backward is planned */
    uint64_t         iterates, result;         /* the latter of refined ones */
    uint64_t         work[CLF__PINV_WORK];     /* matrices in the workspace */
} clf__pinv;

/* For K of [batch, heads, size, size], contiguous f32. `shared`: one c for all matrices. Refuses more than 2^31 - 1
 * rows in all. */
clf_status clf__pinv_plan(clf_plan *plan, int64_t batch, int64_t heads, int64_t size, int iterations, bool shared,
                          bool refined, clf__pinv *pinv);

/* Where forward leaves Z. */
clf_tensor clf__pinv_result(const clf_run *run, const clf__pinv *pinv);

clf_status clf__pinv_forward(clf_run *run, const clf__pinv *pinv, const clf_tensor *k);
/* Writes grad_k; grad_z has the layout of Z and is overwritten. */
clf_status clf__pinv_backward(clf_run *run, const clf__pinv *pinv, const clf_tensor *k, const clf_tensor *grad_z,
                              const clf_tensor *grad_k);

/* Operations of a pass over all matrices. */
double clf__pinv_flops(double matrices, double size, int iterations, int pass);

#endif
