/* Exact softmax attention in plain C, score by score. */
#include "exact.h"
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    const clf_reference *reference;
    const clf__exact    *exact;
    int64_t batch, heads, queries, keys, width, value_width;
    double  keep_scale;
    double *row[2]; /* scratch: a number for each key */
} problem;

enum { SCORE, WEIGHT };

static double add(const problem *p, double sum, double a, double b)
{
    return clf_reference_add(p->reference, sum, a, b);
}

static double dot(const problem *p, const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum = add(p, sum, a[i], b[i]);
    return sum;
}

/* Row (item, i) of a tensor whose heads have `rows` rows of `width`. */
static double *at(double *tensor, int64_t item, int64_t rows, int64_t i, int64_t width)
{
    return tensor + (item * rows + i) * width;
}

/* The mask's value, and whether the key is visible at all. */
static bool visible(const problem *p, int64_t item, int64_t i, int64_t j, double *bias)
{
    const clf_args *args = p->reference->args;
    const clf_tensor *mask = &args->io[CLF_QKV_ATT_MASK];
    const double *values = p->reference->io[CLF_QKV_ATT_MASK];
    const double *padding = p->reference->io[CLF_QKV_KEY_PADDING_MASK];

    *bias = 0;
    if (p->exact->sees && !p->exact->sees(p->exact->user, item, i, j))
        return false;
    if (padding && padding[item / p->heads * p->keys + j] == 0)
        return false;
    if (!values)
        return true;
    const double value = values[((mask->rank == 3 ? item % mask->shape[0] : item) * p->queries + i) * p->keys + j];
    if (mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8)
        return value != 0;
    *bias = value;
    return value != -INFINITY;
}

/* Fills the row's scores and answers its log-sum-exp, -inf when it sees nothing. */
static double score_row(const problem *p, int64_t item, int64_t i)
{
    double *const *io = p->reference->io, *score = p->row[SCORE], bias, top = -INFINITY, sum = 0;
    const double *q = at(io[CLF_QKV_Q], item, p->queries, i, p->width);

    for (int64_t j = 0; j < p->keys; j++) {
        score[j] = -INFINITY;
        if (!visible(p, item, i, j, &bias))
            continue;
        score[j] = add(p, bias, dot(p, q, at(io[CLF_QKV_K], item, p->keys, j, p->width), p->width), p->exact->scale);
        top = !(score[j] <= top) ? score[j] : top;
    }
    for (int64_t j = 0; j < p->keys; j++)
        if (score[j] != -INFINITY)
            sum = add(p, sum, exp(score[j] - top), 1);
    return top == -INFINITY ? -INFINITY : add(p, top, log(sum), 1);
}

/* The attention weight before dropout, and the factor that dropout puts on it. */
static double weight_of(const problem *p, double lse, int64_t item, int64_t i, int64_t j, double *kept)
{
    const double score = p->row[SCORE][j];

    *kept = clf_reference_keep(p->reference, p->exact->dropout, item, i, j) ? p->keep_scale : 0;
    return score == -INFINITY || lse == -INFINITY ? 0 : exp(score - lse);
}

static void forward_row(const problem *p, int64_t item, int64_t i, double lse)
{
    double *const *io = p->reference->io, *out = at(io[CLF_QKV_OUT], item, p->queries, i, p->value_width), kept;

    for (int64_t j = 0; j < p->keys; j++)
        p->row[WEIGHT][j] = clf_reference_store(p->reference, weight_of(p, lse, item, i, j, &kept)) * kept;
    for (int64_t e = 0; e < p->value_width; e++) {
        double sum = 0;
        for (int64_t j = 0; j < p->keys; j++)
            if (p->row[WEIGHT][j] != 0)
                sum = add(p, sum, p->row[WEIGHT][j], at(io[CLF_QKV_V], item, p->keys, j, p->value_width)[e]);
        out[e] = clf_reference_store(p->reference, sum);
    }
    if (io[CLF_QKV_LSE])
        io[CLF_QKV_LSE][item * p->queries + i] = lse;
}

/* to += factor * from, where a factor of 0 means that the two have nothing to do with each other. */
static void add_row(const problem *p, double *to, double factor, const double *from, int64_t width)
{
    for (int64_t i = 0; to && factor != 0 && i < width; i++)
        to[i] = add(p, to[i], factor, from[i]);
}

