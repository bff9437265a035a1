/* Lambda layers (Bello 2021): a linear map for every query, made of all keys' contents and of their relative positions. */
#include "attention/lambda_pass.h"
#include "component/random.h"
#include "core/status.h"
#include "ops/lanes.h"

enum { BLOCK = 128 }; /* queries at a time */
/* Bytes of workspace beyond which items take turns: for each core of a CPU what its second cache holds, so that a block of
 * scores is still there when it is multiplied, or enough for a GPU. */
enum { VECTOR_CHUNK = 1 << 21, PORTABLE_CHUNK = 1 << 28 };

static const clf_field lambda_fields[] = { CLF_ATTENTION_FIELDS(lambda_config), CLF_FIELDS_END };

static clf_status lambda_resolve(void *config, const clf_args *args)
{
    const lambda_config *c = config;

    if (c->base.causal)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but every position gives to every query");
    if (args && (c->base.seq_len == 0 || c->base.dim_head == 0))
        return clf__fail(CLF_UNSUPPORTED, "'%s' is absent: the table of relative positions is 2 seq_len - 1 by dim_head",
                         c->base.seq_len ? "dim_head" : "seq_len");
    if (c->base.seq_len > 1 << 24)
        return clf__fail(CLF_UNSUPPORTED, "'seq_len' is %d, the limit is %d", c->base.seq_len, 1 << 24);
    if (args && args->io[CLF_QKV_Q].shape[2] > c->base.seq_len)
        return clf__fail(CLF_UNSUPPORTED, "there are %lld positions, 'seq_len' is %d",
                         (long long)args->io[CLF_QKV_Q].shape[2], c->base.seq_len);
    if (args && args->io[CLF_QKV_Q].shape[3] != c->base.dim_head)
        return clf__fail(CLF_UNSUPPORTED, "heads are %lld wide, 'dim_head' is %d",
                         (long long)args->io[CLF_QKV_Q].shape[3], c->base.dim_head);
    return CLF_SUCCESS;
}

static void table_shape(const void *config, int *rank, int64_t *shape)
{
    const lambda_config *c = config;

    *rank = c->base.seq_len > 0 && c->base.dim_head > 0 ? 2 : 0; /* without them no problem can be planned */
    shape[0] = 2 * (int64_t)c->base.seq_len - 1;
    shape[1] = c->base.dim_head;
}

static const clf_parameter lambda_parameters[] = {
    { .name = "rel_pos_emb", .shape = table_shape, .init = CLF_INIT_NORMAL, .scale = 1,
      .doc = "what a distance between positions gives a query, for all heads; row seq_len - 1 is distance 0, below it are "
             "the positions before the query" },
    CLF_PARAMETERS_END
};

/* ---- planning ------------------------------------------------------------------------------------ */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void set_sizes(lambda_state *s, bool backward)
{
    const int64_t keys = s->length * s->width, values = s->length * s->value_width;
    const int64_t scores = s->xformers ? 0 : s->block * (s->length + s->block - 1);

    s->size[LAMBDA_WEIGHT] = keys;
    s->size[LAMBDA_CONTENT] = (int64_t)s->width * s->value_width;
    s->size[LAMBDA_OUT] = backward ? 0 : values;
    s->size[LAMBDA_S] = scores;
    s->size[LAMBDA_R] = s->xformers ? keys : 0;
    if (!backward)
        return;
    s->size[LAMBDA_OUT] = values;
    s->size[LAMBDA_G] = s->drops || s->xformers ? values : 0;
    s->size[LAMBDA_DS] = scores;
    s->size[LAMBDA_Q] = s->xformers ? 0 : s->block * s->width;
    s->size[LAMBDA_DQ] = s->size[LAMBDA_DWEIGHT] = keys;
    s->size[LAMBDA_DV] = values;
    s->size[LAMBDA_DCONTENT] = s->size[LAMBDA_CONTENT];
    s->size[LAMBDA_GAIN] = s->xformers ? s->length : 0;
    s->size[LAMBDA_DR] = s->size[LAMBDA_R];
    s->size[LAMBDA_DTABLE] = (2 * (int64_t)s->seq_len - 1) * s->width;
}

