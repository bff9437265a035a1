/* The iteration as batched matrix products, and its gradient. */
#include "ops/pseudo_inverse.h"
#include "component/plan.h"
#include "ops/lanes.h"
#include <limits.h>
#include <stdio.h>

/* Matrices in the workspace: of forward, then more of backward. */
enum { A, U1, U2, T, FORWARD_WORK, GRAD_T = FORWARD_WORK, GRAD_A, GRAD_U, GRAD_Z };

static int64_t matrices_of(const clf__pinv *p)
{
    return p->shape[0] * p->shape[1];
}

static uint64_t matrix_bytes(const clf__pinv *p)
{
    return (uint64_t)(matrices_of(p) * p->shape[2] * p->shape[2]) * sizeof(float);
}

static clf_tensor view(const clf__pinv *p, cl_mem mem, uint64_t offset)
{
    clf_tensor tensor = clf_tensor_view(mem, CLF_F32, 4, p->shape);

    tensor.offset = offset;
    return tensor;
}

static clf_tensor work(const clf_run *run, const clf__pinv *p, int which)
{
    const clf_buffer workspace = clf_run_workspace(run);
    return view(p, workspace.mem, workspace.offset + p->work[which]);
}

/* What backward needs again. */
static clf_buffer kept(const clf_run *run, const clf__pinv *p)
{
    return p->backward ? clf_run_saved(run) : clf_run_workspace(run);
}

/* Z after so many iterations. Without a backward pass two places take turns. */
static clf_tensor iterate(const clf_run *run, const clf__pinv *p, int iteration)
{
    const clf_buffer buffer = kept(run, p);
    const uint64_t   place = (uint64_t)(p->backward ? iteration : iteration % 2);

    return view(p, buffer.mem, buffer.offset + p->iterates + place * matrix_bytes(p));
}

clf_tensor clf__pinv_result(const clf_run *run, const clf__pinv *p)
{
    const clf_buffer buffer = kept(run, p);
    return p->refined ? view(p, buffer.mem, buffer.offset + p->result) : iterate(run, p, p->iterations);
}

static clf_status plan_products(clf_plan *plan, clf__pinv *p)
{
    const clf_tensor matrix = view(p, NULL, 0), turned = clf__gemm_transposed(&matrix);
    clf__gemm_problem problem = { .a = matrix, .b = matrix, .c = matrix, .alpha = 1 };
    clf_status status = clf__gemm_plan(plan, &problem, &p->plain);

    if (status || !p->backward)
        return status;
    problem.a = turned;
    if ((status = clf__gemm_plan(plan, &problem, &p->left)))
        return status;
    problem.a = matrix;
    problem.b = turned;
    return clf__gemm_plan(plan, &problem, &p->right);
}

/* One launch for all iterations: on CPUs, where no core would be without a matrix and each fits a cache. */
static clf_status plan_iterate(clf_plan *plan, clf__pinv *p)
{
    enum { LARGEST = 128 };
    const clf_device *device = clf_plan_device(plan);
    char options[64];

    if (clf_device_get_capabilities(device)->style != CLF_STYLE_VECTORS || p->shape[2] > LARGEST ||
        matrices_of(p) < clf_device_get_info(device)->compute_units)
        return CLF_SUCCESS;
    (void)snprintf(options, sizeof options, "-DCLF_LANES=16 -DCLF_SIZE=%d", (int)(p->shape[2] + 31) / 32 * 32);
    return clf__plan_kernel(plan, "ops/pseudo_inverse_vector.cl", options, "clf_pinv_iterate", &p->iterate);
}

static clf_status plan_kernels(clf_plan *plan, clf__pinv *p)
{
    const struct { const char *name; cl_kernel *kernel; } kernels[] = {
        { "clf_pinv_columns", &p->columns }, { "clf_pinv_scale", &p->scale }, { "clf_pinv_start", &p->start },
        { "clf_pinv_shift", &p->shift },     { "clf_pinv_dots", &p->dots },   { "clf_pinv_end", &p->end },
        { "clf_pinv_refine", &p->refine },
    };
    clf_status status = plan_iterate(plan, p);

    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++)
        status = clf__plan_kernel(plan, "ops/pseudo_inverse.cl", "", kernels[i].name, kernels[i].kernel);
    return status;
}

