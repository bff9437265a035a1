/* Matrices written out, element by element. */
#include "dense.h"
#include <math.h>
#include <stdlib.h>

double *clf__dense_take(clf__dense *dense, int64_t count)
{
    static double nowhere[1];
    double *block = calloc((size_t)count + 1, sizeof *block);

    if (block && dense->count == dense->capacity) {
        const size_t capacity = dense->capacity ? 2 * dense->capacity : 64;
        void **blocks = realloc(dense->blocks, capacity * sizeof *blocks);
        if (blocks) {
            dense->blocks = blocks;
            dense->capacity = capacity;
        }
    }
    if (!block || dense->count == dense->capacity) {
        free(block);
        dense->failed = true;
        return nowhere;
    }
    dense->blocks[dense->count++] = block;
    return block;
}

clf_status clf__dense_end(clf__dense *dense)
{
    for (size_t i = 0; i < dense->count; i++)
        free(dense->blocks[i]);
    free(dense->blocks);
    return dense->failed ? CLF_OUT_OF_HOST_MEMORY : CLF_SUCCESS;
}

double clf__dense_add(const clf__dense *dense, double sum, double a, double b)
{
    return clf_reference_add(dense->reference, sum, a, b);
}

void clf__dense_multiply(const clf__dense *d, clf__turn turn, double alpha, const double *a, const double *b,
                         int64_t rows, int64_t depth, int64_t columns, bool more, double *c)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0;
            for (int64_t n = 0; n < depth; n++)
                sum = clf__dense_add(d, sum, a[turn == CLF__LEFT ? n * rows + i : i * depth + n],
                                     b[turn == CLF__RIGHT ? j * depth + n : n * columns + j]);
            c[i * columns + j] = clf__dense_add(d, more ? c[i * columns + j] : 0, alpha, sum);
        }
}

/* A row's scores, -inf where hidden, and the largest of them. */
static double score_row(const clf__dense *d, const clf__scores *s, int64_t i, double *row)
{
    double top = -INFINITY;

    for (int64_t j = 0; j < s->columns; j++) {
        const double bias = s->bias ? s->bias(s->user, i, j) : 0;
        double score = 0;
        for (int64_t n = 0; n < s->width; n++)
            score = clf__dense_add(d, score, s->q[i * s->width + n], s->k[j * s->width + n]);
        row[j] = bias == -INFINITY ? bias : clf__dense_add(d, bias, score, s->scale);
        top = row[j] <= top ? top : row[j];
    }
    return top;
}

void clf__dense_soften(const clf__dense *d, const clf__scores *s, double *weights)
{
    for (int64_t i = 0; i < s->rows; i++) {
        double *w = weights + i * s->columns, sum = 0;
        const double top = score_row(d, s, i, w);
        for (int64_t j = 0; j < s->columns; j++) {
            w[j] = w[j] == -INFINITY ? 0 : clf__dense_add(d, 0, exp(w[j] - top), 1);
            sum = clf__dense_add(d, sum, w[j], 1);
        }
        for (int64_t j = 0; j < s->columns; j++)
            w[j] = sum > 0 ? clf__dense_add(d, 0, w[j] / sum, 1) : 0;
    }
}

static double rounded(const clf__dense *d, const clf__scores *s, double x)
{
    return s->rounded ? clf_reference_store(d->reference, x) : x;
}

void clf__dense_attend(const clf__dense *d, const clf__scores *s, const double *v, int64_t value_width, double *weights,
                       double *out)
{
    for (int64_t i = 0; i < s->rows; i++) {
        double *w = weights + i * s->columns, sum = 0;
        const double top = score_row(d, s, i, w);
        for (int64_t j = 0; j < s->columns; j++)
            sum = w[j] == -INFINITY ? sum : clf__dense_add(d, sum, exp(w[j] - top), 1);
        const double lse = clf__dense_add(d, top, log(sum), 1);
        for (int64_t j = 0; j < s->columns; j++)
            w[j] = w[j] == -INFINITY || top == -INFINITY ? 0 : rounded(d, s, clf__dense_add(d, 0, exp(w[j] - lse), 1));
        for (int64_t e = 0; e < value_width; e++) {
            double total = 0;
            for (int64_t j = 0; j < s->columns; j++)
                total = clf__dense_add(d, total, w[j], v[j * value_width + e]);
            out[i * value_width + e] = rounded(d, s, total);
        }
    }
}

/* to += factor from */
static void add_row(const clf__dense *d, double factor, const double *from, int64_t width, double *to)
{
    for (int64_t n = 0; n < width; n++)
        to[n] = clf__dense_add(d, to[n], factor, from[n]);
}

static double dot(const clf__dense *d, const double *a, const double *b, int64_t width)
{
    double sum = 0;

    for (int64_t n = 0; n < width; n++)
        sum = clf__dense_add(d, sum, a[n], b[n]);
    return sum;
}

void clf__dense_attend_back(const clf__dense *d, const clf__scores *s, const double *weights, const double *v,
                            int64_t value_width, const double *out, const double *grad_out, double *grad_q,
                            double *grad_k, double *grad_v)
{
    for (int64_t i = 0; i < s->rows; i++) {
        const double *g = grad_out + i * value_width, delta = dot(d, out + i * value_width, g, value_width);
        for (int64_t j = 0; j < s->columns; j++) {
            const double weight = weights[i * s->columns + j];
            const double own = clf__dense_add(d, dot(d, g, v + j * value_width, value_width), delta, -1);
            const double grad = clf__dense_add(d, 0, clf__dense_add(d, 0, weight, own), s->scale);
            if (weight == 0)
                continue;
            add_row(d, grad, s->k + j * s->width, s->width, grad_q + i * s->width);
            add_row(d, grad, s->q + i * s->width, s->width, grad_k + j * s->width);
            add_row(d, weight, g, value_width, grad_v + j * value_width);
        }
    }
}

void clf__dense_soften_back(const clf__dense *d, const clf__scores *s, const double *weights, double *grad,
                            double *grad_q, double *grad_k)
{
    for (int64_t i = 0; i < s->rows; i++) {
        const double *w = weights + i * s->columns;
        double *g = grad + i * s->columns, sum = 0;
        for (int64_t j = 0; j < s->columns; j++)
            sum = clf__dense_add(d, sum, w[j], g[j]);
        for (int64_t j = 0; j < s->columns; j++)
            g[j] = clf__dense_add(d, 0, w[j], clf__dense_add(d, g[j], sum, -1));
    }
    clf__dense_multiply(d, CLF__PLAIN, s->scale, grad, s->k, s->rows, s->columns, s->width, true, grad_q);
    clf__dense_multiply(d, CLF__LEFT, s->scale, grad, s->q, s->columns, s->rows, s->width, true, grad_k);
}

double clf__dense_drop(const clf__dense *d, float dropout, int64_t item, int64_t row, int64_t e)
{
    if (!d->reference->args->training || !(dropout > 0))
        return 1;
    return clf_reference_keep(d->reference, dropout, item, row, e) ? 1 / (1 - (double)dropout) : 0;
}
