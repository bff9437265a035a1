/* Compositional attention in plain C, by the book: every bias and every share of a score is there, also those that
 * cannot change a softmax. Attention of each head to all rules side by side is that of exact.h. */
#include "attention/compositional_layers.h"
#include "exact.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    Q,
    K,
    V,
    COMPOSED,
    D_COMPOSED,
    SELECT,
    D_SELECT,
    WEIGHT,
    SLOPE,
    HIDDEN,
    HEADS_Q,
    HEADS_K,
    HEADS_V,
    RETRIEVED,
    D_Q,
    D_K,
    D_V,
    D_RETRIEVED,
    D_HEADS_Q,
    D_HEADS_K,
    D_HEADS_V,
    MASK,
    ARRAYS
};

typedef struct problem {
    const clf_reference        *reference;
    const compositional_config *config;
    int64_t batch, queries, keys, split, slice; /* split x slice: how the tensors have their channels */
    int64_t model, heads, head, rules, width, selection, rows;
    bool    backward, turned;
    double *array[ARRAYS];
} problem;

static double add(const problem *p, double sum, double a, double b)
{
    return clf_reference_add(p->reference, sum, a, b);
}

/* Channel c of token t = b * length + n of a [B, split, length, slice] array. */
static int64_t place(const problem *p, int64_t length, int64_t t, int64_t c)
{
    return ((t / length * p->split + c / p->slice) * length + t % length) * p->slice + c % p->slice;
}

/* ---- linear layers ------------------------------------------------------------------------------------- */

/* A matrix of `rows`; its elements by `place` where `length` is not 0. */
typedef struct matrix {
    double *values;
    int64_t columns, length;
} matrix;

static double *element(const problem *p, const matrix *m, int64_t row, int64_t column)
{
    return &m->values[m->length ? place(p, m->length, row, column) : row * m->columns + column];
}

/* y = alpha x weight^T + bias, or with `back` the three gradients, added to what there is. */
static void linear(const problem *p, compositional_layer layer, int64_t rows, matrix x, matrix y, double alpha,
                   bool store)
{
    const double *weight = p->reference->parameter[2 * layer], *bias = p->reference->parameter[2 * layer + 1];

    for (int64_t row = 0; row < rows; row++)
        for (int64_t o = 0; o < y.columns; o++) {
            double sum = 0;
            for (int64_t i = 0; i < x.columns; i++)
                sum = add(p, sum, *element(p, &x, row, i), weight[o * x.columns + i]);
            sum = add(p, bias ? bias[o] : 0, alpha, sum);
            *element(p, &y, row, o) = store ? clf_reference_store(p->reference, sum) : sum;
        }
}

static void linear_back(const problem *p, compositional_layer layer, int64_t rows, matrix x, matrix dy, matrix dx,
                        double alpha)
{
    const double *weight = p->reference->parameter[2 * layer];
    double *to_weight = p->reference->parameter_grad[2 * layer], *to_bias = p->reference->parameter_grad[2 * layer + 1];

    for (int64_t row = 0; row < rows; row++)
        for (int64_t o = 0; o < dy.columns; o++) {
            const double gradient = *element(p, &dy, row, o), scaled = add(p, 0, alpha, gradient);
            if (to_bias)
                to_bias[o] = add(p, to_bias[o], gradient, 1);
            for (int64_t i = 0; i < x.columns && gradient != 0;
                 i++) { /* of what nobody sees the input may be anything */
                double *to = dx.values ? element(p, &dx, row, i) : NULL;
                to_weight[o * x.columns + i] = add(p, to_weight[o * x.columns + i], scaled, *element(p, &x, row, i));
                if (to)
                    *to = add(p, *to, scaled, weight[o * x.columns + i]);
            }
        }
}

/* ---- selection of rules -------------------------------------------------------------------------------- */

/* The row of q by which row `row` selects: xFormers has batch and positions in another order. */
static int64_t selector(const problem *p, int64_t row)
{
    const int64_t token = row / p->heads;
    if (!p->turned)
        return row;
    return (token % p->batch * p->queries + token / p->batch) * p->heads + row % p->heads;
}

static double *retrieved(const problem *p, int which, int64_t row, int64_t rule)
{
    const int64_t token = row / p->heads, item = token / p->queries * p->heads + row % p->heads;
    return p->array[which] + (item * p->queries + token % p->queries) * p->rules * p->width + rule * p->width;
}

