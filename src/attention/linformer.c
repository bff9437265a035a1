/* Linformer (Wang et al. 2020): attention to learnt mixtures of the keys, as many as `k`, in linear time.
 *
 *     K' = E K      V' = F V      out = softmax(q K'^T / sqrt(D)) V'
 *
 * E and F serve all heads, so that keys and values become rows of whole tokens first and each projection is one
 * product a batch entry; fused attention does the rest. Backward runs the same in reverse: fused attention gives dK',
 * dK = E^T dK', and dE = sum over the batch of dK' K^T with all heads side by side in the depth of the product.
 */
#include "attention/linformer.h"
#include "component/random.h"
#include "core/status.h"
#include "fused/fused.h"
#include "ops/copy.h"
#include "ops/gemm.h"
#include "ops/lanes.h"
#include <stdio.h>
#include <string.h>

/* What becomes of the keys, and of the values. */
typedef struct side {
    bool             gathers;    /* their rows are copied into the workspace */
    clf__copy        gather, scatter, finish, zero;
    clf__gemm_choice shorten, weigh, lengthen;
    uint64_t         rows;       /* bytes into the workspace: [B, N, H, D], padding 0 */
    uint64_t         shortened;  /* bytes into `saved`, forward only: into the workspace: [B, k, H, D] */
    uint64_t         gradient;   /* bytes into the workspace: of that */
    uint64_t         sum;        /* bytes into the workspace: [k, N] f32, gradient of the weight */
} side;

typedef struct linformer_state {
    int        lanes;
    clf__fused fused;
    side       sides[2];           /* keys, values */
    cl_kernel  drop;               /* second dropout; else NULL */
    uint64_t   plain, plain_grad;  /* bytes into saved (forward only: workspace) and workspace: out before that */
} linformer_state;

static const int slots[2] = { CLF_QKV_K, CLF_QKV_V };
static const char *const weights[2] = { "E.weight", "F.weight" };

static const clf_field linformer_fields[] = {
    CLF_ATTENTION_FIELDS_REQUIRING(linformer_config, CLF_REQUIRE_SEQ_LEN),
    CLF_INT(
        linformer_config, k, 0, .optional = true, .min = 1,
        .doc = "mixtures of keys that queries see; absent: a quarter of seq_len, and at most 256 unless semantics is "
               "xformers"),
    CLF_FIELDS_END
};

static void weight_shape(const void *config, int *rank, int64_t *shape)
{
    const linformer_config *c = config;

    *rank = 2;
    shape[0] = c->k;
    shape[1] = c->base.seq_len;
}

