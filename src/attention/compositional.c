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
#include <stdio.h>

enum { CHUNK = 128 }; /* columns of values a launch: what fused attention is fast with */

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
static clf_status resolve_widths(clf_attention_config *base)
{
    if (base->dim_model == 0 && base->num_heads > 0 && base->dim_head > 0 &&
        base->dim_head <= INT32_MAX / base->num_heads)
        base->dim_model = base->num_heads * base->dim_head;
    if (base->num_heads == 0 && base->dim_head > 0)
        base->num_heads = base->dim_model / base->dim_head;
    if (base->dim_model == 0 || base->num_heads == 0)
        return clf__fail(CLF_MISSING_KEY, "'%s' is missing: projections have its extent",
                         base->dim_model == 0 ? "dim_model" : "num_heads");
    if (base->dim_model % base->num_heads != 0)
        return clf__fail(CLF_UNSUPPORTED, "'dim_model' is %d, not a multiple of 'num_heads' = %d", base->dim_model,
                         base->num_heads);
    return CLF_SUCCESS;
}

static clf_status compositional_resolve(void *config, const clf_args *args)
{
    compositional_config *c = config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const clf_schema schema = CLF_SCHEMA(compositional_config, compositional_fields);
    const clf_status status = resolve_widths(&c->base);

    (void)args;
    if (status)
        return status;
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

/* As few launches as CHUNK allows, of the same width where that is possible. */
static clf_status choose_chunks(const steps *s)
{
    const int64_t all = s->rules * s->width, fewest = (all + CHUNK - 1) / CHUNK;
    int64_t count = fewest;

    while (count < 2 * fewest && all % count != 0)
        count++;
    s->state->chunk = all % count == 0 ? all / count : CHUNK;
    s->state->chunks = (int)((all + s->state->chunk - 1) / s->state->chunk);
    if (s->state->chunks > MOST_CHUNKS)
        return clf_plan_refuse(s->plan, "'dim_attn' is %lld, at most %d are possible", (long long)all,
                               CHUNK * MOST_CHUNKS);
    return CLF_SUCCESS;
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
        { s->backward && state->chunks > 1, &state->accumulate, { .from = storage, .to = single, .accumulate = true } },
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
    const struct { bool wanted; const char *name; cl_kernel *kernel; } kernels[] = {
        { s->backward || !s->network, "clf_compositional_score", &state->score },
        { s->network, "clf_compositional_network", &state->network },
        { true, "clf_compositional_softmax", &state->softmax },
        { true, "clf_compositional_mix", &state->mix },
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
    for (int i = 0; i < s.state->chunks && !status; i++) {
        const clf__fused_problem attention = clf__steps_attention(&s, i);
        status = clf__fused_plan(plan, &attention, &s.state->fused[i]);
    }
    return status;
}

/* ---- running: single steps --------------------------------------------------------------------------- */

static clf_status multiply(const steps *s, step_product which)
{
    clf__gemm_problem problem;

    if (!clf__steps_product(s, which, &problem))
        return CLF_SUCCESS;
    return clf__gemm(s->run, &s->state->products[which], &problem);
}

static clf_status add_rows(const steps *s, step_sum which)
{
    clf_tensor matrix, to;
    bool accumulate;

    if (!clf__steps_sum(s, which, &matrix, &to, &accumulate))
        return CLF_SUCCESS;
    return clf__column_sums_run(s->run, &s->state->sums[which], &matrix, &to, accumulate);
}

/* A matrix, or a row, as [1, 1, rows, columns]. */
static clf_tensor wide(clf_tensor matrix)
{
    const bool row = matrix.rank == 1;
    const int64_t rows = row ? 1 : matrix.shape[0], columns = matrix.shape[matrix.rank - 1];
    clf_tensor view = clf_tensor_view(matrix.mem, matrix.dtype, 4, (const int64_t[]){ 1, 1, rows, columns });

    view.offset = matrix.offset;
    view.strides[2] = row ? columns : matrix.strides[0];
    return view;
}

static clf_status copy(const steps *s, const clf__copy *kernel, clf_tensor from, clf_tensor to)
{
    const clf__copy_problem problem = { .from = from, .to = to };
    return clf__copy_run(s->run, kernel, &problem);
}

/* Heads of the caller's tensor and rows of a buffer, one into the other. */
static clf_status regroup(const steps *s, const clf_tensor *tensor, step_buffer which, bool into_rows)
{
    const clf_tensor rows = clf__steps_heads(s, which, tensor->shape[2], tensor->shape[1]);

    if (tensor->rank == 0 || clf__rows_matrix(tensor).rank > 0)
        return CLF_SUCCESS;
    return into_rows ? copy(s, &s->state->gather, *tensor, rows) : copy(s, &s->state->gather, rows, *tensor);
}

/* Binds matrices in turn, each with the elements from row to row (0 where one serves all rows), and launches. */
static clf_status launch(const steps *s, cl_kernel kernel, const clf_tensor *const *matrices, int count, int64_t rules,
                         int64_t width, int64_t items)
{
    const cl_int2 shape = { { (cl_int)rules, (cl_int)width } };
    clf_binder binder = clf_bind(kernel);

    for (int i = 0; i < count; i++) {
        const clf_tensor *m = matrices[i];
        const cl_long2 at = { { (cl_long)(m->offset / clf_dtype_size(m->dtype)),
                                m->shape[0] == 1 ? 0 : m->strides[0] } };
        clf_bind_mem(&binder, m->mem);
        clf_bind_value(&binder, &at, sizeof at);
    }
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(s->run, &binder, s->state->lanes, items);
}

/* ---- forward ----------------------------------------------------------------------------------------- */

/* q by position, then batch entry, as xFormers reads it when it selects by queries. */
static clf_tensor by_position(const steps *s, step_buffer which)
{
    clf_tensor view = wide(clf__steps_buffer(s, which));

    view.shape[0] = s->queries;
    view.shape[2] = s->batch;
    view.strides[0] = view.shape[3];
    view.strides[2] = s->queries * view.shape[3];
    return view;
}

static clf_tensor in_order(const steps *s, step_buffer which)
{
    clf_tensor view = by_position(s, which);

    view.strides[0] = s->batch * view.shape[3];
    view.strides[2] = view.shape[3];
    return view;
}

static clf_status project(const steps *s)
{
    static const step_product products[] = { PRODUCT_Q, PRODUCT_K, PRODUCT_V };
    clf_status status = CLF_SUCCESS;

    for (int slot = 0; slot < 3 && !status; slot++)
        if (!(status = regroup(s, &s->args->io[slot], (step_buffer)(BUFFER_XQ + slot), true)))
            status = multiply(s, products[slot]);
    if (!status && s->turned)
        status = copy(s, &s->state->gather, by_position(s, BUFFER_Q), in_order(s, BUFFER_TURNED));
    return status;
}

/* What the scores of rules are made of, before anything is retrieved. */
static clf_status prepare_scores(const steps *s)
{
    const clf_tensor linear = clf__steps_parameter(s, 2 * LAYER_SCORE, false);
    const clf_tensor top = clf__steps_parameter(s, 2 * LAYER_TOP, false);
    clf_status status;

    if (s->linear)
        return copy(s, &s->state->parameter, wide(clf__steps_columns(linear, 0, s->width)),
                    wide(clf__steps_buffer(s, BUFFER_U)));
    if ((status = multiply(s, PRODUCT_SELECT)) || (status = multiply(s, PRODUCT_U)) ||
        (status = multiply(s, PRODUCT_SHIFT)) || s->qk)
        return status;
    return copy(s, &s->state->parameter, wide(top), wide(clf__steps_buffer(s, BUFFER_TOP)));
}

/* score[row][r] = u[row] . retrieved[row][r] */
static clf_status multiply_rules(const steps *s, step_buffer u, step_buffer score)
{
    clf_tensor left = clf__steps_buffer(s, u);
    const clf_tensor a = clf__steps_buffer(s, BUFFER_RETRIEVED), to = clf__steps_buffer(s, score);

    if (u == BUFFER_D_COMPOSED) { /* its rows are tokens */
        left.shape[0] *= s->heads;
        left.strides[0] = s->width;
    }
    if (u == BUFFER_U && s->linear)
        left.shape[0] = 1;
    return launch(s, s->state->score, (const clf_tensor *const[]){ &left, &a, &to }, 3, s->rules, s->width,
                  to.shape[0] * s->rules);
}

/* out[row] = sum over r of weight[row][r] retrieved[row][r] */
static clf_status mix_rules(const steps *s, step_buffer weight, step_buffer out)
{
    const clf_tensor w = clf__steps_buffer(s, weight), a = clf__steps_buffer(s, BUFFER_RETRIEVED);
    clf_tensor to = clf__steps_buffer(s, out);

    to.shape[0] = w.shape[0];
    to.strides[0] = s->width;
    return launch(s, s->state->mix, (const clf_tensor *const[]){ &w, &a, &to }, 3, s->rules, s->width,
                  w.shape[0] * clf__lanes_blocks(s->state->lanes, s->width));
}

static clf_status select_rules(const steps *s)
{
    const clf_tensor weight = clf__steps_buffer(s, BUFFER_WEIGHT), hidden = clf__steps_buffer(s, BUFFER_HIDDEN);
    const clf_tensor shift = clf__steps_buffer(s, BUFFER_SHIFT), top = clf__steps_buffer(s, BUFFER_TOP);
    clf_tensor rows = hidden;
    clf_status status;

    rows.shape[0] = weight.shape[0]; /* all rules of a (token, head) in a row */
    rows.strides[0] = s->rules * s->selection;
    if (!s->network)
        status = multiply_rules(s, BUFFER_U, BUFFER_WEIGHT);
    else if (!(status = multiply(s, PRODUCT_HIDDEN)))
        status = launch(s, s->state->network, (const clf_tensor *const[]){ &rows, &shift, &top, &weight }, 4, s->rules,
                        s->selection, weight.shape[0] * s->rules);
    if (!status)
        status = launch(s, s->state->softmax, (const clf_tensor *const[]){ &weight }, 1, s->rules, s->width,
                        weight.shape[0]);
    return status ? status : mix_rules(s, BUFFER_WEIGHT, BUFFER_COMPOSED);
}

static clf_status compositional_forward(clf_run *run)
{
    const steps s = clf__steps_of(clf_run_plan(run), run);
    clf_status status = project(&s);

    if (!status)
        status = prepare_scores(&s);
    for (int i = 0; i < s.state->chunks && !status; i++) {
        const clf__fused_problem attention = clf__steps_attention(&s, i);
        status = clf__fused_forward(run, &s.state->fused[i], &attention);
    }
    if (status || (status = select_rules(&s)) || (status = multiply(&s, PRODUCT_OUT)))
        return status;
    return regroup(&s, &s.args->io[CLF_QKV_OUT], BUFFER_OUT, false);
}

/* ---- backward ---------------------------------------------------------------------------------------- */

/* Gradients of what has no effect. */
static clf_status zero(const steps *s, int place, int64_t first)
{
    const clf_tensor gradient = clf__steps_parameter(s, place, true);

    if (gradient.rank == 0)
        return CLF_SUCCESS;
    return copy(s, &s->state->zero, (clf_tensor){ .rank = 0 },
                wide(clf__steps_columns(gradient, first, gradient.shape[gradient.rank - 1])));
}

static clf_status zero_all(const steps *s)
{
    clf_status status = CLF_SUCCESS;

    if (s->qk)
        return zero(s, 2 * LAYER_VALUE_K + 1, 0);
    if (s->network)
        return zero(s, 2 * LAYER_TOP + 1, 0);
    if ((status = zero(s, 2 * LAYER_SCORE, s->width)) || (status = zero(s, 2 * LAYER_SCORE + 1, 0)) ||
        (status = zero(s, 2 * LAYER_VALUE_Q, 0)))
        return status;
    return zero(s, 2 * LAYER_VALUE_Q + 1, 0);
}

static clf_status network_back(const steps *s)
{
    static const step_buffer buffers[] = { BUFFER_HIDDEN, BUFFER_SHIFT, BUFFER_TOP, BUFFER_D_WEIGHT, BUFFER_D_HIDDEN,
                                           BUFFER_D_SHIFT, BUFFER_D_TOP };
    clf_tensor matrices[7];
    const clf_tensor *places[7];
    const int64_t rows = clf__steps_buffer(s, BUFFER_WEIGHT).shape[0];
    clf_status status;

    for (int i = 0; i < 7; i++) {
        matrices[i] = clf__steps_buffer(s, buffers[i]);
        places[i] = &matrices[i];
    }
    matrices[0].shape[0] = matrices[4].shape[0] = rows;
    matrices[0].strides[0] = matrices[4].strides[0] = s->rules * s->selection;
    status = launch(s, s->state->network_back, places, 7, s->rules, s->selection,
                    rows * clf__lanes_blocks(s->state->lanes, s->selection));
    if (status || (status = multiply(s, PRODUCT_D_RETRIEVED)) || (status = multiply(s, PRODUCT_W_SHIFT)) ||
        (status = multiply(s, PRODUCT_W_HIDDEN)) || (status = add_rows(s, SUM_SHIFT)))
        return status;
    return add_rows(s, SUM_TOP);
}

/* From the result to what was retrieved, and to the layers between. */
static clf_status selection_back(const steps *s)
{
    const clf_tensor weight = clf__steps_buffer(s, BUFFER_WEIGHT), slope = clf__steps_buffer(s, BUFFER_D_WEIGHT);
    const clf_tensor to = clf__steps_buffer(s, BUFFER_D_RETRIEVED);
    clf_tensor composed = clf__steps_buffer(s, BUFFER_D_COMPOSED), u = clf__steps_buffer(s, BUFFER_U);
    clf_status status;

    composed.shape[0] = weight.shape[0];
    composed.strides[0] = s->width;
    if (s->network)
        u = slope; /* not read */
    if ((status = multiply_rules(s, BUFFER_D_COMPOSED, BUFFER_D_WEIGHT)) ||
        (status = launch(s, s->state->softmax_back, (const clf_tensor *const[]){ &weight, &slope }, 2, s->rules,
                         s->width, weight.shape[0])) ||
        (status = launch(s, s->state->retrieved, (const clf_tensor *const[]){ &weight, &composed, &slope, &u, &to }, 5,
                         s->rules, s->width,
                         weight.shape[0] * s->rules * clf__lanes_blocks(s->state->lanes, s->width))))
        return status;
    if (s->network)
        status = network_back(s);
    else if (!(status = mix_rules(s, BUFFER_D_WEIGHT, BUFFER_D_U)) && !(status = add_rows(s, SUM_SCORE)))
        status = multiply(s, PRODUCT_W_VALUE_K);
    if (status || (status = zero_all(s)))
        return status;
    return multiply(s, PRODUCT_D_SELECT);
}

/* One chunk of values: its gradients of q and k are a share, those of v a sum over heads. */
static clf_status retrieval_back(const steps *s, int chunk)
{
    const clf__fused_problem attention = clf__steps_attention(s, chunk);
    const clf__copy *to_single = chunk > 0 ? &s->state->accumulate : &s->state->convert;
    const clf_tensor *part = &attention.grad_v;
    clf__copy_problem sum = { .from = *part, .to = wide(clf__steps_buffer(s, BUFFER_D_V)), .slices = s->heads,
                              .step = part->strides[1] };
    clf_status status = clf__fused_backward(s->run, &s->state->fused[chunk], &attention);

    if (status ||
        (status = copy(s, to_single, wide(clf__steps_buffer(s, BUFFER_PART_Q)),
                       wide(clf__steps_buffer(s, BUFFER_D_Q)))) ||
        (status = copy(s, to_single, wide(clf__steps_buffer(s, BUFFER_PART_K)),
                       wide(clf__steps_buffer(s, BUFFER_D_K)))))
        return status;
    sum.from.shape[0] = sum.from.shape[1] = 1;
    sum.from.shape[2] = s->batch * s->keys;
    sum.to = clf__steps_columns(sum.to, chunk * s->state->chunk, chunk * s->state->chunk + part->shape[3]);
    return clf__copy_run(s->run, &s->state->convert, &sum);
}

static clf_status queries_back(const steps *s)
{
    clf_status status = multiply(s, PRODUCT_D_Q_SELECT);

    if (!status && s->turned)
        status = copy(s, &s->state->add, in_order(s, BUFFER_D_TURNED), by_position(s, BUFFER_D_Q));
    if (status || (status = regroup(s, &s->args->io[CLF_QKV_Q], BUFFER_XQ, true)) ||
        (status = multiply(s, PRODUCT_W_VALUE_Q)) || (status = add_rows(s, SUM_SELECT)) ||
        (status = multiply(s, PRODUCT_W_Q)) || (status = add_rows(s, SUM_Q)) || (status = multiply(s, PRODUCT_D_XQ)) ||
        (status = multiply(s, PRODUCT_D_XQ_SELECT)))
        return status;
    return regroup(s, &s->args->grad[CLF_QKV_Q], BUFFER_XQ, false);
}

/* Rows of keys or values that some query sees, zeros elsewhere. */
static clf_status gather_seen(const steps *s, int slot)
{
    const clf_tensor gradient = clf__steps_buffer(s, (step_buffer)(BUFFER_D_Q + slot));
    const step_buffer which = slot == CLF_QKV_K ? BUFFER_SEEN_K : BUFFER_SEEN_V;
    const clf_tensor *x = &s->args->io[slot];
    clf_tensor seen = clf__steps_buffer(s, which);
    clf_status status = launch(s, s->state->seen, (const clf_tensor *const[]){ &gradient, &seen }, 2, 0,
                               gradient.shape[1], gradient.shape[0]);

    seen.shape[0] = s->batch;
    seen.shape[1] = s->keys;
    seen.strides[0] = s->keys;
    seen.strides[1] = 1;
    const clf__copy_problem problem = {
        .from = *x, .keep = seen, .to = clf__steps_heads(s, (step_buffer)(BUFFER_XQ + slot), s->keys, x->shape[1])
    };
    return status ? status : clf__copy_run(s->run, &s->state->gather_seen, &problem);
}

static clf_status keys_back(const steps *s, int slot, step_product weight, step_sum bias, step_product tokens)
{
    const step_buffer buffer = (step_buffer)(BUFFER_XQ + slot);
    clf_status status = s->masked ? gather_seen(s, slot) : regroup(s, &s->args->io[slot], buffer, true);

    if (status || (status = multiply(s, weight)) || (status = add_rows(s, bias)) || (status = multiply(s, tokens)))
        return status;
    return regroup(s, &s->args->grad[slot], buffer, false);
}

static clf_status compositional_backward(clf_run *run)
{
    const steps s = clf__steps_of(clf_run_plan(run), run);
    clf_status status;

    if ((status = regroup(&s, &s.args->grad[CLF_QKV_OUT], BUFFER_OUT, true)) ||
        (status = multiply(&s, PRODUCT_D_COMPOSED)) || (status = multiply(&s, PRODUCT_W_OUT)) ||
        (status = add_rows(&s, SUM_OUT)) || (status = selection_back(&s)))
        return status;
    for (int i = 0; i < s.state->chunks && !status; i++)
        status = retrieval_back(&s, i);
    if (status || (status = queries_back(&s)) ||
        (status = keys_back(&s, CLF_QKV_K, PRODUCT_W_K, SUM_K, PRODUCT_D_XK)))
        return status;
    return keys_back(&s, CLF_QKV_V, PRODUCT_W_V, SUM_V, PRODUCT_D_XV);
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
    .forward = compositional_forward,
    .backward = compositional_backward,
    .work = compositional_work,
    .answer = { .forward = 0.02753038, .backward = 0.00445287 },
};
