/* OpenBLAS, loaded when it is wanted, so that no program needs it or starts its threads. */
#ifndef CLF_BENCH_OPENBLAS_H
#define CLF_BENCH_OPENBLAS_H

#include <stdbool.h>

enum { CLF__BENCH_ROW_MAJOR = 101, CLF__BENCH_PLAIN = 111, CLF__BENCH_TRANSPOSED = 112 }; /* as CBLAS numbers them */

typedef struct clf__bench_blas {
    void (*sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void (*set_threads)(int count);
    const char *name; /* its build, as it tells it */
} clf__bench_blas;

/* False when there is none. It stays loaded: its threads live in it. */
bool clf__bench_blas_open(clf__bench_blas *blas);

#endif
