/* Floats as three parts of bf16, for products that lose nothing: x = x0 + x1 + x2, each the next 8 of its 24 bits, cut
 * and not rounded, so the rest of every step is exact. Tensors [B, H, N, W] of floats become [3 B, H, N, padded] of
 * bf16, rows contiguous and filled up with zeros to a multiple of 8; the last parts come first. The first group shows the
 * map of the result to the copy engine.
 *
 * Infinities and NaN are their first part, the others are 0.
 *
 * NDRange: groups of 128 work-items, each for eight columns of a row; as many groups for every head as it takes.
 * at = {offset, strides of batch, head, row}; extents = {B, H, N, W}; tiles are taken `box` rows at a time.
 */
#include "fused/nvidia_maps.cl"

#define GROUP 128

/* The upper halves of two numbers. */
static uint upper(uint x, uint y) { return x >> 16 | (y & 0xffff0000u); }
static float rest_of(float x) { return x - as_float(as_uint(x) & 0xffff0000u); }
static int is_wild(float x) { return (as_uint(x) & 0x7f800000u) == 0x7f800000u; }

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void clf_fused_parts_nvidia(__global const float *x, long4 x_at, __global ushort *parts, long parts_at, int4 extents,
                            int padded, int box, __global uchar *maps, long maps_at)
{
    __local uint4 draft[CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));
    const long row_step = padded, head_step = extents.z * row_step, item_step = extents.y * head_step;

    parts += parts_at;
    if (get_group_id(0) == 0 && get_local_id(0) < 32)
        show_map(maps + maps_at, draft, (__global const clf_storage *)parts, (long4)(0, item_step, head_step, row_step),
                 (int4)(3 * extents.x, extents.y, extents.z, padded), box, get_local_id(0));

    const int chunks = padded / 8, groups = (extents.z * chunks + GROUP - 1) / GROUP;
    const int bh = get_group_id(0) / groups, n = get_group_id(0) % groups * GROUP + get_local_id(0);
    const int b = bh / extents.y, h = bh % extents.y, row = n / chunks, column = n % chunks * 8;
    if (row >= extents.z)
        return;
    __global const float *from = x + x_at.x + b * x_at.y + h * x_at.z + row * x_at.w + column;
    __global ushort *to = parts + b * item_step + h * head_step + row * row_step + column;
    float y[8];
    if (column + 8 <= extents.w && ((ulong)from & 15) == 0) {
        const float4 lower = *(__global const float4 *)from, higher = *(__global const float4 *)(from + 4);
        y[0] = lower.x, y[1] = lower.y, y[2] = lower.z, y[3] = lower.w;
        y[4] = higher.x, y[5] = higher.y, y[6] = higher.z, y[7] = higher.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            y[i] = column + i < extents.w ? from[i] : 0.0f;
    }
    uint wild = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        wild |= (uint)is_wild(y[i]) << i;
        y[i] = isnan(y[i]) ? NAN : y[i]; /* whose upper half is not an infinity's */
    }
#pragma unroll
    for (int part = 2; part >= 0; part--) {
        *(__global uint4 *)(to + part * extents.x * item_step) =
            (uint4)(upper(as_uint(y[0]), as_uint(y[1])), upper(as_uint(y[2]), as_uint(y[3])),
                    upper(as_uint(y[4]), as_uint(y[5])), upper(as_uint(y[6]), as_uint(y[7])));
#pragma unroll
        for (int i = 0; i < 8; i++)
            y[i] = wild >> i & 1 ? 0.0f : rest_of(y[i]);
    }
}
