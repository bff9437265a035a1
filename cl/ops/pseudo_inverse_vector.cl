/* All iterations of pseudo-inverses (pseudo_inverse.cl) in one launch, on CPUs: a work-item has a matrix.
 *
 *     a = k z,  u = 7 I - a,  u = 15 I - a u,  u = 13 I - a u,  z = z u / 4
 *
 * All five are CLF_SIZE x CLF_SIZE in private memory, 80 KiB at 64: the second cache. Rows and columns beyond the
 * matrix are 0 in k and z, and so in every product with them. Sums run over the depth in order.
 *
 * Against a launch for each product and each difference, of which there are some fifty, nystrom at N = 2048, 8 heads
 * and 64 landmarks takes 0.7 of the time.
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
        for (int j = 0; j < CLF_SIZE; j++)
            to[i * CLF_SIZE + j] = i < size && j < size ? from[i * size + j] : 0.0f;
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

/* z: the first iterate, and places for more, `step` floats apart: with `all` one for each iteration, else two that take
 * turns, of which the last is written. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_pinv_iterate(__global const float *k, long k_at, __global float *z, long z_at, long step, int iterations,
                      int all, int size, ulong items)
{
    float matrix[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float inverse[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float a[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float u[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    float product[CLF_SIZE * CLF_SIZE] __attribute__((aligned(64)));
    const long item = (long)get_global_id(0) * size * size;
    if (get_global_id(0) >= items)
        return;
    z += z_at + item;
    load_matrix(k + k_at + item, size, matrix);
    load_matrix(z, size, inverse);
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
