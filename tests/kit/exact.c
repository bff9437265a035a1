/* Exact softmax attention in plain C, score by score. */
#include "exact.h"
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    const clf_reference *reference;
    const clf__exact    *exact;
    int64_t batch, heads, k_heads, queries, keys, width, value_width; /* as the tensors have them */
    double  keep_scale;
    double *row[3]; /* scratch: a number for each key */
} problem;

enum { SCORE, WEIGHT, SLOPE };

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

int64_t clf__exact_queries(const clf_reference *reference, const clf__exact *exact, int64_t s)
{
    const double *starts = exact->q_starts;
    return starts ? (int64_t)(starts[s + 1] - starts[s]) : reference->args->io[CLF_QKV_Q].shape[2];
}

int64_t clf__exact_keys(const clf_reference *reference, const clf__exact *exact, int64_t s)
{
    const double *starts = exact->k_starts;
    const int64_t slots = starts ? (int64_t)(starts[s + 1] - starts[s]) : reference->args->io[CLF_QKV_K].shape[2];

    return exact->k_lengths && (int64_t)exact->k_lengths[s] < slots ? (int64_t)exact->k_lengths[s] : slots;
}

/* Row i of an item in a tensor with the rows of q, in one with those of k. */
static double *query_row(const problem *p, double *tensor, int64_t item, int64_t i, int64_t width)
{
    const double *starts = p->exact->q_starts;
    const int64_t head = starts ? item % p->heads : item;

    return tensor + (head * p->queries + (starts ? (int64_t)starts[item / p->heads] : 0) + i) * width;
}

static double *key_row(const problem *p, double *tensor, int64_t item, int64_t j, int64_t width)
{
    const double *starts = p->exact->k_starts;
    const int64_t s = item / p->heads, own = item % p->heads / (p->heads / p->k_heads);
    const int64_t head = starts ? own : s * p->k_heads + own;

    return tensor + (head * p->keys + (starts ? (int64_t)starts[s] : 0) + j) * width;
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
    const int64_t s = item / p->heads;
    if (padding && padding[p->exact->k_starts ? (int64_t)p->exact->k_starts[s] + j : s * p->keys + j] == 0)
        return false;
    if (!values)
        return true;
    const double value = values[((mask->rank == 3 ? item % mask->shape[0] : item) * p->queries + i) * p->keys + j];
    if (mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8)
        return value != 0;
    *bias = value;
    return value != -INFINITY;
}

/* The score of a key that is seen. */
static double score_of(const problem *p, int64_t item, int64_t i, int64_t j, double dot_product, double bias)
{
    p->row[SLOPE][j] = 1;
    if (!p->exact->change)
        return add(p, bias, dot_product, p->exact->scale);
    const double natural = add(p, 0, dot_product, p->exact->scale);
    return add(p, bias, p->exact->change(p->exact->user, item, i, j, natural, &p->row[SLOPE][j]), 1);
}

/* Fills the row's scores and answers its log-sum-exp, -inf when it sees nothing. */
static double score_row(const problem *p, int64_t item, int64_t i)
{
    const int64_t keys = clf__exact_keys(p->reference, p->exact, item / p->heads);
    const double sink = p->exact->sinks ? p->exact->sinks[item % p->heads] : -INFINITY;
    double *const *io = p->reference->io, *score = p->row[SCORE], bias, top = sink, sum = 0;
    const double *q = query_row(p, io[CLF_QKV_Q], item, i, p->width);

    for (int64_t j = 0; j < keys; j++) {
        score[j] = -INFINITY;
        if (!visible(p, item, i, j, &bias))
            continue;
        score[j] = score_of(p, item, i, j, dot(p, q, key_row(p, io[CLF_QKV_K], item, j, p->width), p->width), bias);
        top = !(score[j] <= top) ? score[j] : top;
    }
    for (int64_t j = 0; j < keys; j++)
        if (score[j] != -INFINITY)
            sum = add(p, sum, exp(score[j] - top), 1);
    if (sink != -INFINITY)
        sum = add(p, sum, exp(sink - top), 1);
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
    const int64_t keys = clf__exact_keys(p->reference, p->exact, item / p->heads);
    double *const *io = p->reference->io, *out = query_row(p, io[CLF_QKV_OUT], item, i, p->value_width), kept;

    for (int64_t j = 0; j < keys; j++)
        p->row[WEIGHT][j] = clf_reference_store(p->reference, weight_of(p, lse, item, i, j, &kept)) * kept;
    for (int64_t e = 0; e < p->value_width; e++) {
        double sum = 0;
        for (int64_t j = 0; j < keys; j++)
            if (p->row[WEIGHT][j] != 0)
                sum = add(p, sum, p->row[WEIGHT][j], key_row(p, io[CLF_QKV_V], item, j, p->value_width)[e]);
        out[e] = clf_reference_store(p->reference, sum);
    }
    if (io[CLF_QKV_LSE])
        *query_row(p, io[CLF_QKV_LSE], item, i, 1) = lse;
}

