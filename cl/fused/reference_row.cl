/* What the naive kernels share: one score, computed from memory. */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif

/* Element index of row i of head (b, h). */
#define ROW(at, i) ((at).x + b * (at).y + h * (at).z + (i) * (at).w)

static float dot(__global const clf_storage *x, long x_row, __global const clf_storage *y, long y_row, int width)
{
    float sum = 0.0f;
    for (int d = 0; d < width; d++)
        sum = clf_fma(clf_load(x, x_row + d), clf_load(y, y_row + d), sum);
    return sum;
}

/* The scaled product before masks, and the score of query i and key j, in powers of two. */
#define PRODUCT(i, j) (dot(q, ROW(q_at, i), k, ROW(k_at, j), CLF_D) * clf_query_scale(factor.x))
#define SCORE(i, j) \
    clf_score(PRODUCT(i, j), b, h, i, j, shape, mask, mask_at, padding, padding_at CLF_EXTRA_ARGUMENTS)
