#include "openblas.h"
#include "peers.h"

static clf__bench_blas blas;

int peer_blas_open(void)
{
    if (!clf__bench_blas_open(&blas))
        return 0;
    blas.set_threads(1);
    return 1;
}

void peer_gemm(peer_turn turned, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
               float beta, float *c, int ldc)
{
    blas.sgemm(CLF__BENCH_ROW_MAJOR, turned & TURN_A ? CLF__BENCH_TRANSPOSED : CLF__BENCH_PLAIN,
               turned & TURN_B ? CLF__BENCH_TRANSPOSED : CLF__BENCH_PLAIN, m, n, k, alpha, a, lda, b, ldb, beta, c,
               ldc);
}
