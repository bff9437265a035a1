/* Matrix products of a batch, for every part that needs them.
 *
 *     c = alpha a b + beta c + bias        a: [..., M, K]   b: [..., K, N]   c: [..., M, N]   bias: [N]
 *
 * A part describes its product, calls clf__gemm_plan from its `plan` and keeps the clf__gemm_choice that it gets;
 * from `forward` and `backward` it passes the same product again, now with memory, to clf__gemm, which enqueues one
 * or a few kernels and nothing else: no compiling, no allocation, no waiting.
 */
#ifndef CLF_OPS_GEMM_H
#define CLF_OPS_GEMM_H

#include <clformers/author.h>

/* Tensors have rank 2 to 5, each its own type of f32, f16 and bf16; sums are f32. A matrix has unit stride along its
 * rows or along its columns: swap shape and strides of the last two axes to transpose (clf__gemm_transposed). Axes
 * before those are the batch, aligned at the right: an operand repeats along those that it lacks, has with extent 1
 * or with stride 0. c overlaps nothing. With beta = 0 c is not read, so it may hold anything. alpha and beta may
 * change from run to run. Infinities and NaN go where the sums take them, elements outside the views never matter. */
typedef struct clf__gemm_problem {
    clf_tensor  a, b, c;
    clf_tensor  bias;     /* rank 1: a number for each column; rank 0 = absent */
    float       alpha, beta;
    const char *provider; /* only this: "vector", "portable", "nvidia_wgmma", "nvidia_mma", "clblast"; NULL: the best */
} clf__gemm_problem;

/* What a plan decided; a plain value without a destructor: kernels belong to the plan. */
typedef struct clf__gemm_choice {
    const struct clf__gemm_provider *provider;
    cl_kernel kernel;
    int       rows, columns; /* of c, for a group */
    int       items;         /* of a group */
    int       most_groups;   /* which then go on with more of c; 0 = one for each of its tiles */
    uint64_t  scratch;       /* bytes into the workspace */
    uint64_t  scratch_bytes;
} clf__gemm_choice;

/* Checks the product, chooses a provider (the tuning table's, else by the device's style), reserves workspace, creates
 * the kernel. An empty c needs none, an empty depth gives beta c + bias.
 * Errors: CLF_INVALID_*; CLF_UNSUPPORTED with every provider's reason; those of clf__plan_kernel. */
clf_status clf__gemm_plan(clf_plan *plan, const clf__gemm_problem *problem, clf__gemm_choice *choice);

clf_status clf__gemm(clf_run *run, const clf__gemm_choice *choice, const clf__gemm_problem *problem);

/* The view with the last two axes swapped. */
clf_tensor clf__gemm_transposed(const clf_tensor *matrix);

/* 2 M N K for every matrix of the batch. */
double clf__gemm_flops(const clf__gemm_problem *problem);

#endif
