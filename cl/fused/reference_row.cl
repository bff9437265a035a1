/* What the naive kernels share: products of rows, computed from memory. */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "fused/place.cl"
#include "fused/lists.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif

/* What a row looks at, and number i of that: keys side by side, or those in the row of a pattern, where a key below 0
 * is one of zeros (lists.cl). A key looks at queries in the same way. */
#if CLF_BLOCKS
#define ENTRIES(b, h, own, all) \
    (int2)(lists[clf_lists_of(lists_at, b, h) + (own)], lists[clf_lists_of(lists_at, b, h) + (own) + 1])
#define ENTRY(i) lists[lists_at.s4 + (i)]
#else
#define ENTRIES(b, h, own, all) (all)
#define ENTRY(i) (i)
#endif

/* Products go sixteen numbers a round, because llvmpipe has only 65535 rounds for all loops of a work-item
 * (src/fused/rounds.c; reference.c counts them). The order of the sums is that of one number a round. */
#define STEP 16
#define WHOLE(width) ((width) / STEP * STEP)

static float dot_product(__global const clf_storage *x, __global const clf_storage *y, int width)
{
    float sum = 0.0f;
    for (int n = 0; n < WHOLE(width); n += STEP)
#pragma unroll
        for (int i = 0; i < STEP; i++)
            sum = clf_fma(clf_load(x, n + i), clf_load(y, n + i), sum);
    for (int n = WHOLE(width); n < width; n++)
        sum = clf_fma(clf_load(x, n), clf_load(y, n), sum);
    return sum;
}
