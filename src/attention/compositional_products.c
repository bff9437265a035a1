/* The products and sums of compositional attention: one table for planning and running. */
#include "attention/compositional_steps.h"
#include <math.h>

/* The same elements as another matrix. */
static clf_tensor reshaped(clf_tensor matrix, int64_t rows, int64_t columns)
{
    matrix.shape[0] = rows;
    matrix.shape[1] = columns;
    matrix.strides[0] = columns;
    return matrix;
}

/* ---- products ---------------------------------------------------------------------------------------- */

static clf_tensor weight_of(const steps *s, compositional_layer layer)
{
    return clf__steps_parameter(s, 2 * (int)layer, false);
}

static clf_tensor weight_gradient(const steps *s, compositional_layer layer)
{
    return clf__steps_parameter(s, 2 * (int)layer, true);
}

/* The layer that projects keys or values: the queries' where there is one for all. */
static compositional_layer shared(const steps *s, compositional_layer layer)
{
    return s->config->use_separate_proj_weight ? layer : LAYER_Q;
}

/* x weight^T + bias */
static clf__gemm_problem apply(const steps *s, clf_tensor x, compositional_layer layer, clf_tensor result)
{
    const clf_tensor weight = weight_of(s, layer);
    return (clf__gemm_problem){ .a = x, .b = clf__gemm_transposed(&weight), .c = result, .alpha = 1,
                                .bias = clf__steps_parameter(s, 2 * (int)layer + 1, false) };
}

/* result (+)= alpha gradient weight */
static clf__gemm_problem back(clf_tensor gradient, clf_tensor weight, clf_tensor result, float alpha, bool more)
{
    return (clf__gemm_problem){ .a = gradient, .b = weight, .c = result, .alpha = alpha, .beta = more ? 1 : 0 };
}

/* result (+)= alpha gradient^T x */
static clf__gemm_problem weigh(clf_tensor gradient, clf_tensor x, clf_tensor result, float alpha, bool more)
{
    return back(clf__gemm_transposed(&gradient), x, result, alpha, more);
}

static clf_tensor tokens(const steps *s, int slot)
{
    return clf__steps_tokens(s, &s->args->io[slot], (step_buffer)(BUFFER_XQ + slot));
}

/* Keys or values without the rows that no query sees. */
static clf_tensor seen_tokens(const steps *s, int slot)
{
    return s->masked ? clf__steps_buffer(s, (step_buffer)(BUFFER_XQ + slot)) : tokens(s, slot);
}

static clf_tensor token_gradient(const steps *s, int slot)
{
    return clf__steps_tokens(s, &s->args->grad[slot], (step_buffer)(BUFFER_XQ + slot));
}

/* What selects: rows of q by head, or the tokens. */
static clf_tensor selector(const steps *s)
{
    if (!s->config->q_compose)
        return tokens(s, CLF_QKV_Q);
    return reshaped(clf__steps_buffer(s, s->turned ? BUFFER_TURNED : BUFFER_Q), s->batch * s->queries * s->heads,
                    s->head);
}

/* Selections in the rows of that. */
static clf_tensor selections(const steps *s, step_buffer which)
{
    const int64_t tokens = s->batch * s->queries;
    return s->config->q_compose ? clf__steps_buffer(s, which)
                                : reshaped(clf__steps_buffer(s, which), tokens, s->heads * s->selection);
}

static float select_scale(const steps *s)
{
    return s->config->q_compose ? (float)(1 / sqrt((double)s->head)) : 1;
}

static clf_tensor retrieved_rows(const steps *s, step_buffer which)
{
    return reshaped(clf__steps_buffer(s, which), s->batch * s->queries * s->heads * s->rules, s->width);
}

