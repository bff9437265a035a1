/* OpenBLAS, loaded when it is wanted. */
#include "peers.h"

#include <dlfcn.h>

typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                               const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static sgemm_function sgemm;

/* ISO C has no conversion from dlsym's pointer to a function; POSIX promises that it works. */
static void find_symbol(void *library, const char *name, void *function)
{
    *(void **)function = dlsym(library, name);
}

int peer_blas_open(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void (*set_threads)(int count) = NULL;

    if (!library)
        return 0;
    find_symbol(library, "openblas_set_num_threads", &set_threads);
    find_symbol(library, "cblas_sgemm", &sgemm);
    if (set_threads)
        set_threads(1);
    return sgemm && set_threads;
}

void peer_gemm(peer_turn turned, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
               float beta, float *c, int ldc)
{
    enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

    sgemm(ROW_MAJOR, turned & TURN_A ? TRANSPOSE : NO_TRANSPOSE, turned & TURN_B ? TRANSPOSE : NO_TRANSPOSE, m, n, k,
          alpha, a, lda, b, ldb, beta, c, ldc);
}
