/* What nystrom needs for a problem: pieces of memory, kernels, products, two fused attentions and a pseudo-inverse. */
#include "attention/nystrom_run.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- which of the ways it goes ------------------------------------------------------------------------ */

static clf_status check_xformers(clf_plan *plan, const nystrom_config *c, const clf_args *args)
{
    const long long queries = args->io[CLF_QKV_Q].shape[2], keys = args->io[CLF_QKV_K].shape[2];

    if (queries == keys || c->base.semantics != CLF_SEMANTICS_XFORMERS)
        return CLF_SUCCESS;
    if (args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0 || c->base.causal)
        return clf_plan_refuse(plan, "there are %lld queries and %lld keys: in xformers semantics %s needs as many",
                               queries, keys, c->base.causal ? "'causal'" : "'key_padding_mask'");
    if (queries < c->num_landmarks && c->num_landmarks < keys)
        return clf_plan_refuse(plan,
                               "there are %lld queries and %d landmarks: in xformers semantics a landmark needs a "
                               "query",
                               queries, c->num_landmarks);
    return CLF_SUCCESS;
}

static clf_status check(clf_plan *plan, const nystrom_config *c, const clf_args *args)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const long long queries = q->shape[2], keys = args->io[CLF_QKV_K].shape[2];

    if (c->conv_kernel_size > 0 && q->shape[1] != c->base.num_heads)
        return clf_plan_refuse(plan, "there are %lld heads, but the convolution has filters for the %d of 'num_heads'",
                               (long long)q->shape[1], c->base.num_heads);
    if (c->conv_kernel_size > 0 && queries != keys)
        return clf_plan_refuse(plan, "there are %lld queries and %lld keys: 'conv_kernel_size' needs as many", queries,
                               keys);
    return check_xformers(plan, c, args);
}

static void decide(const nystrom_config *c, const clf_args *args, nystrom_state *s)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const int64_t queries = q->shape[2], keys = args->io[CLF_QKV_K].shape[2];

    s->xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    s->causal = c->base.causal;
    s->exact = c->num_landmarks >= keys || (!s->xformers && c->num_landmarks >= queries);
    s->padded = args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    s->hides = s->padded && s->xformers;
    s->dropout = args->training ? c->base.dropout : 0;
    s->taps = c->conv_kernel_size;
    s->single = q->dtype != CLF_F32 && (!s->exact || s->taps > 0 || s->dropout > 0 || s->hides);
    s->finishes = s->single || s->taps > 0 || s->dropout > 0;
    s->scale = (float)(1 / sqrt((double)q->shape[3]));
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

typedef struct reserver {
    clf_plan       *plan;
    nystrom_state  *state;
    const clf_args *args;
    int64_t         batch, heads, marks;
    bool            backward;
} reserver;

static void reserve(reserver *r, nystrom_piece piece, bool saved, clf_dtype dtype, int rank, int64_t rows,
                    int64_t columns)
{
    const int64_t shape[2][4] = { { r->batch, columns }, { r->batch, r->heads, rows, columns } };

    clf__piece_reserve(r->plan, &r->state->piece[piece], saved, dtype, rank, shape[rank == 4]);
}

static void reserve_like(reserver *r, nystrom_piece piece, bool saved, const clf_tensor *tensor)
{
    reserve(r, piece, saved, CLF_F32, 4, tensor->shape[2], tensor->shape[3]);
}

static void reserve_landmarks(reserver *r)
{
    const int64_t width = r->args->io[CLF_QKV_Q].shape[3], value_width = r->args->io[CLF_QKV_V].shape[3], l = r->marks;

    reserve(r, SOME, false, CLF_U8, 2, 0, l);
    reserve(r, Q_SHARE, false, CLF_F32, 2, 0, l);
    reserve(r, K_SHARE, false, CLF_F32, 2, 0, l);
    reserve(r, Q_MARKS, false, CLF_F32, 4, l, width);
    reserve(r, K_MARKS, false, CLF_F32, 4, l, width);
    reserve(r, NEAR, r->backward, CLF_F32, 4, l, l);
    reserve(r, FAR, r->backward, CLF_F32, 4, l, value_width);
    reserve(r, VALUES, r->backward, CLF_F32, 4, l, value_width);
    if (!r->backward)
        return;
    reserve(r, GRAD_NEAR, false, CLF_F32, 4, l, l);
    reserve(r, GRAD_INVERSE, false, CLF_F32, 4, l, l);
    reserve(r, GRAD_FAR, false, CLF_F32, 4, l, value_width);
    reserve(r, GRAD_VALUES, false, CLF_F32, 4, l, value_width);
    reserve(r, GRAD_Q_MARKS, false, CLF_F32, 4, l, width);
    reserve(r, GRAD_K_MARKS, false, CLF_F32, 4, l, width);
}

static void reserve_all(reserver *r)
{
    const nystrom_state *s = r->state;
    const clf_tensor *io = r->args->io, *grad = r->args->grad;

    if (s->padded)
        reserve(r, KEEP, false, CLF_U8, 2, 0, io[CLF_QKV_K].shape[2]);
    if (s->single || s->hides)
        reserve_like(r, Q_COPY, false, &io[CLF_QKV_Q]);
    if (s->single) {
        reserve_like(r, K_COPY, false, &io[CLF_QKV_K]);
        reserve_like(r, V_COPY, false, &io[CLF_QKV_V]);
    }
    if (s->finishes)
        reserve_like(r, X, r->backward, &io[CLF_QKV_OUT]);
    if (!s->exact)
        reserve_landmarks(r);
    if (!r->backward)
        return;
    if (s->single || s->dropout > 0)
        reserve_like(r, GRAD_X, false, &io[CLF_QKV_OUT]);
    for (int i = 0; i < 3 && s->single; i++)
        if (grad[CLF_QKV_Q + i].rank > 0)
            reserve_like(r, (nystrom_piece)(GRAD_Q + i), false, &io[CLF_QKV_Q + i]);
    if (s->taps > 0)
        reserve(r, TAPS, false, CLF_F32, 4, (io[CLF_QKV_Q].shape[2] + 63) / 64, s->taps);
}

