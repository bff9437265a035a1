/* The ceiling of a CPU device: OpenBLAS sgemm, 2048 x 2048 x 2048, with as many threads as the
 * device has compute units. Loaded when it is wanted, so that `clf` neither needs it nor starts its threads. */
#include "bench.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 2048 };

typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                               const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

struct clf__bench_ceiling {
    void          *library;
    sgemm_function sgemm;
    float         *a, *b, *c;
};

/* ISO C has no conversion from dlsym's pointer to a function; POSIX promises that it works. */
static void find_symbol(void *library, const char *name, void *function)
{
    *(void **)function = dlsym(library, name);
}

static void fill(float *matrix, unsigned seed)
{
    for (size_t i = 0; i < (size_t)SIZE * SIZE; i++) {
        seed = seed * 1664525u + 1013904223u;
        matrix[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
}

clf__bench_ceiling *clf__bench_ceiling_open(int threads, char *name, size_t size, double *flops)
{
    static const char *const libraries[] = { "libopenblas.so.0", "libopenblas.so" };
    void (*set_threads)(int threads) = NULL;
    char *(*get_config)(void) = NULL;
    clf__bench_ceiling *ceiling = calloc(1, sizeof *ceiling);
    if (!ceiling) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries && !ceiling->library; i++) {
        ceiling->library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!ceiling->library) {
        goto fail;
    }
    find_symbol(ceiling->library, "cblas_sgemm", &ceiling->sgemm);
    find_symbol(ceiling->library, "openblas_set_num_threads", &set_threads);
    find_symbol(ceiling->library, "openblas_get_config", &get_config);
    size_t bytes = (size_t)SIZE * SIZE * sizeof(float);
    ceiling->a = malloc(bytes);
    ceiling->b = malloc(bytes);
    ceiling->c = malloc(bytes);
    if (!ceiling->sgemm || !set_threads || !ceiling->a || !ceiling->b || !ceiling->c) {
        goto fail;
    }
    fill(ceiling->a, 1);
    fill(ceiling->b, 2);
    fill(ceiling->c, 3);
    set_threads(threads);
    snprintf(name, size, "sgemm %d^3, %d threads, %s", SIZE, threads, get_config ? get_config() : "OpenBLAS");
    *flops = 2.0 * SIZE * SIZE * SIZE;
    clf__bench_ceiling_run(ceiling); /* the first product starts the threads */
    return ceiling;
fail:
    clf__bench_ceiling_close(ceiling);
    return NULL;
}

double clf__bench_ceiling_run(clf__bench_ceiling *ceiling)
{
    enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };
    double start = clf__bench_now();
    ceiling->sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, SIZE, SIZE, SIZE, 1, ceiling->a, SIZE, ceiling->b, SIZE, 0,
                   ceiling->c, SIZE);
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
    /* The library stays loaded: its threads live in it. */
    free(ceiling);
}