/* to += factor * from, where a factor of 0 means that the two have nothing to do with each other. */
static void add_row(const problem *p, double *to, double factor, const double *from, int64_t width)
{
    for (int64_t i = 0; to && factor != 0 && i < width; i++)
        to[i] = add(p, to[i], factor, from[i]);
}

/* Element (b, h, i, j) of the mask's gradient, which has the axes and extents that the mask was given with. */
static double *at_mask(const problem *p, int64_t item, int64_t i, int64_t j)
{
    const clf_tensor *t = &p->reference->args->grad[CLF_QKV_ATT_MASK];
    const int64_t index[4] = { item / p->heads, item % p->heads, i, j };
    int64_t element = 0;

    for (int d = 0; d < t->rank; d++) {
        const int axis = t->rank == 3 && d == 0 ? 0 : 4 - t->rank + d; /* of BHQK the heads go first */
        element = element * t->shape[d] + (t->shape[d] == 1 ? 0 : index[axis]);
    }
    return p->reference->grad[CLF_QKV_ATT_MASK] + element;
}

static void backward_row(const problem *p, int64_t item, int64_t i, double lse)
{
    const int64_t keys = clf__exact_keys(p->reference, p->exact, item / p->heads);
    double *const *io = p->reference->io, *const *grad = p->reference->grad;
    const double *q = query_row(p, io[CLF_QKV_Q], item, i, p->width);
    const double *grad_out = query_row(p, grad[CLF_QKV_OUT], item, i, p->value_width);
    const double delta = dot(p, query_row(p, io[CLF_QKV_OUT], item, i, p->value_width), grad_out, p->value_width);
    double *to_q = grad[CLF_QKV_Q] ? query_row(p, grad[CLF_QKV_Q], item, i, p->width) : NULL;

    if (p->exact->grad_sinks && p->exact->sinks[item % p->heads] != -INFINITY) {
        double *to = &p->exact->grad_sinks[item % p->heads];
        *to = add(p, *to, -exp(p->exact->sinks[item % p->heads] - lse), delta);
    }
    for (int64_t j = 0; j < keys; j++) {
        const double *k = key_row(p, io[CLF_QKV_K], item, j, p->width);
        const double *v = key_row(p, io[CLF_QKV_V], item, j, p->value_width);
        double kept;
        const double weight = clf_reference_store(p->reference, weight_of(p, lse, item, i, j, &kept));
        if (weight == 0)
            continue;
        const double gradient = add(p, 0, weight, add(p, -delta, kept, kept != 0 ? dot(p, grad_out, v, p->value_width) : 0));
        if (grad[CLF_QKV_ATT_MASK])
            *at_mask(p, item, i, j) = add(p, *at_mask(p, item, i, j), gradient, 1);
        const double scaled = add(p, 0, gradient * p->row[SLOPE][j], p->exact->scale);
        add_row(p, to_q, scaled, k, p->width);
        if (grad[CLF_QKV_K])
            add_row(p, key_row(p, grad[CLF_QKV_K], item, j, p->width), scaled, q, p->width);
        if (grad[CLF_QKV_V])
            add_row(p, key_row(p, grad[CLF_QKV_V], item, j, p->value_width), weight * kept, grad_out, p->value_width);
    }
}

