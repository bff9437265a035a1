/* Attention over chunks of the keys becomes attention over all of them: out = sum_c exp(lse_c - top) chunk_c / sum_c
 * exp(lse_c - top), chunks in their order. A work-item computes a number; the first of a row writes its lse.
 *
 * NDRange: one dimension, B H N E work-items. Strides of chunks: {chunk, batch, head, row}. shape = {B, H, N, E}.
 * Build with CLF_STORAGE for out and CLF_FROM, the same numbers, for chunks.
 */
#include "prelude/storage.cl"

#if CLF_FROM == CLF_F16
typedef clf_f16 clf_from;
#define LOAD_FROM clf_load_f16
#elif CLF_FROM == CLF_BF16
typedef clf_bf16 clf_from;
#define LOAD_FROM clf_load_bf16
#else
typedef float clf_from;
#define LOAD_FROM clf_load_f32
#endif

__kernel void clf_fused_merge(__global const clf_from *chunks, long offset, long4 strides, int count,
                              __global const float *lse_chunks, long lse_offset, long4 lse_strides, long lse_step,
                              __global clf_storage *out, long4 out_at, __global float *lse, long8 lse_at, int4 shape)
{
    const int e = get_global_id(0) % shape.w;
    const long row = get_global_id(0) / shape.w;
    const int n = row % shape.z, h = row / shape.z % shape.y, b = row / shape.z / shape.y;
    if (b >= shape.x)
        return;
    chunks += offset + b * strides.y + h * strides.z + n * strides.w + e;
    lse_chunks += lse_offset + b * lse_strides.y + h * lse_strides.z + n * lse_step;

    float top = -INFINITY, total = 0.0f, sum = 0.0f;
    for (int c = 0; c < count; c++)
        top = fmax(top, lse_chunks[c * lse_strides.x]);
    for (int c = 0; c < count; c++) {
        const float mine = lse_chunks[c * lse_strides.x];
        if (mine == -INFINITY)
            continue;
        const float weight = mine == top ? 1.0f : exp(mine - top);
        total += weight;
        sum += weight * LOAD_FROM(chunks, c * strides.x);
    }
    clf_store(total == 0.0f ? 0.0f : sum / total, out, out_at.x + b * out_at.y + h * out_at.z + n * out_at.w + e);
    if (lse && e == 0)
        lse[lse_at.s0 + b * lse_at.s1 + h * lse_at.s2 + n * lse_at.s3] = total == 0.0f ? -INFINITY : top + log(total);
}
