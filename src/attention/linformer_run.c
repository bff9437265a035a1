/* Planning linformer, and its passes. */
#include "attention/linformer_steps.h"
#include "component/random.h"
#include "core/status.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

/* Is the result dropped out once more? */
static bool drops_again(const linformer_config *c, const clf_args *args)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS && args->training && c->base.dropout > 0;
}

static uint64_t reserve(clf_plan *plan, const clf_tensor *tensor, bool keep)
{
    const uint64_t bytes = clf__tensor_bytes(tensor);
    return keep && (clf_plan_passes(plan) & CLF_BACKWARD) ? clf_plan_saved(plan, bytes)
                                                          : clf_plan_workspace(plan, bytes);
}

static clf_status check(const linformer_context *c)
{
    const long long queries = (long long)c->args->io[CLF_QKV_Q].shape[2];
    const long long keys = (long long)c->args->io[CLF_QKV_K].shape[2];

    if (keys > c->config->base.seq_len)
        return clf_plan_refuse(c->plan, "there are %lld keys, the projections have room for 'seq_len' = %d", keys,
                               c->config->base.seq_len);
    if (c->config->base.semantics != CLF_SEMANTICS_XFORMERS)
        return CLF_SUCCESS;
    if (c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(c->plan,
                               "'key_padding_mask' is given, but in xformers semantics this mechanism takes none");
    if (queries != keys)
        return clf_plan_refuse(c->plan, "there are %lld queries and %lld keys: xformers semantics need as many",
                               queries, keys);
    return CLF_SUCCESS;
}

static clf_status plan_backward(const linformer_context *c, int which, linformer_side *side)
{
    const clf_tensor gradient = clf__linformer_short_gradient(c, which), sum = clf__linformer_weight_sum(c, which);
    const int lanes = c->state->lanes;
    clf__copy_problem copy;
    clf__gemm_problem product = clf__linformer_weigh(c, which, 0);
    clf_status status;

    side->gradient = reserve(c->plan, &gradient, false);
    side->sum = reserve(c->plan, &sum, false);
    if ((status = clf__gemm_plan(c->plan, &product, &side->weigh)) ||
        (status = clf__linformer_finish(c, which, &copy)) ||
        (status = clf__copy_plan(c->plan, &copy, lanes, &side->finish)) ||
        (status = clf__linformer_zero(c, which, &copy)) ||
        (copy.to.shape[3] > 0 && (status = clf__copy_plan(c->plan, &copy, lanes, &side->zero))) ||
        c->args->grad[clf__linformer_slots[which]].rank == 0)
        return status;
    if ((status = clf__linformer_lengthen(c, which, &product)) ||
        (status = clf__gemm_plan(c->plan, &product, &side->lengthen)) ||
        c->args->io[CLF_QKV_KEY_PADDING_MASK].rank == 0)
        return status;
    copy = clf__linformer_scatter(c, which);
    return clf__copy_plan(c->plan, &copy, lanes, &side->scatter);
}

static clf_status plan_side(const linformer_context *c, int which)
{
    linformer_side *side = &c->state->sides[which];
    const clf_tensor *x = &c->args->io[clf__linformer_slots[which]], matrices = clf__rows_matrices(x);
    clf__gemm_problem product;
    clf_status status;

    side->gathers = matrices.rank == 0 || c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    side->apart = side->gathers && c->args->io[CLF_QKV_KEY_PADDING_MASK].rank == 0;
    if (side->gathers && (!side->apart || clf_plan_passes(c->plan) & CLF_BACKWARD)) {
        const clf__copy_problem gather = clf__linformer_gather(c, which);
        side->rows = reserve(c->plan, &gather.to, false);
        if ((status = clf__copy_plan(c->plan, &gather, c->state->lanes, &side->gather)))
            return status;
    }
    const clf_tensor result = clf__linformer_shortened(c, which);
    side->shortened = reserve(c->plan, &result, true);
    if ((status = clf__linformer_shorten(c, which, &product)) ||
        (status = clf__gemm_plan(c->plan, &product, &side->shorten)))
        return status;
    return clf_plan_passes(c->plan) & CLF_BACKWARD ? plan_backward(c, which, side) : CLF_SUCCESS;
}

static clf_status plan_drop(const linformer_context *c)
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

clf_status clf__linformer_plan(clf_plan *plan)
{
    const linformer_context c = clf__linformer_context(plan, NULL);
    clf_status status;

    if (!c.state)
        return CLF_OUT_OF_HOST_MEMORY;
    c.state->lanes = clf__lanes_choose(plan); /* the family's name is that of fused attention */
    if ((status = check(&c)) || (status = plan_side(&c, 0)) || (status = plan_side(&c, 1)) || (status = plan_drop(&c)))
        return status;
    const clf__fused_problem attention = clf__linformer_attention(&c);
    return clf__fused_plan(plan, &attention, &c.state->fused);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static clf_status drop(const linformer_context *c, const clf_tensor *from, const clf_tensor *to)
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

static clf_status gather(const linformer_context *c, int which)
{
    const clf__copy_problem problem = clf__linformer_gather(c, which);
    const linformer_side *side = &c->state->sides[which];

    return side->gathers ? clf__copy_run(c->run, &side->gather, &problem) : CLF_SUCCESS;
}

clf_status clf__linformer_forward(clf_run *run)
{
    const linformer_context c = clf__linformer_context(clf_run_plan(run), run);
    clf__gemm_problem product;
    clf_status status = CLF_SUCCESS;

    for (int which = 0; which < 2 && !status; which++) {
        const linformer_side *side = &c.state->sides[which];
        if ((side->apart || !(status = gather(&c, which))) && !(status = clf__linformer_shorten(&c, which, &product)))
            status = clf__gemm(run, &side->shorten, &product);
    }
    const clf__fused_problem attention = clf__linformer_attention(&c);
    if (!status)
        status = clf__fused_forward(run, &c.state->fused, &attention);
    return status || !c.state->drop ? status : drop(&c, &attention.out, &c.args->io[CLF_QKV_OUT]);
}

static clf_status weigh(const linformer_context *c, int which)
{
    const linformer_side *side = &c->state->sides[which];
    clf__copy_problem copy;
    clf_status status = gather(c, which);

    for (int64_t b = 0; b < c->args->io[CLF_QKV_K].shape[0] && !status; b++) {
        const clf__gemm_problem product = clf__linformer_weigh(c, which, b);
        status = clf__gemm(c->run, &side->weigh, &product);
    }
    if (status || (status = clf__linformer_finish(c, which, &copy)) ||
        (status = clf__copy_run(c->run, &side->finish, &copy)) ||
        (status = clf__linformer_zero(c, which, &copy)))
        return status;
    return copy.to.shape[3] > 0 ? clf__copy_run(c->run, &side->zero, &copy) : CLF_SUCCESS;
}

static clf_status lengthen(const linformer_context *c, int which)
{
    const linformer_side *side = &c->state->sides[which];
    clf__gemm_problem product;
    clf_status status;

    if (c->args->grad[clf__linformer_slots[which]].rank == 0)
        return CLF_SUCCESS;
    if ((status = clf__linformer_lengthen(c, which, &product)) ||
        (status = clf__gemm(c->run, &side->lengthen, &product)) ||
        c->args->io[CLF_QKV_KEY_PADDING_MASK].rank == 0)
        return status;
    const clf__copy_problem copy = clf__linformer_scatter(c, which);
    return clf__copy_run(c->run, &side->scatter, &copy);
}

clf_status clf__linformer_backward(clf_run *run)
{
    const linformer_context c = clf__linformer_context(clf_run_plan(run), run);
    const clf__fused_problem attention = clf__linformer_attention(&c);
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
