/* The gradient of an additive mask: what the scores get, summed over everything that shares an element of the mask.
 *
 *                     TILE keys
 *                  +-------------+       s = q k^T, dp = grad_out v^T, DEPTH of the width at a time in local memory;
 *     TILE queries | ds          |       p = exp(s - lse), ds = p (dp - delta), a number a work-item
 *                  +-------------+
 *
 * Work split: a group owns a tile of the mask's elements. Along axes in which the mask repeats (extent 1) it walks over
 * all batch entries, heads, tiles of queries or of keys, always in this order, and each work-item adds its number of
 * every tile to its own sum; sums of an axis inside the tile are added in the end, in the order of the axis. So every
 * element has one owner, and no result depends on scheduling. Families share this kernel: beside it, their backward
 * passes keep their tiles of p to themselves.
 *
 * Local memory: 2 TILE (DEPTH + 1) + TILE^2 floats, 3.2 KiB with tiles of 16. NDRange: one dimension, TILE^2 for each
 * tile of the mask's last two axes, in each of its matrices.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"

#ifndef CLF_TILE
#define CLF_TILE 16
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#define DEPTH 16
#define PITCH (DEPTH + 1)

#if CLF_MASK == 3
#define store_mask clf_store_f16
#elif CLF_MASK == 4
#define store_mask clf_store_bf16
#else
#define store_mask clf_store_f32
#endif
#if CLF_MASK < 2
typedef float clf_mask_gradient;
#else
typedef clf_mask clf_mask_gradient;
#endif

/* An element of an input, or of a result. */
CLF_INLINE float load_x(__global const void *x, int is_result, int i)
{
    return is_result ? clf_load_result((__global const clf_result *)x, i) : clf_load((__global const clf_storage *)x, i);
}

