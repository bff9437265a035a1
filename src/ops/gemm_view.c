/* From tensors with any strides to what the kernels see. */
#include "core/status.h"
#include "ops/gemm_provider.h"
#include "tensor/tensor.h"
#include <limits.h>

static clf_status check(const clf_tensor *tensor, const char *name)
{
    clf_status status = clf_tensor_check(tensor, name);

    if (status)
        return status;
    if (tensor->dtype != CLF_F32 && tensor->dtype != CLF_F16 && tensor->dtype != CLF_BF16)
        return clf__fail(CLF_INVALID_DTYPE, "matrix product: '%s' is %s, not F32, F16 or BF16", name,
                         clf_dtype_name(tensor->dtype));
    if (tensor->rank < 2)
        return clf__fail(CLF_INVALID_RANK, "matrix product: '%s' has rank %d, 2 to %d are possible", name,
                         (int)tensor->rank, CLF_MAX_RANK);
    return CLF_SUCCESS;
}

/* An axis counted from the right, 0 = columns; 1 where the tensor has none. */
static int64_t extent(const clf_tensor *tensor, int axis)
{
    return axis < tensor->rank ? tensor->shape[tensor->rank - 1 - axis] : 1;
}

static int64_t stride(const clf_tensor *tensor, int axis)
{
    return axis < tensor->rank ? tensor->strides[tensor->rank - 1 - axis] : 0;
}

/* Batch strides by the batch of c. */
static clf_status batch_of(const clf_tensor *tensor, const char *name, const clf_tensor *c, int64_t *batch)
{
    if (tensor->rank > c->rank)
        return clf__fail(CLF_INVALID_RANK, "matrix product: '%s' has rank %d, 'c' only %d", name, (int)tensor->rank,
                         (int)c->rank);
    for (int i = 0; i < 3; i++) {
        const int64_t own = extent(tensor, 4 - i), wanted = extent(c, 4 - i);
        if (own != wanted && own != 1)
            return clf__fail(CLF_INVALID_SHAPE, "matrix product: '%s' has %lld matrices along a batch axis, 'c' %lld",
                             name, (long long)own, (long long)wanted);
        batch[i] = own == 1 ? 0 : stride(tensor, 4 - i);
    }
    return CLF_SUCCESS;
}

/* `depth` is the axis (from the right) of the depth; for c it is that of the columns. */
static clf_status matrix_of(const clf_tensor *tensor, const char *name, int depth, const clf_tensor *c,
                            clf__gemm_matrix *matrix)
{
    const int64_t along = stride(tensor, depth), across = stride(tensor, 1 - depth);

    *matrix = (clf__gemm_matrix){ .mem = tensor->mem, .dtype = tensor->dtype,
                                  .offset = clf__tensor_start(tensor) };
    if (along == 1 || (across != 1 && extent(tensor, depth) <= 1)) {
        matrix->along_depth = true;
        matrix->step = across;
    } else if (across == 1 || extent(tensor, 1 - depth) <= 1) {
        matrix->step = along;
    } else {
        return clf__fail(CLF_INVALID_STRIDE, "matrix product: '%s' has strides %lld and %lld, one of them must be 1",
                         name, (long long)stride(tensor, 1), (long long)stride(tensor, 0));
    }
    return batch_of(tensor, name, c, matrix->batch);
}

static clf_status check_shapes(const clf__gemm_problem *p)
{
    const int64_t m = extent(&p->c, 1), n = extent(&p->c, 0), k = extent(&p->a, 0);

    if (extent(&p->a, 1) != m || extent(&p->b, 1) != k || extent(&p->b, 0) != n)
        return clf__fail(CLF_INVALID_SHAPE, "matrix product: 'a' is %lld x %lld, 'b' %lld x %lld, 'c' %lld x %lld",
                         (long long)extent(&p->a, 1), (long long)k, (long long)extent(&p->b, 1),
                         (long long)extent(&p->b, 0), (long long)m, (long long)n);
    if (p->bias.rank > 0 && (p->bias.rank != 1 || p->bias.shape[0] != n))
        return clf__fail(CLF_INVALID_SHAPE, "matrix product: 'bias' has rank %d and extent %lld, not rank 1 and the "
                         "%lld columns of 'c'", (int)p->bias.rank, (long long)p->bias.shape[0], (long long)n);
    if (p->bias.rank > 0 && p->bias.dtype != CLF_F32 && p->bias.dtype != CLF_F16 && p->bias.dtype != CLF_BF16)
        return clf__fail(CLF_INVALID_DTYPE, "matrix product: 'bias' is %s, not F32, F16 or BF16",
                         clf_dtype_name(p->bias.dtype));
    if (!clf__tensor_is_injective(&p->c))
        return clf__fail(CLF_INVALID_STRIDE, "matrix product: elements of 'c' share memory");
    return CLF_SUCCESS;
}

