/* Lambda layers in plain C, pair by pair. */
#include "attention/lambda.h"
#include <clformers/author.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    const clf_reference *reference;
    int64_t length, width, value_width, seq_len;
    bool    xformers;
    float   dropout;
    double *weight;            /* softmax of the keys of an item, [position][d] */
    double *content, *dcontent; /* [d][e] */
    double *g;                 /* upstream gradients behind dropout */
    double *window;            /* xformers: sums of the table for each position */
    double *dwindow;
    double *dq, *dv;           /* of an item */
    double *table_gradient;
} problem;

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

static void add_row(const problem *p, double *to, double factor, const double *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = add(p, to[i], factor, from[i]);
}

/* The table's row of a distance. */
static int64_t row_of(const problem *p, int64_t distance)
{
    return (distance + p->seq_len - 1) * p->width;
}

static double kept(const problem *p, int64_t item, int64_t n, int64_t e)
{
    if (!p->reference->args->training || p->dropout <= 0)
        return 1;
    return clf_reference_keep(p->reference, p->dropout, item, n, e) ? 1 / (1 - (double)p->dropout) : 0;
}

/* Over `count` numbers `step` apart. */
static void softmax(const problem *p, const double *x, double *y, int64_t count, int64_t step)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < count; i++)
        top = fmax(top, x[i * step]);
    for (int64_t i = 0; i < count; i++) {
        y[i * step] = exp(x[i * step] - top);
        sum = add(p, sum, y[i * step], 1);
    }
    for (int64_t i = 0; i < count; i++)
        y[i * step] = add(p, 0, y[i * step], 1 / sum);
}

static void softmax_back(const problem *p, const double *y, const double *dy, double *dx, int64_t count, int64_t step)
{
    double all = 0;

    for (int64_t i = 0; i < count; i++)
        all = add(p, all, y[i * step], dy[i * step]);
    for (int64_t i = 0; i < count; i++)
        dx[i * step] = clf_reference_store(p->reference, y[i * step] * add(p, -all, dy[i * step], 1));
}

static void make_content(const problem *p, const double *k, const double *v)
{
    for (int64_t i = 0; i < (p->xformers ? p->length : p->width); i++)
        softmax(p, k + (p->xformers ? i * p->width : i), p->weight + (p->xformers ? i * p->width : i),
                p->xformers ? p->width : p->length, p->xformers ? 1 : p->width);
    memset(p->content, 0, (size_t)(p->width * p->value_width) * sizeof(double));
    for (int64_t m = 0; m < p->length; m++)
        for (int64_t d = 0; d < p->width; d++)
            add_row(p, p->content + d * p->value_width, p->weight[m * p->width + d], v + m * p->value_width,
                    p->value_width);
}

static void forward_item(const problem *p, int64_t item, const double *q, const double *v, double *out)
{
    for (int64_t n = 0; n < p->length; n++) {
        double *to = out + n * p->value_width;
        const double *query = q + n * p->width;
        memset(to, 0, (size_t)p->value_width * sizeof *to);
        for (int64_t d = 0; d < p->width; d++)
            add_row(p, to, query[d], p->content + d * p->value_width, p->value_width);
        if (p->xformers)
            add_row(p, to, dot(p, query, p->window + n * p->width, p->width), v + n * p->value_width, p->value_width);
        for (int64_t m = 0; m < p->length && !p->xformers; m++)
            add_row(p, to, dot(p, query, p->reference->parameter[0] + row_of(p, m - n), p->width),
                    v + m * p->value_width, p->value_width);
        for (int64_t e = 0; e < p->value_width; e++)
            to[e] = clf_reference_store(p->reference, to[e] * kept(p, item, n, e));
    }
}

/* The pair (n, m), whose share of the table is `row`: gradients of its score's three factors. */
static void backward_pair(const problem *p, const double *q, const double *v, int64_t n, int64_t m, const double *row,
                          double *drow)
{
    const double *query = q + n * p->width, *value = v + m * p->value_width, *g = p->g + n * p->value_width;
    const double gain = dot(p, g, value, p->value_width);

    add_row(p, p->dq + n * p->width, gain, row, p->width);
    add_row(p, drow, gain, query, p->width);
    add_row(p, p->dv + m * p->value_width, dot(p, query, row, p->width), g, p->value_width);
}

static void backward_content(const problem *p, const double *q)
{
    memset(p->dcontent, 0, (size_t)(p->width * p->value_width) * sizeof(double));
    for (int64_t n = 0; n < p->length; n++)
        for (int64_t d = 0; d < p->width; d++) {
            const double *g = p->g + n * p->value_width;
            double *dq = &p->dq[n * p->width + d];
            add_row(p, p->dcontent + d * p->value_width, q[n * p->width + d], g, p->value_width);
            *dq = add(p, *dq, dot(p, g, p->content + d * p->value_width, p->value_width), 1);
        }
    for (int64_t m = 0; m < p->length; m++)
        for (int64_t d = 0; d < p->width; d++)
            add_row(p, p->dv + m * p->value_width, p->weight[m * p->width + d], p->dcontent + d * p->value_width,
                    p->value_width);
}

