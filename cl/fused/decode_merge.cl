/* The slices of the keys come together: out = sum_i 2^(base_i - base) sums_i / sum_i 2^(base_i - base) sum_i, always
 * in the order of the slices; a sink is one more term below. A work-item computes CLF_LANES columns of one row; the
 * first of a row writes its log-sum-exp.
 *
 * NDRange: global (columns / CLF_LANES rounded up) x rows of a matrix x heads of keys x B, any local size.
 * pitch = {floats of a row of sums, CLF_ROWS}; the rest as in decode_rows.cl.
 */
#include "fused/decode_rows.cl"
#include "prelude/lanes.cl"
#include "prelude/result.cl"

#if CLF_LANES == 16
/* A row may end inside of the sixteen. */
static void store_columns(clf_real x, __global clf_result *p, long i, int count)
{
    float columns[16];
    vstore16(x, 0, columns);
    clf_store_result_row(columns, min(count, 16), p, i);
}
#else
static void store_columns(clf_real x, __global clf_result *p, long i, int count) { clf_store_result(x, p, i); }
#endif

__kernel void clf_fused_decode_merge(__global const float *sums, long sums_at, __global const float *bases,
                                     long bases_at, __global clf_result *out, long4 out_at,
                                     __global float *lse, long4 lse_at CLF_SINK_PARAMETERS, int4 slice, int2 pitch,
                                     int8 shape CLF_SEQUENCE_PARAMETERS)
{
    const int columns = (shape.s6 + CLF_LANES - 1) / CLF_LANES, rows = slice.x * shape.s2, heads = shape.s1 / slice.x;
    const int column = get_global_id(0) % columns * CLF_LANES, row = get_global_id(0) / columns;
    const int r = row % rows, matrix = row / rows, b = matrix / heads;
    const int own = r / shape.s2, h = matrix % heads * slice.x + own, q = r % shape.s2;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_decode_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    if (q >= shape.s2)
        return;
    const long row_at = matrix * (long)slice.y * pitch.y + own * shape.s2 + q;
    const float sink = CLF_SINK(h);
    float top = sink;
    for (int i = 0; i < slice.y; i++)
        top = fmax(top, bases[bases_at + (row_at + i * pitch.y) * 2]);
    clf_real sum = (clf_real)(0.0f);
    float total = sink == -INFINITY ? 0.0f : exp2(sink - top);
    for (int i = 0; i < slice.y; i++) { /* without branches, so that what several slices left is read at a time */
        const long at = row_at + i * pitch.y;
        const float base = bases[bases_at + at * 2], sum_of_weights = bases[bases_at + at * 2 + 1];
        const clf_real of_slice = clf_load_single(sums, sums_at + at * pitch.x + column, pitch.x - column);
        const float weight = base == -INFINITY ? 0.0f : exp2(base - top);
        total += weight == 0.0f ? 0.0f : weight * sum_of_weights;
        sum += weight == 0.0f ? (clf_real)(0.0f) : weight * of_slice;
    }
    store_columns(total == 0.0f ? (clf_real)(0.0f) : sum / total, out,
                  clf_queries_at(out_at, b, h, start) + q * out_at.w + column, shape.s6 - column);
    if (lse && column == 0)
        lse[clf_queries_at(lse_at, b, h, start) + q * lse_at.w] =
            total == 0.0f ? -INFINITY : clf_log_sum(top, total);
}