/* ---- kernels and products ----------------------------------------------------------------------------------- */

/* On CPUs, where no core would be without a head. */
static bool is_small(const clf_plan *plan, const nystrom_call *call, int lanes)
{
    enum { LARGEST = 128 };
    const clf_tensor *marks = &call->piece[Q_MARKS];

    return marks->rank > 0 && lanes == 16 && marks->shape[2] <= LARGEST && marks->shape[3] <= LARGEST &&
           marks->shape[0] * marks->shape[1] >= clf_device_get_info(clf_plan_device(plan))->compute_units;
}

static clf_status make_kernels(clf_plan *plan, const nystrom_call *call, nystrom_state *s)
{
    const bool backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0, marks = !s->exact, taps = s->taps > 0;
    const struct { const char *name; cl_kernel *kernel; bool wanted; } kernels[] = {
        { "clf_nystrom_keep", &s->keep, s->padded },
        { "clf_nystrom_landmarks", &s->landmarks, marks },
        { "clf_nystrom_finish", &s->finish, s->finishes },
        { "clf_nystrom_softmax", &s->softmax, marks && !s->small },
        { "clf_nystrom_near", &s->soft_scores, s->small },
        { "clf_nystrom_softmax_back", &s->softmax_back, marks && backward },
        { "clf_nystrom_gradient", &s->gradient, backward && (marks || s->single || s->hides) },
        { "clf_nystrom_gradient_v", &s->gradient_v, backward && taps },
        { "clf_nystrom_taps", &s->taps_sum, backward && taps },
        { "clf_nystrom_weights", &s->weights, backward && taps },
    };
    char more[96], options[CLF__LANES_OPTIONS];
    clf_status status = clf__single_plan(plan, s->lanes, call->args->io[CLF_QKV_Q].dtype, &s->copies);

    (void)snprintf(more, sizeof more, "-DCLF_WEIGHT=%d",
                   clf__storage_number(taps ? call->weight.dtype : call->args->io[CLF_QKV_Q].dtype));
    if (s->small) {
        const clf_tensor *size = &call->piece[Q_MARKS];
        const size_t used = strlen(more);
        (void)snprintf(more + used, sizeof more - used, " -DCLF_MARKS=%d -DCLF_WIDTH=%d",
                       (int)(size->shape[2] + 31) / 32 * 32, (int)(size->shape[3] + 15) / 16 * 16);
    }
    clf__lanes_options(s->lanes, call->args->io[CLF_QKV_Q].dtype, more, options, sizeof options);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++)
        if (kernels[i].wanted)
            status = clf_plan_kernel(plan, "attention/nystrom.cl", options, kernels[i].name, kernels[i].kernel);
    return status;
}

static clf_status plan_products(clf_plan *plan, const nystrom_call *call, nystrom_state *s)
{
    const struct { clf__gemm_problem problem; clf__gemm_choice *choice; } products[] = {
        { clf__nystrom_scores(call), &s->scores },
        { clf__nystrom_values(call), &s->values },
        { clf__nystrom_grad_far(call), &s->grad_far },
        { clf__nystrom_grad_inverse(call), &s->grad_inverse },
        { clf__nystrom_grad_q_marks(call), &s->grad_q_marks },
        { clf__nystrom_grad_k_marks(call), &s->grad_k_marks },
    };
    const size_t count = clf_plan_passes(plan) & CLF_BACKWARD ? sizeof products / sizeof products[0] : 2;
    clf_status status = CLF_SUCCESS;

    for (size_t i = 0; i < count && !status; i++)
        status = clf__gemm_plan(plan, &products[i].problem, products[i].choice);
    return status;
}

clf_status clf__nystrom_plan(clf_plan *plan)
{
    const nystrom_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    nystrom_state *s = clf_plan_state(plan, sizeof *s);
    clf_status status = s ? check(plan, c, args) : CLF_OUT_OF_HOST_MEMORY;

    if (status)
        return status;
    decide(c, args, s);
    s->lanes = clf__lanes_choose(plan);
    reserver r = { .plan = plan, .state = s, .args = args, .batch = q->shape[0], .heads = q->shape[1],
                   .marks = c->num_landmarks, .backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0 };
    reserve_all(&r);
    nystrom_call call = clf__nystrom_call_of(NULL, s, args);
    if (s->taps > 0 &&
        (status = clf_instance_parameter(clf_plan_instance(plan), "skip_connection.weight", &call.weight)))
        return status;
    s->small = is_small(plan, &call, s->lanes);
    const clf__fused_problem near = clf__nystrom_near(&call);
    if ((status = make_kernels(plan, &call, s)) || (status = clf__fused_plan(plan, &near, &s->near)) || s->exact)
        return status;
    const clf__fused_problem far = clf__nystrom_far(&call);
    if ((status = clf__fused_plan(plan, &far, &s->far)) || (status = plan_products(plan, &call, s)))
        return status;
    return clf__pinv_plan(plan, r.batch, r.heads, r.marks,
                          c->use_razavi_pinverse ? c->inv_iterations : NYSTROM_CONVERGED,
                          s->xformers && c->pinverse_original_init, !c->use_razavi_pinverse, &s->inverse);
}