static void reserve(clf_plan *plan, lambda_state *s)
{
    int64_t floats = 0, place = 0;

    for (int i = 0; i < LAMBDA_R; i++)
        floats += s->size[i];
    const int64_t cores = clf_device_get_info(clf_plan_device(plan))->compute_units;
    const int64_t limit = s->lanes == 1 ? PORTABLE_CHUNK : cores * VECTOR_CHUNK;
    const int64_t items = larger(1, limit / (int64_t)sizeof(float) / larger(1, floats));
    s->chunk_heads = larger(1, items < s->heads ? items : s->heads);
    s->chunk_batches = larger(1, items / larger(1, s->heads));
    if (s->chunk_batches > larger(1, s->batch))
        s->chunk_batches = larger(1, s->batch);
    for (int i = 0; i < LAMBDA_ARRAYS; i++) {
        s->start[i] = place;
        place += (s->size[i] * (i < LAMBDA_R ? s->chunk_batches * s->chunk_heads : 1) + 15) / 16 * 16;
    }
    s->workspace = clf_plan_workspace(plan, (uint64_t)place * sizeof(float));
}

static void describe(clf_plan *plan, lambda_state *s)
{
    const lambda_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    const int64_t *q = args->io[CLF_QKV_Q].shape;
    const float dropout = args->training ? c->base.dropout : 0;

    s->lanes = clf__lanes_choose(plan);
    s->xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    s->drops = dropout > 0;
    s->keep_scale = dropout < 1 ? 1 / (1 - dropout) : 0;
    s->width = (int)q[3];
    s->value_width = (int)args->io[CLF_QKV_V].shape[3];
    s->seq_len = c->base.seq_len;
    s->batch = q[0];
    s->heads = q[1];
    s->length = q[2];
    s->block = s->length < BLOCK ? s->length : BLOCK;
}

