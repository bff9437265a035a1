/* Complex Fourier transforms along the rows of matrices, with the columns as lanes (CLF_LANES).
 *
 * A matrix is `rows` rows of [real parts of the columns][imaginary parts of the columns], f32; the columns are padded
 * to a multiple of 16. Whatever the length, all lanes of a vector do the same, so nothing is ever shuffled.
 *
 * clf_fft_pass is one pass of Stockham's transform of `length` = product of the radices: it reads rows length/radix
 * apart, turns them by roots of unity, transforms them, and writes them where the next pass wants them, so that the
 * last pass leaves everything in order (`before` is the product of the radices of earlier passes):
 *
 *     read  j + p * length / radix,  p < radix          j = 0 .. length / radix - 1,  k = j mod before
 *     turn  by w^(p * k * length / (before * radix))    w = exp(-2 pi i / length), from the table `roots`
 *     write (j - k) * radix + k + p * before
 *
 * A work-item does this for one j and one block of columns. With CLF_RADIX 0 the radix is any number, and a work-item
 * makes one of the outputs by its sum.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

#if CLF_LANES == 16
#define LOAD(p) vload16(0, p)
#define STORE(x, p) vstore16(x, 0, p)
#else
#define LOAD(p) (*(p))
#define STORE(x, p) (*(p) = (x))
#endif


/* (re, im) times w. */
static void turn(clf_real *re, clf_real *im, float2 w)
{
    const clf_real real = *re * w.x - *im * w.y;
    *im = *re * w.y + *im * w.x;
    *re = real;
}

static void dft2(clf_real *re, clf_real *im, int a, int b)
{
    const clf_real r = re[a] - re[b], i = im[a] - im[b];
    re[a] += re[b];
    im[a] += im[b];
    re[b] = r;
    im[b] = i;
}

/* Times -i. */
static void quarter(clf_real *re, clf_real *im, int a)
{
    const clf_real r = re[a];
    re[a] = im[a];
    im[a] = -r;
}

static void swap(clf_real *re, clf_real *im, int a, int b)
{
    const clf_real r = re[a], i = im[a];
    re[a] = re[b];
    im[a] = im[b];
    re[b] = r;
    im[b] = i;
}

/* Elements a, b, c, d in that order, in place. */
static void dft4(clf_real *re, clf_real *im, int a, int b, int c, int d)
{
    dft2(re, im, a, c);
    dft2(re, im, b, d);
    quarter(re, im, d);
    dft2(re, im, a, b);
    dft2(re, im, c, d);
    swap(re, im, b, c);
}

/* Elements that come as sum +- i difference: the two outputs m - i n and m + i n. */
static void combine(clf_real m_re, clf_real m_im, clf_real n_re, clf_real n_im, clf_real *re, clf_real *im, int a, int b)
{
    re[a] = m_re + n_im;
    im[a] = m_im - n_re;
    re[b] = m_re - n_im;
    im[b] = m_im + n_re;
}

#if CLF_RADIX == 2
static void dft(clf_real *re, clf_real *im) { dft2(re, im, 0, 1); }
#elif CLF_RADIX == 3
static void dft(clf_real *re, clf_real *im)
{
    const float s = 0.866025404f;
    const clf_real sum_re = re[1] + re[2], sum_im = im[1] + im[2];
    const clf_real m_re = re[0] - 0.5f * sum_re, m_im = im[0] - 0.5f * sum_im;
    const clf_real n_re = (re[1] - re[2]) * s, n_im = (im[1] - im[2]) * s;
    re[0] += sum_re;
    im[0] += sum_im;
    combine(m_re, m_im, n_re, n_im, re, im, 1, 2);
}
#elif CLF_RADIX == 4
static void dft(clf_real *re, clf_real *im) { dft4(re, im, 0, 1, 2, 3); }
#elif CLF_RADIX == 5
static void dft(clf_real *re, clf_real *im)
{
    const float c1 = 0.309016994f, c2 = -0.809016994f, s1 = 0.951056516f, s2 = 0.587785252f;
    const clf_real a_re = re[1] + re[4], a_im = im[1] + im[4], b_re = re[2] + re[3], b_im = im[2] + im[3];
    const clf_real c_re = re[1] - re[4], c_im = im[1] - im[4], d_re = re[2] - re[3], d_im = im[2] - im[3];
    const clf_real m1_re = re[0] + c1 * a_re + c2 * b_re, m1_im = im[0] + c1 * a_im + c2 * b_im;
    const clf_real m2_re = re[0] + c2 * a_re + c1 * b_re, m2_im = im[0] + c2 * a_im + c1 * b_im;
    re[0] += a_re + b_re;
    im[0] += a_im + b_im;
    combine(m1_re, m1_im, s1 * c_re + s2 * d_re, s1 * c_im + s2 * d_im, re, im, 1, 4);
    combine(m2_re, m2_im, s2 * c_re - s1 * d_re, s2 * c_im - s1 * d_im, re, im, 2, 3);
}
#elif CLF_RADIX == 8
static void dft(clf_real *re, clf_real *im)
{
    const float s = 0.707106781f;
    dft4(re, im, 0, 2, 4, 6);
    dft4(re, im, 1, 3, 5, 7);
    turn(&re[3], &im[3], (float2)(s, -s));
    quarter(re, im, 5);
    turn(&re[7], &im[7], (float2)(-s, -s));
    dft2(re, im, 0, 1);
    dft2(re, im, 2, 3);
    dft2(re, im, 4, 5);
    dft2(re, im, 6, 7);
    /* now 0 4 1 5 2 6 3 7 */
    swap(re, im, 1, 4);
    swap(re, im, 1, 2);
    swap(re, im, 3, 5);
    swap(re, im, 3, 6);
}
#endif

