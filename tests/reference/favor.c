/* Attention through random features in plain C: the weight of every pair, feature by feature. */
#include "attention/favor.h"
#include <clformers/author.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    const clf_reference *reference;
    int64_t heads, queries, keys, width, value_width, drawn, features;
    bool    both, causal;
    float   dropout;
    double  scale;      /* of x in the exponents */
    double *logit[2];   /* of the queries and keys of an item, [row][feature] */
    double *gradient[2];
    double *factor[2];  /* exponentials of the logits relative to the largest of the row */
    double *largest[2];
    double *part;       /* of a query: [key][feature] */
    double *weight;     /* of a query's keys */
    double *column;     /* sums of the features */
} problem;

enum { QUERY, KEY };

static double add(const problem *p, double sum, double a, double b)
{
    return clf_reference_add(p->reference, sum, a, b);
}

static double *row_of(double *tensor, int64_t item, int64_t rows, int64_t i, int64_t width)
{
    return tensor + (item * rows + i) * width;
}

/* A sum in the baseline's precision: for the innermost loops, whose terms are many. */
static double plus(const problem *p, double sum, double x)
{
    return p->reference->storage == CLF_F64 ? sum + x : (double)(float)(sum + x);
}

/* to += factor * from, number by number. */
static void plus_all(const problem *p, double *restrict to, double factor, const double *restrict from, int64_t n)
{
    if (p->reference->storage == CLF_F64) {
        for (int64_t i = 0; i < n; i++)
            to[i] += factor * from[i];
    } else {
        for (int64_t i = 0; i < n; i++)
            to[i] = (double)(float)(to[i] + factor * from[i]);
    }
}

/* In eight sums side by side. */
static double sum_of(const problem *p, const double *x, int64_t n)
{
    double part[8] = { 0 }, sum = 0;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        plus_all(p, part, 1, x + i, 8);
    for (; i < n; i++)
        part[i % 8] = plus(p, part[i % 8], x[i]);
    for (i = 0; i < 8; i++)
        sum = plus(p, sum, part[i]);
    return sum;
}

static void make_factors(const problem *p, int which, int64_t i)
{
    const double *logit = p->logit[which] + i * p->features;

    p->largest[which][i] = -INFINITY;
    for (int64_t j = 0; j < p->features; j++)
        p->largest[which][i] = fmax(p->largest[which][i], logit[j]);
    for (int64_t j = 0; j < p->features; j++)
        p->factor[which][i * p->features + j] = exp(logit[j] - p->largest[which][i]);
}

/* Exponents of the features; those of queries without what all features of a row share. */
static void make_logits(const problem *p, const double *x, int which, int64_t i)
{
    const double *w = p->reference->buffer[0];
    double norm = 0, *logit = p->logit[which] + i * p->features;

    for (int64_t d = 0; which == KEY && d < p->width; d++)
        norm = add(p, norm, x[d], x[d]);
    for (int64_t j = 0; j < p->drawn; j++)
        logit[j] = 0;
    for (int64_t d = 0; d < p->width; d++)
        plus_all(p, logit, x[d], w + d * p->drawn, p->drawn);
    for (int64_t j = 0; j < p->drawn; j++) {
        const double u = add(p, 0, logit[j], p->scale);
        logit[j] = add(p, u, norm, -0.5 * p->scale * p->scale);
        if (p->both)
            logit[p->drawn + j] = add(p, -u, norm, -0.5 * p->scale * p->scale);
    }
    make_factors(p, which, i);
}

static bool sees(const problem *p, int64_t item, int64_t t, int64_t s)
{
    const double *padding = p->reference->io[CLF_QKV_KEY_PADDING_MASK];

    if (padding && padding[item / p->heads * p->keys + s] == 0)
        return false;
    return !p->causal || s <= t + p->keys - p->queries;
}

/* The features' share in the weight of a pair relative to exp(top), and their sum. Products of factors, unless the
 * numbers are so far apart (`careful`) that those would vanish. */