static bool forward_product(const steps *s, step_product which, clf__gemm_problem *p)
{
    const clf_tensor hidden = weight_of(s, LAYER_HIDDEN);

    switch (which) {
    case PRODUCT_Q:
        *p = apply(s, tokens(s, CLF_QKV_Q), LAYER_Q, clf__steps_buffer(s, BUFFER_Q));
        return true;
    case PRODUCT_K:
        *p = apply(s, tokens(s, CLF_QKV_K), shared(s, LAYER_K), clf__steps_buffer(s, BUFFER_K));
        return true;
    case PRODUCT_V:
        *p = apply(s, tokens(s, CLF_QKV_V), shared(s, LAYER_V), clf__steps_buffer(s, BUFFER_V));
        return true;
    case PRODUCT_SELECT:
        if (s->linear)
            return false;
        *p = apply(s, selector(s), LAYER_VALUE_Q, selections(s, BUFFER_SELECT));
        p->alpha = select_scale(s);
        return true;
    case PRODUCT_U:
        if (!s->qk)
            return false;
        *p = back(clf__steps_buffer(s, BUFFER_SELECT), weight_of(s, LAYER_VALUE_K), clf__steps_buffer(s, BUFFER_U),
                  (float)(1 / sqrt((double)s->selection)), false);
        return true;
    case PRODUCT_SHIFT:
        if (!s->network)
            return false;
        *p = apply(s, clf__steps_buffer(s, BUFFER_SELECT), LAYER_HIDDEN, clf__steps_buffer(s, BUFFER_SHIFT));
        const clf_tensor right = clf__steps_columns(hidden, s->width, s->width + s->selection);
        p->b = clf__gemm_transposed(&right);
        return true;
    case PRODUCT_HIDDEN:
        if (!s->network)
            return false;
        *p = apply(s, retrieved_rows(s, BUFFER_RETRIEVED), LAYER_HIDDEN, clf__steps_buffer(s, BUFFER_HIDDEN));
        const clf_tensor left = clf__steps_columns(hidden, 0, s->width);
        p->b = clf__gemm_transposed(&left);
        p->bias.rank = 0; /* it is in the shift */
        return true;
    case PRODUCT_OUT:
        *p = apply(s, clf__steps_buffer(s, BUFFER_COMPOSED), LAYER_OUT,
                   clf__steps_tokens(s, &s->args->io[CLF_QKV_OUT], BUFFER_OUT));
        return true;
    default:
        return false;
    }
}

static bool back_product(const steps *s, step_product which, clf__gemm_problem *p)
{
    const clf_tensor hidden = weight_of(s, LAYER_HIDDEN);
    const float scale = (float)(1 / sqrt((double)s->selection));
    const int64_t rows = s->batch * s->queries * s->heads;
    clf_tensor turned;

    switch (which) {
    case PRODUCT_D_COMPOSED:
        *p = back(clf__steps_tokens(s, &s->args->grad[CLF_QKV_OUT], BUFFER_OUT), weight_of(s, LAYER_OUT),
                  clf__steps_buffer(s, BUFFER_D_COMPOSED), 1, false);
        return true;
    case PRODUCT_D_SELECT:
        turned = weight_of(s, LAYER_VALUE_K);
        if (s->qk)
            *p = back(clf__steps_buffer(s, BUFFER_D_U), clf__gemm_transposed(&turned),
                      clf__steps_buffer(s, BUFFER_D_SELECT), scale, false);
        if (s->network)
            *p = back(clf__steps_buffer(s, BUFFER_D_SHIFT),
                      clf__steps_columns(hidden, s->width, s->width + s->selection),
                      clf__steps_buffer(s, BUFFER_D_SELECT), 1, false);
        return !s->linear;
    case PRODUCT_D_RETRIEVED:
        if (s->network)
            *p = back(clf__steps_buffer(s, BUFFER_D_HIDDEN), clf__steps_columns(hidden, 0, s->width),
                      retrieved_rows(s, BUFFER_D_RETRIEVED), 1, true);
        return s->network;
    case PRODUCT_D_Q_SELECT:
        if (s->linear || !s->config->q_compose)
            return false;
        *p = back(selections(s, BUFFER_D_SELECT), weight_of(s, LAYER_VALUE_Q),
                  reshaped(clf__steps_buffer(s, s->turned ? BUFFER_D_TURNED : BUFFER_D_Q), rows, s->head),
                  select_scale(s), !s->turned);
        return true;
    case PRODUCT_D_XQ:
    case PRODUCT_D_XK:
    case PRODUCT_D_XV: {
        const int slot = which == PRODUCT_D_XQ ? 0 : which == PRODUCT_D_XK ? 1 : 2;
        if (s->args->grad[slot].rank == 0)
            return false;
        *p = back(clf__steps_buffer(s, (step_buffer)(BUFFER_D_Q + slot)),
                  weight_of(s, slot == 0 ? LAYER_Q : shared(s, (compositional_layer)(LAYER_Q + slot))),
                  token_gradient(s, slot), 1, false);
        return true;
    }
    case PRODUCT_D_XQ_SELECT:
        if (s->linear || s->config->q_compose || s->args->grad[CLF_QKV_Q].rank == 0)
            return false;
        *p = back(selections(s, BUFFER_D_SELECT), weight_of(s, LAYER_VALUE_Q), token_gradient(s, CLF_QKV_Q), 1, true);
        return true;
    default:
        return false;
    }
}

