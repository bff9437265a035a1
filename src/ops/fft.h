/* Complex Fourier transforms of any length along the rows of f32 matrices; cl/ops/fft.cl tells the layout.
 *
 * Lengths whose prime factors are up to 31 are passes of those radices. Others (Bluestein) become a convolution of
 * twice that length, so that every length costs O(N log N).
 */
#ifndef CLF_OPS_FFT_H
#define CLF_OPS_FFT_H

#include <clformers/author.h>

enum { CLF__FFT_PASSES = 32, CLF__FFT_COLUMNS = 16, CLF__FFT_RADICES = 9 };

typedef struct clf__fft {
    int       lanes;
    int       length;                /* of the transform */
    int       inner;                 /* of the passes: the same, or what the convolution is padded to */
    int       passes;
    int       radix[CLF__FFT_PASSES];
    cl_kernel pass[CLF__FFT_RADICES]; /* by radix; [0] for the others */
    cl_kernel scale;
    cl_mem    roots;                 /* exp(-2 pi i t / inner) */
    cl_mem    chirp, filter;         /* of the convolution; NULL without */
} clf__fft;

/* Matrices in two halves of a buffer: a step reads one half, writes the other and swaps them. */
typedef struct clf__fft_data {
    cl_mem  mem;
    int64_t from, to; /* floats from the start of mem */
    int64_t pitch;    /* floats from matrix to matrix */
    int64_t items;    /* matrices */
    int     columns;  /* padded */
} clf__fft_data;

/* Factors and tables; the kernels come from the program "ops/fft.cl". Refuses lengths beyond 2^25. */
clf_status clf__fft_plan(clf_plan *plan, int64_t length, int lanes, clf__fft *fft);

/* Rows that a matrix needs room for. */
int64_t clf__fft_rows(const clf__fft *fft);
/* Columns padded to whole blocks. */
int64_t clf__fft_columns(int64_t columns);

/* Transforms data->from; the result is in data->from again. */
clf_status clf__fft_run(clf_run *run, const clf__fft *fft, clf__fft_data *data);

#endif
