/* Pooling in plain C, window by window. */
#include "attention/pooling.h"
#include <clformers/author.h>
#include <math.h>

typedef struct problem {
    const clf_reference *reference;
    int64_t side, width;
    int64_t reach;
} problem;

typedef struct window {
    int64_t top, left, bottom, right; /* inclusive */
} window;

static int64_t lower(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static window around(const problem *p, int64_t cell)
{
    const int64_t y = cell / p->side, x = cell % p->side;
    return (window){ y < p->reach ? 0 : y - p->reach, x < p->reach ? 0 : x - p->reach, lower(y + p->reach, p->side - 1),
                     lower(x + p->reach, p->side - 1) };
}

static double cells(window w)
{
    return (double)((w.bottom - w.top + 1) * (w.right - w.left + 1));
}

/* One result: of forward, or of its transpose, where each neighbour counts by its own window. */
static double pool(const problem *p, const double *image, int64_t cell, int64_t channel, bool transpose)
{
    const window w = around(p, cell);
    double sum = 0;

    for (int64_t y = w.top; y <= w.bottom; y++)
        for (int64_t x = w.left; x <= w.right; x++) {
            const int64_t other = y * p->side + x;
            sum = clf_reference_add(p->reference, sum, image[other * p->width + channel],
                                    transpose ? 1 / cells(around(p, other)) : 1);
        }
    sum = clf_reference_add(p->reference, 0, sum, transpose ? 1 : 1 / cells(w));
    return clf_reference_store(p->reference, clf_reference_add(p->reference, sum, image[cell * p->width + channel], -1));
}

static void pool_all(const problem *p, const double *from, double *to, int64_t images, bool transpose)
{
    const int64_t size = p->side * p->side;

    for (int64_t i = 0; i < images * size; i++)
        for (int64_t channel = 0; channel < p->width; channel++)
            to[i * p->width + channel] = pool(p, from + i / size * size * p->width, i % size, channel, transpose);
}

clf_status clf_reference_pooling(const clf_reference *reference);
clf_status clf_reference_pooling(const clf_reference *reference)
{
    const pooling_config *c = reference->config;
    const int64_t *shape = reference->args->io[CLF_QKV_Q].shape;
    const problem p = { .reference = reference, .side = (int64_t)floor(sqrt((double)shape[2]) + 0.5), .width = shape[3],
                        .reach = c->pool_size / 2 };

    pool_all(&p, reference->io[CLF_QKV_Q], reference->io[CLF_QKV_OUT], shape[0] * shape[1], false);
    if ((reference->pass & CLF_BACKWARD) && reference->grad[CLF_QKV_Q])
        pool_all(&p, reference->grad[CLF_QKV_OUT], reference->grad[CLF_QKV_Q], shape[0] * shape[1], true);
    return CLF_SUCCESS;
}
