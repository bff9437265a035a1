/* Exact softmax attention (Vaswani et al. 2017): a thin part over src/fused. */
#include "attention/scaled_dot_product.h"
#include "core/status.h"
#include "fused/fused.h"

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
    clf__fused_problem problem = clf__fused_problem_qkv(args, c->scale, c->base.dropout);

    problem.causal = c->base.causal;
    problem.shift = top_left ? 0 : keys - queries;
    return problem;
}

static clf_status scaled_dot_product_plan(clf_plan *plan)
{
    const scaled_dot_product_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    const clf_status status = check_semantics(plan, c, args);

    if (status)
        return status;
    const clf__fused_problem problem = problem_of(c, args);
    return clf__fused_plan_part(plan, &problem);
}

static clf_status scaled_dot_product_forward(clf_run *run)
{
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), clf_run_args(run));

    return clf__fused_forward_part(run, &problem);
}

static clf_status scaled_dot_product_backward(clf_run *run)
{
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), clf_run_args(run));

    return clf__fused_backward_part(run, &problem);
}

/* All pairs, by the field's convention half of them when causal. */
static void scaled_dot_product_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const scaled_dot_product_config *c = config;
    const double pairs = (double)args->io[CLF_QKV_Q].shape[2] * (double)args->io[CLF_QKV_K].shape[2];

    clf__fused_work(args, c->base.causal ? pairs / 2 : pairs, pass, work);
}

CLF_REGISTER_ATTENTION(scaled_dot_product) = {
    .summary = "exact softmax attention",
    .paper = "Vaswani et al. 2017, arXiv:1706.03762",
    .config = CLF_SCHEMA(scaled_dot_product_config, scaled_dot_product_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
              CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION,
    .resolve = scaled_dot_product_resolve,
    .plan = scaled_dot_product_plan,
    .forward = scaled_dot_product_forward,
    .backward = scaled_dot_product_backward,
    .work = scaled_dot_product_work,
    .answer = { .forward = 0.1989987, .backward = 0.1593192 },
};
