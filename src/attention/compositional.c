/* Compositional attention (Mittal et al. 2022): heads search, rules are what they retrieve, and each head selects among
 * all rules by what was retrieved.
 *
 *     a[h][r] = softmax(q_h k_h^T / sqrt(d)) v_r      w = softmax over r of score(a[h][r], token)
 *     out = W [sum over r of w[h][r] a[h][r]]_h
 *
 * Retrieval is fused attention whose values are the rules side by side, the same for all heads, some columns a launch:
 * nothing of the size queries x keys exists, what is kept is a[h][r] of every token. Projections are matrix products.
 * A score that is the same for all rules changes nothing: biases of the last layer, and the token's share of a linear
 * score, are not computed, and their gradients are 0.
 */
#include "attention/compositional_steps.h"
#include "core/status.h"
#include "ops/lanes.h"

enum { CHUNK = 128 }; /* columns of values a launch: what fused attention is fast with unless it says otherwise */

static const clf_field compositional_fields[] = {
    CLF_ATTENTION_FIELDS(compositional_config),
    CLF_INT(compositional_config, num_rules, 0, .optional = true, .min = 1, .doc = "retrievals; absent: num_heads"),
    CLF_INT(compositional_config, dim_attn, 0, .optional = true, .min = 1,
            .doc = "width of all rules together, a multiple of num_rules; absent: dim_model"),
    CLF_INT(compositional_config, dim_key, 0, .optional = true, .min = 1,
            .doc = "width of projected queries and keys: dim_model, as when absent"),
    CLF_INT(compositional_config, dim_value, 0, .optional = true, .min = 1,
            .doc = "width of projected values: dim_attn, as when absent"),
    CLF_INT(compositional_config, dim_selection, 0, .optional = true, .min = 1,
            .doc = "width in which rules are compared or scored; absent: dim_model / num_heads"),
    CLF_BOOL(compositional_config, qk_rule, false,
             .doc = "score of a rule: product of the token's and the retrieved value's projections"),
    CLF_BOOL(compositional_config, nonlinear, false,
             .doc = "score of a rule without qk_rule: by a network with a hidden layer instead of a linear one"),
    CLF_BOOL(compositional_config, q_compose, false, .doc = "select by the projected query instead of the token"),
    CLF_BOOL(compositional_config, bias, true, .doc = "linear layers have biases"),
    CLF_BOOL(compositional_config, use_separate_proj_weight, false, .optional = true,
             .doc = "keys and values have projections of their own; absent: true, or false under xformers semantics"),
    CLF_STRING(compositional_config, in_proj_container, NULL, .field_class = CLF_HINT, .optional = true,
               .doc = "null, which configs made for xFormers may hold"),
    CLF_FIELDS_END
};

/* Of heads, width of a head and width of the model any two will do. */
static void complete_widths(clf_attention_config *base)
{
    if (base->dim_model == 0 && base->num_heads > 0 && base->dim_head > 0 &&
        base->dim_head <= INT32_MAX / base->num_heads)
        base->dim_model = base->num_heads * base->dim_head;
    if (base->num_heads == 0 && base->dim_head > 0)
        base->num_heads = base->dim_model / base->dim_head;
}