static double dot(const problem *p, const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum = add(p, sum, a[i], b[i]);
    return sum;
}

static double bias_of(const problem *p, compositional_layer layer, int64_t i)
{
    const double *bias = p->reference->parameter[2 * layer + 1];
    return bias ? bias[i] : 0;
}

static const double *weight_of(const problem *p, compositional_layer layer)
{
    return p->reference->parameter[2 * layer];
}

/* The hidden layer before its threshold, or value_k of what was retrieved. */
static double hidden(const problem *p, int64_t row, int64_t rule, int64_t s)
{
    const double *a = retrieved(p, RETRIEVED, row, rule), *select = p->array[SELECT] + row * p->selection;
    const int64_t in = p->width + p->selection;

    if (p->config->qk_rule)
        return add(p, bias_of(p, LAYER_VALUE_K, s), dot(p, weight_of(p, LAYER_VALUE_K) + s * p->width, a, p->width), 1);
    const double *weight = weight_of(p, LAYER_HIDDEN) + s * in;
    return add(p, add(p, bias_of(p, LAYER_HIDDEN, s), dot(p, weight, a, p->width), 1),
               dot(p, weight + p->width, select, p->selection), 1);
}

static double score(const problem *p, int64_t row, int64_t rule)
{
    const double *select = p->array[SELECT] + row * p->selection;
    double sum = 0;

    if (p->config->qk_rule) {
        for (int64_t s = 0; s < p->selection; s++)
            sum = add(p, sum, select[s], hidden(p, row, rule, s));
        return add(p, 0, sum, 1 / sqrt((double)p->selection));
    }
    if (p->config->nonlinear) {
        for (int64_t s = 0; s < p->selection; s++)
            sum = add(p, sum, weight_of(p, LAYER_TOP)[s], fmax(0, hidden(p, row, rule, s)));
        return add(p, bias_of(p, LAYER_TOP, 0), sum, 1);
    }
    sum = dot(p, weight_of(p, LAYER_SCORE), retrieved(p, RETRIEVED, row, rule), p->width);
    sum = add(p, sum, dot(p, weight_of(p, LAYER_SCORE) + p->width, select, p->selection), 1);
    return add(p, bias_of(p, LAYER_SCORE, 0), sum, 1);
}

static void compose(const problem *p, int64_t row)
{
    double *weight = p->array[WEIGHT] + row * p->rules, top = -INFINITY, sum = 0;

    for (int64_t r = 0; r < p->rules; r++) {
        weight[r] = score(p, row, r);
        top = !(weight[r] <= top) ? weight[r] : top;
    }
    for (int64_t r = 0; r < p->rules; r++)
        sum = add(p, sum, weight[r] = exp(weight[r] - top), 1);
    for (int64_t v = 0; v < p->width; v++)
        p->array[COMPOSED][row * p->width + v] = 0;
    for (int64_t r = 0; r < p->rules; r++) {
        weight[r] = add(p, 0, weight[r], 1 / sum);
        for (int64_t v = 0; v < p->width; v++)
            p->array[COMPOSED][row * p->width + v] =
                add(p, p->array[COMPOSED][row * p->width + v], weight[r], retrieved(p, RETRIEVED, row, r)[v]);
    }
}

/* to += factor from */
static void more(const problem *p, double *to, double factor, const double *from, int64_t count)
{
    for (int64_t i = 0; to && i < count; i++)
        to[i] = add(p, to[i], factor, from[i]);
}