static void backward_keys(const problem *p, const double *v, double *dk)
{
    for (int64_t m = 0; m < p->length; m++) /* into dq, which is done */
        for (int64_t d = 0; d < p->width; d++)
            p->dq[m * p->width + d] = dot(p, v + m * p->value_width, p->dcontent + d * p->value_width, p->value_width);
    for (int64_t i = 0; i < (p->xformers ? p->length : p->width); i++) {
        const int64_t at = p->xformers ? i * p->width : i;
        softmax_back(p, p->weight + at, p->dq + at, dk + at, p->xformers ? p->width : p->length,
                     p->xformers ? 1 : p->width);
    }
}

static void backward_item(const problem *p, int64_t item, const double *q, const double *v)
{
    const int64_t keys = p->length * p->width, values = p->length * p->value_width;
    double *const *grad = p->reference->grad;

    for (int64_t i = 0; i < values; i++)
        p->g[i] = grad[CLF_QKV_OUT][item * values + i] * kept(p, item, i / p->value_width, i % p->value_width);
    memset(p->dq, 0, (size_t)keys * sizeof *p->dq);
    memset(p->dv, 0, (size_t)values * sizeof *p->dv);
    for (int64_t n = 0; n < p->length; n++) {
        if (p->xformers)
            backward_pair(p, q, v, n, n, p->window + n * p->width, p->dwindow + n * p->width);
        for (int64_t m = 0; m < p->length && !p->xformers; m++)
            backward_pair(p, q, v, n, m, p->reference->parameter[0] + row_of(p, m - n),
                          p->table_gradient + row_of(p, m - n));
    }
    backward_content(p, q);
    for (int64_t i = 0; grad[CLF_QKV_Q] && i < keys; i++)
        grad[CLF_QKV_Q][item * keys + i] = clf_reference_store(p->reference, p->dq[i]);
    for (int64_t i = 0; grad[CLF_QKV_V] && i < values; i++)
        grad[CLF_QKV_V][item * values + i] = clf_reference_store(p->reference, p->dv[i]);
    if (grad[CLF_QKV_K])
        backward_keys(p, v, grad[CLF_QKV_K] + item * keys);
}

/* xFormers: what a position gets from the table is summed over all the others first. */
static void for_windows(const problem *p, bool backward)
{
    for (int64_t n = 0; n < p->length; n++)
        for (int64_t m = 0; m < p->length; m++) {
            if (backward)
                add_row(p, p->table_gradient + row_of(p, n - m), 1, p->dwindow + n * p->width, p->width);
            else
                add_row(p, p->window + n * p->width, 1, p->reference->parameter[0] + row_of(p, n - m), p->width);
        }
}

static void run(const problem *p, int64_t items)
{
    double *const *io = p->reference->io;
    const bool backward = (p->reference->pass & CLF_BACKWARD) != 0;

    if (p->xformers)
        for_windows(p, false);
    for (int64_t item = 0; item < items; item++) {
        const int64_t keys = item * p->length * p->width, values = item * p->length * p->value_width;
        make_content(p, io[CLF_QKV_K] + keys, io[CLF_QKV_V] + values);
        forward_item(p, item, io[CLF_QKV_Q] + keys, io[CLF_QKV_V] + values, io[CLF_QKV_OUT] + values);
        if (backward)
            backward_item(p, item, io[CLF_QKV_Q] + keys, io[CLF_QKV_V] + values);
    }
    if (backward && p->xformers)
        for_windows(p, true);
    for (int64_t i = 0; backward && i < (2 * p->seq_len - 1) * p->width && p->reference->parameter_grad[0]; i++)
        p->reference->parameter_grad[0][i] = clf_reference_store(p->reference, p->table_gradient[i]);
}

clf_status clf_reference_lambda(const clf_reference *reference);
clf_status clf_reference_lambda(const clf_reference *reference)
{
    const lambda_config *c = reference->config;
    const clf_tensor *q = &reference->args->io[CLF_QKV_Q], *v = &reference->args->io[CLF_QKV_V];
    problem p = { .reference = reference, .length = q->shape[2], .width = q->shape[3], .value_width = v->shape[3],
                  .seq_len = c->base.seq_len, .xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS,
                  .dropout = c->base.dropout };
    const int64_t keys = p.length * p.width, values = p.length * p.value_width, content = p.width * p.value_width;
    const int64_t count = 4 * keys + 2 * values + 2 * content + (2 * p.seq_len - 1) * p.width;
    double *scratch = calloc((size_t)count, sizeof *scratch);

    if (!scratch)
        return CLF_OUT_OF_HOST_MEMORY;
    p.weight = scratch;
    p.window = p.weight + keys;
    p.dwindow = p.window + keys;
    p.dq = p.dwindow + keys;
    p.g = p.dq + keys;
    p.dv = p.g + values;
    p.content = p.dv + values;
    p.dcontent = p.content + content;
    p.table_gradient = p.dcontent + content;
    run(&p, q->shape[0] * q->shape[1]);
    free(scratch);
    return CLF_SUCCESS;
}