static clf_status compositional_resolve(void *config, const clf_args *args)
{
    compositional_config *c = config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const clf_schema schema = CLF_SCHEMA(compositional_config, compositional_fields);

    (void)args;
    complete_widths(&c->base);
    if (c->base.dim_model == 0 || c->base.num_heads == 0)
        return clf__fail(CLF_MISSING_KEY, "'%s' is missing: projections have its extent",
                         c->base.dim_model == 0 ? "dim_model" : "num_heads");
    if (c->base.dim_model % c->base.num_heads != 0)
        return clf__fail(CLF_UNSUPPORTED, "'dim_model' is %d, not a multiple of 'num_heads' = %d", c->base.dim_model,
                         c->base.num_heads);
    if (c->in_proj_container)
        return clf__fail(CLF_UNSUPPORTED, "'in_proj_container' is \"%s\": projections of something else cannot be used",
                         c->in_proj_container);
    if (!clf_config_has(&schema, config, "use_separate_proj_weight"))
        c->use_separate_proj_weight = !xformers;
    c->num_rules = c->num_rules ? c->num_rules : c->base.num_heads;
    c->dim_attn = c->dim_attn ? c->dim_attn : c->base.dim_model;
    c->dim_key = c->dim_key ? c->dim_key : c->base.dim_model;
    c->dim_value = c->dim_value ? c->dim_value : c->dim_attn;
    c->dim_selection = c->dim_selection ? c->dim_selection : c->base.dim_model / c->base.num_heads;
    if (c->dim_attn % c->num_rules != 0)
        return clf__fail(CLF_UNSUPPORTED, "'dim_attn' is %d, not a multiple of 'num_rules' = %d", c->dim_attn,
                         c->num_rules);
    if (c->dim_key != c->base.dim_model)
        return clf__fail(CLF_UNSUPPORTED, "'dim_key' is %d, but heads divide 'dim_model' = %d", c->dim_key,
                         c->base.dim_model);
    if (c->use_separate_proj_weight && c->dim_value != c->dim_attn)
        return clf__fail(CLF_UNSUPPORTED, "'dim_value' is %d, but rules divide 'dim_attn' = %d", c->dim_value,
                         c->dim_attn);
    if (!c->use_separate_proj_weight && c->dim_key != c->dim_attn)
        return clf__fail(CLF_UNSUPPORTED, "'dim_attn' is %d, but the projection that queries share with values has %d "
                                          "channels: 'use_separate_proj_weight' is false", c->dim_attn, c->dim_key);
    return CLF_SUCCESS;
}

/* ---- planning ---------------------------------------------------------------------------------------- */

static clf_status check(const steps *s)
{
    const int64_t *q = s->args->io[CLF_QKV_Q].shape;
    const clf_tensor *mask = &s->args->io[CLF_QKV_ATT_MASK];

    if (q[1] * q[3] != s->model)
        return clf_plan_refuse(s->plan, "'q' has %lld x %lld channels, 'dim_model' is %lld", (long long)q[1],
                               (long long)q[3], (long long)s->model);
    if (mask->rank > 0 && q[1] != s->heads && q[1] != 1 && (mask->rank == 3 || mask->strides[1] != 0))
        return clf_plan_refuse(s->plan,
                               "'att_mask' differs from head to head, but 'q' comes in %lld heads, 'num_heads' is "
                               "%lld",
                               (long long)q[1], (long long)s->heads);
    if (s->config->base.semantics != CLF_SEMANTICS_XFORMERS)
        return CLF_SUCCESS;
    if (s->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(s->plan,
                               "'key_padding_mask' is given, but in xformers semantics this mechanism takes none: "
                               "merge it into 'att_mask'");
    if (s->config->base.causal && s->queries != s->keys)
        return clf_plan_refuse(s->plan,
                               "'causal' is true for %lld queries and %lld keys: in xformers semantics it needs as "
                               "many",
                               (long long)s->queries, (long long)s->keys);
    return CLF_SUCCESS;
}

/* As few launches as `most` columns in each allow, of the same width where that is possible. */
static clf_status divide(const steps *s, int64_t most, step_chunks *chunks)
{
    const int64_t all = s->rules * s->width, fewest = (all + most - 1) / most;
    int64_t count = fewest;

    if (fewest > MOST_CHUNKS)
        return clf_plan_refuse(s->plan, "'dim_attn' is %lld, at most %lld are possible", (long long)all,
                               (long long)most * MOST_CHUNKS);
    while (count < 2 * fewest && count < MOST_CHUNKS && all % count != 0)
        count++;
    chunks->columns = all % count == 0 ? all / count : most;
    chunks->count = (int)((all + chunks->columns - 1) / chunks->columns);
    return CLF_SUCCESS;
}

/* Every launch computes the scores anew: forward takes more columns at once where the family says so. */
static clf_status choose_chunks(const steps *s)
{
    step_chunks *forward = &s->state->chunks[0], *backward = &s->state->chunks[1];
    clf__fused_problem attention;
    int64_t most = 0;
    clf_status status = divide(s, CHUNK, forward);

    if (status)
        return status;
    attention = clf__steps_attention(s, forward, 0);
    attention.forward_only = true;
    if ((status = clf__fused_widest_values(s->plan, &attention, &most)))
        return status;
    if (most <= forward->columns || forward->count == 1)
        return CLF_SUCCESS;
    if (s->backward)
        (void)divide(s, CHUNK, backward);
    return divide(s, most, forward);
}

static clf_status plan_products(const steps *s)
{
    compositional_state *state = s->state;
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < PRODUCTS && !status; i++) {
        clf__gemm_problem problem;
        state->multiplies[i] = clf__steps_product(s, (step_product)i, &problem);
        if (state->multiplies[i])
            status = clf__gemm_plan(s->plan, &problem, &state->products[i]);
    }
    for (int i = 0; i < SUMS && s->backward && !status; i++) {
        clf_tensor matrix, to;
        bool accumulate;
        state->adds[i] = clf__steps_sum(s, (step_sum)i, &matrix, &to, &accumulate);
        if (state->adds[i])
            status = clf__column_sums_plan(s->plan, &matrix, &to, accumulate, state->lanes, &state->sums[i]);
    }
    return status;
}

