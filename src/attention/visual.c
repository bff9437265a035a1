/* Visual attention (Guo et al. 2022): an image gated by convolutions of itself that reach far.
 *
 *     u = gelu(W0 x + b0)      g = W1 far(near(u)) + b1      out = x + W3 (u g) + b3
 *
 * W are matrices over channels, for ops/gemm with positions as rows; near and far are convolutions of single channels,
 * 5 x 5 and 7 x 7 with every third cell. What lies between the caller's tensors is f32. Forward keeps what is before
 * gelu, after near, after far, and g.
 */
#include "attention/visual.h"
#include "component/random.h"
#include "core/status.h"
#include "ops/copy.h"
#include "ops/gemm.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>

enum { CELLS = 4 };        /* as in cl/attention/visual.cl */
enum { STRETCHES = 64 };   /* partial sums of the gradients of near and far, at most */

typedef enum visual_buffer {
    BUFFER_BEFORE, BUFFER_NEAR, BUFFER_FAR, BUFFER_GATE, /* saved where there is a backward pass */
    BUFFER_X, BUFFER_OUT,                                /* tokens, where channels do not lie side by side */
    BUFFER_U, BUFFER_GATED, BUFFER_TAPS, BUFFER_BIAS,
    FORWARD_BUFFERS_END = BUFFER_BIAS,
    BUFFER_D_U, BUFFER_D_GATE, BUFFER_D_FAR, BUFFER_D_NEAR, BUFFER_PART,
    BUFFERS
} visual_buffer;

typedef enum visual_product {
    PRODUCT_FIRST, PRODUCT_MIXED, PRODUCT_LAST,
    FORWARD_PRODUCTS_END = PRODUCT_LAST,
    PRODUCT_D_GATED, PRODUCT_D_FAR, PRODUCT_D_X, PRODUCT_W_FIRST, PRODUCT_W_MIXED, PRODUCT_W_LAST,
    PRODUCTS
} visual_product;

enum { SUMS = VISUAL_PARAMETERS / 2 }; /* a bias each */

/* One of the two convolutions: kernels for its size. */
typedef struct convolution {
    cl_kernel forward, backward, weigh;
} convolution;

typedef struct visual_state {
    int               lanes;
    uint64_t          at[BUFFERS];
    clf__gemm_choice  products[PRODUCTS];
    clf__column_sums  sums[SUMS];
    clf__copy         copy, parameter;     /* storage to itself; a bias to f32 */
    cl_kernel         gelu, gate, gate_back, gelu_back, turn, turn_back;
    convolution       near, far;
} visual_state;

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

