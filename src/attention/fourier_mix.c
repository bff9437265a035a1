/* Fourier transforms as attention (FNet, Lee-Thorp et al. 2021): real parts of the transform over positions and channels.
 *
 * Over all channels of the model, heads side by side, as published; over those of each head under xformers semantics.
 * out[s][c] = sum over t, d of x[t][d] cos(2 pi (s t / S + c d / C)): the matrix is symmetric, so backward is forward.
 */
#include "attention/fourier_mix.h"
#include "component/random.h"
#include "core/status.h"
#include "ops/fft.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>

/* Bytes of workspace beyond which matrices take turns: what a core's second cache holds, or enough for a GPU. */
enum { VECTOR_CHUNK = 1 << 20, PORTABLE_CHUNK = 1 << 27 };

typedef struct fourier_mix_state {
    int       lanes;
    int64_t   matrices, chunk;     /* in all, and at a time */
    int64_t   heads, width;        /* heads and channels of a matrix */
    int64_t   pitch;               /* floats of a matrix in one half of the workspace */
    uint64_t  workspace;
    clf__fft  positions, channels;
    cl_kernel pack[2], turn, out[2]; /* without and with dropout */
} fourier_mix_state;

static const clf_field fourier_mix_fields[] = { CLF_ATTENTION_FIELDS(fourier_mix_config), CLF_FIELDS_END };