/* Product of row `ty` of x and row `tx` of y, for all work-items at once; rows from `end` on are 0. */
CLF_INLINE float tile_dot(__global const void *x, int x_is_result, int x_stride, int x_first, int x_end,
                          __global const clf_storage *y, int y_stride, int y_first, int y_end, int width,
                          __local float *a, __local float *b)
{
    const int item = get_local_id(0), tx = item % CLF_TILE, ty = item / CLF_TILE;
    float sum = 0.0f;
    for (int first = 0; first < width; first += DEPTH) {
        for (int n = item; n < CLF_TILE * DEPTH; n += CLF_TILE * CLF_TILE) {
            const int row = n / DEPTH, column = n % DEPTH, d = first + column;
            const int x_row = x_first + row, y_row = y_first + row;
            a[row * PITCH + column] = x_row < x_end && d < width ? load_x(x, x_is_result, x_row * x_stride + d) : 0.0f;
            b[row * PITCH + column] = y_row < y_end && d < width ? clf_load(y, y_row * y_stride + d) : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int d = 0; d < DEPTH; d++)
            sum = clf_fma(a[ty * PITCH + d], b[tx * PITCH + d], sum);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return sum;
}

/* extents: of the gradient; group: heads of q for one of k. */
__kernel __attribute__((reqd_work_group_size(CLF_TILE * CLF_TILE, 1, 1)))
void clf_fused_grad_mask(__global const clf_storage *q, long4 q_at,
                         __global const clf_storage *k, long4 k_at,
                         __global const clf_storage *v, long4 v_at,
                         __global const clf_mask *mask, long8 mask_at,
                         __global const uchar *padding, long4 padding_at,
                         __global const clf_result *grad_out, long4 grad_out_at,
                         __global const float *lse, long4 lse_at,
                         __global const float *delta, long4 delta_at,
                         __global clf_mask_gradient *grad_mask, long8 grad_mask_at, int4 extents, int group,
                         int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS)
{
    __local float a[CLF_TILE * PITCH], b_rows[CLF_TILE * PITCH], sums[CLF_TILE * CLF_TILE];
    const int item = get_local_id(0), tx = item % CLF_TILE, ty = item / CLF_TILE;
    const int across = (extents.w + CLF_TILE - 1) / CLF_TILE, down = (extents.z + CLF_TILE - 1) / CLF_TILE;
    const int tile_x = get_group_id(0) % across, tile_y = get_group_id(0) / across % down;
    const int matrix = get_group_id(0) / across / down, own_h = matrix % extents.y, own_b = matrix / extents.y;
    const int all_b = extents.x < shape.s0, all_h = extents.y < shape.s1;
    const int all_q = extents.z < shape.s2, all_k = extents.w < shape.s3;
    const int b_end = all_b ? shape.s0 : own_b + 1, h_end = all_h ? shape.s1 : own_h + 1;
    const int q_end = all_q ? shape.s2 : min((tile_y + 1) * CLF_TILE, shape.s2);
    const int k_end = all_k ? shape.s3 : min((tile_x + 1) * CLF_TILE, shape.s3);
    const float scale = clf_query_scale(factor.x);
    float total = 0.0f;

    for (int b = all_b ? 0 : own_b; b < b_end; b++)
        for (int h = all_h ? 0 : own_h; h < h_end; h++) {
            __global const clf_storage *queries = q + q_at.x + b * q_at.y + h * q_at.z;
            __global const clf_storage *keys = k + k_at.x + b * k_at.y + h / group * k_at.z;
            __global const clf_storage *values = v + v_at.x + b * v_at.y + h / group * v_at.z;
            __global const clf_result *grads = grad_out + grad_out_at.x + b * grad_out_at.y + h * grad_out_at.z;
            const long lse_row = lse_at.x + b * lse_at.y + h * lse_at.z;
            const long delta_row = delta_at.x + b * delta_at.y + h * delta_at.z;
            for (int q_first = all_q ? 0 : tile_y * CLF_TILE; q_first < q_end; q_first += CLF_TILE)
                for (int k_first = all_k ? 0 : tile_x * CLF_TILE; k_first < k_end; k_first += CLF_TILE) {
                    const int row = min(q_first + ty, shape.s2 - 1), key = k_first + tx;
                    const float dot_product = tile_dot(queries, 0, q_at.w, q_first, shape.s2, keys, k_at.w, k_first,
                                                       shape.s3, shape.s5, a, b_rows);
                    float dp = tile_dot(grads, 1, grad_out_at.w, q_first, shape.s2, values, v_at.w, k_first, shape.s3,
                                        shape.s6, a, b_rows);
                    const float score = clf_score(dot_product * scale, b, h, row, key, shape, mask, mask_at,
                                                  padding, padding_at CLF_EXTRA_ARGUMENTS);
                    const float natural = lse[lse_row + row * lse_at.w];
                    float rest;
                    const float log_sum = clf_log_sum2(natural, &rest);
                    /* Where the probability is 0 dp may be NaN, from a masked row of V. */
                    const int seen = q_first + ty < shape.s2 && score != -INFINITY && natural != -INFINITY;
                    const float p = seen ? clf_exp2(score - log_sum - rest) : 0.0f;
#if CLF_DROPOUT
                    dp = clf_keep(key, row, b * shape.s1 + h, random) ? dp * factor.y : 0.0f;
#endif
                    total += p == 0.0f ? 0.0f : p * (dp - delta[delta_row + row * delta_at.w]);
                }
        }

    sums[item] = total;
    barrier(CLK_LOCAL_MEM_FENCE);
    if ((all_q && ty > 0) || (all_k && tx > 0))
        return;
    total = 0.0f;
    for (int y = ty; y < (all_q ? CLF_TILE : ty + 1); y++)
        for (int x = tx; x < (all_k ? CLF_TILE : tx + 1); x++)
            total += sums[y * CLF_TILE + x];
    const int i = tile_y * CLF_TILE + ty, j = tile_x * CLF_TILE + tx;
    if (i < extents.z && j < extents.w)
        store_mask(total, grad_mask, grad_mask_at.s0 + own_b * grad_mask_at.s1 + own_h * grad_mask_at.s2 +
                                         i * grad_mask_at.s3 + j * grad_mask_at.s4);
}