clf_status clf__pinv_plan(clf_plan *plan, int64_t batch, int64_t heads, int64_t size, int iterations, bool shared,
                          bool refined, clf__pinv *p)
{
    *p = (clf__pinv){ .shape = { batch, heads, size, size }, .iterations = iterations, .shared = shared,
                      .refined = refined, .backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0 };
    if (size > INT_MAX / 2 || matrices_of(p) > INT_MAX / (size > 0 ? size : 1))
        return clf_plan_refuse(plan, "%lld matrices of %lld rows are to be inverted: 2^31 - 1 rows are possible",
                               (long long)matrices_of(p), (long long)size);

    uint64_t (*keep)(clf_plan *, uint64_t) = p->backward ? clf_plan_saved : clf_plan_workspace;
    p->iterates = keep(plan, (uint64_t)(p->backward ? iterations + 1 : 2) * matrix_bytes(p));
    if (refined)
        p->result = keep(plan, matrix_bytes(p));
    p->scales = keep(plan, (uint64_t)matrices_of(p) * sizeof(float));
    p->places = keep(plan, (uint64_t)matrices_of(p) * sizeof(cl_int));
    p->sums = clf_plan_workspace(plan, (uint64_t)(matrices_of(p) * size) * sizeof(float));
    for (int i = 0; i < (p->backward ? GRAD_Z + 1 : FORWARD_WORK); i++)
        p->work[i] = clf_plan_workspace(plan, matrix_bytes(p));
    clf_status status = plan_products(plan, p);
    return status ? status : plan_kernels(plan, p);
}

/* ---- the small kernels ------------------------------------------------------------------------------ */

static void bind_at(clf_binder *binder, cl_mem mem, uint64_t bytes)
{
    const cl_long at = (cl_long)(bytes / sizeof(float));

    clf_bind_mem(binder, mem);
    clf_bind_value(binder, &at, sizeof at);
}

static void bind_matrix(clf_binder *binder, const clf_tensor *matrix)
{
    bind_at(binder, matrix->mem, matrix->offset);
}

static void bind_sums(clf_binder *binder, const clf_run *run, const clf__pinv *p)
{
    const clf_buffer workspace = clf_run_workspace(run);
    bind_at(binder, workspace.mem, workspace.offset + p->sums);
}

static void bind_scales(clf_binder *binder, const clf_run *run, const clf__pinv *p, uint64_t at)
{
    const clf_buffer buffer = kept(run, p);
    bind_at(binder, buffer.mem, buffer.offset + at);
}

/* size, and the columns that compete for the scale when the kernel asks for them. */
static clf_status launch(clf_run *run, clf_binder *binder, const clf__pinv *p, bool columns, int64_t items)
{
    const cl_int size = (cl_int)p->shape[2], all = p->shared ? (cl_int)(matrices_of(p) * p->shape[2]) : size;

    clf_bind_value(binder, &size, sizeof size);
    if (columns)
        clf_bind_value(binder, &all, sizeof all);
    return clf__lanes_launch(run, binder, 1, items);
}

static int64_t elements(const clf__pinv *p)
{
    return matrices_of(p) * p->shape[2] * p->shape[2];
}

static clf_status start(clf_run *run, const clf__pinv *p, const clf_tensor *k)
{
    const clf_tensor z = iterate(run, p, 0);
    clf_binder columns = clf_bind(p->columns), scale = clf_bind(p->scale), first = clf_bind(p->start);
    clf_status status;

    bind_matrix(&columns, k);
    bind_sums(&columns, run, p);
    bind_sums(&scale, run, p);
    bind_scales(&scale, run, p, p->scales);
    bind_scales(&scale, run, p, p->places);
    bind_matrix(&first, k);
    bind_scales(&first, run, p, p->scales);
    bind_matrix(&first, &z);
    if ((status = launch(run, &columns, p, false, matrices_of(p) * p->shape[2])) ||
        (status = launch(run, &scale, p, true, matrices_of(p))))
        return status;
    return launch(run, &first, p, false, elements(p));
}

