/* Average pooling over a square image, minus the image itself.
 *
 *                      x ->            A work-item owns a stretch of one row of the image, and one block of
 *          +-----------------------+   channels (CLF_LANES). It walks to the right, sums the CLF_WINDOW cells of
 *          |     | c c c |         |   each new column once and keeps the sums c of the last CLF_WINDOW columns:
 *      row |     | c c c |->       |   a result is their sum. Nothing is ever subtracted from a running sum, so
 *          |     | c c c |         |   that what has left the window leaves no rounding (or infinity) behind.
 *          +-----------------------+
 *
 * Forward divides by the number of cells inside the image. The transpose of that (CLF_BACKWARD) divides each cell
 * by the count of the window around it before it is summed.
 */
#include "prelude/lanes.cl"

#define REACH (CLF_WINDOW / 2)

/* Cells of a window along one axis that lie inside. */
static int inside(int centre, int side)
{
    return min(centre + REACH, side - 1) - max(centre - REACH, 0) + 1;
}

static clf_real sum_column(__global const clf_storage *x, long row_stride, long step, int row, int column, int side,
                           int count)
{
    clf_real sum = (clf_real)(0.0f);
    if (column >= side)
        return sum;
    const int last = min(row + REACH, side - 1);
    for (int r = max(row - REACH, 0); r <= last; r++) {
        const clf_real value = clf_load_lanes(x, r * row_stride + column * step, count);
#if CLF_BACKWARD
        sum += value * (1.0f / (float)(inside(r, side) * inside(column, side)));
#else
        sum += value;
#endif
    }
    return sum;
}

/* shape: heads, side of the image, channels, columns of a stretch */
__kernel void clf_pooling(__global const clf_storage *x, long4 x_at, __global clf_storage *y, long4 y_at, int4 shape,
                          ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int side = shape.y, blocks = (shape.z + CLF_LANES - 1) / CLF_LANES, stretches = (side + shape.w - 1) / shape.w;
    const int channel = (int)(item % blocks) * CLF_LANES, count = min(shape.z - channel, CLF_LANES);
    item /= blocks;
    const int first = (int)(item % stretches) * shape.w, end = min(first + shape.w, side);
    item /= stretches;
    const int row = (int)(item % side);
    item /= side;
    const long b = (long)(item / shape.x), h = (long)(item % shape.x);
    x += x_at.x + b * x_at.y + h * x_at.z + channel;
    y += y_at.x + b * y_at.y + h * y_at.z + channel;

    const long row_stride = side * x_at.w;
    clf_real column[CLF_WINDOW]; /* the sums of the columns around the current one */
    for (int c = 0; c < CLF_WINDOW - 1; c++) {
        const int at = first - REACH + c;
        column[c + 1] = at < 0 ? (clf_real)(0.0f) : sum_column(x, row_stride, x_at.w, row, at, side, count);
    }
    for (int at = first; at < end; at++) {
        clf_real sum = (clf_real)(0.0f);
#pragma unroll
        for (int c = 0; c < CLF_WINDOW - 1; c++)
            column[c] = column[c + 1];
        column[CLF_WINDOW - 1] = sum_column(x, row_stride, x_at.w, row, at + REACH, side, count);
#pragma unroll
        for (int c = 0; c < CLF_WINDOW; c++)
            sum += column[c];
#if !CLF_BACKWARD
        sum *= 1.0f / (float)(inside(row, side) * inside(at, side));
#endif
        const long cell = (long)row * side + at;
        clf_store_lanes(sum - clf_load_lanes(x, cell * x_at.w, count), y, cell * y_at.w, count);
    }
}