/* From the gradient of one score to everything that it is made of. */
static void score_back(const problem *p, int64_t row, int64_t rule, double slope)
{
    double *const *grad = p->reference->parameter_grad;
    const double *a = retrieved(p, RETRIEVED, row, rule), *select = p->array[SELECT] + row * p->selection;
    double *to_a = retrieved(p, D_RETRIEVED, row, rule), *to_select = p->array[D_SELECT] + row * p->selection;
    const bool qk = p->config->qk_rule;
    const double one = 1, scaled = add(p, 0, slope, 1 / sqrt((double)p->selection));

    if (!qk && !p->config->nonlinear) {
        more(p, to_a, slope, weight_of(p, LAYER_SCORE), p->width);
        more(p, to_select, slope, weight_of(p, LAYER_SCORE) + p->width, p->selection);
        more(p, grad[2 * LAYER_SCORE], slope, a, p->width);
        more(p, grad[2 * LAYER_SCORE] + p->width, slope, select, p->selection);
        more(p, grad[2 * LAYER_SCORE + 1], slope, &one, 1);
        return;
    }
    if (!qk)
        more(p, grad[2 * LAYER_TOP + 1], slope, &one, 1);
    for (int64_t s = 0; s < p->selection; s++) {
        const double value = hidden(p, row, rule, s), factor = qk ? select[s] : weight_of(p, LAYER_TOP)[s];
        const double through = qk ? add(p, 0, scaled, factor) : value > 0 ? add(p, 0, slope, factor) : 0;
        const compositional_layer layer = qk ? LAYER_VALUE_K : LAYER_HIDDEN;
        const int64_t in = qk ? p->width : p->width + p->selection;
        more(p, to_a, through, weight_of(p, layer) + s * in, p->width);
        more(p, grad[2 * layer] + s * in, through, a, p->width);
        if (grad[2 * layer + 1])
            more(p, grad[2 * layer + 1] + s, through, &one, 1);
        if (qk) {
            to_select[s] = add(p, to_select[s], scaled, value);
            continue;
        }
        more(p, grad[2 * LAYER_TOP] + s, slope, &(double){ fmax(0, value) }, 1);
        more(p, to_select, through, weight_of(p, layer) + s * in + p->width, p->selection);
        more(p, grad[2 * layer] + s * in + p->width, through, select, p->selection);
    }
}

static void compose_back(const problem *p, int64_t row)
{
    const double *weight = p->array[WEIGHT] + row * p->rules, *gradient = p->array[D_COMPOSED] + row * p->width;
    double *slope = p->array[SLOPE] + row * p->rules, mean = 0;

    for (int64_t r = 0; r < p->rules; r++) {
        slope[r] = dot(p, gradient, retrieved(p, RETRIEVED, row, r), p->width);
        mean = add(p, mean, weight[r], slope[r]);
        more(p, retrieved(p, D_RETRIEVED, row, r), weight[r], gradient, p->width);
    }
    for (int64_t r = 0; r < p->rules; r++)
        score_back(p, row, r, add(p, 0, weight[r], slope[r] - mean));
    for (int64_t i = 0; i < p->rules * p->width; i++) {
        double *to = retrieved(p, D_RETRIEVED, row, 0) + i;
        *to = clf_reference_store(p->reference, *to);
    }
}

/* ---- retrieval ----------------------------------------------------------------------------------------- */

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const int64_t *shift = user;

    (void)item;
    return key <= query + *shift;
}

/* Rows of tokens to heads, values to every head; or their gradients back. */
static void regroup(const problem *p, int rows, int heads, int64_t length, int64_t width, bool values, bool back)
{
    for (int64_t i = 0; i < p->batch * p->heads * length * width; i++) {
        const int64_t item = i / width / length, token = item / p->heads * length + i / width % length;
        const int64_t column = values ? i % width : item % p->heads * width + i % width;
        double *row = &p->array[rows][token * (values ? width : p->heads * width) + column];
        if (back)
            *row = add(p, *row, p->array[heads][i], 1);
        else
            p->array[heads][i] = *row;
    }
}

/* Masks that the tensors have for all heads in one, for each head. */
static void spread_mask(const problem *p, clf_reference *inner, clf_args *args)
{
    const double *mask = inner->io[CLF_QKV_ATT_MASK];
    const int64_t size = p->queries * p->keys;

    if (!mask || p->split == p->heads)
        return;
    for (int64_t item = 0; item < p->batch * p->heads; item++)
        memcpy(p->array[MASK] + item * size, mask + item / p->heads * p->split * size, (size_t)size * sizeof *mask);
    inner->io[CLF_QKV_ATT_MASK] = p->array[MASK];
    args->io[CLF_QKV_ATT_MASK].shape[1] = p->heads;
}

