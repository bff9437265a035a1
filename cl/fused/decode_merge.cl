/* The slices of the keys come together: out = sum_i 2^(base_i - base) sums_i / sum_i 2^(base_i - base) sum_i, always
 * in the order of the slices; a sink is one more term below. A work-item computes CLF_LANES columns of one row; the first of a row writes its
 * log-sum-exp.
 *
 * NDRange: global (columns / CLF_LANES rounded up, rows of a matrix x heads of keys x B), any local size.
 * pitch = {floats of a row of sums, CLF_ROWS}; the rest as in decode_rows.cl.
 */
#include "fused/decode_rows.cl"
#include "prelude/lanes.cl"

#if CLF_LANES == 16
#define LOAD_SUMS(p, i) vload16(0, (p) + (i))
#else
#define LOAD_SUMS(p, i) (p)[i]
#endif

__kernel void clf_fused_decode_merge(__global const float *sums, long sums_at, __global const float *bases,
                                     long bases_at, __global clf_storage *out, long4 out_at,
                                     __global float *lse, long4 lse_at CLF_SINK_PARAMETERS, int4 slice, int2 pitch,
                                     int8 shape CLF_SEQUENCE_PARAMETERS)
{
    const int column = get_global_id(0) * CLF_LANES, rows = slice.x * shape.s2;
    const int r = get_global_id(1) % rows, matrix = get_global_id(1) / rows, heads = shape.s1 / slice.x;
    const int b = matrix / heads, h = matrix % heads * slice.x + r / shape.s2, q = r % shape.s2;
    if (column >= shape.s6)
        return;

    const long row_at = matrix * (long)slice.y * pitch.y + r;
    const float sink = CLF_SINK(h);
    float top = sink;
    for (int i = 0; i < slice.y; i++)
        top = fmax(top, bases[bases_at + (row_at + i * pitch.y) * 2]);
    clf_real sum = (clf_real)(0.0f);
    float total = sink == -INFINITY ? 0.0f : exp2(sink - top);
    for (int i = 0; i < slice.y; i++) {
        const long at = row_at + i * pitch.y;
        const float base = bases[bases_at + at * 2];
        if (base == -INFINITY)
            continue;
        const float weight = exp2(base - top);
        total += weight * bases[bases_at + at * 2 + 1];
        sum += weight * LOAD_SUMS(sums, sums_at + at * pitch.x + column);
    }
    clf_store_lanes(total == 0.0f ? (clf_real)(0.0f) : sum / total, out,
                    out_at.x + b * out_at.y + h * out_at.z + q * out_at.w + column, shape.s6 - column);
    if (lse && column == 0)
        lse[lse_at.x + b * lse_at.y + h * lse_at.z + q * lse_at.w] = total == 0.0f ? -INFINITY : clf_log_sum(top, total);
}
