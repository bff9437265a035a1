/* The gradient of sinks: a sink's weight in a row is exp(sink - lse), and its value is 0, so that
 *
 *     grad_sink = -sum over the rows of exp(sink - lse) delta          delta = sum(out * grad_out) of the row
 *
 * A group of 64 sums up a head, each work-item every 64th row and the first of them the 64 sums: always in the same
 * order. NDRange: 64 for each head.
 */
#include "prelude/types.cl"
#include "fused/place.cl"

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_backward_sinks(__global const float *sinks, long4 sinks_at,
                              __global const float *lse, long4 lse_at,
                              __global const float *delta, long4 delta_at,
                              __global float *grad_sinks, long4 grad_sinks_at,
                              int8 shape CLF_SEQUENCE_PARAMETERS)
{
    __local float sums[64];
    const int item = get_local_id(0), h = get_group_id(0);
    const float sink = sinks[sinks_at.x + h * sinks_at.y];
    float sum = 0.0f;

    for (int b = 0; b < shape.s0; b++) {
        const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
        const int rows = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS).s2;
        for (int row = item; row < rows; row += 64) {
            const float log_sum = lse[clf_queries_at(lse_at, b, h, start) + row * lse_at.w];
            const float mean = delta[clf_queries_at(delta_at, b, h, start) + row * delta_at.w];
            sum += sink == -INFINITY ? 0.0f : exp(sink - log_sum) * mean;
        }
    }
    sums[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item > 0)
        return;
    for (int i = 1; i < 64; i++)
        sum += sums[i];
    grad_sinks[grad_sinks_at.x + h * grad_sinks_at.y] = -sum;
}
