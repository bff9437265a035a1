/* Keys or values in CLF_BITS bits: a work-item reads the neighbours that share a scale, writes scale and shift, and
 * what stands for them (fused/decode_rows.cl reads it).
 *
 * NDRange: one dimension, B H N W / group work-items. at = {offset, strides of batch, head, row}; shape = {B, H, N,
 * groups of a row}.
 */
#include "prelude/storage.cl"

#define LEVELS ((1 << CLF_BITS) - 1)

__kernel void clf_fused_quantise(__global const clf_storage *x, long4 x_at, __global uchar *packed, long4 packed_at,
                                 __global clf_f16 *scales, long4 scales_at, int4 shape, int group)
{
    const int g = get_global_id(0) % shape.w;
    const long row = get_global_id(0) / shape.w;
    const int n = row % shape.z, h = row / shape.z % shape.y, b = row / shape.z / shape.y;
    if (b >= shape.x)
        return;
    x += x_at.x + b * x_at.y + h * x_at.z + n * x_at.w + g * group;
    packed += packed_at.x + b * packed_at.y + h * packed_at.z + n * packed_at.w + g * group * CLF_BITS / 8;
    scales += scales_at.x + b * scales_at.y + h * scales_at.z + n * scales_at.w + g * 2;

    float least = clf_load(x, 0), most = least;
    for (int i = 1; i < group; i++) {
        least = fmin(least, clf_load(x, i));
        most = fmax(most, clf_load(x, i));
    }
    vstore_half_rte((most - least) / LEVELS, 0, scales);
    vstore_half_rte(least, 0, scales + 1);
    const float scale = vload_half(0, scales), shift = vload_half(0, scales + 1);
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int i = 0; i < group; i += 8 / CLF_BITS) {
        uint byte = 0;
        for (int part = 0; part < 8 / CLF_BITS; part++) {
            const float number = floor((clf_load(x, i + part) - shift) * inverse + 0.5f);
            byte |= (uint)clamp(number, 0.0f, (float)LEVELS) << (part * CLF_BITS);
        }
        packed[i * CLF_BITS / 8] = (uchar)byte;
    }
}