/* Where a work-item works: matrix, row and first column of its block. */
static int3 place(ulong item, int rows, int columns)
{
    const int blocks = columns / CLF_LANES, block = (int)(item % blocks);
    const ulong rest = item / blocks;
    return (int3)((int)(rest / rows), (int)(rest % rows), block * CLF_LANES);
}

/* shape: length, before, radix, columns; at: first float of input and output, floats of a matrix */
__kernel void clf_fft_pass(__global const float *from, __global float *to, __global const float2 *roots, long4 at,
                           int4 shape, ulong items)
{
    const int length = shape.x, before = shape.y, columns = shape.w;
    const long pitch = 2 * (long)columns;
    if (get_global_id(0) >= items)
        return;
#if CLF_RADIX
    const int part = length / CLF_RADIX, step = part / before;
    const int3 here = place(get_global_id(0), part, columns);
    const int j = here.y, k = j % before;
    from += at.x + here.x * at.z + here.z + j * pitch;
    to += at.y + here.x * at.z + here.z + ((j - k) * CLF_RADIX + k) * pitch;
    clf_real re[CLF_RADIX], im[CLF_RADIX];
#pragma unroll
    for (int p = 0; p < CLF_RADIX; p++) {
        re[p] = LOAD(from + p * part * pitch);
        im[p] = LOAD(from + p * part * pitch + columns);
    }
    if (k > 0) {
#pragma unroll
        for (int p = 1; p < CLF_RADIX; p++)
            turn(&re[p], &im[p], roots[p * k * step]);
    }
    dft(re, im);
#pragma unroll
    for (int p = 0; p < CLF_RADIX; p++) {
        STORE(re[p], to + p * before * pitch);
        STORE(im[p], to + p * before * pitch + columns);
    }
#else
    const int radix = shape.z, part = length / radix, step = part / before;
    const int3 here = place(get_global_id(0), length, columns);
    const int j = here.y % part, output = here.y / part, k = j % before, turned = k * step + output * part;
    from += at.x + here.x * at.z + here.z + j * pitch;
    to += at.y + here.x * at.z + here.z + ((j - k) * radix + k + output * before) * pitch;
    clf_real re = LOAD(from), im = LOAD(from + columns);
    for (int p = 1, root = turned % length; p < radix; p++) {
        clf_real r = LOAD(from + p * part * pitch), i = LOAD(from + p * part * pitch + columns);
        turn(&r, &i, roots[root]);
        re += r;
        im += i;
        root += turned % length;
        root -= root >= length ? length : 0;
    }
    STORE(re, to);
    STORE(im, to + columns);
#endif
}

/* Every row times its factor, conjugated before and after where `conjugate` says so (bits 0 and 1); rows from `given`
 * on are 0. shape: rows to write, rows given, conjugate, columns. */
__kernel void clf_fft_scale(__global const float *from, __global float *to, __global const float2 *factors, long4 at,
                            int4 shape, ulong items)
{
    const int columns = shape.w;
    if (get_global_id(0) >= items)
        return;
    const int3 here = place(get_global_id(0), shape.x, columns);
    const long row = here.x * at.z + here.z + here.y * 2 * (long)columns;
    clf_real re = (clf_real)(0.0f), im = (clf_real)(0.0f);
    if (here.y < shape.y) {
        re = LOAD(from + at.x + row);
        im = LOAD(from + at.x + row + columns);
        if (shape.z & 1)
            im = -im;
        turn(&re, &im, factors[here.y]);
        if (shape.z & 2)
            im = -im;
    }
    STORE(re, to + at.y + row);
    STORE(im, to + at.y + row + columns);
}
