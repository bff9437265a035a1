/* Factors, tables and launches of Fourier transforms. Tables are computed in double: in f32 the error of a transform
 * grows with the logarithm of its length only when the roots are exact to the last bit. */
#include "ops/fft.h"
#include "component/plan.h"
#include "core/status.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LARGEST_RADIX = 31, LARGEST_LENGTH = 1 << 25 };

static const double TWO_PI = 6.283185307179586476925;

typedef struct complex2 {
    double re, im;
} complex2;

static complex2 multiply(complex2 a, complex2 b)
{
    return (complex2){ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re };
}

/* exp(-2 pi i t / n) */
static complex2 root_of_unity(int64_t t, int64_t n)
{
    const double angle = TWO_PI * (double)(t % n) / (double)n;
    return (complex2){ cos(angle), -sin(angle) };
}

/* Radices of `length`, 8 first; 0 when a factor is too large. */
static int factorise(int length, int *radix)
{
    static const int first[] = { 8, 4, 2, 5, 3 };
    int count = 0;

    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        for (; length % first[i] == 0; length /= first[i])
            radix[count++] = first[i];
    for (int prime = 7; length > 1 && prime <= LARGEST_RADIX; prime += 2)
        for (; length % prime == 0; length /= prime)
            radix[count++] = prime;
    if (length > 1)
        return 0;
    if (count == 0)
        radix[count++] = 1; /* one row: copied */
    return count;
}

/* The next number from n on that has no prime factor above 5. */
static int next_smooth(int n)
{
    for (;; n++) {
        int rest = n;
        while (rest % 2 == 0)
            rest /= 2;
        while (rest % 3 == 0)
            rest /= 3;
        while (rest % 5 == 0)
            rest /= 5;
        if (rest == 1)
            return n;
    }
}

/* The transform of x on the host, by the same passes; y is scratch, the result is in the array that is returned. */
static complex2 *transform(const clf__fft *fft, const complex2 *roots, complex2 *x, complex2 *y)
{
    const int n = fft->inner;
    int before = 1;

    for (int pass = 0; pass < fft->passes; pass++) {
        const int radix = fft->radix[pass], part = n / radix, step = part / before;
        for (int j = 0; j < part; j++)
            for (int output = 0; output < radix; output++) {
                const int k = j % before;
                complex2 sum = { 0, 0 };
                for (int p = 0; p < radix; p++) {
                    const int64_t root = (int64_t)p * (k * (int64_t)step + output * (int64_t)part) % n;
                    const complex2 term = multiply(x[j + p * part], roots[root]);
                    sum.re += term.re;
                    sum.im += term.im;
                }
                y[(j - k) * radix + k + output * before] = sum;
            }
        complex2 *swap = x;
        x = y;
        y = swap;
        before *= radix;
    }
    return x;
}

static clf_status make_constant(clf_plan *plan, const complex2 *values, int count, cl_mem *mem)
{
    float *table = malloc(2 * (size_t)count * sizeof *table);

    if (!table)
        return clf__no_memory(2 * (size_t)count * sizeof *table);
    for (size_t i = 0; i < (size_t)count; i++) {
        table[2 * i] = (float)values[i].re;
        table[2 * i + 1] = (float)values[i].im;
    }
    const clf_status status = clf_plan_constant(plan, table, 2 * (size_t)count * sizeof *table, mem);
    free(table);
    return status;
}

/* Bluestein: with c[t] = exp(-pi i t^2 / n) the transform is X[s] = c[s] sum_t (x[t] c[t]) conj(c[s - t]), a cyclic
 * convolution of any length from 2 n - 1 on. `filter` is the transform of conj(c), divided by that length. */
static clf_status make_chirp(clf_plan *plan, clf__fft *fft, const complex2 *roots, complex2 *work)
{
    const int n = fft->length, inner = fft->inner;
    complex2 *x = work, *y = work + inner;

    for (int t = 0; t < n; t++)
        x[t] = root_of_unity((int64_t)t * t % (2 * (int64_t)n), 2 * (int64_t)n);
    clf_status status = make_constant(plan, x, n, &fft->chirp);
    if (status)
        return status;
    for (int t = 0; t < n; t++) {
        x[t].im = -x[t].im;
        if (t > 0)
            x[inner - t] = x[t];
    }
    for (int t = n; t <= inner - n; t++)
        x[t] = (complex2){ 0, 0 };
    x = transform(fft, roots, x, y);
    for (int t = 0; t < inner; t++)
        x[t] = (complex2){ x[t].re / inner, x[t].im / inner };
    return make_constant(plan, x, inner, &fft->filter);
}

static clf_status make_tables(clf_plan *plan, clf__fft *fft)
{
    const size_t inner = (size_t)fft->inner;
    complex2 *roots = calloc(3 * inner, sizeof *roots);

    if (!roots)
        return clf__no_memory(3 * inner * sizeof *roots);
    for (int t = 0; t < fft->inner; t++)
        roots[t] = root_of_unity(t, fft->inner);
    clf_status status = make_constant(plan, roots, fft->inner, &fft->roots);
    if (status == CLF_SUCCESS && fft->inner != fft->length)
        status = make_chirp(plan, fft, roots, roots + inner);
    free(roots);
    return status;
}

