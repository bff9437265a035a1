/* All iterations of pseudo-inverses (pseudo_inverse.cl) in one launch, on CPUs: a work-item has a matrix.
 *
 *     a = k z,  u = 7 I - a,  u = 15 I - a u,  u = 13 I - a u,  z = z u / 4
 *
 * All five are CLF_SIZE x CLF_SIZE in private memory, 80 KiB at 64: the second cache. Rows and columns beyond the
 * matrix are 0 in k and z, and so in every product with them. Sums run over the depth in order.
 *
 * Against a launch for each product and each difference, of which there are some fifty, nystrom at N = 2048, 8 heads
 * and 64 landmarks takes 0.7 of the time.
 * The first iterate made here, not by three more launches: another 0.96.
 *
 * NDRange: a work-item a matrix. Build with CLF_LANES=16.
 */
#include "prelude/tile.cl"

#ifndef CLF_SIZE
#define CLF_SIZE 64 /* a multiple of 32 */
#endif

static void load_matrix(__global const float *from, int size, float *to)
{
    for (int i = 0; i < CLF_SIZE; i++)
        for (int j = 0; j < CLF_SIZE; j += 16) {
            float *at = to + i * CLF_SIZE + j;
            if (i < size && j + 16 <= size)
                vstore16(vload16(0, from + i * size + j), 0, at);
            else
                for (int n = 0; n < 16; n++)
                    at[n] = i < size && j + n < size ? from[i * size + j + n] : 0.0f;
        }
}

static void store_matrix(const float *from, int size, __global float *to)
{
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++)
            to[i * size + j] = from[i * CLF_SIZE + j];
}

static void multiply(const float *a, const float *b, float *c)
{
    for (int i = 0; i < CLF_SIZE; i += CLF_TILE_ROWS)
        for (int j = 0; j < CLF_SIZE; j += 32)
            clf_product32(a + i * CLF_SIZE, CLF_SIZE, 1, b + j, CLF_SIZE, CLF_SIZE, 1, 1, c + i * CLF_SIZE + j, CLF_SIZE);
}

/* to = identity I + factor from */
static void shift(float identity, float factor, const float *from, float *to)
{
    for (int i = 0; i < CLF_SIZE * CLF_SIZE; i += 16)
        vstore16(vload16(0, from + i) * factor, 0, to + i);
    for (int i = 0; i < CLF_SIZE; i++)
        to[i * CLF_SIZE + i] += identity;
}

/* The first iterate, k^T / c; answers 1 / c, and in which column the largest sum is. */
static float start(const float *matrix, int size, float *inverse, int *column)
{
    float sums[CLF_SIZE] __attribute__((aligned(64)));
    int best = 0;
    for (int j = 0; j < CLF_SIZE; j += 16) {
        float16 sum = (float16)(0.0f);
        for (int i = 0; i < size; i++)
            sum += vload16(0, matrix + i * CLF_SIZE + j);
        vstore16(sum, 0, sums + j);
    }
    for (int j = 0; j < size; j++)
        if (sums[j] > sums[best])
            best = j;
    const float scale = sums[best] > 0.0f ? 1.0f / sums[best] : 0.0f; /* zeros have zeros for an inverse */
    clf_transpose(matrix, CLF_SIZE, CLF_SIZE, inverse);
    shift(0.0f, scale, inverse, inverse);
    *column = best;
    return scale;
}

/* z: the first iterate, and places for more, `step` floats apart: with `all` one for each iteration, else two that take
 * turns, of which the last is written. With `fresh` the first iterate, scale and place are made here, as the kernels
 * columns, scale and start of pseudo_inverse.cl make them. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_pinv_iterate(__global const float *k, long k_at, __global float *z, long z_at, long step,
                      __global float *scale, long scale_at, __global int *place, long place_at, int4 how, int size,
                      ulong items)
{
    float matrix[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float inverse[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float a[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float u[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float product[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    const int iterations = how.x, all = how.y, fresh = how.z, which = (int)get_global_id(0);
    const long item = (long)which * size * size;
    if (get_global_id(0) >= items)
        return;
    z += z_at + item;
    load_matrix(k + k_at + item, size, matrix);
    if (fresh) {
        int column;
        scale[scale_at + which] = start(matrix, size, inverse, &column);
        place[place_at + which] = which * size + column;
        if (all)
            store_matrix(inverse, size, z);
    } else {
        load_matrix(z, size, inverse);
    }
    for (int n = 1; n <= iterations; n++) {
        multiply(matrix, inverse, a);
        shift(7.0f, -1.0f, a, u);
        multiply(a, u, product);
        shift(15.0f, -1.0f, product, u);
        multiply(a, u, product);
        shift(13.0f, -1.0f, product, u);
        multiply(inverse, u, product);
        shift(0.0f, 0.25f, product, inverse);
        if (all || n == iterations)
            store_matrix(inverse, size, z + (all ? n : n % 2) * step);
    }
}