/* to = identity I - from */
static clf_status shift(clf_run *run, const clf__pinv *p, float identity, const clf_tensor *from, const clf_tensor *to)
{
    clf_binder binder = clf_bind(p->shift);

    bind_matrix(&binder, from);
    bind_matrix(&binder, to);
    clf_bind_value(&binder, &identity, sizeof identity);
    return launch(run, &binder, p, false, elements(p));
}

static clf_status end(clf_run *run, const clf__pinv *p, const clf_tensor *grad_z, const clf_tensor *grad_k)
{
    const clf_tensor z = iterate(run, p, 0);
    clf_binder dots = clf_bind(p->dots), last = clf_bind(p->end);
    clf_status status;

    bind_matrix(&dots, grad_z);
    bind_matrix(&dots, &z);
    bind_sums(&dots, run, p);
    bind_matrix(&last, grad_z);
    bind_scales(&last, run, p, p->scales);
    bind_scales(&last, run, p, p->places);
    bind_sums(&last, run, p);
    bind_matrix(&last, grad_k);
    if ((status = launch(run, &dots, p, false, matrices_of(p) * p->shape[2])))
        return status;
    return launch(run, &last, p, true, elements(p));
}

/* ---- the iteration -------------------------------------------------------------------------------------- */

/* c = alpha a b + beta c */
static clf_status multiply(clf_run *run, const clf__pinv *p, float alpha, const clf_tensor *a, const clf_tensor *b,
                           float beta, const clf_tensor *c)
{
    return clf__gemm(run, &p->plain, &(clf__gemm_problem){ .a = *a, .b = *b, .c = *c, .alpha = alpha, .beta = beta });
}

/* c = alpha a^T b + beta c */
static clf_status multiply_left(clf_run *run, const clf__pinv *p, float alpha, const clf_tensor *a, const clf_tensor *b,
                                float beta, const clf_tensor *c)
{
    return clf__gemm(run, &p->left, &(clf__gemm_problem){ .a = clf__gemm_transposed(a), .b = *b, .c = *c,
                                                           .alpha = alpha, .beta = beta });
}

/* c = alpha a b^T + beta c */
static clf_status multiply_right(clf_run *run, const clf__pinv *p, float alpha, const clf_tensor *a,
                                 const clf_tensor *b, float beta, const clf_tensor *c)
{
    return clf__gemm(run, &p->right, &(clf__gemm_problem){ .a = *a, .b = clf__gemm_transposed(b), .c = *c,
                                                            .alpha = alpha, .beta = beta });
}

/* A = K Z, U1 = 7 I - A, U2 = 15 I - A U1, T = 13 I - A U2 */
static clf_status factors(clf_run *run, const clf__pinv *p, const clf_tensor *k, const clf_tensor *z, clf_tensor *w)
{
    clf_status status;

    if ((status = multiply(run, p, 1, k, z, 0, &w[A])) || (status = shift(run, p, 7, &w[A], &w[U1])) ||
        (status = multiply(run, p, 1, &w[A], &w[U1], 0, &w[U2])) || (status = shift(run, p, 15, &w[U2], &w[U2])) ||
        (status = multiply(run, p, 1, &w[A], &w[U2], 0, &w[T])))
        return status;
    return shift(run, p, 13, &w[T], &w[T]);
}

static clf_status refine(clf_run *run, const clf__pinv *p, const clf_tensor *k, const clf_tensor *step)
{
    const clf_tensor z = iterate(run, p, p->iterations), result = clf__pinv_result(run, p);
    clf_binder binder = clf_bind(p->refine);
    clf_status status;

    bind_matrix(&binder, k);
    bind_matrix(&binder, &z);
    bind_matrix(&binder, step);
    status = launch(run, &binder, p, false, elements(p));
    return status ? status : multiply(run, p, 1, &z, step, 0, &result);
}

