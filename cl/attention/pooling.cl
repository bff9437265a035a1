/* Average pooling over a square image, minus the image itself.
 *
 *                      x ->            A work-item owns a stretch of one row of the image, and CLF_BLOCKS
 *          +-----------------------+   blocks of CLF_LANES channels. It walks to the right, sums the CLF_WINDOW cells of
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
    if (column < 0 || column >= side)
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
    const int channels = CLF_BLOCKS * CLF_LANES; /* of a work-item */
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int side = shape.y, parts = (shape.z + channels - 1) / channels, stretches = (side + shape.w - 1) / shape.w;
    const int channel = (int)(item % parts) * channels, left = shape.z - channel;
    item /= parts;
    const int first = (int)(item % stretches) * shape.w, end = min(first + shape.w, side);
    item /= stretches;
    const int row = (int)(item % side);
    item /= side;
    const long b = (long)(item / shape.x), h = (long)(item % shape.x);
    x += x_at.x + b * x_at.y + h * x_at.z + channel;
    y += y_at.x + b * y_at.y + h * y_at.z + channel;

    const long row_stride = side * x_at.w;
    const int rows = inside(row, side);
    clf_real column[CLF_BLOCKS][CLF_WINDOW]; /* the sums of the columns around the current one */
    for (int c = 0; c < CLF_WINDOW - 1; c++)
#pragma unroll
        for (int n = 0; n < CLF_BLOCKS; n++)
            column[n][c + 1] = sum_column(x + n * CLF_LANES, row_stride, x_at.w, row, first - REACH + c, side,
                                          left - n * CLF_LANES);
    for (int at = first; at < end; at++) {
        const long cell = (long)row * side + at;
        const float share = 1.0f / (float)(rows * inside(at, side));
#pragma unroll
        for (int n = 0; n < CLF_BLOCKS; n++) {
            const int count = left - n * CLF_LANES;
            clf_real sum = (clf_real)(0.0f);
#pragma unroll
            for (int c = 0; c < CLF_WINDOW - 1; c++)
                column[n][c] = column[n][c + 1];
            column[n][CLF_WINDOW - 1] =
                sum_column(x + n * CLF_LANES, row_stride, x_at.w, row, at + REACH, side, count);
#pragma unroll
            for (int c = 0; c < CLF_WINDOW; c++)
                sum += column[n][c];
#if !CLF_BACKWARD
            sum *= share;
#endif
            clf_store_lanes(sum - clf_load_lanes(x + n * CLF_LANES, cell * x_at.w, count), y + n * CLF_LANES,
                            cell * y_at.w, count);
        }
    }
}