/* Which kernel does this radix? */
static int slot_of(int radix)
{
    return radix == 2 || radix == 3 || radix == 4 || radix == 5 || radix == 8 ? radix : 0;
}

static clf_status make_kernel(clf_plan *plan, const clf__fft *fft, int slot, const char *name, cl_kernel *kernel)
{
    char options[CLF__LANES_OPTIONS], more[32];

    (void)snprintf(more, sizeof more, "-DCLF_RADIX=%d", slot);
    clf__lanes_options(fft->lanes, CLF_F32, more, options, sizeof options);
    return clf__plan_kernel(plan, "ops/fft.cl", options, name, kernel);
}

static clf_status make_kernels(clf_plan *plan, clf__fft *fft)
{
    clf_status status = CLF_SUCCESS;

    for (int pass = 0; pass < fft->passes && status == CLF_SUCCESS; pass++) {
        const int slot = slot_of(fft->radix[pass]);
        if (!fft->pass[slot])
            status = make_kernel(plan, fft, slot, "clf_fft_pass", &fft->pass[slot]);
    }
    if (status == CLF_SUCCESS && fft->inner != fft->length)
        status = make_kernel(plan, fft, slot_of(fft->radix[0]), "clf_fft_scale", &fft->scale);
    return status;
}

clf_status clf__fft_plan(clf_plan *plan, int64_t length, int lanes, clf__fft *fft)
{
    if (length > LARGEST_LENGTH)
        return clf_plan_refuse(plan, "a Fourier transform of length %lld: the longest is %d", (long long)length,
                               (int)LARGEST_LENGTH);
    *fft = (clf__fft){ .lanes = lanes, .length = (int)length, .inner = (int)length };
    if (length < 1)
        return CLF_SUCCESS;
    if ((fft->passes = factorise(fft->inner, fft->radix)) == 0) {
        fft->inner = next_smooth(2 * fft->length - 1);
        fft->passes = factorise(fft->inner, fft->radix);
    }
    clf_status status = make_kernels(plan, fft);
    return status ? status : make_tables(plan, fft);
}

int64_t clf__fft_rows(const clf__fft *fft)
{
    return fft->inner;
}

int64_t clf__fft_columns(int64_t columns)
{
    return (columns + CLF__FFT_COLUMNS - 1) / CLF__FFT_COLUMNS * CLF__FFT_COLUMNS;
}

/* One step over `rows` rows of work-items. */
static clf_status step(clf_run *run, const clf__fft *fft, clf__fft_data *data, cl_kernel kernel, cl_mem table,
                       cl_int4 shape, int64_t rows)
{
    const cl_long4 at = { { data->from, data->to, data->pitch } };
    clf_binder binder = clf_bind(kernel);

    clf_bind_mem(&binder, data->mem);
    clf_bind_mem(&binder, data->mem);
    clf_bind_mem(&binder, table);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &shape, sizeof shape);
    const int64_t from = data->from;
    data->from = data->to;
    data->to = from;
    return clf__lanes_launch(run, &binder, fft->lanes, data->items * rows * (data->columns / fft->lanes));
}

static clf_status run_passes(clf_run *run, const clf__fft *fft, clf__fft_data *data)
{
    clf_status status = CLF_SUCCESS;
    int before = 1;

    for (int pass = 0; pass < fft->passes && status == CLF_SUCCESS; pass++) {
        const int radix = fft->radix[pass], slot = slot_of(radix);
        const cl_int4 shape = { { fft->inner, before, radix, data->columns } };
        status = step(run, fft, data, fft->pass[slot], fft->roots, shape, slot ? fft->inner / radix : fft->inner);
        before *= radix;
    }
    return status;
}

static clf_status scale(clf_run *run, const clf__fft *fft, clf__fft_data *data, cl_mem factors, int rows, int given,
                        int conjugate)
{
    return step(run, fft, data, fft->scale, factors, (cl_int4){ { rows, given, conjugate, data->columns } }, rows);
}

clf_status clf__fft_run(clf_run *run, const clf__fft *fft, clf__fft_data *data)
{
    enum { BEFORE = 1, AFTER = 2 };
    clf_status status;

    if (fft->inner == fft->length)
        return run_passes(run, fft, data);
    if ((status = scale(run, fft, data, fft->chirp, fft->inner, fft->length, 0)) || (status = run_passes(run, fft, data)) ||
        /* the inverse transform of x is the conjugate of the transform of the conjugate of x */
        (status = scale(run, fft, data, fft->filter, fft->inner, fft->inner, AFTER)) ||
        (status = run_passes(run, fft, data)))
        return status;
    return scale(run, fft, data, fft->chirp, fft->length, fft->length, BEFORE);
}
