/* delta = sum(out * grad_out) of 64 rows: a warp a row, so that it reads neighbouring elements. An error of delta goes
 * into all the gradients of a row's scores alike and does not average out: so out is taken with what rounding took
 * from it, which makes the gradient of the queries up to three times as accurate. f32 loses too little for that. */
#include "prelude/nvidia.cl"
#include "fused/place.cl"
#ifndef CLF_MAPS
#define CLF_MAPS 0 /* 1: the first group shows the maps of q, k, v and grad_out to the copy engine */
#endif
#if CLF_MAPS
#include "fused/nvidia_maps.cl"
#define MAP_PARAMETERS , __global const clf_storage *q, long4 q_at, __global const clf_storage *k, long4 k_at, \
                       __global const clf_storage *v, long4 v_at, __global uchar *maps, long maps_at
#else
#define MAP_PARAMETERS
#endif

#ifndef CLF_REST
#define CLF_REST 0 /* 1: there is what rounding took from `out` */
#endif
#if CLF_REST
#define REST(row, e) clf_load(rest, (row) * shape.s6 + (e))
#else
#define REST(row, e) 0.0f
#endif

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_delta_nvidia(__global const clf_storage *out, long4 out_at,
                            __global const clf_storage *grad_out, long4 grad_out_at,
                            __global float *delta, long4 delta_at, int8 shape CLF_SEQUENCE_PARAMETERS,
                            __global const clf_storage *rest, long4 rest_at MAP_PARAMETERS)
{
#if CLF_MAPS
    __local uint4 draft[CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));
    if (get_group_id(0) == 0 && get_local_id(0) < 32) {
        const int4 queries = (int4)(shape.s0, shape.s1, shape.s2, shape.s5);
        const int4 keys = (int4)(shape.s0, shape.s1 / CLF_GROUPS, shape.s3, shape.s5);
        maps += maps_at;
        show_map(MAP_Q(maps), draft, q, q_at, queries, 64, get_local_id(0));
        show_map(MAP_K(maps), draft, k, k_at, keys, 64, get_local_id(0));
        show_map(MAP_V(maps), draft, v, v_at, (int4)(keys.xyz, shape.s6), 64, get_local_id(0));
        show_map(MAP_G(maps), draft, grad_out, grad_out_at, (int4)(queries.xyz, shape.s6), 64,
                 get_local_id(0));
    }
#endif
    const int groups = (shape.s2 + 63) / 64, bh = get_group_id(0) / groups;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    if (CLF_SEQUENCES && (int)get_group_id(0) % groups * 64 >= shape.s2)
        return;
    const int lane = get_local_id(0) & 31, first = get_group_id(0) % groups * 64 + (get_local_id(0) >> 5) * 32;
    float mine = 0.0f;

    out += clf_queries_at(out_at, b, h, start);
    rest += clf_queries_at(rest_at, b, h, start);
    grad_out += clf_queries_at(grad_out_at, b, h, start);
#pragma unroll 4
    for (int i = 0; i < 32; i++) {
        const int row = min(first + i, shape.s2 - 1);
        float sum = 0.0f;
        for (int e = lane; e < shape.s6; e += 32)
            sum = clf_fma(clf_load(out, row * (int)out_at.w + e) + REST(row, e),
                          clf_load(grad_out, row * (int)grad_out_at.w + e), sum);
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1)
            sum += clf_nv_swap_float(sum, mask);
        mine = i == lane ? sum : mine;
    }
    if (first + lane < shape.s2)
        delta[clf_queries_at(delta_at, b, h, start) + (first + lane) * delta_at.w] = mine;
}
