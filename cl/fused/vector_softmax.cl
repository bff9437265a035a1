/* The rows of fused attention on CPUs, forward: what becomes of scores, tile by tile of 8 rows x CLF_KEYS.
 *
 * A row is relative to a base that moves only when a score exceeds it by SLACK powers of two, so that most tiles are
 * spared both the horizontal maximum and the rescaling of acc; the sum stays a vector until the end.
 * To be included behind prelude/tile.cl, fused/place.cl and the sizes: CLF_KEYS, D_PADDED, E_PADDED, ACC_STEP.
 */
/* How far, in powers of two, a score may rise above its row's base before the row is rescaled. */
#define SLACK 8.0f

#ifndef ACC_STEP
#define ACC_STEP E_PADDED /* from row to row of acc */
#endif

/* Fetch and scale the queries, clear what their rows will sum, but for the sink. */
static void begin(__global const clf_storage *q, long at, long stride, int count, float scale, float sink,
                  float *queries, float *acc, float *sum, float *base, float *limit)
{
    const int rows = (count + CLF_TILE_ROWS - 1) / CLF_TILE_ROWS * CLF_TILE_ROWS;
    clf_pack(q, at, stride, count, rows, CLF_D, queries, D_PADDED);
    for (int n = 0; n < rows * D_PADDED; n += 16)
        vstore16(vload16(0, queries + n) * scale, 0, queries + n);
    for (int n = 0; n < rows * ACC_STEP; n += 16)
        vstore16((float16)(0.0f), 0, acc + n);
    for (int r = 0; r < rows; r++) {
        vstore16((float16)(0.0f), 0, sum + r * 16);
        sum[r * 16] = sink == -INFINITY ? 0.0f : 1.0f;
        base[r] = sink == -INFINITY ? 0.0f : sink;
        limit[r] = sink == -INFINITY ? sink : sink + SLACK;
    }
}

/* Scores of a tile that somebody may not see pass the mask; rows beyond the last query are left alone. */
static void hide(float *s, int width, int rows, int b, int h, int q, int k, int8 shape,
                 __global const clf_mask *mask, long8 mask_at,
                 __global const uchar *padding, long4 padding_at CLF_EXTRA_PARAMETERS)
{
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < width; n += 16) {
            float *at = s + r * CLF_KEYS + n;
            vstore16(clf_score(vload16(0, at), b, h, q + r, k + n + CLF_LANE, shape, mask, mask_at,
                               padding, padding_at CLF_EXTRA_ARGUMENTS), 0, at);
        }
}

/* Rows whose scores outgrew their base get a new one, and what they have summed shrinks to it. */
static void rebase(const float *s, int width, float *base, float *limit, float *sum, float *acc)
{
    for (int r = 0; r < CLF_TILE_ROWS; r++) {
        float16 largest = (float16)(-INFINITY);
        for (int n = 0; n < width; n += 16)
            largest = clf_max(vload16(0, s + r * CLF_KEYS + n), largest);
        const float top = clf_max16(largest);
        if (!(top > limit[r]))
            continue;
        const float16 nothing = (float16)(0.0f);
        const float16 shrink = limit[r] == -INFINITY ? nothing : clf_exp2((float16)(base[r] - top));
        vstore16(vload16(0, sum + r * 16) * shrink, 0, sum + r * 16);
        for (int n = 0; n < E_PADDED; n += 16)
            vstore16(vload16(0, acc + r * ACC_STEP + n) * shrink, 0, acc + r * ACC_STEP + n);
        base[r] = top;
        limit[r] = top + SLACK;
    }
}

/* Scores of 8 rows become probabilities relative to the rows' bases, summed lane by lane. */
static void soften(float *s, int width, float *base, float *limit, float *sum, float *acc)
{
    int16 outgrown = (int16)(0);
    for (int r = 0; r < CLF_TILE_ROWS; r++)
        for (int n = 0; n < width; n += 16)
            outgrown |= vload16(0, s + r * CLF_KEYS + n) > limit[r];
    if (any(outgrown))
        rebase(s, width, base, limit, sum, acc);
    for (int r = 0; r < CLF_TILE_ROWS; r++) {
        float16 total = vload16(0, sum + r * 16);
        for (int n = 0; n < width; n += 16) {
            const float16 p = clf_exp2(vload16(0, s + r * CLF_KEYS + n) - base[r]);
            *(float16 *)(s + r * CLF_KEYS + n) = p; /* whole lines of the cache; vstore16 would be split in four */
            total += p;
        }
        *(float16 *)(sum + r * 16) = total;
    }
}

/* Dropped probabilities become 0 (the others are scaled once, in the end). */
static void drop(float *s, int width, int bh, int q, int k, uint8 random)
{
    for (int r = 0; r < CLF_TILE_ROWS; r++)
        for (int n = 0; n < width; n += 32) {
            int16 first, second;
            clf_keep32(k + n, q + r, bh, random, &first, &second);
            float *p = s + r * CLF_KEYS + n;
            vstore16(first ? vload16(0, p) : (float16)(0.0f), 0, p);
            if (n + 16 < width)
                vstore16(second ? vload16(0, p + 16) : (float16)(0.0f), 0, p + 16);
        }
}
