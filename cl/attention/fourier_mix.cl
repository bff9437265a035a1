/* Real parts of the two-dimensional Fourier transform of real matrices, by half the work of a complex one:
 *
 *    pack   two real columns make one complex column: z[s][m] = x[s][m] + i x[s][m + pairs],  pairs = ceil(width / 2)
 *           transform along the sequence (ops/fft.cl)
 *    turn   the transforms of the two columns are the even and the odd part of z's; of a real column the rows
 *           0 .. length / 2 say everything. Matrices are transposed: now rows are channels, columns are frequencies
 *           transform along the channels
 *    out    rows beyond length / 2 mirror the others: y[s][c] = conj y[length - s][width - c]
 *
 * A vector work-item turns tiles of 16 x 16; scalar work-items own a number each and write side by side.
 *
 * shape: sequence, channels of a matrix, channels of a head, heads of a matrix, heads of the tensor, padded columns of z,
 * padded columns after the turn, first matrix. Channel c of matrix i is channel c mod (head width) of a head.
 */
#include "prelude/lanes.cl"
#include "prelude/philox.cl"
#if CLF_LANES == 16
#include "prelude/tile.cl"
#endif

/* Batch and head of a channel. */
static int2 head_of(int matrix, int channel, int8 shape)
{
    const int head = (matrix + shape.s7) * shape.s3 + channel / shape.s2;
    return (int2)(head / shape.s4, head % shape.s4);
}

/* First element of row `s`, up to the channel. */
static long address(int matrix, int s, int channel, int8 shape, long4 at)
{
    const int2 head = head_of(matrix, channel, shape);
    return at.x + head.x * at.y + head.y * at.z + s * at.w + channel % shape.s2;
}

/* Do the channels up to channel + 15 lie in one head? */
static int is_together(int channel, int8 shape)
{
    return channel + 16 <= shape.s1 && channel / shape.s2 == (channel + 15) / shape.s2;
}

/* What dropout makes of an element: 0, or the scale of what is kept. */
static float kept(int matrix, int s, int channel, int8 shape, float scale, uint8 random)
{
#if CLF_DROPOUT
    const int2 head = head_of(matrix, channel, shape);
    const int d = channel % shape.s2;
    const uint4 words = clf_dropout_words(d >> 2, s, head.x * shape.s4 + head.y, random);
    const uint2 pair = d & 2 ? words.hi : words.lo;
    return (d & 1 ? pair.y : pair.x) >= random.s4 ? scale : 0.0f;
#else
    return 1.0f;
#endif
}

/* CLF_LANES channels from `channel` on; those beyond the matrix are 0. */
static clf_real load_channels(__global const clf_storage *x, long4 x_at, int matrix, int s, int channel, int limit,
                              int8 shape, float scale, uint8 random)
{
#if CLF_LANES == 16
    if (!CLF_DROPOUT && channel + 16 <= limit && is_together(channel, shape))
        return clf_load16(x, address(matrix, s, channel, shape, x_at));
    float lane[16];
    for (int n = 0; n < 16; n++) {
        lane[n] = 0.0f;
        if (channel + n < limit)
            lane[n] = clf_load(x, address(matrix, s, channel + n, shape, x_at)) *
                      kept(matrix, s, channel + n, shape, scale, random);
    }
    return vload16(0, lane);
#else
    if (channel >= limit)
        return 0.0f;
    return clf_load(x, address(matrix, s, channel, shape, x_at)) * kept(matrix, s, channel, shape, scale, random);
#endif
}

/* at: first float and pitch of the packed matrices. A work-item: matrix, row, block of columns. */
__kernel void clf_fourier_pack(__global const clf_storage *x, long4 x_at, __global float *packed, long2 at, int8 shape,
                               float scale, uint8 random, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int columns = shape.s5, pairs = (shape.s1 + 1) / 2;
    const int m = (int)(item % (columns / CLF_LANES)) * CLF_LANES;
    item /= columns / CLF_LANES;
    const int s = (int)(item % shape.s0), matrix = (int)(item / shape.s0);
    __global float *row = packed + at.x + matrix * at.y + s * 2 * (long)columns + m;
    const clf_real re = load_channels(x, x_at, matrix, s, m, pairs, shape, scale, random);
    const clf_real im = load_channels(x, x_at, matrix, s, m + pairs, m < pairs ? shape.s1 : 0, shape, scale, random);
#if CLF_LANES == 16
    vstore16(re, 0, row);
    vstore16((m + CLF_LANE) < pairs ? im : (float16)(0.0f), 0, row + columns);
#else
    row[0] = re;
    row[columns] = im;
#endif
}

/* at: first float of input and output, pitch of a matrix. z = a + i b in row s, p + i q in its mirror:
 * even part (a + p, b - q) / 2 is the first column's transform, odd part / i = (b + q, p - a) / 2 the second's. */
