/* Visual attention (Guo et al. 2022): an image gated by convolutions of itself that reach far.
 *
 *     u = gelu(W0 x + b0)      g = W1 far(near(u)) + b1      out = x + W3 (u g) + b3
 *
 * W are matrices over channels, for ops/gemm with positions as rows; near and far are convolutions of single channels,
 * 5 x 5 and 7 x 7 with every third cell. What lies between the caller's tensors is f32. Forward keeps what is before
 * gelu, after near, after far, and g.
 */
#include "attention/visual_steps.h"
#include "component/random.h"
#include "core/status.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>

static const clf_field visual_fields[] = { CLF_ATTENTION_FIELDS(visual_config), CLF_FIELDS_END };

/* ---- parameters -------------------------------------------------------------------------------------- */

static void matrix_shape(const void *config, int *rank, int64_t *shape)
{
    *rank = 4;
    shape[0] = shape[1] = ((const visual_config *)config)->base.dim_model;
    shape[2] = shape[3] = 1;
}

static void window_shape(const void *config, int64_t size, int *rank, int64_t *shape)
{
    *rank = 4;
    shape[0] = ((const visual_config *)config)->base.dim_model;
    shape[1] = 1;
    shape[2] = shape[3] = size;
}

static void near_shape(const void *config, int *rank, int64_t *shape)
{
    window_shape(config, VISUAL_NEAR_SIZE, rank, shape);
}

static void far_shape(const void *config, int *rank, int64_t *shape)
{
    window_shape(config, VISUAL_FAR_SIZE, rank, shape);
}

static void bias_shape(const void *config, int *rank, int64_t *shape)
{
    *rank = 1;
    shape[0] = ((const visual_config *)config)->base.dim_model;
}

const clf_parameter clf__visual_parameters[] = {
    { "block.0.weight", matrix_shape, .init = CLF_INIT_OWN, .doc = "first matrix over channels" },
    { "block.0.bias", bias_shape, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "block.2.conv0.weight", near_shape, .init = CLF_INIT_OWN, .doc = "5 x 5 window of each channel" },
    { "block.2.conv0.bias", bias_shape, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "block.2.conv_spatial.weight", far_shape, .init = CLF_INIT_OWN,
      .doc = "7 x 7 window of each channel, every third cell" },
    { "block.2.conv_spatial.bias", bias_shape, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "block.2.conv1.weight", matrix_shape, .init = CLF_INIT_OWN, .doc = "matrix over channels that makes the gate" },
    { "block.2.conv1.bias", bias_shape, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "block.3.weight", matrix_shape, .init = CLF_INIT_OWN, .doc = "last matrix over channels" },
    { "block.3.bias", bias_shape, .init = CLF_INIT_OWN, .doc = "its bias" },
    CLF_PARAMETERS_END
};

/* U(-a, a) with a = 1 / sqrt(numbers that a result is made of), for weights and biases. */
static clf_status visual_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data)
{
    const int weight = (int)(what - clf__visual_parameters) / 2 * 2;
    const int64_t channels = ((const visual_config *)config)->base.dim_model;
    const int64_t in = weight == VISUAL_NEAR  ? (int64_t)VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE
                       : weight == VISUAL_FAR ? (int64_t)VISUAL_FAR_SIZE * VISUAL_FAR_SIZE
                                              : channels;
    int64_t shape[CLF_MAX_RANK] = { 0 }, count = 1;
    int rank;

    what->shape(config, &rank, shape);
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    clf__stream_fill(seed, what->name, 1 / sqrt((double)in), count, data);
    return CLF_SUCCESS;
}

static clf_status visual_resolve(void *config, const clf_args *args)
{
    clf_attention_config *base = &((visual_config *)config)->base;

    (void)args;
    if (base->causal)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but windows reach forward");
    if (base->dim_model == 0 && base->num_heads > 0 && base->dim_head > 0 &&
        base->dim_head <= INT32_MAX / base->num_heads)
        base->dim_model = base->num_heads * base->dim_head;
    if (base->dim_model == 0)
        return clf__fail(CLF_MISSING_KEY, "'dim_model' is missing: matrices over channels have its extent");
    return CLF_SUCCESS;
}

/* ---- planning ---------------------------------------------------------------------------------------- */

static clf_status plan_convolution(const visual_context *c, int size, int dilation, convolution *kernels)
{
    char options[2][CLF__LANES_OPTIONS], more[96];
    const char *path = "attention/visual.cl";
    clf_status status;

    for (int flip = 0; flip < 2; flip++) {
        (void)snprintf(more, sizeof more, "-DCLF_SIZE=%d -DCLF_DILATION=%d -DCLF_FLIP=%d", size, dilation, flip);
        clf__lanes_options(c->state->lanes, CLF_F32, more, options[flip], sizeof options[flip]);
    }
    if ((status = clf_plan_kernel(c->plan, path, options[0], "clf_visual_convolve", &kernels->forward)) ||
        !c->backward ||
        (status = clf_plan_kernel(c->plan, path, options[1], "clf_visual_convolve", &kernels->backward)))
        return status;
    return clf_plan_kernel(c->plan, path, options[1], "clf_visual_weigh", &kernels->weigh);
}

