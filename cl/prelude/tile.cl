/* Blocks of matrices in the registers and caches of a CPU core, for kernels of one work-item a group.
 *
 *                    b: depth x 32, steps of b_step        Eight rows of two vectors each are summed in
 *                  +-----------------+-----------------+   sixteen registers; a step of the sum loads two
 *                  |  b[t][0..15]    |  b[t][16..31]   |   vectors of b and spreads eight numbers of a over
 *                  +-----------------+-----------------+   a register each. The sixteen sums are independent,
 *     a: 8 x depth |  c[0]           |                 |   which hides the latency of the multiply-add.
 *      +---------+ |      ...        |      ...        |
 *      | a[r][t] | |  c[7]           |                 |   a is read at r * a_row + t * a_step, so the same
 *      +---------+ +-----------------+-----------------+   code multiplies by a or by its transpose.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

#define CLF_TILE_ROWS 8

/* Stores of vectors that may lie anywhere are split in four; `lines`: it is a whole line of the cache. */
static void clf_put16(float16 x, int lines, float *to)
{
    if (lines)
        *(float16 *)to = x;
    else
        vstore16(x, 0, to);
}

/* c (+)= a b, 8 x 32. `fresh` starts from zero, so that c need not be set before. `lines`: c and its steps are whole
 * lines of the cache. */
static void clf_product32(const float *a, int a_row, int a_step, const float *b, int b_step,
                          int depth, int fresh, int lines, float *c, int c_step)
{
    float16 left[CLF_TILE_ROWS], right[CLF_TILE_ROWS];
#pragma unroll
    for (int r = 0; r < CLF_TILE_ROWS; r++) {
        left[r] = fresh ? (float16)(0.0f) : vload16(0, c + r * c_step);
        right[r] = fresh ? (float16)(0.0f) : vload16(0, c + r * c_step + 16);
    }
    for (int t = 0; t < depth; t++) {
        const float16 b_left = vload16(0, b + t * b_step), b_right = vload16(0, b + t * b_step + 16);
#pragma unroll
        for (int r = 0; r < CLF_TILE_ROWS; r++) {
            const float16 spread = (float16)(a[r * a_row + t * a_step]);
            left[r] = clf_fma(spread, b_left, left[r]);
            right[r] = clf_fma(spread, b_right, right[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < CLF_TILE_ROWS; r++) {
        clf_put16(left[r], lines, c + r * c_step);
        clf_put16(right[r], lines, c + r * c_step + 16);
    }
}

/* c (+)= a b, 8 x 16: the last columns of a width that is an odd multiple of 16. */
static void clf_product16(const float *a, int a_row, int a_step, const float *b, int b_step,
                          int depth, int fresh, float *c, int c_step)
{
    float16 sum[CLF_TILE_ROWS];
#pragma unroll
    for (int r = 0; r < CLF_TILE_ROWS; r++)
        sum[r] = fresh ? (float16)(0.0f) : vload16(0, c + r * c_step);
    for (int t = 0; t < depth; t++) {
        const float16 b_row = vload16(0, b + t * b_step);
#pragma unroll
        for (int r = 0; r < CLF_TILE_ROWS; r++)
            sum[r] = clf_fma((float16)(a[r * a_row + t * a_step]), b_row, sum[r]);
    }
#pragma unroll
    for (int r = 0; r < CLF_TILE_ROWS; r++)
        vstore16(sum[r], 0, c + r * c_step);
}

/* c += a b, 8 x columns, a multiple of 16; c and b have rows of `columns`. */
static void clf_product(const float *a, int a_row, int a_step, const float *b, int depth,
                        float *c, int columns)
{
    int n = 0;
    for (; n + 32 <= columns; n += 32)
        clf_product32(a, a_row, a_step, b + n, columns, depth, 0, 1, c + n, columns);
    if (n < columns)
        clf_product16(a, a_row, a_step, b + n, columns, depth, 0, c + n, columns);
}

/* The same where b may hold infinities or NaN: a factor that is exactly 0 (a masked key, a row that takes no
 * part) contributes nothing, whatever it meets. b has rows of b_step, c of c_step. */
static void clf_product_careful(const float *a, int a_row, int a_step, const float *b, int b_step, int depth,
                                float *c, int c_step, int columns)
{
    for (int r = 0; r < CLF_TILE_ROWS; r++)
        for (int t = 0; t < depth; t++) {
            const float factor = a[r * a_row + t * a_step];
            if (factor == 0.0f)
                continue;
            for (int n = 0; n < columns; n++)
                c[r * c_step + n] += factor * b[t * b_step + n];
        }
}

/* Turn sixteen rows of sixteen, `from_step` apart, into columns: four perfect shuffles. */
static void clf_transpose16(const float *from, int from_step, float *to, int to_step)
{
    float16 x[16], y[16];
#pragma unroll
    for (int i = 0; i < 16; i++)
        x[i] = vload16(0, from + i * from_step);
#pragma unroll
    for (int stage = 0; stage < 4; stage++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            y[2 * i].even = x[i].lo;
            y[2 * i].odd = x[i + 8].lo;
            y[2 * i + 1].even = x[i].hi;
            y[2 * i + 1].odd = x[i + 8].hi;
        }
#pragma unroll
        for (int i = 0; i < 16; i++)
            x[i] = y[i];
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        vstore16(x[i], 0, to + i * to_step);
}

/* Read `rows` rows of `count` elements, `stride` apart, into rows of `padded` floats (zeros beyond `count`)
 * and clear the rows up to `all_rows`. Answers whether every element is finite. */
static int clf_pack(__global const clf_storage *p, long at, long stride, int rows, int all_rows,
                    int count, float *to, int padded)
{
    int16 largest = (int16)(0);
    for (int r = 0; r < rows; r++) {
        clf_load_row(p, at + r * stride, count, to + r * padded, padded);
        for (int n = 0; n < padded; n += 16)
            largest = max(largest, as_int16(vload16(0, to + r * padded + n)) & 0x7fffffff);
    }
    for (int n = rows * padded; n < all_rows * padded; n += 16)
        vstore16((float16)(0.0f), 0, to + n);
    return !any(largest >= (int16)(0x7f800000));
}

/* Columns of `rows` x `columns` (multiples of 16) become rows of `rows`. */
static void clf_transpose(const float *from, int rows, int columns, float *to)
{
    for (int r = 0; r < rows; r += 16)
        for (int n = 0; n < columns; n += 16)
            clf_transpose16(from + r * columns + n, columns, to + n * rows + r, rows);
}