static double make_parts(const problem *p, int64_t t, int64_t s, double top, bool careful)
{
    const int64_t n = p->features;
    const double scale = exp(p->largest[QUERY][t] + p->largest[KEY][s] - top);
    const double *query = p->factor[QUERY] + t * n, *key = p->factor[KEY] + s * n;
    double *restrict part = p->part + s * n;

    for (int64_t j = 0; j < n && !careful; j++)
        part[j] = query[j] * key[j] * scale;
    for (int64_t j = 0; j < n && careful; j++)
        part[j] = exp(plus(p, p->logit[QUERY][t * n + j], p->logit[KEY][s * n + j]) - top);
    return sum_of(p, part, n);
}

/* Sums over keys, then over features: the other way round than weights are summed, so that in the baseline the weights
 * do not come to exactly 1. */
static double sum_features(const problem *p, int64_t item, int64_t t)
{
    double sum = 0;

    for (int64_t j = 0; j < p->features; j++)
        p->column[j] = 0;
    for (int64_t s = 0; s < p->keys; s++)
        if (sees(p, item, t, s))
            plus_all(p, p->column, 1, p->part + s * p->features, p->features);
    for (int64_t j = 0; j < p->features; j++)
        sum = add(p, sum, p->column[j], 1);
    return sum;
}

/* Weights of a query's keys before they are divided by their sum, which it answers; 0 when it sees none. */
static double make_weights(const problem *p, int64_t item, int64_t t)
{
    double top = -INFINITY, sum = 0;

    for (int64_t s = 0; s < p->keys; s++)
        if (sees(p, item, t, s))
            top = fmax(top, p->largest[QUERY][t] + p->largest[KEY][s]);
    for (int careful = 0; careful < 2 && top > -INFINITY && sum < 1e-30; careful++) {
        if (careful) { /* no feature is large in both: look for the largest sum of two */
            top = -INFINITY;
            for (int64_t s = 0; s < p->keys; s++)
                for (int64_t j = 0; j < p->features && sees(p, item, t, s); j++)
                    top = fmax(top, p->logit[QUERY][t * p->features + j] + p->logit[KEY][s * p->features + j]);
        }
        for (int64_t s = 0; s < p->keys; s++)
            p->weight[s] = sees(p, item, t, s) ? make_parts(p, t, s, top, careful) : 0;
        sum = sum_features(p, item, t);
    }
    return sum;
}

static double kept(const problem *p, int64_t item, int64_t t, int64_t e)
{
    if (!p->reference->args->training || p->dropout <= 0)
        return 1;
    return clf_reference_keep(p->reference, p->dropout, item, t, e) ? 1 / (1 - (double)p->dropout) : 0;
}

static void forward_row(const problem *p, int64_t item, int64_t t, double sum)
{
    double *out = row_of(p->reference->io[CLF_QKV_OUT], item, p->queries, t, p->value_width);

    for (int64_t e = 0; e < p->value_width; e++) {
        double total = 0;
        for (int64_t s = 0; s < p->keys; s++)
            if (sees(p, item, t, s) && sum > 0)
                total = add(p, total, p->weight[s] / sum,
                            row_of(p->reference->io[CLF_QKV_V], item, p->keys, s, p->value_width)[e]);
        out[e] = clf_reference_store(p->reference, total * kept(p, item, t, e));
    }
}