static clf_status plan_kernels(const visual_context *c)
{
    visual_state *state = c->state;
    const clf_dtype stored = clf__visual_parameter(c, 0, false).dtype;
    const struct { bool wanted; const char *name; cl_kernel *kernel; int lanes; } kernels[] = {
        { true, "clf_visual_gelu", &state->gelu, state->lanes },
        { true, "clf_visual_gate", &state->gate, state->lanes },
        { true, "clf_visual_turn", &state->turn, 1 },
        { c->backward, "clf_visual_gate_back", &state->gate_back, state->lanes },
        { c->backward, "clf_visual_gelu_back", &state->gelu_back, state->lanes },
        { c->backward, "clf_visual_turn_back", &state->turn_back, 1 },
    };
    const char *more = "-DCLF_SIZE=1 -DCLF_DILATION=1 -DCLF_FLIP=0";
    char options[CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++) {
        clf__lanes_options(kernels[i].lanes, kernels[i].lanes == 1 ? stored : CLF_F32, more, options, sizeof options);
        if (kernels[i].wanted)
            status = clf_plan_kernel(c->plan, "attention/visual.cl", options, kernels[i].name, kernels[i].kernel);
    }
    if (status || (status = plan_convolution(c, VISUAL_NEAR_SIZE, 1, &state->near)))
        return status;
    return plan_convolution(c, VISUAL_FAR_SIZE, VISUAL_FAR_DILATION, &state->far);
}

static clf_status plan_steps(const visual_context *c)
{
    const clf_tensor storage = { .rank = 4, .dtype = c->args->io[CLF_QKV_Q].dtype },
                     single = { .rank = 4, .dtype = CLF_F32 };
    const clf_tensor stored = { .rank = 4, .dtype = clf__visual_parameter(c, 0, false).dtype };
    clf_status status = clf__copy_plan(c->plan, &(clf__copy_problem){ .from = storage, .to = storage }, c->state->lanes,
                                       &c->state->copy);

    if (!status)
        status = clf__copy_plan(c->plan, &(clf__copy_problem){ .from = stored, .to = single }, c->state->lanes,
                                &c->state->parameter);
    for (int i = 0; i < (c->backward ? PRODUCTS : FORWARD_PRODUCTS_END + 1) && !status; i++) {
        const clf__gemm_problem problem = clf__visual_product(c, (visual_product)i);
        if (problem.c.rank > 0)
            status = clf__gemm_plan(c->plan, &problem, &c->state->products[i]);
    }
    for (int i = 0; i < SUMS && c->backward && !status; i++) {
        const clf_tensor matrix = clf__visual_summed(c, 2 * i), to = clf__visual_parameter(c, 2 * i + 1, true);
        status = clf__column_sums_plan(c->plan, &matrix, &to, false, c->state->lanes, &c->state->sums[i]);
    }
    return status;
}

static clf_status visual_plan(clf_plan *plan)
{
    const visual_context c = clf__visual_context(plan, NULL);
    const int64_t *q = c.args->io[CLF_QKV_Q].shape;
    clf_status status;

    if (!c.state)
        return CLF_OUT_OF_HOST_MEMORY;
    if (q[1] * q[3] != c.channels)
        return clf_plan_refuse(plan, "'q' has %lld x %lld channels, 'dim_model' is %lld", (long long)q[1],
                               (long long)q[3], (long long)c.channels);
    if (c.lines > INT32_MAX)
        return clf_plan_refuse(plan, "there are %lld rows of cells, at most %d are possible", (long long)c.lines,
                               INT32_MAX);
    c.state->lanes = clf__lanes_choose(plan);
    clf__visual_reserve(&c);
    status = plan_kernels(&c);
    return status ? status : plan_steps(&c);
}

/* Three matrices and 74 taps; backward makes each product twice. */
static void visual_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const double cells = (double)clf_tensor_elements(q), channels = ((const visual_config *)config)->base.dim_model;
    const double taps = VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE + VISUAL_FAR_SIZE * VISUAL_FAR_SIZE;

    work->flops = 2 * cells * (3 * channels + taps) * (pass == CLF_BACKWARD ? 2 : 1);
    work->bytes = (pass == CLF_BACKWARD ? 3 : 2) * cells * (double)clf_dtype_size(q->dtype);
}

CLF_REGISTER_ATTENTION(visual) = {
    .summary = "a square image gated by far-reaching convolutions of itself; has its own matrices over channels",
    .paper = "Guo et al. 2022, arXiv:2202.09741",
    .config = CLF_SCHEMA(visual_config, visual_fields),
    .programs = { "attention/visual.cl", "ops/copy.cl" },
    .families = clf__lanes_families,
    .io = clf_attention_io_q,
    .traits = CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_SQUARE_SEQUENCE | CLF_TRAIT_XFORMERS_LENIENT |
              CLF_TRAIT_DERIVED,
    .parameters = clf__visual_parameters,
    .resolve = visual_resolve,
    .initialise = visual_initialise,
    .plan = visual_plan,
    .forward = clf__visual_forward,
    .backward = clf__visual_backward,
    .work = visual_work,
    .answer = { .forward = 0.05968208, .backward = -0.08877776 },
};