static clf_status fourier_mix_resolve(void *config, const clf_args *args)
{
    const fourier_mix_config *c = config;

    (void)args;
    if (c->base.causal)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but a transform mixes all positions");
    return CLF_SUCCESS;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Columns of the two transforms. */
static int64_t packed_columns(const fourier_mix_state *state)
{
    return clf__fft_columns((state->width + 1) / 2);
}

static int64_t turned_columns(const clf_tensor *q)
{
    return clf__fft_columns(q->shape[2] / 2 + 1);
}

static bool drops(const clf_plan *plan, const clf_args *args)
{
    return args->training && ((const fourier_mix_config *)clf_plan_config(plan))->base.dropout > 0;
}

static clf_status make_kernels(clf_plan *plan, fourier_mix_state *state)
{
    const clf_args *args = clf_plan_args(plan);
    const int dropout = drops(plan, args), passes = clf_plan_passes(plan) & CLF_BACKWARD ? 2 : 1;
    char options[2][CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    for (int with = 0; with < 2; with++)
        clf__lanes_options(state->lanes, args->io[CLF_QKV_Q].dtype, with ? "-DCLF_DROPOUT=1" : "-DCLF_DROPOUT=0",
                           options[with], sizeof options[with]);
    const char *path = "attention/fourier_mix.cl";
    status = clf_plan_kernel(plan, path, options[0], "clf_fourier_turn", &state->turn);
    for (int pass = 0; pass < passes && status == CLF_SUCCESS; pass++) { /* dropout is behind forward, before backward */
        status = clf_plan_kernel(plan, path, options[pass && dropout], "clf_fourier_pack", &state->pack[pass]);
        if (status == CLF_SUCCESS)
            status = clf_plan_kernel(plan, path, options[!pass && dropout], "clf_fourier_out", &state->out[pass]);
    }
    return status;
}

static void reserve(clf_plan *plan, fourier_mix_state *state, const clf_tensor *q)
{
    const int64_t limit = state->lanes == 1 ? PORTABLE_CHUNK : VECTOR_CHUNK;

    state->pitch = larger(2 * clf__fft_rows(&state->positions) * packed_columns(state),
                          2 * clf__fft_rows(&state->channels) * turned_columns(q));
    state->chunk = larger(1, limit / (2 * (int64_t)sizeof(float) * larger(1, state->pitch)));
    if (state->chunk > state->matrices)
        state->chunk = state->matrices;
    state->workspace = clf_plan_workspace(plan, 2 * (uint64_t)(state->chunk * state->pitch) * sizeof(float));
}

static clf_status fourier_mix_plan(clf_plan *plan)
{
    const fourier_mix_config *c = clf_plan_config(plan);
    const clf_tensor *q = &clf_plan_args(plan)->io[CLF_QKV_Q];
    const bool each_head = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    fourier_mix_state *state = clf_plan_state(plan, sizeof *state);
    clf_status status;

    if (!state)
        return CLF_OUT_OF_HOST_MEMORY;
    state->lanes = clf__lanes_choose(plan);
    state->heads = each_head ? 1 : q->shape[1];
    state->matrices = each_head ? q->shape[0] * q->shape[1] : q->shape[0];
    state->width = state->heads * q->shape[3];
    if ((status = clf__fft_plan(plan, q->shape[2], state->lanes, &state->positions)) ||
        (status = clf__fft_plan(plan, state->width, state->lanes, &state->channels)) ||
        (status = make_kernels(plan, state)))
        return status;
    reserve(plan, state, q);
    return CLF_SUCCESS;
}

/* What the kernels of one chunk share. */
typedef struct chunk {
    clf_run                 *run;
    const fourier_mix_state *state;
    const clf_tensor        *x, *y;
    cl_int8                  shape;
    cl_float                 scale;
    cl_uint8                 random;
    clf__fft_data            data;
} chunk;

static clf_status launch(chunk *c, clf_binder *binder, int64_t items)
{
    return clf__lanes_launch(c->run, binder, c->state->lanes, c->data.items * items);
}

static void swap_halves(clf__fft_data *data)
{
    const int64_t from = data->from;
    data->from = data->to;
    data->to = from;
}

static void bind_dropout(clf_binder *binder, const chunk *c)
{
    clf_bind_value(binder, &c->scale, sizeof c->scale);
    clf_bind_value(binder, &c->random, sizeof c->random);
}

static clf_status pack(chunk *c, cl_kernel kernel)
{
    const cl_long2 at = { { c->data.from, c->data.pitch } };
    clf_binder binder = clf_bind(kernel);

    clf__lanes_bind(&binder, c->x);
    clf_bind_mem(&binder, c->data.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &c->shape, sizeof c->shape);
    bind_dropout(&binder, c);
    return launch(c, &binder, c->shape.s[0] * (int64_t)(c->shape.s[5] / c->state->lanes));
}

static clf_status turn(chunk *c)
{
    const cl_long4 at = { { c->data.from, c->data.to, c->data.pitch } };
    const int64_t columns = c->state->lanes == 1 ? (c->state->width + 1) / 2 : c->shape.s[5] / c->state->lanes;
    clf_binder binder = clf_bind(c->state->turn);

    clf_bind_mem(&binder, c->data.mem);
    clf_bind_mem(&binder, c->data.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &c->shape, sizeof c->shape);
    swap_halves(&c->data);
    c->data.columns = c->shape.s[6];
    return launch(c, &binder, columns * (c->shape.s[6] / c->state->lanes));
}

static clf_status write_out(chunk *c, cl_kernel kernel)
{
    const cl_long2 at = { { c->data.from, c->data.pitch } };
    const int lanes = c->state->lanes;
    clf_binder binder = clf_bind(kernel);

    clf_bind_mem(&binder, c->data.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf__lanes_bind(&binder, c->y);
    clf_bind_value(&binder, &c->shape, sizeof c->shape);
    bind_dropout(&binder, c);
    return launch(c, &binder, clf__lanes_blocks(lanes, c->shape.s[0]) * clf__lanes_blocks(lanes, c->shape.s[1]));
}

/* One chunk, from `first` on. */
static clf_status transform(chunk *c, int pass, int64_t first)
{
    const fourier_mix_state *state = c->state;
    const clf_buffer workspace = clf_run_workspace(c->run);
    const int64_t start = (int64_t)((workspace.offset + state->workspace) / sizeof(float)), rest = state->matrices - first;
    clf_status status;

    c->shape.s[7] = (cl_int)first;
    c->data = (clf__fft_data){ .mem = workspace.mem, .from = start, .to = start + state->chunk * state->pitch,
                               .pitch = state->pitch, .items = rest < state->chunk ? rest : state->chunk,
                               .columns = c->shape.s[5] };
    if ((status = pack(c, state->pack[pass])) || (status = clf__fft_run(c->run, &state->positions, &c->data)) ||
        (status = turn(c)) || (status = clf__fft_run(c->run, &state->channels, &c->data)))
        return status;
    return write_out(c, state->out[pass]);
}

static clf_status transform_all(clf_run *run, int pass, const clf_tensor *x, const clf_tensor *y)
{
    clf_plan *plan = clf_run_plan(run);
    const clf_args *args = clf_run_args(run);
    const fourier_mix_config *config = clf_plan_config(plan);
    const fourier_mix_state *state = clf_plan_state(plan, sizeof *state);
    const float dropout = drops(plan, args) ? config->base.dropout : 0;
    chunk c = {
        .run = run,
        .state = state,
        .x = x,
        .y = y,
        .shape = { { (cl_int)x->shape[2], (cl_int)state->width, (cl_int)x->shape[3], (cl_int)state->heads,
                     (cl_int)x->shape[1], (cl_int)packed_columns(state), (cl_int)turned_columns(x) } },
        .scale = dropout < 1 ? 1 / (1 - dropout) : 0,
        .random = { { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                      (cl_uint)(args->offset >> 32), clf__dropout_threshold(dropout) } },
    };
    clf_status status = CLF_SUCCESS;

    for (int64_t first = 0; first < state->matrices && status == CLF_SUCCESS; first += state->chunk)
        status = transform(&c, pass, first);
    return status;
}

static clf_status fourier_mix_forward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    return transform_all(run, 0, &args->io[CLF_QKV_Q], &args->io[CLF_QKV_OUT]);
}

static clf_status fourier_mix_backward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    return transform_all(run, 1, &args->grad[CLF_QKV_OUT], &args->grad[CLF_QKV_Q]);
}

/* 2.5 N log2 N for the real transform of N numbers, as the field counts. */
static void fourier_mix_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const fourier_mix_config *c = config;
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const bool each_head = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const double matrix = (double)q->shape[2] * (double)q->shape[3] * (each_head ? 1 : (double)q->shape[1]);
    const double elements = (double)clf_tensor_elements(q);

    (void)pass;
    work->flops = matrix > 1 ? 2.5 * elements * log2(matrix) : 0;
    work->bytes = 2 * elements * (double)clf_dtype_size(q->dtype);
}

CLF_REGISTER_ATTENTION(fourier_mix) = {
    .summary = "real part of the Fourier transform over positions and channels",
    .paper = "Lee-Thorp et al. 2021, arXiv:2105.03824",
    .config = CLF_SCHEMA(fourier_mix_config, fourier_mix_fields),
    .programs = { "attention/fourier_mix.cl", "ops/fft.cl" },
    .families = clf__lanes_families,
    .io = clf_attention_io_q,
    .traits = CLF_TRAIT_DROPOUT | CLF_TRAIT_LOW_PRECISION,
    .resolve = fourier_mix_resolve,
    .plan = fourier_mix_plan,
    .forward = fourier_mix_forward,
    .backward = fourier_mix_backward,
    .work = fourier_mix_work,
    .answer = { .forward = 0.1174377, .backward = 1.587257 },
};
