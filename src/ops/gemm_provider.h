/* Providers of matrix products: a table row each, and what they share. */
#ifndef CLF_OPS_GEMM_PROVIDER_H
#define CLF_OPS_GEMM_PROVIDER_H

#include "ops/gemm.h"

/* Where a bias runs. */
enum { CLF__GEMM_NO_BIAS = 0, CLF__GEMM_BIAS_COLUMNS = 1, CLF__GEMM_BIAS_ROWS = 2 };

/* A matrix in a batch. Elements of a and b lie along the depth or across it; those of c always along its columns. */
typedef struct clf__gemm_matrix {
    cl_mem    mem;
    clf_dtype dtype;
    int64_t   offset;    /* elements */
    int64_t   batch[3];  /* strides */
    int64_t   step;      /* the stride that is not 1 */
    bool      along_depth;
} clf__gemm_matrix;

/* A problem as the kernels see it. A c with unit stride along its rows has become its transpose. */
typedef struct clf__gemm_product {
    clf__gemm_matrix a, b, c;
    clf__gemm_matrix bias;   /* step: its stride */
    int              bias_along;
    int64_t          rows, columns, depth, batch[3];
    float            alpha, beta;
} clf__gemm_product;

typedef struct clf__gemm_provider {
    const char *name;
    /* Can this device do it? Otherwise `why` gets the reason. */
    bool (*supports)(const clf_device *device, const clf__gemm_product *product, char *why, size_t size);
    /* Where others may be faster: is it worth choosing, unless it is asked for by name? NULL = always. */
    bool (*is_worth)(const clf_device *device, const clf__gemm_product *product, char *why, size_t size);
    clf_status (*plan)(clf_plan *plan, const clf__gemm_product *product, clf__gemm_choice *choice);
    clf_status (*run)(clf_run *run, const clf__gemm_choice *choice, const clf__gemm_product *product);
} clf__gemm_provider;

extern const clf__gemm_provider clf__gemm_vector, clf__gemm_portable, clf__gemm_nvidia_wgmma, clf__gemm_nvidia_mma,
                                clf__gemm_clblast;

/* Errors: CLF_INVALID_* with the tensor and what is wrong. */
clf_status clf__gemm_view(const clf__gemm_problem *problem, clf__gemm_product *product);

int64_t clf__gemm_items(const clf__gemm_product *product); /* matrices in the batch */

/* Are a and b both f16, or both bf16, as tensor cores take them? Otherwise `why` gets the reason. */
bool clf__gemm_is_half(const clf__gemm_product *product, char *why, size_t size);

/* Our own kernels: `cl/ops/gemm_<provider>.cl` with the types of the product and `more` options; their arguments and
 * a group of choice->items work-items for every choice->rows x choice->columns of c. With scratch, its place and the
 * number of matrices are arguments, too. */
clf_status clf__gemm_own_kernel(clf_plan *plan, const clf__gemm_product *product, const char *more,
                                clf__gemm_choice *choice);
clf_status clf__gemm_own_run(clf_run *run, const clf__gemm_choice *choice, const clf__gemm_product *product);
/* Do the groups and a matrix's elements fit what kernels count in? */
bool clf__gemm_own_fits(const clf__gemm_product *product, int rows, int columns, int items, char *why, size_t size);

#endif