static clf_status make_kernels(clf_plan *plan, lambda_state *s, clf_dtype table)
{
    const char *const names[] = {
        s->xformers ? "clf_lambda_channels" : "clf_lambda_softmax",
        s->xformers ? "clf_lambda_channels_back" : "clf_lambda_softmax_back", "clf_lambda_copy", "clf_lambda_store",
        "clf_lambda_corners", "clf_lambda_zero", "clf_lambda_windows", "clf_lambda_windows_back", "clf_lambda_own",
        "clf_lambda_own_back", "clf_lambda_gather", "clf_lambda_store",
    };
    char options[2][CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    clf__lanes_options(s->lanes, clf_plan_args(plan)->io[CLF_QKV_Q].dtype, "", options[0], sizeof options[0]);
    clf__lanes_options(s->lanes, table, "", options[1], sizeof options[1]);
    for (int i = 0; i < LAMBDA_KERNELS && status == CLF_SUCCESS; i++)
        status = clf_plan_kernel(plan, "attention/lambda.cl",
                                 options[i == LAMBDA_WINDOWS || i == LAMBDA_STORE_TABLE], names[i], &s->kernel[i]);
    return status;
}

/* The view's batches and heads from (b, h) on. */
static void cut(clf_tensor *tensor, const lambda_chunk *chunk, int64_t b, int64_t h)
{
    if (tensor->rank != 4)
        return;
    tensor->offset += (uint64_t)(b * tensor->strides[0] + h * tensor->strides[1]) * clf_dtype_size(tensor->dtype);
    tensor->shape[0] = chunk->batches;
    tensor->shape[1] = chunk->heads;
}

static lambda_chunk chunk_at(clf_run *run, const lambda_state *s, const clf_args *args, int64_t b, int64_t h)
{
    lambda_chunk chunk = { .run = run, .state = s, .args = *args, .item = b * s->heads + h, .rows = s->block };

    chunk.batches = s->batch - b < s->chunk_batches ? s->batch - b : s->chunk_batches;
    chunk.heads = s->heads - h < s->chunk_heads ? s->heads - h : s->chunk_heads;
    for (int i = 0; i < CLF_MAX_IO; i++) {
        cut(&chunk.args.io[i], &chunk, b, h);
        cut(&chunk.args.grad[i], &chunk, b, h);
    }
    return chunk;
}

static clf_status lambda_plan(clf_plan *plan)
{
    lambda_state *s = clf_plan_state(plan, sizeof *s);
    const bool backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0;
    clf_tensor table = { 0 };
    clf_status status;

    if (!s)
        return CLF_OUT_OF_HOST_MEMORY;
    describe(plan, s);
    if ((status = clf_instance_parameter(clf_plan_instance(plan), "rel_pos_emb", &table)) ||
        (status = make_kernels(plan, s, table.dtype)))
        return status;
    set_sizes(s, backward);
    reserve(plan, s);
    lambda_chunk chunk = chunk_at(NULL, s, clf_plan_args(plan), 0, 0);
    chunk.table = table;
    for (int i = 0; i < LAMBDA_PRODUCTS && s->length > 0 && status == CLF_SUCCESS; i++) {
        const bool block = i < LAMBDA_MAKE_CONTENT;
        const bool forward = i <= LAMBDA_ADD_OUT || i == LAMBDA_MAKE_CONTENT || i == LAMBDA_MAKE_OUT;
        if ((block && s->xformers) || (!forward && !backward))
            continue;
        const clf__gemm_problem problem = clf__lambda_problem(&chunk, i);
        status = clf__gemm_plan(plan, &problem, &s->product[i]);
    }
    return status;
}

/* ---- running --------------------------------------------------------------------------------------- */

static clf_status run_all(clf_run *run, bool backward)
{
    clf_plan *plan = clf_run_plan(run);
    clf_instance *instance = clf_plan_instance(plan);
    const lambda_state *s = clf_plan_state(plan, sizeof *s);
    const lambda_config *config = clf_plan_config(plan);
    const clf_args *args = clf_run_args(run);
    const float dropout = args->training ? config->base.dropout : 0;
    lambda_chunk all = { .run = run, .state = s, .batches = 1, .heads = 1 };
    clf_tensor gradient = { 0 };
    clf_status status = clf_instance_parameter(instance, "rel_pos_emb", &all.table);

    if (status || (status = clf__lambda_begin(&all, backward)))
        return status;
    for (int64_t b = 0; b < s->batch && s->length > 0; b += s->chunk_batches)
        for (int64_t h = 0; h < s->heads && status == CLF_SUCCESS; h += s->chunk_heads) {
            lambda_chunk chunk = chunk_at(run, s, args, b, h);
            chunk.table = all.table;
            chunk.random = (cl_uint8){ { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                                         (cl_uint)(args->offset >> 32), clf__dropout_threshold(dropout) } };
            status = backward ? clf__lambda_backward(&chunk) : clf__lambda_forward(&chunk);
        }
    if (status || !backward || (status = clf_instance_gradient(instance, "rel_pos_emb", &gradient)))
        return status;
    return clf__lambda_end(&all, &gradient);
}

static clf_status lambda_forward(clf_run *run)
{
    return run_all(run, false);
}

static clf_status lambda_backward(clf_run *run)
{
    return run_all(run, true);
}

/* Four products with the content's matrix in all; each pair of positions has a score and takes part in the sum, under
 * xformers semantics each position alone. Backward is two and a half times that for pairs, twice for the rest. */
static void lambda_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const lambda_config *c = config;
    const clf_tensor *q = &args->io[CLF_QKV_Q], *v = &args->io[CLF_QKV_V];
    const double rows = (double)(q->shape[0] * q->shape[1]) * (double)q->shape[2], d = (double)q->shape[3];
    const double e = (double)v->shape[3], pairs = c->base.semantics == CLF_SEMANTICS_XFORMERS ? 1 : (double)q->shape[2];
    const bool backward = pass == CLF_BACKWARD;

    work->flops = 4 * rows * d * e * (backward ? 2 : 1) + 2 * rows * pairs * (d + e) * (backward ? 2.5 : 1);
    work->bytes = 2 * rows * (d + e) * (double)clf_dtype_size(q->dtype) * (backward ? 2 : 1);
}

CLF_REGISTER_ATTENTION(lambda) = {
    .summary = "lambda layer: a linear map for each query from contents and relative positions",
    .paper = "Bello 2021, arXiv:2102.08602",
    .config = CLF_SCHEMA(lambda_config, lambda_fields),
    .programs = { "attention/lambda.cl" },
    .families = clf__lanes_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_DERIVED,
    .parameters = lambda_parameters,
    .resolve = lambda_resolve,
    .plan = lambda_plan,
    .forward = lambda_forward,
    .backward = lambda_backward,
    .work = lambda_work,
    .answer = { .forward = 0.01064231, .backward = 0.6633704 },
};
