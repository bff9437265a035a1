/* Exact softmax attention (Vaswani et al. 2017): a thin part over src/fused. */
#include "attention/scaled_dot_product.h"
#include "core/status.h"
#include "fused/fused.h"
#include <math.h>

static const char *const alignment_names[] = { "auto", "top_left", "bottom_right", NULL };

static const clf_field scaled_dot_product_fields[] = {
    CLF_ATTENTION_FIELDS(scaled_dot_product_config),
    CLF_INT(scaled_dot_product_config, to_seq_len, 0, .field_class = CLF_HINT, .optional = true, .min = 1,
            .doc = "length of the keys, where it differs from seq_len"),
    CLF_ENUM(scaled_dot_product_config, causal_alignment, ALIGN_AUTO, alignment_names, .field_class = CLF_SEMANTIC,
             .doc = "which corner the causal diagonal starts from when there are more or fewer keys than queries; "
                    "auto: bottom_right, with xformers semantics top_left"),
    CLF_FLOAT(scaled_dot_product_config, scale, 0, .optional = true,
              .doc = "factor of the scores; absent or 0: 1/sqrt(width of a head)"),
    CLF_FIELDS_END
};

static clf_status scaled_dot_product_resolve(void *config, const clf_args *args)
{
    const scaled_dot_product_config *c = config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;

    (void)args;
    if (xformers && c->causal_alignment == ALIGN_BOTTOM_RIGHT)
        return clf__fail(CLF_UNSUPPORTED, "'causal_alignment' is bottom_right, but xformers semantics align at the top "
                                          "left: use paper semantics");
    return CLF_SUCCESS;
}

/* xFormers builds its causal mask once, seq_len x to_seq_len, when seq_len is given, and crops it for shorter
 * square problems; without seq_len it makes a square one on each call. What does not fit fails there. */
static clf_status check_xformers_causal(clf_plan *plan, const scaled_dot_product_config *c, int64_t queries, int64_t keys)
{
    const int rows = c->base.seq_len, columns = c->to_seq_len ? c->to_seq_len : rows;

    if (rows == 0 && queries == keys)
        return CLF_SUCCESS;
    if (rows == queries && columns == keys)
        return CLF_SUCCESS;
    if (queries == keys && rows > queries && columns >= keys)
        return CLF_SUCCESS;
    if (rows == 0)
        return clf_plan_refuse(plan, "causal with %lld queries and %lld keys needs seq_len and to_seq_len in xformers "
                               "semantics", (long long)queries, (long long)keys);
    return clf_plan_refuse(plan, "causal with %lld queries and %lld keys does not fit the causal mask of xformers "
                           "semantics, seq_len %d x to_seq_len %d", (long long)queries, (long long)keys, rows, columns);
}