__kernel void clf_fourier_turn(__global const float *from, __global float *to, long4 at, int8 shape, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int length = shape.s0, width = shape.s1, pairs = (width + 1) / 2, rows = length / 2 + 1;
    const long pitch = 2 * (long)shape.s5, turned = 2 * (long)shape.s6;
#if CLF_LANES == 16
    const int s = (int)(item % (shape.s6 / 16)) * 16;
    item /= shape.s6 / 16;
    const int m = (int)(item % (shape.s5 / 16)) * 16, matrix = (int)(item / (shape.s5 / 16));
    float even_re[256], even_im[256], odd_re[256], odd_im[256];
    from += at.x + matrix * at.z + m;
    to += at.y + matrix * at.z + s;
    for (int r = 0; r < 16; r++) {
        float16 a = (float16)(0.0f), b = a, p = a, q = a;
        if (s + r < rows) {
            __global const float *row = from + (s + r) * pitch;
            __global const float *mirror = from + (s + r == 0 ? 0 : length - s - r) * pitch;
            a = vload16(0, row) * 0.5f;
            b = vload16(0, row + shape.s5) * 0.5f;
            p = vload16(0, mirror) * 0.5f;
            q = vload16(0, mirror + shape.s5) * 0.5f;
        }
        vstore16(a + p, r, even_re);
        vstore16(b - q, r, even_im);
        vstore16(b + q, r, odd_re);
        vstore16(p - a, r, odd_im);
    }
    clf_transpose16(even_re, 16, even_re, 16);
    clf_transpose16(even_im, 16, even_im, 16);
    clf_transpose16(odd_re, 16, odd_re, 16);
    clf_transpose16(odd_im, 16, odd_im, 16);
    for (int c = 0; c < 16 && m + c < pairs; c++) {
        __global float *first = to + (m + c) * turned, *second = first + pairs * turned;
        vstore16(vload16(c, even_re), 0, first);
        vstore16(vload16(c, even_im), 0, first + shape.s6);
        if (m + c + pairs < width) {
            vstore16(vload16(c, odd_re), 0, second);
            vstore16(vload16(c, odd_im), 0, second + shape.s6);
        }
    }
#else
    const int s = (int)(item % shape.s6);
    item /= shape.s6;
    const int m = (int)(item % pairs), matrix = (int)(item / pairs);
    from += at.x + matrix * at.z + m;
    to += at.y + matrix * at.z + m * turned + s;
    float a = 0.0f, b = 0.0f, p = 0.0f, q = 0.0f;
    if (s < rows) {
        __global const float *row = from + s * pitch, *mirror = from + (s == 0 ? 0 : length - s) * pitch;
        a = row[0] * 0.5f;
        b = row[shape.s5] * 0.5f;
        p = mirror[0] * 0.5f;
        q = mirror[shape.s5] * 0.5f;
    }
    to[0] = a + p;
    to[shape.s6] = b - q;
    if (m + pairs < width) {
        to += pairs * turned;
        to[0] = b + q;
        to[shape.s6] = p - a;
    }
#endif
}

/* Element (s, channel) of the result, from the half of the spectrum that is there. */
static float result(__global const float *from, int s, int channel, int8 shape)
{
    const long turned = 2 * (long)shape.s6;
    if (s <= shape.s0 / 2)
        return from[channel * turned + s];
    return from[(channel == 0 ? 0 : shape.s1 - channel) * turned + shape.s0 - s];
}

/* at: first float and pitch of the matrices. */
__kernel void clf_fourier_out(__global const float *from, long2 at, __global clf_storage *y, long4 y_at, int8 shape,
                              float scale, uint8 random, ulong items)
{
    ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int length = shape.s0, width = shape.s1, last = length / 2;
#if CLF_LANES == 16
    const long turned = 2 * (long)shape.s6;
    const int c = (int)(item % ((width + 15) / 16)) * 16;
    item /= (width + 15) / 16;
    const int s = (int)(item % ((length + 15) / 16)) * 16, matrix = (int)(item / ((length + 15) / 16));
    float tile[256];
    from += at.x + matrix * at.y;
    for (int n = 0; n < 16; n++) {
        const int channel = min(c + n, width - 1);
        __global const float *mirror = from + (channel == 0 ? 0 : width - channel) * turned;
        float16 column;
        if (s + 15 <= last)
            column = vload16(0, from + channel * turned + s);
        else if (s > last && s + 15 < length)
            column = vload16(0, mirror + length - s - 15).sfedcba9876543210;
        else {
            float lane[16];
            for (int r = 0; r < 16; r++)
                lane[r] = result(from, min(s + r, length - 1), channel, shape);
            column = vload16(0, lane);
        }
        vstore16(column, n, tile);
    }
    clf_transpose16(tile, 16, tile, 16);
    for (int r = 0; r < 16 && s + r < length; r++) {
        if (!CLF_DROPOUT && is_together(c, shape)) {
            clf_store16(vload16(r, tile), y, address(matrix, s + r, c, shape, y_at));
            continue;
        }
        for (int n = 0; n < 16 && c + n < width; n++)
            clf_store(tile[r * 16 + n] * kept(matrix, s + r, c + n, shape, scale, random), y,
                      address(matrix, s + r, c + n, shape, y_at));
    }
#else
    const int c = (int)(item % width);
    item /= width;
    const int s = (int)(item % length), matrix = (int)(item / length);
    clf_store(result(from + at.x + matrix * at.y, s, c, shape) * kept(matrix, s, c, shape, scale, random), y,
              address(matrix, s, c, shape, y_at));
#endif
}