static bool weight_product(const steps *s, step_product which, clf__gemm_problem *p)
{
    const clf_tensor hidden = weight_gradient(s, LAYER_HIDDEN);
    const bool separate = s->config->use_separate_proj_weight;

    switch (which) {
    case PRODUCT_W_OUT:
        *p = weigh(clf__steps_tokens(s, &s->args->grad[CLF_QKV_OUT], BUFFER_OUT), clf__steps_buffer(s, BUFFER_COMPOSED),
                   weight_gradient(s, LAYER_OUT), 1, false);
        return true;
    case PRODUCT_W_VALUE_K:
        if (s->qk)
            *p = weigh(clf__steps_buffer(s, BUFFER_SELECT), clf__steps_buffer(s, BUFFER_D_U),
                       weight_gradient(s, LAYER_VALUE_K), (float)(1 / sqrt((double)s->selection)), false);
        return s->qk;
    case PRODUCT_W_VALUE_Q:
        if (!s->linear)
            *p = weigh(selections(s, BUFFER_D_SELECT), selector(s), weight_gradient(s, LAYER_VALUE_Q), select_scale(s),
                       false);
        return !s->linear;
    case PRODUCT_W_SHIFT:
        if (s->network)
            *p = weigh(clf__steps_buffer(s, BUFFER_D_SHIFT), clf__steps_buffer(s, BUFFER_SELECT),
                       clf__steps_columns(hidden, s->width, s->width + s->selection), 1, false);
        return s->network;
    case PRODUCT_W_HIDDEN:
        if (s->network)
            *p = weigh(clf__steps_buffer(s, BUFFER_D_HIDDEN), retrieved_rows(s, BUFFER_RETRIEVED),
                       clf__steps_columns(hidden, 0, s->width), 1, false);
        return s->network;
    case PRODUCT_W_Q:
        *p = weigh(clf__steps_buffer(s, BUFFER_D_Q), tokens(s, CLF_QKV_Q), weight_gradient(s, LAYER_Q), 1, false);
        return true;
    case PRODUCT_W_K:
        *p = weigh(clf__steps_buffer(s, BUFFER_D_K), seen_tokens(s, CLF_QKV_K), weight_gradient(s, shared(s, LAYER_K)),
                   1, !separate);
        return true;
    case PRODUCT_W_V:
        *p = weigh(clf__steps_buffer(s, BUFFER_D_V), seen_tokens(s, CLF_QKV_V), weight_gradient(s, shared(s, LAYER_V)),
                   1, !separate);
        return true;
    default:
        return false;
    }
}

bool clf__steps_product(const steps *s, step_product which, clf__gemm_problem *problem)
{
    if (which <= FORWARD_PRODUCTS_END)
        return forward_product(s, which, problem);
    return s->backward && (which < PRODUCT_W_OUT ? back_product(s, which, problem) : weight_product(s, which, problem));
}

/* ---- sums over rows ---------------------------------------------------------------------------------- */

bool clf__steps_sum(const steps *s, step_sum which, clf_tensor *matrix, clf_tensor *to, bool *accumulate)
{
    const bool separate = s->config->use_separate_proj_weight, bias = s->config->bias;

    *accumulate = !separate && (which == SUM_K || which == SUM_V);
    switch (which) {
    case SUM_OUT:
        *matrix = clf__steps_tokens(s, &s->args->grad[CLF_QKV_OUT], BUFFER_OUT);
        *to = clf__steps_parameter(s, 2 * LAYER_OUT + 1, true);
        return bias;
    case SUM_SELECT:
        *matrix = selections(s, BUFFER_D_SELECT);
        *to = clf__steps_parameter(s, 2 * LAYER_VALUE_Q + 1, true);
        return bias && !s->linear;
    case SUM_SHIFT:
        *matrix = clf__steps_buffer(s, BUFFER_D_SHIFT);
        *to = clf__steps_parameter(s, 2 * LAYER_HIDDEN + 1, true);
        return bias && s->network;
    case SUM_TOP:
        *matrix = clf__steps_buffer(s, BUFFER_D_TOP);
        *to = clf__steps_parameter(s, 2 * LAYER_TOP, true);
        return s->network;
    case SUM_SCORE:
        *matrix = clf__steps_buffer(s, BUFFER_D_U);
        *to = clf__steps_parameter(s, 2 * LAYER_SCORE, true);
        return s->linear;
    case SUM_Q:
    case SUM_K:
    case SUM_V: {
        const int slot = (int)which - SUM_Q;
        *matrix = clf__steps_buffer(s, (step_buffer)(BUFFER_D_Q + slot));
        *to = clf__steps_parameter(s, 2 * (separate ? LAYER_Q + slot : LAYER_Q) + 1, true);
        return bias;
    }
    default:
        return false;
    }
}