/* c with unit stride along its rows: compute its transpose, b^T a^T. */
static void transpose(clf__gemm_product *p)
{
    const clf__gemm_matrix a = p->a;
    const int64_t rows = p->rows;

    p->a = p->b;
    p->b = a;
    p->rows = p->columns;
    p->columns = rows;
    p->bias_along = p->bias_along == CLF__GEMM_BIAS_COLUMNS ? CLF__GEMM_BIAS_ROWS : CLF__GEMM_NO_BIAS;
}

/* The stride from row to row. */
static int64_t row_stride(const clf__gemm_matrix *matrix)
{
    return matrix->along_depth ? matrix->step : 1;
}

/* Where b is the same for a whole batch axis and the rows of a and of c go on from matrix to matrix, they are one
 * tall matrix: [batch, sequence, width] times a weight. */
static void join_rows(clf__gemm_product *p)
{
    for (int done = 0; done < 3; done++) {
        const int64_t times = p->batch[2];
        if (p->b.batch[2] != 0 || p->bias_along == CLF__GEMM_BIAS_ROWS)
            return;
        if (times > 1 && (p->a.batch[2] != p->rows * row_stride(&p->a) || p->c.batch[2] != p->rows * p->c.step ||
                          p->rows > INT_MAX / times || row_stride(&p->a) > INT_MAX / (p->rows * times + 1) ||
                          p->c.step > INT_MAX / (p->rows * times + 1)))
            return;
        p->rows *= times;
        for (int i = 2; i >= 0; i--) {
            p->batch[i] = i ? p->batch[i - 1] : 1;
            p->a.batch[i] = i ? p->a.batch[i - 1] : 0;
            p->b.batch[i] = i ? p->b.batch[i - 1] : 0;
            p->c.batch[i] = i ? p->c.batch[i - 1] : 0;
        }
    }
}

clf_status clf__gemm_view(const clf__gemm_problem *problem, clf__gemm_product *p)
{
    clf_status status;

    *p = (clf__gemm_product){ .alpha = problem->alpha, .beta = problem->beta };
    if ((status = check(&problem->a, "a")) || (status = check(&problem->b, "b")) ||
        (status = check(&problem->c, "c")) ||
        (problem->bias.rank > 0 && (status = clf_tensor_check(&problem->bias, "bias"))) ||
        (status = check_shapes(problem)) ||
        (status = matrix_of(&problem->a, "a", 0, &problem->c, &p->a)) ||
        (status = matrix_of(&problem->b, "b", 1, &problem->c, &p->b)) ||
        (status = matrix_of(&problem->c, "c", 0, &problem->c, &p->c)))
        return status;
    p->rows = extent(&problem->c, 1);
    p->columns = extent(&problem->c, 0);
    p->depth = extent(&problem->a, 0);
    for (int i = 0; i < 3; i++)
        p->batch[i] = extent(&problem->c, 4 - i);
    if (problem->bias.rank > 0) {
        p->bias = (clf__gemm_matrix){ .mem = problem->bias.mem, .dtype = problem->bias.dtype,
                                      .offset = clf__tensor_start(&problem->bias),
                                      .step = problem->bias.strides[0] };
        p->bias_along = CLF__GEMM_BIAS_COLUMNS;
    }
    if (!p->c.along_depth)
        transpose(p);
    join_rows(p);
    return CLF_SUCCESS;
}

int64_t clf__gemm_items(const clf__gemm_product *product)
{
    return product->batch[0] * product->batch[1] * product->batch[2];
}

clf_tensor clf__gemm_transposed(const clf_tensor *matrix)
{
    clf_tensor turned = *matrix;

    if (matrix->rank < 2)
        return turned;
    for (int i = 0; i < 2; i++) {
        turned.shape[matrix->rank - 2 + i] = matrix->shape[matrix->rank - 1 - i];
        turned.strides[matrix->rank - 2 + i] = matrix->strides[matrix->rank - 1 - i];
    }
    return turned;
}

double clf__gemm_flops(const clf__gemm_problem *problem)
{
    return 2.0 * (double)clf_tensor_elements(&problem->c) * (double)extent(&problem->a, 0);
}
