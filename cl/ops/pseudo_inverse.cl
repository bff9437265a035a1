/* What the pseudo-inverse of small matrices (src/ops/pseudo_inverse.h) needs around its matrix products.
 *
 *     Z <- K^T / c                                      columns, scale, start
 *     Z <- Z (13 I - A (15 I - A (7 I - A))) / 4        shift between the products, A = K Z
 *
 * Exact ones end in Z <- Z (2 I - K Z): refine. c is the largest sum of a column, of a matrix or of all of them; dots
 * and end take the gradient of the first line back to K. Matrices are contiguous, size x size, f32. A work-item for
 * each element, column, row or matrix; sums run in one order, so that results do not depend on the device's scheduling.
 * `at` are first elements.
 */

__kernel void clf_pinv_columns(__global const float *k, long k_at, __global float *sums, long sums_at, int size,
                               ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    float sum = 0.0f;
    k += k_at + (long)(item / size) * size * size + item % size;
    for (int i = 0; i < size; i++)
        sum += k[(long)i * size];
    sums[sums_at + item] = sum;
}

/* A work-item for each matrix: 1 / c, and which column it comes from. `columns` are those of one matrix or of all. */
__kernel void clf_pinv_scale(__global const float *sums, long sums_at, __global float *scale, long scale_at,
                             __global int *place, long place_at, int size, int columns, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int first = columns == size ? (int)item * size : 0;
    int best = first;
    sums += sums_at;
    for (int i = first; i < first + columns; i++)
        if (sums[i] > sums[best])
            best = i;
    place[place_at + item] = best;
    /* A matrix of zeros has zeros for an inverse. */
    scale[scale_at + item] = sums[best] > 0.0f ? 1.0f / sums[best] : 0.0f;
}

__kernel void clf_pinv_start(__global const float *k, long k_at, __global const float *scale, long scale_at,
                             __global float *z, long z_at, int size, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long matrix = item / ((ulong)size * size);
    const int i = (int)(item / size % size), j = (int)(item % size);
    z[z_at + item] = k[k_at + (matrix * size + j) * size + i] * scale[scale_at + matrix];
}

/* to = identity I - from, which may be the same matrices. */
__kernel void clf_pinv_shift(__global const float *from, long from_at, __global float *to, long to_at, float identity,
                             int size, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    to[to_at + item] = (item / size % size == item % size ? identity : 0.0f) - from[from_at + item];
}

/* The last step of exact inverses: to = 2 I - k z, from products that are exact and sums that remember what rounding
 * took from them. In plain f32 a matrix whose condition is in the hundreds leaves k z wrong in its fourth digit. */
__kernel void clf_pinv_refine(__global const float *k, long k_at, __global const float *z, long z_at,
                              __global float *to, long to_at, int size, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const long matrix = item / ((ulong)size * size) * ((long)size * size);
    const int i = (int)(item / size % size), j = (int)(item % size);
    float sum = i == j ? 2.0f : 0.0f, rest = 0.0f;
    k += k_at + matrix + (long)i * size;
    z += z_at + matrix + j;
    for (int t = 0; t < size; t++) {
        /* Twelve bits each, so that every product of two has its twenty-four. */
        const float a = -k[t], b = z[(long)t * size];
        const float a_high = as_float(as_int(a) & (int)0xfffff000), b_high = as_float(as_int(b) & (int)0xfffff000);
        const float a_low = a - a_high, b_low = b - b_high, product = a_high * b_high;
        const float next = sum + product, added = next - sum;
        rest += ((sum - (next - added)) + (product - added)) + (a_high * b_low + a_low * b_high + a_low * b_low);
        sum = next;
    }
    to[to_at + item] = sum + rest;
}

/* A row's part of the sum of grad_z z: the gradient of c is minus that, divided by c. */
__kernel void clf_pinv_dots(__global const float *grad_z, long grad_at, __global const float *z, long z_at,
                            __global float *dots, long dots_at, int size, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    float sum = 0.0f;
    grad_z += grad_at + (long)item * size;
    z += z_at + (long)item * size;
    for (int j = 0; j < size; j++)
        sum += grad_z[j] * z[j];
    dots[dots_at + item] = sum;
}

/* grad_k += grad_z^T / c, and what comes through c goes to its column. `columns` as in scale. */
__kernel void clf_pinv_end(__global const float *grad_z, long grad_z_at, __global const float *scale, long scale_at,
                           __global const int *place, long place_at, __global const float *dots, long dots_at,
                           __global float *grad_k, long grad_k_at, int size, int columns, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int matrix = (int)(item / ((ulong)size * size)), i = (int)(item / size % size), j = (int)(item % size);
    const float factor = scale[scale_at + matrix];
    float sum = grad_z[grad_z_at + ((long)matrix * size + j) * size + i] * factor;
    if (place[place_at + matrix] == matrix * size + j) {
        const int first = columns == size ? matrix * size : 0;
        float through = 0.0f;
        for (int n = first; n < first + columns; n++)
            through += dots[dots_at + n];
        sum -= through * factor;
    }
    grad_k[grad_k_at + item] += sum;
}