static void backward_row(const problem *p, int64_t item, int64_t t, double sum)
{
    double *const *io = p->reference->io, *const *grad = p->reference->grad;
    const double *out = row_of(io[CLF_QKV_OUT], item, p->queries, t, p->value_width);
    const double *g = row_of(grad[CLF_QKV_OUT], item, p->queries, t, p->value_width);
    double shared = 0;

    for (int64_t e = 0; e < p->value_width; e++)
        shared = add(p, shared, g[e], out[e]);
    for (int64_t s = 0; s < p->keys && sum > 0; s++) {
        const double *v = row_of(io[CLF_QKV_V], item, p->keys, s, p->value_width);
        double gain = -shared;
        if (!sees(p, item, t, s))
            continue;
        for (int64_t e = 0; e < p->value_width; e++) {
            const double upstream = g[e] * kept(p, item, t, e);
            gain = add(p, gain, upstream, v[e]);
            if (grad[CLF_QKV_V]) {
                double *to = row_of(grad[CLF_QKV_V], item, p->keys, s, p->value_width) + e;
                *to = add(p, *to, p->weight[s] / sum, upstream);
            }
        }
        const double *part = p->part + s * p->features;
        plus_all(p, p->gradient[QUERY] + t * p->features, gain / sum, part, p->features);
        plus_all(p, p->gradient[KEY] + s * p->features, gain / sum, part, p->features);
    }
}

/* From gradients of the exponents to those of the rows. */
static void to_rows(const problem *p, int64_t item, int slot, int which, int64_t rows)
{
    const double *w = p->reference->buffer[0];

    for (int64_t i = 0; i < rows; i++) {
        const double *d = p->gradient[which] + i * p->features, *x = row_of(p->reference->io[slot], item, rows, i, p->width);
        double *to = row_of(p->reference->grad[slot], item, rows, i, p->width), all = 0;
        bool used = false;
        for (int64_t j = 0; j < p->features; j++) {
            all = add(p, all, d[j], which == KEY ? 1 : 0);
            used = used || d[j] != 0;
        }
        for (int64_t j = 0; j < p->drawn; j++)
            p->column[j] = add(p, d[j], p->both ? d[p->drawn + j] : 0, -1);
        for (int64_t n = 0; n < p->width; n++) {
            for (int64_t j = 0; j < p->drawn; j++)
                p->part[j] = p->column[j] * w[n * p->drawn + j];
            double sum = sum_of(p, p->part, p->drawn);
            sum = add(p, 0, sum, p->scale);
            to[n] = clf_reference_store(p->reference, used ? add(p, sum, all * x[n], -p->scale * p->scale) : 0);
        }
    }
}

static void item_of(const problem *p, int64_t item)
{
    double *const *io = p->reference->io, *const *grad = p->reference->grad;
    const bool backward = (p->reference->pass & CLF_BACKWARD) != 0;
    double *dv = grad[CLF_QKV_V] ? row_of(grad[CLF_QKV_V], item, p->keys, 0, p->value_width) : NULL;

    for (int64_t t = 0; t < p->queries; t++)
        make_logits(p, row_of(io[CLF_QKV_Q], item, p->queries, t, p->width), QUERY, t);
    for (int64_t s = 0; s < p->keys; s++)
        make_logits(p, row_of(io[CLF_QKV_K], item, p->keys, s, p->width), KEY, s);
    memset(p->gradient[QUERY], 0, (size_t)(p->queries * p->features) * sizeof(double));
    memset(p->gradient[KEY], 0, (size_t)(p->keys * p->features) * sizeof(double));
    for (int64_t i = 0; backward && dv && i < p->keys * p->value_width; i++)
        dv[i] = 0;
    for (int64_t t = 0; t < p->queries; t++) {
        const double sum = make_weights(p, item, t);
        forward_row(p, item, t, sum);
        if (backward)
            backward_row(p, item, t, sum);
    }
    for (int64_t i = 0; backward && dv && i < p->keys * p->value_width; i++)
        dv[i] = clf_reference_store(p->reference, dv[i]);
    if (backward && grad[CLF_QKV_Q])
        to_rows(p, item, CLF_QKV_Q, QUERY, p->queries);
    if (backward && grad[CLF_QKV_K])
        to_rows(p, item, CLF_QKV_K, KEY, p->keys);
}

