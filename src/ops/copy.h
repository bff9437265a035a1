/* Copies between views, with what parts need on the way: another storage type, sums of slices, rows left out.
 *
 *     to[b][h][n][d] = (to[b][h][n][d] +) sum over i < slices of from[b][h][n][d + i * step], 0 in rows not kept
 *
 * This makes rows of whole tokens out of heads and heads out of rows, adds up partial results, and sums over rows:
 * gradients of parameters without atomics, always in the same order.
 */
#ifndef CLF_OPS_COPY_H
#define CLF_OPS_COPY_H

#include <clformers/author.h>

/* Tensors are [B, H, N, D] with last stride 1, f32, f16 or bf16 each; sums are f32. */
typedef struct clf__copy_problem {
    clf_tensor from, to;   /* from of rank 0: zeros */
    clf_tensor keep;       /* [B, N] bytes, nonzero = keep, nothing else is read; rank 0 = keep all */
    int64_t    slices;     /* 0 = 1 */
    int64_t    step;       /* elements of `from` from slice to slice */
    int64_t    limit;      /* row n has the slices below limit - n * slices; 0 = all */
    bool       accumulate; /* known at planning */
} clf__copy_problem;

/* A plain value: the kernel belongs to the plan. */
typedef struct clf__copy {
    cl_kernel kernel;
    int       lanes;
} clf__copy;

/* `lanes` from clf__lanes_choose. Problems that differ in extents, strides and slices share kernels. */
clf_status clf__copy_plan(clf_plan *plan, const clf__copy_problem *problem, int lanes, clf__copy *copy);
clf_status clf__copy_run(clf_run *run, const clf__copy *copy, const clf__copy_problem *problem);

/* [B, H, N, D] that starts `at` bytes into a buffer and lies there as [B, N, H, D]: rows of H * D channels. */
clf_tensor clf__rows_at(clf_buffer buffer, uint64_t at, clf_dtype dtype, const int64_t shape[4]);
/* The same memory as the matrices [B, N, H * D], or as one matrix [B * N, H * D]; rank 0 where strides forbid it. */
clf_tensor clf__rows_matrices(const clf_tensor *tensor);
clf_tensor clf__rows_matrix(const clf_tensor *tensor);

/* to[d] = (to[d] +) sum over rows of a matrix [M, D]: in stretches of rows, then over the stretches. */
typedef struct clf__column_sums {
    clf__copy stretches, total;
    uint64_t  partial; /* bytes into the workspace */
} clf__column_sums;

clf_status clf__column_sums_plan(clf_plan *plan, const clf_tensor *matrix, const clf_tensor *to, bool accumulate,
                                 int lanes, clf__column_sums *sums);
clf_status clf__column_sums_run(clf_run *run, const clf__column_sums *sums, const clf_tensor *matrix,
                                const clf_tensor *to, bool accumulate);

#endif