static const clf_parameter linformer_parameters[] = {
    { "E.weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_UNIFORM, 0, "how each mixture of keys is made: [k, seq_len]" },
    { "F.weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_UNIFORM, 0, "the same for the values" },
    CLF_PARAMETERS_END
};

static bool is_xformers(const linformer_config *c)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS;
}

static clf_status linformer_resolve(void *config, const clf_args *args)
{
    linformer_config *c = config;

    (void)args;
    if (c->k == 0) {
        c->k = c->base.seq_len / 4;
        c->k = c->k < 1 ? 1 : c->k > 256 && !is_xformers(c) ? 256 : c->k;
    }
    return CLF_SUCCESS;
}

/* Is the result dropped out once more? */
static bool drops_again(const linformer_config *c, const clf_args *args)
{
    return is_xformers(c) && args->training && c->base.dropout > 0;
}

/* ---- the tensors, in `plan` without memory ----------------------------------------------------------- */

typedef struct context {
    clf_plan               *plan;
    clf_run                *run; /* NULL while planning */
    const linformer_config *config;
    const clf_args         *args;
    linformer_state        *state;
    clf_buffer              workspace, kept; /* kept: `saved` where there is a backward pass */
} context;

static context context_of(clf_plan *plan, clf_run *run)
{
    context c = { .plan = plan, .run = run, .config = clf_plan_config(plan),
                  .args = run ? clf_run_args(run) : clf_plan_args(plan),
                  .state = clf_plan_state(plan, sizeof(linformer_state)) };

    if (run) {
        c.workspace = clf_run_workspace(run);
        c.kept = clf_plan_passes(plan) & CLF_BACKWARD ? clf_run_saved(run) : c.workspace;
    }
    return c;
}

static uint64_t reserve(clf_plan *plan, const clf_tensor *tensor, bool keep)
{
    const uint64_t bytes = (uint64_t)clf_tensor_elements(tensor) * clf_dtype_size(tensor->dtype);
    return keep && (clf_plan_passes(plan) & CLF_BACKWARD) ? clf_plan_saved(plan, bytes)
                                                          : clf_plan_workspace(plan, bytes);
}

/* The keys or values as rows of tokens. */
static clf_tensor rows_of(const context *c, int which)
{
    const clf_tensor *x = &c->args->io[slots[which]];
    const side *side = &c->state->sides[which];

    return side->gathers ? clf__rows_at(c->workspace, side->rows, x->dtype, x->shape) : *x;
}

static clf_tensor short_rows(const context *c, int which, clf_buffer buffer, uint64_t at)
{
    const clf_tensor *x = &c->args->io[slots[which]];
    const int64_t shape[4] = { x->shape[0], x->shape[1], c->config->k, x->shape[3] };

    return clf__rows_at(buffer, at, x->dtype, shape);
}

static clf_tensor shortened(const context *c, int which)
{
    return short_rows(c, which, c->kept, c->state->sides[which].shortened);
}

static clf_tensor short_gradient(const context *c, int which)
{
    return short_rows(c, which, c->workspace, c->state->sides[which].gradient);
}

static clf_tensor weight_sum(const context *c, int which)
{
    const int64_t shape[4] = { 1, 1, c->config->k, c->args->io[CLF_QKV_K].shape[2] };
    return clf__rows_at(c->workspace, c->state->sides[which].sum, CLF_F32, shape);
}

/* Columns `first` to `end` of a weight, or of its gradient, as [1, 1, k, columns]. */
static clf_status weight_columns(const context *c, int which, bool gradient, int64_t first, int64_t end,
                                 clf_tensor *columns)
{
    clf_instance *instance = clf_plan_instance(c->plan);
    clf_tensor whole;
    const clf_status status = gradient ? clf_instance_gradient(instance, weights[which], &whole)
                                       : clf_instance_parameter(instance, weights[which], &whole);

    if (status)
        return status;
    *columns = clf_tensor_view(whole.mem, whole.dtype, 4, (const int64_t[]){ 1, 1, whole.shape[0], end - first });
    columns->offset = whole.offset + (uint64_t)first * clf_dtype_size(whole.dtype);
    columns->strides[2] = whole.shape[1];
    return CLF_SUCCESS;
}

/* The same as a matrix. */
static clf_tensor matrix_of(const clf_tensor *columns)
{
    clf_tensor matrix = *columns;

    matrix.rank = 2;
    for (int i = 0; i < 2; i++) {
        matrix.shape[i] = columns->shape[2 + i];
        matrix.strides[i] = columns->strides[2 + i];
    }
    return matrix;
}

/* ---- the steps --------------------------------------------------------------------------------------- */

static clf__copy_problem gather_of(const context *c, int which)
{
    return (clf__copy_problem){ .from = c->args->io[slots[which]], .to = rows_of(c, which),
                                .keep = c->args->io[CLF_QKV_KEY_PADDING_MASK] };
}

/* K' = E K */
static clf_status shorten_of(const context *c, int which, clf__gemm_problem *problem)
{
    const clf_tensor rows = rows_of(c, which), result = shortened(c, which);
    clf_tensor weight = { 0 };
    clf_status status = weight_columns(c, which, false, 0, rows.shape[2], &weight);

    *problem = (clf__gemm_problem){ .a = matrix_of(&weight), .b = clf__rows_matrices(&rows),
                                    .c = clf__rows_matrices(&result), .alpha = 1 };
    return status;
}

/* dE = sum over b of dK'[b] K[b]^T, one product after another. */
static clf__gemm_problem weigh_of(const context *c, int which, int64_t b)
{
    const clf_tensor rows = rows_of(c, which), gradient = short_gradient(c, which), sum = weight_sum(c, which);
    const clf_tensor left = clf__rows_matrices(&gradient), right = clf__rows_matrices(&rows);
    clf_tensor a = matrix_of(&sum), k = a;

    a.shape[1] = k.shape[1] = left.shape[2];
    k.shape[0] = right.shape[1];
    a.mem = left.mem;
    k.mem = right.mem;
    a.dtype = k.dtype = left.dtype;
    a.offset = left.offset + (uint64_t)(b * left.strides[0]) * clf_dtype_size(left.dtype);
    k.offset = right.offset + (uint64_t)(b * right.strides[0]) * clf_dtype_size(right.dtype);
    a.strides[0] = left.strides[1];
    k.strides[0] = right.strides[1];
    return (clf__gemm_problem){ .a = a, .b = clf__gemm_transposed(&k), .c = matrix_of(&sum), .alpha = 1,
                                .beta = b > 0 ? 1 : 0 };
}

/* dK = E^T dK', head by head; by way of the workspace where padding has to become 0. */
static clf_status lengthen_of(const context *c, int which, clf__gemm_problem *problem)
{
    const bool padded = c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    const clf_tensor gradient = short_gradient(c, which);
    clf_tensor weight = { 0 };
    clf_status status = weight_columns(c, which, false, 0, c->args->io[CLF_QKV_K].shape[2], &weight);
    const clf_tensor matrix = matrix_of(&weight);

    *problem = (clf__gemm_problem){ .a = clf__gemm_transposed(&matrix), .b = gradient,
                                    .c = padded ? rows_of(c, which) : c->args->grad[slots[which]], .alpha = 1 };
    return status;
}

static clf__copy_problem scatter_of(const context *c, int which)
{
    return (clf__copy_problem){ .from = rows_of(c, which), .to = c->args->grad[slots[which]],
                                .keep = c->args->io[CLF_QKV_KEY_PADDING_MASK] };
}

/* The sum into the gradient of the weight, whose columns behind the sequence are 0. */
static clf_status finish_of(const context *c, int which, clf__copy_problem *problem)
{
    const int64_t items = c->args->io[CLF_QKV_K].shape[0] * c->args->io[CLF_QKV_K].shape[1];

    *problem = (clf__copy_problem){ .from = weight_sum(c, which) };
    if (items == 0)
        problem->from.rank = 0;
    return weight_columns(c, which, true, 0, c->args->io[CLF_QKV_K].shape[2], &problem->to);
}

static clf_status zero_of(const context *c, int which, clf__copy_problem *problem)
{
    *problem = (clf__copy_problem){ .from.rank = 0 };
    return weight_columns(c, which, true, c->args->io[CLF_QKV_K].shape[2], c->config->base.seq_len, &problem->to);
}

static clf__fused_problem attention_of(const context *c)
{
    clf__fused_problem problem = clf__fused_problem_qkv(c->args, 0, c->config->base.dropout);

    problem.padding = (clf_tensor){ .rank = 0 };
    problem.k = shortened(c, 0);
    problem.v = shortened(c, 1);
    if (c->state->drop)
        problem.out = clf__rows_at(c->kept, c->state->plain, problem.out.dtype, problem.out.shape);
    if (!(clf_plan_passes(c->plan) & CLF_BACKWARD))
        return problem;
    problem.grad_k = short_gradient(c, 0);
    problem.grad_v = short_gradient(c, 1);
    if (c->state->drop)
        problem.grad_out = clf__rows_at(c->workspace, c->state->plain_grad, problem.out.dtype, problem.out.shape);
    return problem;
}

/* ---- planning ---------------------------------------------------------------------------------------- */

static clf_status check(const context *c)
{
    const long long queries = (long long)c->args->io[CLF_QKV_Q].shape[2];
    const long long keys = (long long)c->args->io[CLF_QKV_K].shape[2];

    if (keys > c->config->base.seq_len)
        return clf_plan_refuse(c->plan, "there are %lld keys, the projections have room for 'seq_len' = %d", keys,
                               c->config->base.seq_len);
    if (!is_xformers(c->config))
        return CLF_SUCCESS;
    if (c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(c->plan,
                               "'key_padding_mask' is given, but in xformers semantics this mechanism takes none");
    if (queries != keys)
        return clf_plan_refuse(c->plan, "there are %lld queries and %lld keys: xformers semantics need as many",
                               queries, keys);
    return CLF_SUCCESS;
}

static clf_status plan_backward(const context *c, int which, side *side)
{
    const clf_tensor gradient = short_gradient(c, which), sum = weight_sum(c, which);
    const int lanes = c->state->lanes;
    clf__copy_problem copy;
    clf__gemm_problem product = weigh_of(c, which, 0);
    clf_status status;

    side->gradient = reserve(c->plan, &gradient, false);
    side->sum = reserve(c->plan, &sum, false);
    if ((status = clf__gemm_plan(c->plan, &product, &side->weigh)) || (status = finish_of(c, which, &copy)) ||
        (status = clf__copy_plan(c->plan, &copy, lanes, &side->finish)) || (status = zero_of(c, which, &copy)) ||
        (copy.to.shape[3] > 0 && (status = clf__copy_plan(c->plan, &copy, lanes, &side->zero))) ||
        c->args->grad[slots[which]].rank == 0)
        return status;
    if ((status = lengthen_of(c, which, &product)) || (status = clf__gemm_plan(c->plan, &product, &side->lengthen)) ||
        c->args->io[CLF_QKV_KEY_PADDING_MASK].rank == 0)
        return status;
    copy = scatter_of(c, which);
    return clf__copy_plan(c->plan, &copy, lanes, &side->scatter);
}

static clf_status plan_side(const context *c, int which)
{
    side *side = &c->state->sides[which];
    const clf_tensor *x = &c->args->io[slots[which]], matrices = clf__rows_matrices(x);
    clf__gemm_problem product;
    clf_status status;

    side->gathers = matrices.rank == 0 || c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    if (side->gathers) {
        const clf__copy_problem gather = gather_of(c, which);
        side->rows = reserve(c->plan, &gather.to, false);
        if ((status = clf__copy_plan(c->plan, &gather, c->state->lanes, &side->gather)))
            return status;
    }
    const clf_tensor result = shortened(c, which);
    side->shortened = reserve(c->plan, &result, true);
    if ((status = shorten_of(c, which, &product)) || (status = clf__gemm_plan(c->plan, &product, &side->shorten)))
        return status;
    return clf_plan_passes(c->plan) & CLF_BACKWARD ? plan_backward(c, which, side) : CLF_SUCCESS;
}

static clf_status plan_drop(const context *c)
{
    const clf_tensor *out = &c->args->io[CLF_QKV_OUT];
    char options[CLF__LANES_OPTIONS];

    if (!drops_again(c->config, c->args))
        return CLF_SUCCESS;
    c->state->plain = reserve(c->plan, out, true);
    if (clf_plan_passes(c->plan) & CLF_BACKWARD)
        c->state->plain_grad = reserve(c->plan, out, false);
    clf__lanes_options(c->state->lanes, out->dtype, "", options, sizeof options);
    return clf_plan_kernel(c->plan, "attention/linformer.cl", options, "clf_linformer_drop", &c->state->drop);
}

static clf_status linformer_plan(clf_plan *plan)
{
    const context c = context_of(plan, NULL);
    clf_status status;

    if (!c.state)
        return CLF_OUT_OF_HOST_MEMORY;
    c.state->lanes = clf__lanes_choose(plan); /* the family's name is that of fused attention */
    if ((status = check(&c)) || (status = plan_side(&c, 0)) || (status = plan_side(&c, 1)) || (status = plan_drop(&c)))
        return status;
    const clf__fused_problem attention = attention_of(&c);
    return clf__fused_plan(plan, &attention, &c.state->fused);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static clf_status drop(const context *c, const clf_tensor *from, const clf_tensor *to)
{
    const float dropout = c->config->base.dropout, scale = dropout < 1 ? 1 / (1 - dropout) : 0;
    const clf_args *args = c->args;
    const cl_int4 shape = { { (cl_int)to->shape[1], (cl_int)to->shape[2], (cl_int)to->shape[3] } };
    const cl_uint8 random = { { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                                (cl_uint)(args->offset >> 32), clf__dropout_threshold(dropout) } };
    clf_binder binder = clf_bind(c->state->drop);

    clf__lanes_bind(&binder, from);
    clf__lanes_bind(&binder, to);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &scale, sizeof scale);
    clf_bind_value(&binder, &random, sizeof random);
    return clf__lanes_launch(c->run, &binder, c->state->lanes,
                             to->shape[0] * to->shape[1] * to->shape[2] *
                                 clf__lanes_blocks(c->state->lanes, to->shape[3]));
}

static clf_status gather(const context *c, int which)
{
    const clf__copy_problem problem = gather_of(c, which);
    const side *side = &c->state->sides[which];

    return side->gathers ? clf__copy_run(c->run, &side->gather, &problem) : CLF_SUCCESS;
}

static clf_status linformer_forward(clf_run *run)
{
    const context c = context_of(clf_run_plan(run), run);
    clf__gemm_problem product;
    clf_status status = CLF_SUCCESS;

    for (int which = 0; which < 2 && !status; which++)
        if (!(status = gather(&c, which)) && !(status = shorten_of(&c, which, &product)))
            status = clf__gemm(run, &c.state->sides[which].shorten, &product);
    const clf__fused_problem attention = attention_of(&c);
    if (!status)
        status = clf__fused_forward(run, &c.state->fused, &attention);
    return status || !c.state->drop ? status : drop(&c, &attention.out, &c.args->io[CLF_QKV_OUT]);
}

static clf_status weigh(const context *c, int which)
{
    const side *side = &c->state->sides[which];
    clf__copy_problem copy;
    clf_status status = gather(c, which);

    for (int64_t b = 0; b < c->args->io[CLF_QKV_K].shape[0] && !status; b++) {
        const clf__gemm_problem product = weigh_of(c, which, b);
        status = clf__gemm(c->run, &side->weigh, &product);
    }
    if (status || (status = finish_of(c, which, &copy)) || (status = clf__copy_run(c->run, &side->finish, &copy)) ||
        (status = zero_of(c, which, &copy)))
        return status;
    return copy.to.shape[3] > 0 ? clf__copy_run(c->run, &side->zero, &copy) : CLF_SUCCESS;
}

static clf_status lengthen(const context *c, int which)
{
    const side *side = &c->state->sides[which];
    clf__gemm_problem product;
    clf_status status;

    if (c->args->grad[slots[which]].rank == 0)
        return CLF_SUCCESS;
    if ((status = lengthen_of(c, which, &product)) || (status = clf__gemm(c->run, &side->lengthen, &product)) ||
        c->args->io[CLF_QKV_KEY_PADDING_MASK].rank == 0)
        return status;
    const clf__copy_problem copy = scatter_of(c, which);
    return clf__copy_run(c->run, &side->scatter, &copy);
}

static clf_status linformer_backward(clf_run *run)
{
    const context c = context_of(clf_run_plan(run), run);
    const clf__fused_problem attention = attention_of(&c);
    clf_status status = CLF_SUCCESS;

    if (c.state->drop)
        status = drop(&c, &c.args->grad[CLF_QKV_OUT], &attention.grad_out);
    if (!status)
        status = clf__fused_backward(run, &c.state->fused, &attention);
    for (int which = 0; which < 2 && !status; which++)
        if (!(status = weigh(&c, which)))
            status = lengthen(&c, which);
    return status;
}

/* Every query with k keys, and the projections, whose backward is two products each. */
static void linformer_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const linformer_config *c = config;
    const int64_t *q = args->io[CLF_QKV_Q].shape, *v = args->io[CLF_QKV_V].shape;
    const double keys = (double)v[2] * (double)c->k;

    clf__fused_work(args, (double)q[2] * c->k, pass, work);
    work->flops += 2 * (double)q[0] * (double)q[1] * keys * (double)(q[3] + v[3]) * (pass == CLF_BACKWARD ? 2 : 1);
    work->bytes += 8.0 * c->k * c->base.seq_len * (pass == CLF_BACKWARD ? 2 : 1);
}

CLF_REGISTER_ATTENTION(linformer) = {
    .summary = "attention to a fixed number of learnt mixtures of the keys: linear time",
    .paper = "Wang et al. 2020, arXiv:2006.04768",
    .config = CLF_SCHEMA(linformer_config, linformer_fields),
    .programs = { "attention/linformer.cl", "ops/copy.cl" },
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE |
              CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT | CLF_TRAIT_DERIVED,
    .parameters = linformer_parameters,
    .resolve = linformer_resolve,
    .plan = linformer_plan,
    .forward = linformer_forward,
    .backward = linformer_backward,
    .work = linformer_work,
    .answer = { .forward = -0.1769381, .backward = -0.01389622 },
};
