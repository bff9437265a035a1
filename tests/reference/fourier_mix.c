/* The Fourier transform of matrices in plain C, sum by sum: along the channels, then along the positions. */
#include "attention/fourier_mix.h"
#include <clformers/author.h>
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    const clf_reference *reference;
    int64_t batch, heads, length, width; /* of the tensors */
    bool    each_head;
    float   dropout;
    double *wave[2][2];                  /* [positions, channels][cosine, sine] */
    double *half[2];                     /* real and imaginary parts after the first sum, of one matrix */
    double *row;                         /* one row of a matrix */
} problem;

static int64_t channels(const problem *p)
{
    return p->each_head ? p->width : p->heads * p->width;
}

/* Element (s, c) of a matrix in a [batch, heads, length, width] array. */
static int64_t place(const problem *p, int64_t matrix, int64_t s, int64_t c)
{
    const int64_t head = p->each_head ? matrix : matrix * p->heads + c / p->width;
    return (head * p->length + s) * p->width + c % p->width;
}

static double kept(const problem *p, int64_t element)
{
    const int64_t row = element / p->width;
    if (!p->reference->args->training || p->dropout <= 0)
        return 1;
    if (!clf_reference_keep(p->reference, p->dropout, row / p->length, row % p->length, element % p->width))
        return 0;
    return 1 / (1 - (double)p->dropout);
}

/* Of a real row, the second half of the transform mirrors the first. */
static void first_sum(const problem *p, const double *x, bool dropout, int64_t matrix)
{
    const int64_t n = channels(p);

    for (int64_t s = 0; s < p->length; s++) {
        for (int64_t c = 0; c < n; c++) {
            const int64_t from = place(p, matrix, s, c);
            p->row[c] = dropout ? x[from] * kept(p, from) : x[from];
        }
        for (int64_t k = 0; k <= n / 2; k++) {
            double re = 0, im = 0;
            for (int64_t c = 0; c < n; c++) {
                const int64_t angle = c * k % n;
                re = clf_reference_add(p->reference, re, p->row[c], p->wave[1][0][angle]);
                im = clf_reference_add(p->reference, im, p->row[c], -p->wave[1][1][angle]);
            }
            const int64_t mirror = k == 0 ? 0 : n - k;
            p->half[0][s * n + mirror] = re;
            p->half[1][s * n + mirror] = -im;
            p->half[0][s * n + k] = re;
            p->half[1][s * n + k] = im;
        }
    }
}

static void second_sum(const problem *p, double *y, bool dropout, int64_t matrix)
{
    const int64_t n = channels(p);

    for (int64_t s = 0; s < p->length; s++)
        for (int64_t c = 0; c < n; c++) {
            const int64_t to = place(p, matrix, s, c);
            double sum = 0;
            for (int64_t t = 0; t < p->length; t++) {
                const int64_t angle = s * t % p->length;
                sum = clf_reference_add(p->reference, sum, p->half[0][t * n + c], p->wave[0][0][angle]);
                sum = clf_reference_add(p->reference, sum, p->half[1][t * n + c], p->wave[0][1][angle]);
            }
            y[to] = clf_reference_store(p->reference, dropout ? sum * kept(p, to) : sum);
        }
}

static void make_waves(const problem *p, int axis, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        p->wave[axis][0][t] = cos(6.283185307179586476925 * (double)t / (double)n);
        p->wave[axis][1][t] = sin(6.283185307179586476925 * (double)t / (double)n);
    }
}

clf_status clf_reference_fourier_mix(const clf_reference *reference);
clf_status clf_reference_fourier_mix(const clf_reference *reference)
{
    const fourier_mix_config *c = reference->config;
    const int64_t *shape = reference->args->io[CLF_QKV_Q].shape;
    problem p = { .reference = reference, .batch = shape[0], .heads = shape[1], .length = shape[2], .width = shape[3],
                  .each_head = c->base.semantics == CLF_SEMANTICS_XFORMERS, .dropout = c->base.dropout };
    const int64_t n = channels(&p), matrices = p.each_head ? p.batch * p.heads : p.batch;
    double *scratch = malloc((size_t)(2 * (p.length + n + p.length * n) + n + 1) * sizeof *scratch);

    if (!scratch)
        return CLF_OUT_OF_HOST_MEMORY;
    p.wave[0][0] = scratch;
    p.wave[0][1] = p.wave[0][0] + p.length;
    p.wave[1][0] = p.wave[0][1] + p.length;
    p.wave[1][1] = p.wave[1][0] + n;
    p.half[0] = p.wave[1][1] + n;
    p.half[1] = p.half[0] + p.length * n;
    p.row = p.half[1] + p.length * n;
    make_waves(&p, 0, p.length);
    make_waves(&p, 1, n);
    for (int64_t matrix = 0; matrix < matrices; matrix++) {
        first_sum(&p, reference->io[CLF_QKV_Q], false, matrix);
        second_sum(&p, reference->io[CLF_QKV_OUT], true, matrix);
        if (!(reference->pass & CLF_BACKWARD) || !reference->grad[CLF_QKV_Q])
            continue;
        first_sum(&p, reference->grad[CLF_QKV_OUT], true, matrix);
        second_sum(&p, reference->grad[CLF_QKV_Q], false, matrix);
    }
    free(scratch);
    return CLF_SUCCESS;
}