static const clf_parameter visual_parameters[] = {
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
    const int weight = (int)(what - visual_parameters) / 2 * 2;
    const int64_t channels = ((const visual_config *)config)->base.dim_model;
    const int64_t in = weight == VISUAL_NEAR  ? VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE
                       : weight == VISUAL_FAR ? VISUAL_FAR_SIZE * VISUAL_FAR_SIZE
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

/* ---- the tensors, in `plan` without memory ----------------------------------------------------------- */

typedef struct context {
    clf_plan       *plan;
    clf_run        *run; /* NULL while planning */
    const clf_args *args;
    visual_state   *state;
    clf_buffer      workspace, saved;
    int64_t         rows, channels, side, lines; /* lines: rows of cells in all images */
    bool            backward;
} context;

static context context_of(clf_plan *plan, clf_run *run)
{
    const visual_config *config = clf_plan_config(plan);
    context c = { .plan = plan, .run = run, .args = run ? clf_run_args(run) : clf_plan_args(plan),
                  .state = clf_plan_state(plan, sizeof(visual_state)), .channels = config->base.dim_model,
                  .backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0 };
    const int64_t *q = c.args->io[CLF_QKV_Q].shape;

    if (run) {
        c.workspace = clf_run_workspace(run);
        c.saved = clf_run_saved(run);
    }
    c.side = (int64_t)floor(sqrt((double)q[2]) + 0.5);
    c.rows = q[0] * q[2];
    c.lines = q[0] * c.side;
    return c;
}

/* Rows of cells that one work-item of the gradient of a window adds up, and how many such stretches there are. */
static int64_t stretch_of(const context *c)
{
    return c->lines > STRETCHES ? (c->lines + STRETCHES - 1) / STRETCHES : 1;
}

static int64_t stretches_of(const context *c)
{
    return (c->lines + stretch_of(c) - 1) / stretch_of(c);
}

static clf_tensor buffer(const context *c, visual_buffer which)
{
    enum { TAPS = VISUAL_FAR_SIZE * VISUAL_FAR_SIZE };
    const bool saved = c->backward && which <= BUFFER_GATE, tokens = which == BUFFER_X || which == BUFFER_OUT;
    const int64_t rows = which == BUFFER_TAPS   ? TAPS
                         : which == BUFFER_BIAS ? 1
                         : which == BUFFER_PART ? stretches_of(c) * TAPS
                                                : c->rows;
    const clf_buffer memory = saved ? c->saved : c->workspace;
    clf_tensor matrix = clf_tensor_view(memory.mem, tokens ? c->args->io[CLF_QKV_Q].dtype : CLF_F32, 2,
                                        (const int64_t[]){ rows, c->channels });

    matrix.offset = memory.offset + c->state->at[which];
    return matrix;
}

static void reserve(const context *c)
{
    for (int i = 0; i < BUFFERS; i++) {
        const visual_buffer which = (visual_buffer)i;
        const clf_tensor tensor = buffer(c, which);
        const uint64_t bytes = (uint64_t)clf_tensor_elements(&tensor) * clf_dtype_size(tensor.dtype);
        const clf_tensor *input = &c->args->io[CLF_QKV_Q], *output = &c->args->io[CLF_QKV_OUT];
        const clf_tensor *grads[2] = { &c->args->grad[CLF_QKV_Q], &c->args->grad[CLF_QKV_OUT] };
        const clf_tensor *user = which == BUFFER_X ? input : output, *gradient = grads[which == BUFFER_OUT];
        if (which > FORWARD_BUFFERS_END && !c->backward)
            break;
        if ((which == BUFFER_X || which == BUFFER_OUT) && clf__rows_matrix(user).rank > 0 &&
            (!c->backward || gradient->rank == 0 || clf__rows_matrix(gradient).rank > 0))
            continue;
        c->state->at[i] = c->backward && which <= BUFFER_GATE ? clf_plan_saved(c->plan, bytes)
                                                              : clf_plan_workspace(c->plan, bytes);
    }
}

/* A tensor of the caller as a matrix of tokens, by way of a buffer where strides ask for it. */
static clf_tensor tokens(const context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor matrix = clf__rows_matrix(tensor);
    return matrix.rank > 0 ? matrix : buffer(c, by_way_of);
}

/* A parameter or its gradient, matrices over channels as such. */
static clf_tensor parameter(const context *c, int place, bool gradient)
{
    clf_instance *instance = clf_plan_instance(c->plan);
    const char *name = visual_parameters[place].name;
    clf_tensor tensor = { .rank = 0 };

    if (gradient ? clf_instance_gradient(instance, name, &tensor) : clf_instance_parameter(instance, name, &tensor))
        tensor.rank = 0;
    else if (place == VISUAL_FIRST || place == VISUAL_MIXED || place == VISUAL_LAST)
        tensor.rank = 2;
    tensor.strides[0] = tensor.rank == 2 ? c->channels : tensor.strides[0];
    tensor.strides[1] = tensor.rank == 2 ? 1 : tensor.strides[1];
    return tensor;
}

/* ---- products and sums ------------------------------------------------------------------------------- */

/* result (+)= x weight^T + bias */
static clf__gemm_problem apply(const context *c, clf_tensor x, int place, clf_tensor result, bool more)
{
    const clf_tensor weight = parameter(c, place, false);
    return (clf__gemm_problem){ .a = x,
                                .b = clf__gemm_transposed(&weight),
                                .c = result,
                                .alpha = 1,
                                .beta = more ? 1 : 0,
                                .bias = parameter(c, place + 1, false) };
}

/* result (+)= gradient weight */
static clf__gemm_problem back(const context *c, clf_tensor gradient, int place, clf_tensor result, bool more)
{
    return (clf__gemm_problem){ .a = gradient, .b = parameter(c, place, false), .c = result, .alpha = 1,
                                .beta = more ? 1 : 0 };
}

/* gradient of a weight = gradient^T x */
static clf__gemm_problem weigh(const context *c, clf_tensor gradient, clf_tensor x, int place)
{
    return (
        clf__gemm_problem){ .a = clf__gemm_transposed(&gradient), .b = x, .c = parameter(c, place, true), .alpha = 1 };
}

static clf_tensor upstream(const context *c)
{
    return tokens(c, &c->args->grad[CLF_QKV_OUT], BUFFER_OUT);
}

static clf__gemm_problem product(const context *c, visual_product which)
{
    const clf_tensor x = tokens(c, &c->args->io[CLF_QKV_Q], BUFFER_X);

    switch (which) {
    case PRODUCT_FIRST:
        return apply(c, x, VISUAL_FIRST, buffer(c, BUFFER_BEFORE), false);
    case PRODUCT_MIXED:
        return apply(c, buffer(c, BUFFER_FAR), VISUAL_MIXED, buffer(c, BUFFER_GATE), false);
    case PRODUCT_LAST:
        return apply(c, buffer(c, BUFFER_GATED), VISUAL_LAST, tokens(c, &c->args->io[CLF_QKV_OUT], BUFFER_OUT), true);
    case PRODUCT_D_GATED:
        return back(c, upstream(c), VISUAL_LAST, buffer(c, BUFFER_D_U), false);
    case PRODUCT_D_FAR:
        return back(c, buffer(c, BUFFER_D_GATE), VISUAL_MIXED, buffer(c, BUFFER_D_FAR), false);
    case PRODUCT_D_X:
        return back(c, buffer(c, BUFFER_D_U), VISUAL_FIRST, tokens(c, &c->args->grad[CLF_QKV_Q], BUFFER_X), true);
    case PRODUCT_W_FIRST:
        return weigh(c, buffer(c, BUFFER_D_U), x, VISUAL_FIRST);
    case PRODUCT_W_MIXED:
        return weigh(c, buffer(c, BUFFER_D_GATE), buffer(c, BUFFER_FAR), VISUAL_MIXED);
    default:
        return weigh(c, upstream(c), buffer(c, BUFFER_GATED), VISUAL_LAST);
    }
}

/* What the gradient of a bias is the sum of; `place` of its weight. */
static clf_tensor summed(const context *c, int place)
{
    return place == VISUAL_FIRST   ? buffer(c, BUFFER_D_U)
           : place == VISUAL_NEAR  ? buffer(c, BUFFER_D_NEAR)
           : place == VISUAL_FAR   ? buffer(c, BUFFER_D_FAR)
           : place == VISUAL_MIXED ? buffer(c, BUFFER_D_GATE)
                                   : upstream(c);
}

/* ---- planning ---------------------------------------------------------------------------------------- */

static clf_status plan_convolution(const context *c, int size, int dilation, convolution *kernels)
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

static clf_status plan_kernels(const context *c)
{
    visual_state *state = c->state;
    const clf_dtype stored = parameter(c, 0, false).dtype;
    const struct { bool wanted; const char *name; cl_kernel *kernel; } kernels[] = {
        { true, "clf_visual_gelu", &state->gelu },
        { true, "clf_visual_gate", &state->gate },
        { true, "clf_visual_turn", &state->turn },
        { c->backward, "clf_visual_gate_back", &state->gate_back },
        { c->backward, "clf_visual_gelu_back", &state->gelu_back },
        { c->backward, "clf_visual_turn_back", &state->turn_back },
    };
    char options[CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    clf__lanes_options(1, stored, "-DCLF_SIZE=1 -DCLF_DILATION=1 -DCLF_FLIP=0", options, sizeof options);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++)
        if (kernels[i].wanted)
            status = clf_plan_kernel(c->plan, "attention/visual.cl", options, kernels[i].name, kernels[i].kernel);
    if (status || (status = plan_convolution(c, VISUAL_NEAR_SIZE, 1, &state->near)))
        return status;
    return plan_convolution(c, VISUAL_FAR_SIZE, VISUAL_FAR_DILATION, &state->far);
}

static clf_status plan_steps(const context *c)
{
    const clf_tensor storage = { .rank = 4, .dtype = c->args->io[CLF_QKV_Q].dtype },
                     single = { .rank = 4, .dtype = CLF_F32 };
    const clf_tensor stored = { .rank = 4, .dtype = parameter(c, 0, false).dtype };
    clf_status status = clf__copy_plan(c->plan, &(clf__copy_problem){ .from = storage, .to = storage }, c->state->lanes,
                                       &c->state->copy);

    if (!status)
        status = clf__copy_plan(c->plan, &(clf__copy_problem){ .from = stored, .to = single }, c->state->lanes,
                                &c->state->parameter);
    for (int i = 0; i < (c->backward ? PRODUCTS : FORWARD_PRODUCTS_END + 1) && !status; i++) {
        const clf__gemm_problem problem = product(c, (visual_product)i);
        if (problem.c.rank > 0)
            status = clf__gemm_plan(c->plan, &problem, &c->state->products[i]);
    }
    for (int i = 0; i < SUMS && c->backward && !status; i++) {
        const clf_tensor matrix = summed(c, 2 * i), to = parameter(c, 2 * i + 1, true);
        status = clf__column_sums_plan(c->plan, &matrix, &to, false, c->state->lanes, &c->state->sums[i]);
    }
    return status;
}

static clf_status visual_plan(clf_plan *plan)
{
    const context c = context_of(plan, NULL);
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
    reserve(&c);
    status = plan_kernels(&c);
    return status ? status : plan_steps(&c);
}

/* ---- running: single steps --------------------------------------------------------------------------- */

static clf_status multiply(const context *c, visual_product which)
{
    const clf__gemm_problem problem = product(c, which);
    return clf__gemm(c->run, &c->state->products[which], &problem);
}

static clf_status add_rows(const context *c, int place)
{
    const clf_tensor matrix = summed(c, place), to = parameter(c, place + 1, true);
    return clf__column_sums_run(c->run, &c->state->sums[place / 2], &matrix, &to, false);
}

static clf_status copy(const context *c, const clf_tensor *from, const clf_tensor *to)
{
    const clf__copy_problem problem = { .from = *from, .to = *to };
    return clf__copy_run(c->run, &c->state->copy, &problem);
}

/* The rows of a buffer under the axes of a tensor of the caller. */
static clf_tensor regrouped(const context *c, visual_buffer which, const clf_tensor *like)
{
    const clf_tensor matrix = buffer(c, which);
    return clf__rows_at((clf_buffer){ .mem = matrix.mem, .offset = matrix.offset }, 0, matrix.dtype, like->shape);
}

static bool is_direct(const clf_tensor *tensor)
{
    return clf__rows_matrix(tensor).rank > 0;
}

/* Where a product makes what the caller's tensor is to get. */
static clf_tensor destination(const context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    return is_direct(tensor) ? *tensor : regrouped(c, by_way_of, tensor);
}

static clf_status deliver(const context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor rows = regrouped(c, by_way_of, tensor);
    return is_direct(tensor) ? CLF_SUCCESS : copy(c, &rows, tensor);
}

static clf_status fetch(const context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor rows = regrouped(c, by_way_of, tensor);
    return is_direct(tensor) ? CLF_SUCCESS : copy(c, tensor, &rows);
}

static void bind(clf_binder *binder, clf_tensor tensor)
{
    const cl_long at = (cl_long)(tensor.offset / clf_dtype_size(tensor.dtype));

    clf_bind_mem(binder, tensor.mem);
    clf_bind_value(binder, &at, sizeof at);
}

/* A work-item for each number of a matrix. */
static clf_status each(const context *c, cl_kernel kernel, const visual_buffer *buffers, int count)
{
    clf_binder binder = clf_bind(kernel);

    for (int i = 0; i < count; i++)
        bind(&binder, buffer(c, buffers[i]));
    return clf__lanes_launch(c->run, &binder, 1, c->rows * c->channels);
}

static int64_t taps_of(int place)
{
    return place == VISUAL_NEAR ? VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE : VISUAL_FAR_SIZE * VISUAL_FAR_SIZE;
}

/* The windows of a layer as [taps, channels] f32, and its bias. */
static clf_status load_windows(const context *c, int place)
{
    const clf_tensor bias = parameter(c, place + 1, false), to = buffer(c, BUFFER_BIAS);
    const int64_t taps = taps_of(place), shape[4] = { 1, 1, 1, c->channels };
    const cl_int2 extents = { { (cl_int)c->channels, (cl_int)taps } };
    clf__copy_problem problem = { .from = clf_tensor_view(bias.mem, bias.dtype, 4, shape),
                                  .to = clf_tensor_view(to.mem, to.dtype, 4, shape) };
    clf_binder binder = clf_bind(c->state->turn);

    problem.from.offset = bias.offset;
    problem.to.offset = to.offset;
    bind(&binder, parameter(c, place, false));
    bind(&binder, buffer(c, BUFFER_TAPS));
    clf_bind_value(&binder, &extents, sizeof extents);
    const clf_status status = clf__lanes_launch(c->run, &binder, 1, c->channels * taps);
    return status ? status : clf__copy_run(c->run, &c->state->parameter, &problem);
}

static clf_status convolve(const context *c, int place, bool backward, visual_buffer from, visual_buffer to)
{
    const convolution *kernels = place == VISUAL_NEAR ? &c->state->near : &c->state->far;
    const cl_int4 shape = { { (cl_int)c->channels, (cl_int)c->side, !backward } };
    clf_binder binder = clf_bind(backward ? kernels->backward : kernels->forward);
    const clf_status status = load_windows(c, place);

    if (status)
        return status;
    bind(&binder, buffer(c, from));
    bind(&binder, buffer(c, BUFFER_TAPS));
    bind(&binder, buffer(c, BUFFER_BIAS));
    bind(&binder, buffer(c, to));
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(c->run, &binder, c->state->lanes,
                             c->lines * ((c->side + CELLS - 1) / CELLS) *
                                 clf__lanes_blocks(c->state->lanes, c->channels));
}

/* Gradients of the windows and of their bias. */
static clf_status weigh_windows(const context *c, int place, visual_buffer x, visual_buffer gradient)
{
    const convolution *kernels = place == VISUAL_NEAR ? &c->state->near : &c->state->far;
    const int64_t taps = taps_of(place), size = place == VISUAL_NEAR ? VISUAL_NEAR_SIZE : VISUAL_FAR_SIZE;
    const cl_int4 shape = { { (cl_int)c->channels, (cl_int)c->side, (cl_int)stretch_of(c), (cl_int)c->lines } };
    const cl_int4 extents = { { (cl_int)c->channels, (cl_int)taps, (cl_int)stretches_of(c) } };
    clf_binder binder = clf_bind(kernels->weigh);
    clf_status status;

    bind(&binder, buffer(c, x));
    bind(&binder, buffer(c, gradient));
    bind(&binder, buffer(c, BUFFER_PART));
    clf_bind_value(&binder, &shape, sizeof shape);
    status = clf__lanes_launch(c->run, &binder, c->state->lanes,
                               stretches_of(c) * size * clf__lanes_blocks(c->state->lanes, c->channels));
    if (status)
        return status;
    binder = clf_bind(c->state->turn_back);
    bind(&binder, buffer(c, BUFFER_PART));
    bind(&binder, parameter(c, place, true));
    clf_bind_value(&binder, &extents, sizeof extents);
    status = clf__lanes_launch(c->run, &binder, 1, c->channels * taps);
    return status ? status : add_rows(c, place);
}

/* ---- both passes ------------------------------------------------------------------------------------- */

static const visual_buffer gelu_buffers[] = { BUFFER_BEFORE, BUFFER_U };
static const visual_buffer gate_buffers[] = { BUFFER_U, BUFFER_GATE, BUFFER_GATED };
static const visual_buffer gate_back_buffers[] = { BUFFER_U, BUFFER_GATE, BUFFER_D_U, BUFFER_D_GATE };
static const visual_buffer gelu_back_buffers[] = { BUFFER_BEFORE, BUFFER_GATED, BUFFER_D_U };

static clf_status visual_forward(clf_run *run)
{
    const context c = context_of(clf_run_plan(run), run);
    const clf_tensor *q = &c.args->io[CLF_QKV_Q], *out = &c.args->io[CLF_QKV_OUT];
    const clf_tensor to = destination(&c, out, BUFFER_OUT);
    clf_status status;

    if ((status = fetch(&c, q, BUFFER_X)) || (status = multiply(&c, PRODUCT_FIRST)) ||
        (status = each(&c, c.state->gelu, gelu_buffers, 2)) ||
        (status = convolve(&c, VISUAL_NEAR, false, BUFFER_U, BUFFER_NEAR)) ||
        (status = convolve(&c, VISUAL_FAR, false, BUFFER_NEAR, BUFFER_FAR)) || (status = multiply(&c, PRODUCT_MIXED)) ||
        (status = each(&c, c.state->gate, gate_buffers, 3)) || (status = copy(&c, q, &to)) ||
        (status = multiply(&c, PRODUCT_LAST)))
        return status;
    return deliver(&c, out, BUFFER_OUT);
}

/* From the result to both sides of the gate, and through the convolutions. */
static clf_status gate_back(const context *c)
{
    clf_status status;

    if ((status = fetch(c, &c->args->grad[CLF_QKV_OUT], BUFFER_OUT)) ||
        (status = each(c, c->state->gelu, gelu_buffers, 2)) || (status = each(c, c->state->gate, gate_buffers, 3)) ||
        (status = multiply(c, PRODUCT_W_LAST)) || (status = add_rows(c, VISUAL_LAST)) ||
        (status = multiply(c, PRODUCT_D_GATED)) || (status = each(c, c->state->gate_back, gate_back_buffers, 4)) ||
        (status = multiply(c, PRODUCT_W_MIXED)) || (status = add_rows(c, VISUAL_MIXED)) ||
        (status = multiply(c, PRODUCT_D_FAR)) || (status = weigh_windows(c, VISUAL_FAR, BUFFER_NEAR, BUFFER_D_FAR)) ||
        (status = convolve(c, VISUAL_FAR, true, BUFFER_D_FAR, BUFFER_D_NEAR)) ||
        (status = weigh_windows(c, VISUAL_NEAR, BUFFER_U, BUFFER_D_NEAR)))
        return status;
    return convolve(c, VISUAL_NEAR, true, BUFFER_D_NEAR, BUFFER_GATED); /* what was gated is not needed any more */
}

static clf_status visual_backward(clf_run *run)
{
    const context c = context_of(clf_run_plan(run), run);
    const clf_tensor *to = &c.args->grad[CLF_QKV_Q];
    const clf_tensor sum = to->rank > 0 ? destination(&c, to, BUFFER_X) : *to;
    clf_status status = gate_back(&c);

    if (status || (status = each(&c, c.state->gelu_back, gelu_back_buffers, 3)) ||
        (status = fetch(&c, &c.args->io[CLF_QKV_Q], BUFFER_X)) || (status = multiply(&c, PRODUCT_W_FIRST)) ||
        (status = add_rows(&c, VISUAL_FIRST)) || to->rank == 0)
        return status;
    if ((status = copy(&c, &c.args->grad[CLF_QKV_OUT], &sum)) || (status = multiply(&c, PRODUCT_D_X)))
        return status;
    return deliver(&c, to, BUFFER_X);
}

/* Three matrices and 74 taps; backward makes each product twice. */
static void visual_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const double cells = (double)clf_tensor_elements(q), channels = ((const visual_config *)config)->base.dim_model;
    const double taps = (double)(taps_of(VISUAL_NEAR) + taps_of(VISUAL_FAR));

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
    .traits = CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_SQUARE_SEQUENCE | CLF_TRAIT_XFORMERS_LENIENT,
    .parameters = visual_parameters,
    .resolve = visual_resolve,
    .initialise = visual_initialise,
    .plan = visual_plan,
    .forward = visual_forward,
    .backward = visual_backward,
    .work = visual_work,
    .answer = { .forward = 0.05968208, .backward = -0.08877776 },
};