static clf_status plan_copies(const steps *s)
{
    compositional_state *state = s->state;
    const clf_tensor storage = { .rank = 4, .dtype = s->args->io[CLF_QKV_Q].dtype },
                     single = { .rank = 4, .dtype = CLF_F32 };
    const clf_tensor parameter = { .rank = 4, .dtype = clf__steps_parameter(s, 2 * LAYER_Q, false).dtype };
    const clf_tensor bytes = { .rank = 2, .dtype = CLF_U8 }, none = { .rank = 0, .dtype = CLF_F32 };
    const struct { bool wanted; clf__copy *copy; clf__copy_problem problem; } copies[] = {
        { true, &state->gather, { .from = storage, .to = storage } },
        { !s->qk, &state->parameter, { .from = parameter, .to = single } },
        { s->backward && s->masked, &state->gather_seen, { .from = storage, .to = storage, .keep = bytes } },
        { s->backward, &state->convert, { .from = storage, .to = single } },
        { s->backward && clf__steps_chunks(s, true)->count > 1, &state->accumulate,
          { .from = storage, .to = single, .accumulate = true } },
        { s->backward && s->turned, &state->add, { .from = single, .to = single, .accumulate = true } },
        { s->backward, &state->zero, { .from = none, .to = parameter } },
    };
    clf_status status = CLF_SUCCESS;

    for (size_t i = 0; i < sizeof copies / sizeof copies[0] && !status; i++)
        if (copies[i].wanted)
            status = clf__copy_plan(s->plan, &copies[i].problem, state->lanes, copies[i].copy);
    return status;
}

static clf_status plan_kernels(const steps *s)
{
    compositional_state *state = s->state;
    const bool at_once = state->lanes > 1;
    const struct { bool wanted; const char *name; cl_kernel *kernel; } kernels[] = {
        { at_once, "clf_compositional_select", &state->select },
        { s->backward || (!s->network && !at_once), "clf_compositional_score", &state->score },
        { s->network, "clf_compositional_network", &state->network },
        { !at_once, "clf_compositional_softmax", &state->softmax },
        { s->backward || !at_once, "clf_compositional_mix", &state->mix },
        { s->backward, "clf_compositional_softmax_back", &state->softmax_back },
        { s->backward, "clf_compositional_retrieved", &state->retrieved },
        { s->backward && s->network, "clf_compositional_network_back", &state->network_back },
        { s->backward && s->masked, "clf_compositional_seen", &state->seen },
    };
    char options[CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    clf__lanes_options(state->lanes, s->args->io[CLF_QKV_Q].dtype, s->network ? "-DCLF_DIRECT=0" : "-DCLF_DIRECT=1",
                       options, sizeof options);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++)
        if (kernels[i].wanted)
            status = clf_plan_kernel(s->plan, "attention/compositional.cl", options, kernels[i].name,
                                     kernels[i].kernel);
    return status;
}

