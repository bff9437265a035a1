/* The ceiling of a CPU device: OpenBLAS sgemm, 2048 x 2048 x 2048, with as many threads as the
 * device has compute units. Loaded when it is wanted, so that `clf` neither needs it nor starts its threads. */
#include "bench.h"
#include "clocks.h"
#include "openblas.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 2048 };

struct clf__bench_ceiling {
    clf__bench_blas blas;
    float          *a, *b, *c;
};

static void fill(float *matrix, unsigned seed)
{
    for (size_t i = 0; i < (size_t)SIZE * SIZE; i++) {
        seed = seed * 1664525u + 1013904223u;
        matrix[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
}

clf__bench_ceiling *clf__bench_ceiling_open(int threads, char *name, size_t size, double *flops)
{
    clf__bench_ceiling *ceiling = calloc(1, sizeof *ceiling);
    if (!ceiling) {
        return NULL;
    }
    if (!clf__bench_blas_open(&ceiling->blas)) {
        goto fail;
    }
    size_t bytes = (size_t)SIZE * SIZE * sizeof(float);
    ceiling->a = malloc(bytes);
    ceiling->b = malloc(bytes);
    ceiling->c = malloc(bytes);
    if (!ceiling->a || !ceiling->b || !ceiling->c) {
        goto fail;
    }
    fill(ceiling->a, 1);
    fill(ceiling->b, 2);
    fill(ceiling->c, 3);
    ceiling->blas.set_threads(threads);
    snprintf(name, size, "sgemm %d^3, %d threads, %s", SIZE, threads, ceiling->blas.name);
    *flops = 2.0 * SIZE * SIZE * SIZE;
    clf__bench_ceiling_run(ceiling); /* the first product starts the threads */
    return ceiling;
fail:
    clf__bench_ceiling_close(ceiling);
    return NULL;
}

double clf__bench_ceiling_run(clf__bench_ceiling *ceiling)
{
    double start = clf__bench_now();
    ceiling->blas.sgemm(CLF__BENCH_ROW_MAJOR, CLF__BENCH_PLAIN, CLF__BENCH_PLAIN, SIZE, SIZE, SIZE, 1, ceiling->a, SIZE,
                        ceiling->b, SIZE, 0, ceiling->c, SIZE);
    double seconds = clf__bench_now() - start;
    /* Its threads spin for some ten milliseconds before they sleep, and would take time from ours. */
    nanosleep(&(struct timespec){ .tv_nsec = 60000000 }, NULL);
    return seconds;
}

void clf__bench_ceiling_close(clf__bench_ceiling *ceiling)
{
    if (!ceiling) {
        return;
    }
    free(ceiling->a);
    free(ceiling->b);
    free(ceiling->c);
    free(ceiling);
}
