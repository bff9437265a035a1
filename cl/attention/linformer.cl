/* Dropout of finished rows, which linformer has a second time under xformers semantics.
 *
 * y = x / (1 - p) where (item, row, key) is kept, else 0, with key = 2^30 + channel: numbers that no attention weight
 * uses. A work-item has CLF_LANES channels of a row. Backward is the same for gradients.
 */
#include "prelude/lanes.cl"
#include "prelude/philox.cl"

#define CHANNEL_KEY (1 << 30)

/* shape: heads, rows, channels; x and y: {offset, strides of batch, head, row} */
__kernel void clf_linformer_drop(__global const clf_storage *x, long4 x_at, __global clf_storage *y, long4 y_at,
                                 int4 shape, float scale, uint8 random, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int blocks = (shape.z + CLF_LANES - 1) / CLF_LANES, e = (int)(item % blocks) * CLF_LANES;
    item /= blocks;
    const int row = (int)(item % shape.y), bh = (int)(item / shape.y), b = bh / shape.x, h = bh % shape.x;
    const long from = x_at.s0 + b * x_at.s1 + h * x_at.s2 + row * x_at.s3 + e;
    const long to = y_at.s0 + b * y_at.s1 + h * y_at.s2 + row * y_at.s3 + e;
    const clf_real value = clf_load_lanes(x, from, shape.z - e) * scale;
#if CLF_LANES == 16
    int16 kept, unused;
    clf_keep32(CHANNEL_KEY + e, row, bh, random, &kept, &unused);
    clf_store_lanes(select((clf_real)(0.0f), value, kept), y, to, shape.z - e);
#else
    clf_store_lanes(clf_keep(CHANNEL_KEY + e, row, bh, random) ? value : 0.0f, y, to, 1);
#endif
}