/* What rows outside of every sequence keep. */
static void clear_outputs(const problem *p)
{
    for (int64_t n = 0; n < p->heads * p->queries * p->value_width; n++)
        p->reference->io[CLF_QKV_OUT][n] = 0;
    for (int64_t n = 0; p->reference->io[CLF_QKV_LSE] && n < p->heads * p->queries; n++)
        p->reference->io[CLF_QKV_LSE][n] = -INFINITY;
}

/* Gradients start from 0 and are rounded to their storage in the end. */
static void for_gradients(const problem *p, bool end)
{
    for (int i = CLF_QKV_Q; i <= CLF_QKV_ATT_MASK; i++) {
        /* Those of q, k and v have the shapes of q, k and v, which a part's reference may have changed. */
        const clf_args *args = p->reference->args;
        const clf_tensor *t = i == CLF_QKV_ATT_MASK ? &args->grad[i] : &args->io[i];
        clf_reference rounds = *p->reference;
        if (!p->reference->grad[i])
            continue;
        if (rounds.storage != CLF_F64)
            rounds.storage = t->dtype; /* a mask has a type of its own */
        for (int64_t n = 0; n < clf_tensor_elements(t); n++)
            p->reference->grad[i][n] = end ? clf_reference_store(&rounds, p->reference->grad[i][n]) : 0;
    }
    for (int64_t h = 0; p->exact->grad_sinks && !end && h < p->heads; h++)
        p->exact->grad_sinks[h] = 0;
}

bool clf__exact_pairs_see(const void *user, int64_t item, int64_t query, int64_t key)
{
    const clf__exact_pairs *pairs = user;
    return pairs->seen[(item % pairs->items * pairs->queries + query) * pairs->keys + key] != 0;
}

/* The last entries of `all` go until a multiple of 4 is left. */
static void drop_last(uint8_t *seen, int64_t all)
{
    int64_t count = 0;

    for (int64_t i = 0; i < all; i++)
        count += seen[i];
    for (int64_t i = all - 1; i >= 0 && count % 4 != 0; i--)
        if (seen[i]) {
            seen[i] = 0;
            count--;
        }
}

void clf__exact_pairs_drop(clf__exact_pairs *pairs, const clf_reference *reference, bool force)
{
    const int64_t all = pairs->items * pairs->queries * pairs->keys;
    const double *mask = reference->io[CLF_QKV_ATT_MASK];
    int64_t       count = 0;

    for (int64_t i = 0; i < all; i++)
        count += pairs->seen[i];
    if (!force && (double)count > 0.3 * (double)all)
        return;
    drop_last(pairs->seen, all);
    for (int64_t i = 0; mask && i < all; i++)
        pairs->seen[i] = pairs->seen[i] && mask[i] != 0;
    drop_last(pairs->seen, all);
}

clf_status clf__reference_exact(const clf_reference *reference, const clf__exact *exact)
{
    const clf_tensor *io = reference->args->io;
    problem p = {
        .reference = reference,
        .exact = exact,
        .batch = exact->q_starts || exact->k_starts ? exact->sequences : io[CLF_QKV_Q].shape[0],
        .heads = io[CLF_QKV_Q].shape[1],
        .k_heads = io[CLF_QKV_K].shape[1],
        .queries = io[CLF_QKV_Q].shape[2],
        .keys = io[CLF_QKV_K].shape[2],
        .width = io[CLF_QKV_Q].shape[3],
        .value_width = io[CLF_QKV_V].shape[3],
        .keep_scale = reference->args->training && exact->dropout < 1 ? 1 / (1 - (double)exact->dropout) : 1,
    };
    const bool backward = (reference->pass & CLF_BACKWARD) != 0;
    double *scratch = malloc((size_t)(3 * p.keys + 1) * sizeof *scratch);

    if (!scratch)
        return CLF_OUT_OF_HOST_MEMORY;
    p.row[SCORE] = scratch;
    p.row[WEIGHT] = scratch + p.keys;
    p.row[SLOPE] = scratch + 2 * p.keys;
    if (exact->q_starts)
        clear_outputs(&p);
    if (backward)
        for_gradients(&p, false);
    for (int64_t item = 0; item < p.batch * p.heads; item++) {
        for (int64_t i = 0; i < clf__exact_queries(reference, exact, item / p.heads); i++) {
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