static clf_status check_semantics(clf_plan *plan, const scaled_dot_product_config *c, const clf_args *args)
{
    if (c->base.semantics != CLF_SEMANTICS_XFORMERS)
        return CLF_SUCCESS;
    if (args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(plan, "'key_padding_mask' is given, but in xformers semantics this mechanism takes none: "
                                     "merge it into 'att_mask'");
    if (c->base.causal)
        return check_xformers_causal(plan, c, args->io[CLF_QKV_Q].shape[2], args->io[CLF_QKV_K].shape[2]);
    return CLF_SUCCESS;
}

static clf__fused_problem problem_of(const scaled_dot_product_config *c, const clf_args *args)
{
    const int64_t queries = args->io[CLF_QKV_Q].shape[2], keys = args->io[CLF_QKV_K].shape[2];
    const bool top_left = c->causal_alignment == ALIGN_TOP_LEFT ||
                          (c->causal_alignment == ALIGN_AUTO && c->base.semantics == CLF_SEMANTICS_XFORMERS);

    return (clf__fused_problem){
        .q = args->io[CLF_QKV_Q],
        .k = args->io[CLF_QKV_K],
        .v = args->io[CLF_QKV_V],
        .out = args->io[CLF_QKV_OUT],
        .lse = args->io[CLF_QKV_LSE],
        .mask = args->io[CLF_QKV_ATT_MASK],
        .padding = args->io[CLF_QKV_KEY_PADDING_MASK],
        .grad_out = args->grad[CLF_QKV_OUT],
        .grad_q = args->grad[CLF_QKV_Q],
        .grad_k = args->grad[CLF_QKV_K],
        .grad_v = args->grad[CLF_QKV_V],
        .causal = c->base.causal,
        .shift = top_left ? 0 : keys - queries,
        .scale = c->scale != 0 ? c->scale : (float)(1 / sqrt((double)args->io[CLF_QKV_Q].shape[3])),
        .dropout = args->training ? c->base.dropout : 0,
        .seed = args->seed,
        .offset = args->offset,
    };
}

static clf_status scaled_dot_product_plan(clf_plan *plan)
{
    const scaled_dot_product_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    clf__fused *fused = clf_plan_state(plan, sizeof *fused);
    clf_status status;

    if (!fused)
        return CLF_OUT_OF_HOST_MEMORY;
    if ((status = check_semantics(plan, c, args)))
        return status;
    const clf__fused_problem problem = problem_of(c, args);
    return clf__fused_plan(plan, &problem, fused);
}

static clf_status scaled_dot_product_forward(clf_run *run)
{
    clf_plan *plan = clf_run_plan(run);
    const clf__fused *fused = clf_plan_state(plan, sizeof *fused);
    const clf__fused_problem problem = problem_of(clf_plan_config(plan), clf_run_args(run));

    return clf__fused_forward(run, fused, &problem);
}

static clf_status scaled_dot_product_backward(clf_run *run)
{
    clf_plan *plan = clf_run_plan(run);
    const clf__fused *fused = clf_plan_state(plan, sizeof *fused);
    const clf__fused_problem problem = problem_of(clf_plan_config(plan), clf_run_args(run));

    return clf__fused_backward(run, fused, &problem);
}

static double bytes_of(const clf_tensor *tensor)
{
    return tensor->rank == 0 ? 0 : (double)clf_tensor_elements(tensor) * (double)clf_dtype_size(tensor->dtype);
}

/* 4 B H Nq Nk D where both widths are D; half of it when causal; backward is 2.5 times forward. */
static void scaled_dot_product_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const scaled_dot_product_config *c = config;
    const int64_t *q = args->io[CLF_QKV_Q].shape, *v = args->io[CLF_QKV_V].shape;
    const double scores = (double)q[0] * (double)q[1] * (double)q[2] * (double)v[2];

    work->flops = 2 * scores * (double)(q[3] + v[3]) * (c->base.causal ? 0.5 : 1) * (pass == CLF_BACKWARD ? 2.5 : 1);
    work->bytes = 0;
    for (int i = 0; i <= CLF_QKV_LSE; i++)
        work->bytes += bytes_of(&args->io[i]) + (pass == CLF_BACKWARD ? bytes_of(&args->grad[i]) : 0);
}

CLF_REGISTER_ATTENTION(scaled_dot_product) = {
    .summary = "exact softmax attention",
    .paper = "Vaswani et al. 2017, arXiv:1706.03762",
    .config = CLF_SCHEMA(scaled_dot_product_config, scaled_dot_product_fields),
    .programs = { "fused/vector_forward.cl", "fused/vector_backward.cl", "fused/portable_forward.cl",
                  "fused/portable_backward.cl", "fused/reference_forward.cl", "fused/reference_backward.cl" },
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
              CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION,
    .resolve = scaled_dot_product_resolve,
    .plan = scaled_dot_product_plan,
    .forward = scaled_dot_product_forward,
    .backward = scaled_dot_product_backward,
    .work = scaled_dot_product_work,
};
