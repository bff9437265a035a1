/* Tensors of the call's storage type as f32 and back, so that what a part does in several kernels rounds once.
 *
 * A work-item owns CLF_LANES neighbouring channels of a row. Tensors are {first element, strides of batch, head, row};
 * keep, [batch, rows] bytes, may be absent: then all rows are kept. The elements that dropout takes are 0
 * and the others are scaled; an element has the random number of (channel, row, batch * heads + head).
 */
#include "prelude/single.cl"

/* shape: heads, rows, width. Rows that are not kept become 0. */
__kernel void clf_single_widen(__global const clf_storage *x, long4 x_at, __global const uchar *keep, long4 keep_at,
                               __global float *y, long4 y_at, int4 shape, float scale, uint8 random, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const clf_place p = clf_place_of(item, shape.x, shape.y, shape.z);
    clf_real value = (clf_real)(0.0f);
    if (clf_is_kept(keep, keep_at, p.b, p.row))
        value = clf_drop(clf_load_lanes(x, clf_row_at(p, p.row, x_at), p.left), p, shape.x, scale, random);
    clf_store_single(value, y, clf_row_at(p, p.row, y_at), p.left);
}

__kernel void clf_single_narrow(__global const float *x, long4 x_at, __global clf_storage *y, long4 y_at, int4 shape,
                                float scale, uint8 random, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const clf_place p = clf_place_of(item, shape.x, shape.y, shape.z);
    const clf_real value = clf_load_single(x, clf_row_at(p, p.row, x_at), p.left);
    clf_store_lanes(clf_drop(value, p, shape.x, scale, random), y, clf_row_at(p, p.row, y_at), p.left);
}
