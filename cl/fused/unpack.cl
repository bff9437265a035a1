/* Keys or values that lie in pages, or are quantised, as plain rows: for kernels that read nothing else.
 *
 *     pages of [heads, page size, width]  ->  [sequences, heads, most keys, width], in the type of the queries
 *
 * A work-item writes some columns of a row: 16 on GPUs, where neighbours write neighbouring pieces; all on CPUs,
 * sixteen at a time (CLF_LANES 16). Rows behind a sequence's length stay as they are and their pages are not looked up.
 * The time is that of a copy, next to nothing beside what many queries do with each row.
 *
 * NDRange: one dimension, a work-item for each piece of each row, rounded up. shape = {sequences, heads, keys, width,
 * page size, columns of a work-item, columns that share a scale}.
 */
#include "fused/decode_rows.cl"

/* Element n of the row at `at`, whose scales are at `scales_at`. */
static float element(const clf_kept_rows *rows, long at, long scales_at, int n, int span)
{
#if CLF_BITS
    const uint byte = rows->p[at + n * CLF_BITS / 8], number = CLF_BITS == 4 ? (byte >> (n % 2 * 4)) & 15 : byte;
    const float scale = clf_load_f16(rows->scales, scales_at + n / span * 2);
    return number * scale + clf_load_f16(rows->scales, scales_at + n / span * 2 + 1);
#else
    return clf_load(rows->p, at + n);
#endif
}

#if CLF_LANES == 16
/* Elements n .. n + 15, which share a scale. */
static float16 elements(const clf_kept_rows *rows, long at, long scales_at, int n, int span)
{
#if CLF_BITS
#if CLF_BITS == 4
    const uchar8 bytes = vload8(0, rows->p + at + n / 2);
    uchar16 numbers;
    numbers.even = bytes & (uchar8)(15);
    numbers.odd = bytes >> (uchar8)(4);
#else
    const uchar16 numbers = vload16(0, rows->p + at + n);
#endif
    const float scale = clf_load_f16(rows->scales, scales_at + n / span * 2);
    return convert_float16(numbers) * scale + clf_load_f16(rows->scales, scales_at + n / span * 2 + 1);
#else
    return clf_load16(rows->p, at + n);
#endif
}
#endif

__kernel void clf_fused_unpack(__global const clf_kept *from, long4 from_at,
                               __global const clf_f16 *scales, long4 scales_at,
                               __global const int *pages, long4 pages_at,
                               __global const int *lengths, long4 lengths_at,
                               __global clf_storage *to, long4 to_at, int8 shape)
{
    const int pieces = (shape.s3 + shape.s5 - 1) / shape.s5;
    const long row = get_global_id(0) / pieces;
    const int first = get_global_id(0) % pieces * shape.s5, end = min(first + shape.s5, shape.s3);
    const int key = row % shape.s2, h = row / shape.s2 % shape.s1;
    const long s = row / shape.s2 / shape.s1;
    if (s >= shape.s0)
        return;
    if (lengths && key >= lengths[lengths_at.x + s * lengths_at.y])
        return;
    const clf_kept_rows rows = clf_kept_rows_of(from, from_at, scales, scales_at, pages, pages_at.xy, shape.s4, s, h);
    const long at = clf_kept_at(&rows, key), to_row = to_at.x + s * to_at.y + h * to_at.z + key * to_at.w;
    const long row_scales = CLF_BITS ? clf_scales_at(&rows, key) : 0;
    int n = first;
#if CLF_LANES == 16
    for (; n + 16 <= end && shape.s6 % 16 == 0; n += 16)
        clf_store16(elements(&rows, at, row_scales, n, shape.s6), to, to_row + n);
#endif
    for (; n < end; n++)
        clf_store(element(&rows, at, row_scales, n, shape.s6), to, to_row + n);
}
