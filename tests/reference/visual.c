/* Visual attention in plain C, convolution by convolution. */
#include "attention/visual_layers.h"
#include <clformers/author.h>
#include <math.h>
#include <stdlib.h>

enum { X, BEFORE, U, NEAR, FAR, GATE, GATED, OUT, D_X, D_BEFORE, D_U, D_NEAR, D_FAR, D_GATE, D_GATED, D_OUT, ARRAYS };

typedef struct problem {
    const clf_reference *reference;
    int64_t images, heads, cells, side, width, channels;
    double *array[ARRAYS]; /* [images, cells, channels] */
} problem;

static double add(const problem *p, double sum, double a, double b)
{
    return clf_reference_add(p->reference, sum, a, b);
}

/* Between [images, heads, cells, width] and rows of channels. */
static void regroup(const problem *p, double *tensor, double *rows, bool back)
{
    for (int64_t i = 0; i < p->images * p->cells * p->channels; i++) {
        const int64_t cell = i / p->channels, c = i % p->channels, image = cell / p->cells;
        double *place =
            &tensor[((image * p->heads + c / p->width) * p->cells + cell % p->cells) * p->width + c % p->width];
        if (back)
            *place = clf_reference_store(p->reference, rows[i]);
        else
            rows[i] = *place;
    }
}

/* y += weight x + bias, and all its gradients */
static void matrix(const problem *p, int place, int x, int y)
{
    const double *weight = p->reference->parameter[place], *bias = p->reference->parameter[place + 1];
    const int64_t n = p->channels;

    for (int64_t cell = 0; cell < p->images * p->cells; cell++)
        for (int64_t o = 0; o < n; o++) {
            double sum = bias[o];
            for (int64_t i = 0; i < n; i++)
                sum = add(p, sum, weight[o * n + i], p->array[x][cell * n + i]);
            p->array[y][cell * n + o] = add(p, p->array[y][cell * n + o], sum, 1);
        }
}

static void matrix_back(const problem *p, int place, int x, int dy, int dx)
{
    const double *weight = p->reference->parameter[place];
    double *to_weight = p->reference->parameter_grad[place], *to_bias = p->reference->parameter_grad[place + 1];
    const int64_t n = p->channels;

    for (int64_t cell = 0; cell < p->images * p->cells; cell++)
        for (int64_t o = 0; o < n; o++) {
            const double gradient = p->array[dy][cell * n + o];
            to_bias[o] = add(p, to_bias[o], gradient, 1);
            for (int64_t i = 0; i < n; i++) {
                to_weight[o * n + i] = add(p, to_weight[o * n + i], gradient, p->array[x][cell * n + i]);
                p->array[dx][cell * n + i] = add(p, p->array[dx][cell * n + i], gradient, weight[o * n + i]);
            }
        }
}

/* A convolution of single channels, or its three gradients. */
static void windows(const problem *p, int place, int x, int y, int dy, int dx)
{
    const int64_t size = place == VISUAL_NEAR ? VISUAL_NEAR_SIZE : VISUAL_FAR_SIZE;
    const int64_t dilation = place == VISUAL_NEAR ? 1 : VISUAL_FAR_DILATION, n = p->channels;
    const double *weight = p->reference->parameter[place], *bias = p->reference->parameter[place + 1];
    double *to_weight = p->reference->parameter_grad[place], *to_bias = p->reference->parameter_grad[place + 1];

    for (int64_t i = 0; i < p->images * p->cells * n; i++) {
        const int64_t c = i % n, cell = i / n, image = cell / p->cells * p->cells, row = cell % p->cells / p->side;
        double sum = bias[c];
        for (int64_t tap = 0; tap < size * size; tap++) {
            const int64_t r = row + (tap / size - size / 2) * dilation;
            const int64_t column = cell % p->side + (tap % size - size / 2) * dilation;
            const int64_t from = (image + r * p->side + column) * n + c;
            if (r < 0 || r >= p->side || column < 0 || column >= p->side)
                continue;
            if (dy < 0) {
                sum = add(p, sum, weight[c * size * size + tap], p->array[x][from]);
                continue;
            }
            double *to = &to_weight[c * size * size + tap];
            *to = add(p, *to, p->array[dy][i], p->array[x][from]);
            p->array[dx][from] = add(p, p->array[dx][from], p->array[dy][i], weight[c * size * size + tap]);
        }
        if (dy < 0)
            p->array[y][i] = sum;
        else
            to_bias[c] = add(p, to_bias[c], p->array[dy][i], 1);
    }
}

