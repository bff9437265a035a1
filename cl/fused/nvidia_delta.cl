/* delta = sum(out * grad_out) of 64 rows: a warp a row, so that it reads neighbouring elements. An error of delta goes
 * into all the gradients of a row's scores alike and does not average out: so out is taken with what rounding took
 * from it, which makes the gradient of the queries up to three times as accurate. f32 loses too little for that. */
#include "prelude/nvidia.cl"
#include "fused/place.cl"

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
                            __global const clf_storage *rest, long4 rest_at)
{
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