static clf_status iterate_all(clf_run *run, const clf__pinv *p, const clf_tensor *k)
{
    const clf_tensor z = iterate(run, p, 0);
    const cl_long step = (cl_long)(matrix_bytes(p) / sizeof(float));
    const cl_int4 how = { { p->iterations, p->backward, !p->shared } };
    const cl_int size = (cl_int)p->shape[2];
    clf_binder binder = clf_bind(p->iterate);

    bind_matrix(&binder, k);
    bind_matrix(&binder, &z);
    clf_bind_value(&binder, &step, sizeof step);
    bind_scales(&binder, run, p, p->scales);
    bind_scales(&binder, run, p, p->places);
    clf_bind_value(&binder, &how, sizeof how);
    clf_bind_value(&binder, &size, sizeof size);
    return clf__lanes_launch(run, &binder, 16, matrices_of(p));
}

clf_status clf__pinv_forward(clf_run *run, const clf__pinv *p, const clf_tensor *k)
{
    clf_tensor w[FORWARD_WORK];
    clf_status status = p->iterate && !p->shared ? CLF_SUCCESS : start(run, p, k);

    for (int i = 0; i < FORWARD_WORK; i++)
        w[i] = work(run, p, i);
    if (p->iterate && !status)
        status = iterate_all(run, p, k);
    for (int i = 0; i < p->iterations && !p->iterate && !status; i++) {
        const clf_tensor z = iterate(run, p, i), next = iterate(run, p, i + 1);
        status = factors(run, p, k, &z, w);
        if (!status)
            status = multiply(run, p, 0.25f, &z, &w[T], 0, &next);
    }
    return status || !p->refined ? status : refine(run, p, k, &w[T]);
}

/* From the gradient of Z (T / 4) to those of Z and K. */
static clf_status step_back(clf_run *run, const clf__pinv *p, const clf_tensor *k, const clf_tensor *z, clf_tensor *w,
                            const clf_tensor *grad, const clf_tensor *grad_z, bool first, const clf_tensor *grad_k)
{
    clf_status status;

    if ((status = factors(run, p, k, z, w)) ||
        (status = multiply_left(run, p, -0.25f, z, grad, 0, &w[GRAD_T])) || /* of A U2, as T has minus that */
        (status = multiply_right(run, p, 1, &w[GRAD_T], &w[U2], 0, &w[GRAD_A])) ||
        (status = multiply_left(run, p, -1, &w[A], &w[GRAD_T], 0, &w[GRAD_U])) ||
        (status = multiply_right(run, p, 1, &w[GRAD_U], &w[U1], 1, &w[GRAD_A])) ||
        (status = multiply_left(run, p, -1, &w[A], &w[GRAD_U], 1, &w[GRAD_A])) ||
        (status = multiply_right(run, p, 1, &w[GRAD_A], z, first ? 0 : 1, grad_k)) ||
        (status = multiply_right(run, p, 0.25f, grad, &w[T], 0, grad_z)))
        return status;
    return multiply_left(run, p, 1, k, &w[GRAD_A], 1, grad_z);
}

clf_status clf__pinv_backward(clf_run *run, const clf__pinv *p, const clf_tensor *k, const clf_tensor *grad_z,
                              const clf_tensor *grad_k)
{
    clf_tensor w[GRAD_Z + 1], grad = *grad_z;
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i <= GRAD_Z; i++)
        w[i] = work(run, p, i);
    for (int i = p->iterations - 1; i >= 0 && !status; i--) {
        const clf_tensor z = iterate(run, p, i), before = w[GRAD_Z];
        status = step_back(run, p, k, &z, w, &grad, &before, i == p->iterations - 1, grad_k);
        w[GRAD_Z] = grad;
        grad = before;
    }
    return status ? status : end(run, p, &grad, grad_k);
}

double clf__pinv_flops(double matrices, double size, int iterations, int pass)
{
    return matrices * 2 * size * size * size * iterations * (pass == CLF_BACKWARD ? 11 : 4);
}
