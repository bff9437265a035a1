/* Floats as three parts of bf16, for products that lose nothing: x = x0 + x1 + x2, each the next 8 of its 24 bits, cut
 * and not rounded, so that what is left after each is exact. q, k, v and grad_out, [B, H, N, W] of floats, become
 * [3 B, H, N, padded] of bf16, rows contiguous and filled up with zeros to a multiple of 8; the last parts come first.
 * The first group of each tensor shows the map of its parts to the copy engine.
 *
 * Infinities and NaN are their first part, the others are 0: products with them become NaN, if not always the infinity
 * that floats would give.
 *
 * NDRange: groups of 128 work-items, each for eight columns of a row; as many groups for every head of every tensor as
 * it takes, one tensor behind the other. parts_at are elements; maps are taken `box` rows at a time.
 * The time is that of a copy of what is read and of 3/2 of it written.
 */
#include "fused/nvidia_maps.cl"

#ifndef CLF_GROUPS
#define CLF_GROUPS 1 /* heads of q for each head of k and v */
#endif
#define GROUP 128

/* One of the tensors: where it is, its extents, and the groups of a head. */
typedef struct source {
    __global const float *p;
    long4 at;
    int heads, rows, width, padded, groups;
} source;

static source source_of(__global const float *p, long4 at, int heads, int rows, int width)
{
    source s;
    s.p = p;
    s.at = at;
    s.heads = heads;
    s.rows = rows;
    s.width = width;
    s.padded = (width + 7) / 8 * 8;
    s.groups = (rows * (s.padded / 8) + GROUP - 1) / GROUP;
    return s;
}

/* Eight numbers, zeros behind the last column. */
CLF_INLINE void load_eight(__global const float *from, int left, float x[8])
{
    if (left >= 8 && ((ulong)from & 15) == 0) {
        const float4 lower = *(__global const float4 *)from, upper = *(__global const float4 *)(from + 4);
        x[0] = lower.x, x[1] = lower.y, x[2] = lower.z, x[3] = lower.w;
        x[4] = upper.x, x[5] = upper.y, x[6] = upper.z, x[7] = upper.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            x[i] = i < left ? from[i] : 0.0f;
    }
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void clf_fused_parts_nvidia(__global const float *q, long4 q_at, __global const float *k, long4 k_at,
                            __global const float *v, long4 v_at, __global const float *grad_out, long4 grad_out_at,
                            int8 shape, __global ushort *parts, long4 parts_at, int box, __global uchar *maps,
                            long maps_at)
{
    __local uint4 draft[CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));
    source s = source_of(q, q_at, shape.s1, shape.s2, shape.s5);
    int group = get_group_id(0), tensor = 0;

    parts += parts_at.x;
    if (group >= shape.s0 * s.heads * s.groups) {
        group -= shape.s0 * s.heads * s.groups;
        s = source_of(k, k_at, shape.s1 / CLF_GROUPS, shape.s3, shape.s5);
        parts += parts_at.y - parts_at.x;
        tensor = 1;
    }
    if (tensor == 1 && group >= shape.s0 * s.heads * s.groups) {
        group -= shape.s0 * s.heads * s.groups;
        s = source_of(v, v_at, shape.s1 / CLF_GROUPS, shape.s3, shape.s6);
        parts += parts_at.z - parts_at.y;
        tensor = 2;
    }
    if (tensor == 2 && group >= shape.s0 * s.heads * s.groups) {
        group -= shape.s0 * s.heads * s.groups;
        s = source_of(grad_out, grad_out_at, shape.s1, shape.s2, shape.s6);
        parts += parts_at.w - parts_at.z;
        tensor = 3;
    }
    const long row_step = s.padded, head_step = s.rows * row_step, item_step = s.heads * head_step;
    if (group == 0 && get_local_id(0) < 32)
        show_map(maps + maps_at + tensor * CLF_NV_MAP_BYTES, draft, (__global const clf_storage *)parts,
                 (long4)(0, item_step, head_step, row_step), (int4)(3 * shape.s0, s.heads, s.rows, s.padded), box,
                 get_local_id(0));

    const int bh = group / s.groups, n = group % s.groups * GROUP + get_local_id(0), chunks = s.padded / 8;
    const int b = bh / s.heads, h = bh % s.heads, row = n / chunks, column = n % chunks * 8;
    if (row >= s.rows)
        return;
    float x[8];
    load_eight(s.p + s.at.x + b * s.at.y + h * s.at.z + row * s.at.w + column, s.width - column, x);
    uint wild = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        wild |= (uint)((as_uint(x[i]) & 0x7f800000u) == 0x7f800000u) << i;
        x[i] = isnan(x[i]) ? NAN : x[i]; /* whose upper half is not an infinity's */
    }
    parts += b * item_step + h * head_step + row * row_step + column;
#pragma unroll
    for (int part = 2; part >= 0; part--) {
        *(__global uint4 *)(parts + part * shape.s0 * item_step) =
            (uint4)(clf_nv_upper(x[0], x[1]), clf_nv_upper(x[2], x[3]), clf_nv_upper(x[4], x[5]),
                    clf_nv_upper(x[6], x[7]));
#pragma unroll
        for (int i = 0; i < 8; i++)
            x[i] = wild >> i & 1 ? 0.0f : clf_nv_without_upper(x[i]);
    }
}