static void backward_row(const problem *p, int64_t item, int64_t i, double lse)
{
    double *const *io = p->reference->io, *const *grad = p->reference->grad;
    const double *q = at(io[CLF_QKV_Q], item, p->queries, i, p->width);
    const double *grad_out = at(grad[CLF_QKV_OUT], item, p->queries, i, p->value_width);
    const double delta = dot(p, at(io[CLF_QKV_OUT], item, p->queries, i, p->value_width), grad_out, p->value_width);
    double *to_q = grad[CLF_QKV_Q] ? at(grad[CLF_QKV_Q], item, p->queries, i, p->width) : NULL;

    for (int64_t j = 0; j < p->keys; j++) {
        const double *k = at(io[CLF_QKV_K], item, p->keys, j, p->width);
        const double *v = at(io[CLF_QKV_V], item, p->keys, j, p->value_width);
        double kept;
        const double weight = clf_reference_store(p->reference, weight_of(p, lse, item, i, j, &kept));
        if (weight == 0)
            continue;
        const double gradient = add(p, 0, weight, add(p, -delta, kept, kept != 0 ? dot(p, grad_out, v, p->value_width) : 0));
        const double scaled = add(p, 0, gradient, p->exact->scale);
        add_row(p, to_q, scaled, k, p->width);
        if (grad[CLF_QKV_K])
            add_row(p, at(grad[CLF_QKV_K], item, p->keys, j, p->width), scaled, q, p->width);
        if (grad[CLF_QKV_V])
            add_row(p, at(grad[CLF_QKV_V], item, p->keys, j, p->value_width), weight * kept, grad_out, p->value_width);
    }
}

/* Gradients start from 0 and are rounded to their storage in the end. */
static void for_gradients(const problem *p, bool end)
{
    for (int i = CLF_QKV_Q; i <= CLF_QKV_V; i++) {
        const int64_t count = clf_tensor_elements(&p->reference->args->io[i]);
        for (int64_t n = 0; p->reference->grad[i] && n < count; n++)
            p->reference->grad[i][n] = end ? clf_reference_store(p->reference, p->reference->grad[i][n]) : 0;
    }
}

bool clf__exact_pairs_see(const void *user, int64_t item, int64_t query, int64_t key)
{
    const clf__exact_pairs *pairs = user;
    return pairs->seen[(item % pairs->items * pairs->queries + query) * pairs->keys + key] != 0;
}

void clf__exact_pairs_drop(clf__exact_pairs *pairs, bool force)
{
    const int64_t all = pairs->items * pairs->queries * pairs->keys;
    int64_t       count = 0;

    for (int64_t i = 0; i < all; i++)
        count += pairs->seen[i];
    if (!force && (double)count > 0.3 * (double)all)
        return;
    for (int64_t i = all - 1; i >= 0 && count % 4 != 0; i--)
        if (pairs->seen[i]) {
            pairs->seen[i] = 0;
            count--;
        }
}

clf_status clf__reference_exact(const clf_reference *reference, const clf__exact *exact)
{
    const clf_tensor *io = reference->args->io;
    problem p = {
        .reference = reference,
        .exact = exact,
        .batch = io[CLF_QKV_Q].shape[0],
        .heads = io[CLF_QKV_Q].shape[1],
        .queries = io[CLF_QKV_Q].shape[2],
        .keys = io[CLF_QKV_K].shape[2],
        .width = io[CLF_QKV_Q].shape[3],
        .value_width = io[CLF_QKV_V].shape[3],
        .keep_scale = reference->args->training && exact->dropout < 1 ? 1 / (1 - (double)exact->dropout) : 1,
    };
    const bool backward = (reference->pass & CLF_BACKWARD) != 0;
    double *scratch = malloc((size_t)(2 * p.keys + 1) * sizeof *scratch);

    if (!scratch)
        return CLF_OUT_OF_HOST_MEMORY;
    p.row[SCORE] = scratch;
    p.row[WEIGHT] = scratch + p.keys;
    if (backward)
        for_gradients(&p, false);
    for (int64_t item = 0; item < p.batch * p.heads; item++) {
        for (int64_t i = 0; i < p.queries; i++) {
            const double lse = score_row(&p, item, i);
            forward_row(&p, item, i, lse);
            if (backward)
                backward_row(&p, item, i, lse);
        }
    }
    if (backward)
        for_gradients(&p, true);
    free(scratch);
    return CLF_SUCCESS;
}