/* Both passes, or forward alone, of attention in heads. */
static clf_status retrieve(const problem *p, int pass)
{
    const bool xformers = p->config->base.semantics == CLF_SEMANTICS_XFORMERS;
    const int64_t shift = xformers ? 0 : p->keys - p->queries, all = p->rules * p->width;
    const clf__exact exact = { .scale = 1 / sqrt((double)p->head), .dropout = p->config->base.dropout,
                               .sees = p->config->base.causal ? sees : NULL, .user = &shift };
    clf_reference inner = *p->reference;
    clf_args args = *p->reference->args;

    for (int i = CLF_QKV_Q; i <= CLF_QKV_V; i++) {
        args.io[i].shape[1] = p->heads;
        args.io[i].shape[3] = i == CLF_QKV_V ? all : p->head;
        inner.io[i] = p->array[HEADS_Q + i];
        inner.grad[i] = pass & CLF_BACKWARD ? p->array[D_HEADS_Q + i] : NULL;
    }
    inner.io[CLF_QKV_OUT] = p->array[RETRIEVED];
    inner.grad[CLF_QKV_OUT] = pass & CLF_BACKWARD ? p->array[D_RETRIEVED] : NULL;
    inner.io[CLF_QKV_LSE] = NULL;
    inner.pass = pass;
    inner.args = &args;
    spread_mask(p, &inner, &args);
    return clf__reference_exact(&inner, &exact);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static compositional_layer projection(const problem *p, int slot)
{
    return p->config->use_separate_proj_weight ? (compositional_layer)(LAYER_Q + slot) : LAYER_Q;
}

static int64_t length_of(const problem *p, int slot)
{
    return slot == CLF_QKV_Q ? p->queries : p->keys;
}

static int64_t projected(const problem *p, int slot)
{
    return slot == CLF_QKV_V ? p->rules * p->width : p->heads * p->head;
}

static matrix tensor(const problem *p, double *values, int64_t length)
{
    return (matrix){ values, p->model, length };
}

/* How rules are selected: layer value_q, from rows of q or from tokens. */
static void select_all(const problem *p, bool back)
{
    const double alpha = 1 / sqrt((double)p->head);

    if (!p->config->q_compose) {
        const matrix x = tensor(p, p->reference->io[CLF_QKV_Q], p->queries);
        const matrix dx = tensor(p, p->reference->grad[CLF_QKV_Q], p->queries);
        const matrix y = { p->array[back ? D_SELECT : SELECT], p->heads * p->selection, 0 };
        if (back)
            linear_back(p, LAYER_VALUE_Q, p->batch * p->queries, x, y, dx, 1);
        else
            linear(p, LAYER_VALUE_Q, p->batch * p->queries, x, y, 1, false);
        return;
    }
    for (int64_t row = 0; row < p->rows; row++) {
        const int64_t from = selector(p, row) * p->head;
        const matrix x = { p->array[Q] + from, p->head, 0 }, dx = { back ? p->array[D_Q] + from : NULL, p->head, 0 };
        const matrix y = { p->array[back ? D_SELECT : SELECT] + row * p->selection, p->selection, 0 };
        if (back)
            linear_back(p, LAYER_VALUE_Q, 1, x, y, dx, alpha);
        else
            linear(p, LAYER_VALUE_Q, 1, x, y, alpha, false);
    }
}

static clf_status forward(const problem *p)
{
    const matrix composed = { p->array[COMPOSED], p->heads * p->width, 0 };
    clf_status status;

    for (int slot = 0; slot < 3; slot++) {
        const int64_t length = length_of(p, slot), width = projected(p, slot);
        linear(p, projection(p, slot), p->batch * length, tensor(p, p->reference->io[slot], length),
               (matrix){ p->array[Q + slot], width, 0 }, 1, true);
        regroup(p, Q + slot, HEADS_Q + slot, length, slot == CLF_QKV_V ? width : p->head, slot == CLF_QKV_V, false);
    }
    if ((status = retrieve(p, CLF_FORWARD)))
        return status;
    select_all(p, false);
    for (int64_t row = 0; row < p->rows; row++)
        compose(p, row);
    linear(p, LAYER_OUT, p->batch * p->queries, composed, tensor(p, p->reference->io[CLF_QKV_OUT], p->queries), 1,
           true);
    return CLF_SUCCESS;
}

static clf_status backward(const problem *p)
{
    const matrix composed = { p->array[COMPOSED], p->heads * p->width, 0 };
    const matrix d_composed = { p->array[D_COMPOSED], p->heads * p->width, 0 };
    clf_status status;

    linear_back(p, LAYER_OUT, p->batch * p->queries, composed, tensor(p, p->reference->grad[CLF_QKV_OUT], p->queries),
                d_composed, 1);
    for (int64_t row = 0; row < p->rows; row++)
        compose_back(p, row);
    if ((status = retrieve(p, CLF_FORWARD | CLF_BACKWARD)))
        return status;
    for (int slot = 0; slot < 3; slot++)
        regroup(p, D_Q + slot, D_HEADS_Q + slot, length_of(p, slot), slot == CLF_QKV_V ? projected(p, slot) : p->head,
                slot == CLF_QKV_V, true);
    select_all(p, true);
    for (int slot = 0; slot < 3; slot++) {
        const int64_t length = length_of(p, slot);
        linear_back(p, projection(p, slot), p->batch * length, tensor(p, p->reference->io[slot], length),
                    (matrix){ p->array[D_Q + slot], projected(p, slot), 0 },
                    tensor(p, p->reference->grad[slot], length), 1);
    }
    return CLF_SUCCESS;
}

static int64_t weights(const problem *p, int place)
{
    const int64_t out[LAYERS] = { [LAYER_Q] = p->model, [LAYER_K] = p->model, [LAYER_V] = p->rules * p->width,
                                  [LAYER_OUT] = p->model, [LAYER_VALUE_K] = p->selection,
                                  [LAYER_VALUE_Q] = p->config->q_compose ? p->selection : p->heads * p->selection,
                                  [LAYER_SCORE] = 1, [LAYER_HIDDEN] = p->selection, [LAYER_TOP] = 1 };
    const int64_t in[LAYERS] = { [LAYER_Q] = p->model, [LAYER_K] = p->model, [LAYER_V] = p->model,
                                 [LAYER_OUT] = p->heads * p->width, [LAYER_VALUE_K] = p->width,
                                 [LAYER_VALUE_Q] = p->config->q_compose ? p->head : p->model,
                                 [LAYER_SCORE] = p->width + p->selection, [LAYER_HIDDEN] = p->width + p->selection,
                                 [LAYER_TOP] = p->selection };
    return out[place / 2] * (place % 2 ? 1 : in[place / 2]);
}

/* Gradients start from 0 and are rounded to their storage in the end. */
static void for_gradients(const problem *p, bool end)
{
    for (int i = 0; i < 3 + 2 * LAYERS; i++) {
        double *to = i < 3 ? p->reference->grad[i] : p->reference->parameter_grad[i - 3];
        const int64_t count = i < 3 ? clf_tensor_elements(&p->reference->args->io[i]) : weights(p, i - 3);
        for (int64_t n = 0; to && n < count; n++)
            to[n] = end ? clf_reference_store(p->reference, to[n]) : 0;
    }
}

static int64_t size_of(const problem *p, int which)
{
    const int64_t all = p->rules * p->width, q = p->batch * p->queries, k = p->batch * p->keys;

    switch (which) {
    case Q: case D_Q: case HEADS_Q: case D_HEADS_Q:
        return q * p->heads * p->head;
    case K: case D_K: case HEADS_K: case D_HEADS_K:
        return k * p->heads * p->head;
    case V: case D_V:
        return k * all;
    case HEADS_V: case D_HEADS_V:
        return k * p->heads * all;
    case RETRIEVED: case D_RETRIEVED:
        return p->rows * all;
    case MASK:
        return p->batch * p->heads * p->queries * p->keys;
    default:
        return p->rows * (p->selection + p->rules + p->width);
    }
}

clf_status clf_reference_compositional(const clf_reference *reference);
clf_status clf_reference_compositional(const clf_reference *reference)
{
    const compositional_config *c = reference->config;
    const int64_t *q = reference->args->io[CLF_QKV_Q].shape;
    problem p = {
        .reference = reference, .config = c, .batch = q[0], .queries = q[2],
        .keys = reference->args->io[CLF_QKV_K].shape[2], .split = q[1], .slice = q[3], .model = c->base.dim_model,
        .heads = c->base.num_heads, .head = c->base.dim_model / c->base.num_heads, .rules = c->num_rules,
        .width = c->dim_attn / c->num_rules, .selection = c->dim_selection, .rows = q[0] * q[2] * c->base.num_heads,
        .backward = (reference->pass & CLF_BACKWARD) != 0,
        .turned = c->base.semantics == CLF_SEMANTICS_XFORMERS && c->q_compose,
    };
    bool complete = true;
    clf_status status = CLF_OUT_OF_HOST_MEMORY;

    for (int i = 0; i < ARRAYS; i++) {
        p.array[i] = calloc((size_t)size_of(&p, i) + 1, sizeof *p.array[i]);
        complete = complete && p.array[i];
    }
    if (complete && p.backward)
        for_gradients(&p, false);
    if (complete)
        status = forward(&p);
    if (!status && p.backward)
        status = backward(&p);
    if (!status && p.backward)
        for_gradients(&p, true);
    for (int i = 0; i < ARRAYS; i++)
        free(p.array[i]);
    return status;
}