static clf_status plan_chunks(const steps *s, step_chunks *chunks)
{
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < chunks->count && !status; i++) {
        const clf__fused_problem attention = clf__steps_attention(s, chunks, i);
        status = clf__fused_plan(s->plan, &attention, &chunks->fused[i]);
    }
    return status;
}

static clf_status compositional_plan(clf_plan *plan)
{
    const steps s = clf__steps_of(plan, NULL);
    clf_status status;

    if (!s.state)
        return CLF_OUT_OF_HOST_MEMORY;
    s.state->lanes = clf__lanes_choose(plan); /* the family's name is that of fused attention */
    if ((status = check(&s)) || (status = choose_chunks(&s)))
        return status;
    clf__steps_reserve(&s);
    if ((status = plan_products(&s)) || (status = plan_copies(&s)) || (status = plan_kernels(&s)))
        return status;
    for (int pass = 0; pass < 2 && !status; pass++)
        status = plan_chunks(&s, &s.state->chunks[pass]);
    return status;
}

/* Projections, search and retrieval of all rules by all heads; the selection is small beside them. */
static void compositional_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const compositional_config *c = config;
    const double batch = (double)args->io[CLF_QKV_Q].shape[0], heads = c->base.num_heads, model = c->base.dim_model;
    const double queries = (double)args->io[CLF_QKV_Q].shape[2], keys = (double)args->io[CLF_QKV_K].shape[2];
    const double pairs = queries * keys * (c->base.causal ? 0.5 : 1), rule = (double)c->dim_attn / c->num_rules;
    const double products = 2 * batch * model * (queries * (model + heads * rule) + keys * (model + c->dim_attn));
    const double attention = 2 * batch * heads * pairs * (model / heads + c->dim_attn);

    clf__fused_work(args, 0, pass, work);
    work->flops = pass == CLF_BACKWARD ? 2 * products + 2.5 * attention : products + attention;
}

static const clf_io compositional_io[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE,
                    "tokens before any projection: H x D channels of the model, in one head or in num_heads" },
    [CLF_QKV_K] = { "k", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "tokens that keys are made of" },
    [CLF_QKV_V] = { "v", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "tokens that values are made of" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST,
                           "which keys a query sees, or what is added to the scores" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "BK", CLF_INPUT, CLF_IO_BOOLEAN,
                                   CLF_IO_OPTIONAL | CLF_IO_BROADCAST, "which keys are no padding" },
    [CLF_QKV_OUT] = { "out", "BHQD", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE,
                      "result of the output projection" },
    CLF_IO_END
};

CLF_REGISTER_ATTENTION(compositional) = {
    .summary = "heads that search and rules that retrieve, put together anew by each token; has its own projections",
    .paper = "Mittal et al. 2022, arXiv:2110.09419",
    .config = CLF_SCHEMA(compositional_config, compositional_fields),
    .programs = { "attention/compositional.cl", "ops/copy.cl" },
    .families = clf__fused_families,
    .io = compositional_io,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
              CLF_TRAIT_DROPOUT | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_DERIVED,
    .parameters = clf__compositional_parameters,
    .resolve = compositional_resolve,
    .initialise = clf__compositional_initialise,
    .plan = compositional_plan,
    .forward = clf__compositional_forward,
    .backward = clf__compositional_backward,
    .work = compositional_work,
    .answer = { .forward = 0.02753038, .backward = 0.00445287 },
};