static void forward(const problem *p)
{
    const int64_t count = p->images * p->cells * p->channels;

    regroup(p, p->reference->io[CLF_QKV_Q], p->array[X], false);
    matrix(p, VISUAL_FIRST, X, BEFORE);
    for (int64_t i = 0; i < count; i++) {
        const double x = p->array[BEFORE][i];
        p->array[U][i] = add(p, 0, 0.5 * x, 1 + erf(x / sqrt(2)));
    }
    windows(p, VISUAL_NEAR, U, NEAR, -1, -1);
    windows(p, VISUAL_FAR, NEAR, FAR, -1, -1);
    matrix(p, VISUAL_MIXED, FAR, GATE);
    for (int64_t i = 0; i < count; i++) {
        p->array[GATED][i] = add(p, 0, p->array[U][i], p->array[GATE][i]);
        p->array[OUT][i] = p->array[X][i];
    }
    matrix(p, VISUAL_LAST, GATED, OUT);
    regroup(p, p->reference->io[CLF_QKV_OUT], p->array[OUT], true);
}

static void backward(const problem *p)
{
    const int64_t count = p->images * p->cells * p->channels;

    regroup(p, p->reference->grad[CLF_QKV_OUT], p->array[D_OUT], false);
    matrix_back(p, VISUAL_LAST, GATED, D_OUT, D_GATED);
    for (int64_t i = 0; i < count; i++) {
        p->array[D_X][i] = p->array[D_OUT][i];
        p->array[D_U][i] = add(p, 0, p->array[D_GATED][i], p->array[GATE][i]);
        p->array[D_GATE][i] = add(p, 0, p->array[D_GATED][i], p->array[U][i]);
    }
    matrix_back(p, VISUAL_MIXED, FAR, D_GATE, D_FAR);
    windows(p, VISUAL_FAR, NEAR, -1, D_FAR, D_NEAR);
    windows(p, VISUAL_NEAR, U, -1, D_NEAR, D_U);
    for (int64_t i = 0; i < count; i++) {
        const double x = p->array[BEFORE][i];
        const double slope = 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(6.283185307179586476925);
        p->array[D_BEFORE][i] = add(p, 0, p->array[D_U][i], slope);
    }
    matrix_back(p, VISUAL_FIRST, X, D_BEFORE, D_X);
    if (p->reference->grad[CLF_QKV_Q])
        regroup(p, p->reference->grad[CLF_QKV_Q], p->array[D_X], true);
}

/* Gradients of parameters start from 0 and are rounded to their storage in the end. */
static void for_gradients(const problem *p, bool end)
{
    for (int place = 0; place < VISUAL_PARAMETERS; place++) {
        const int64_t each = place % 2                ? 1
                             : place == VISUAL_NEAR   ? VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE
                             : place == VISUAL_FAR    ? VISUAL_FAR_SIZE * VISUAL_FAR_SIZE
                                                      : p->channels;
        for (int64_t i = 0; i < p->channels * each; i++) {
            double *to = &p->reference->parameter_grad[place][i];
            *to = end ? clf_reference_store(p->reference, *to) : 0;
        }
    }
}

clf_status clf_reference_visual(const clf_reference *reference);
clf_status clf_reference_visual(const clf_reference *reference)
{
    const int64_t *q = reference->args->io[CLF_QKV_Q].shape;
    problem p = { .reference = reference, .images = q[0], .heads = q[1], .cells = q[2], .width = q[3],
                  .side = (int64_t)floor(sqrt((double)q[2]) + 0.5), .channels = q[1] * q[3] };
    bool complete = true;

    for (int i = 0; i < ARRAYS; i++) {
        p.array[i] = calloc((size_t)(p.images * p.cells * p.channels) + 1, sizeof *p.array[i]);
        complete = complete && p.array[i];
    }
    if (complete)
        forward(&p);
    if (complete && (reference->pass & CLF_BACKWARD)) {
        for_gradients(&p, false);
        backward(&p);
        for_gradients(&p, true);
    }
    for (int i = 0; i < ARRAYS; i++)
        free(p.array[i]);
    return complete ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
}