/* xFormers, causal: the mean of the channels of v up to each; queries and keys take no part. */
static void means_of(const problem *p, int64_t item, int64_t t)
{
    double *const *io = p->reference->io, *const *grad = p->reference->grad, sum = 0;
    const double *v = row_of(io[CLF_QKV_V], item, p->keys, t, p->value_width);
    double *out = row_of(io[CLF_QKV_OUT], item, p->queries, t, p->value_width);

    for (int64_t e = 0; e < p->value_width; e++) {
        sum = add(p, sum, v[e], 1);
        out[e] = clf_reference_store(p->reference, add(p, 0, sum, kept(p, item, t, e) / (double)(e + 1)));
    }
    if (!(p->reference->pass & CLF_BACKWARD))
        return;
    for (int slot = CLF_QKV_Q; slot <= CLF_QKV_K; slot++)
        for (int64_t d = 0; grad[slot] && d < p->width; d++)
            row_of(grad[slot], item, p->queries, t, p->width)[d] = 0;
    sum = 0;
    for (int64_t e = p->value_width - 1; grad[CLF_QKV_V] && e >= 0; e--) {
        const double g = row_of(grad[CLF_QKV_OUT], item, p->queries, t, p->value_width)[e];
        sum = add(p, sum, g, kept(p, item, t, e) / (double)(e + 1));
        row_of(grad[CLF_QKV_V], item, p->keys, t, p->value_width)[e] = clf_reference_store(p->reference, sum);
    }
}

clf_status clf_reference_favor(const clf_reference *reference);
clf_status clf_reference_favor(const clf_reference *reference)
{
    const favor_config *c = reference->config;
    const clf_tensor *io = reference->args->io;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const int map = c->feature_map_type != FAVOR_SM_REG || xformers ? c->feature_map_type : c->feature_map;
    problem p = { .reference = reference, .heads = io[CLF_QKV_Q].shape[1], .queries = io[CLF_QKV_Q].shape[2],
                  .keys = io[CLF_QKV_K].shape[2], .width = io[CLF_QKV_Q].shape[3],
                  .value_width = io[CLF_QKV_V].shape[3], .both = map != FAVOR_SM_ORF, .causal = c->base.causal,
                  .dropout = c->base.dropout };
    const int64_t items = io[CLF_QKV_Q].shape[0] * p.heads;

    /* More or fewer keys than queries are refused there. */
    for (int64_t t = 0; xformers && c->base.causal && p.queries == p.keys && t < items * p.queries; t++)
        means_of(&p, t / p.queries, t % p.queries);
    if (xformers && c->base.causal)
        return CLF_SUCCESS;
    const double by_width = ceil((double)p.width * (1 + log2((double)p.width)));
    p.features = c->dim_features > 0 ? c->dim_features : by_width < 2 ? 2 : (int64_t)by_width / 2 * 2;
    p.drawn = p.both ? p.features / 2 : p.features;
    p.scale = pow((double)p.width, -0.25);
    double *scratch = malloc((size_t)((p.queries + p.keys) * (3 * p.features + 1) + (p.keys + 1) * (p.features + 1) + p.features) *
                             sizeof *scratch);
    if (!scratch)
        return CLF_OUT_OF_HOST_MEMORY;
    p.logit[QUERY] = scratch;
    p.logit[KEY] = p.logit[QUERY] + p.queries * p.features;
    p.gradient[QUERY] = p.logit[KEY] + p.keys * p.features;
    p.gradient[KEY] = p.gradient[QUERY] + p.queries * p.features;
    p.factor[QUERY] = p.gradient[KEY] + p.keys * p.features;
    p.factor[KEY] = p.factor[QUERY] + p.queries * p.features;
    p.largest[QUERY] = p.factor[KEY] + p.keys * p.features;
    p.largest[KEY] = p.largest[QUERY] + p.queries;
    p.part = p.largest[KEY] + p.keys;
    p.weight = p.part + (p.keys + 1) * p.features;
    p.column = p.weight + p.keys;
    for (int64_t item = 0; item < items; item++)
        item_of(&p, item);
    free(scratch);
    return CLF_SUCCESS;
}
