/* What the kernels for few queries share: packed rows, the keys of a slice, keys and values in any form they are kept.
 *
 * The queries of all heads that read one head of keys are rows of one small matrix, so that keys and values are read
 * once: row r is query r % Nq of head first_head + r / Nq, where Nq is the sequence's own number, at most that of
 * `shape`. A group owns such a matrix and one slice of the keys, and leaves for each row what it summed, relative to a
 * base in powers of two:
 *
 *     sums:  [B, Hk, slices, CLF_ROWS, E rounded up to 16] floats
 *     bases: [B, Hk, slices, CLF_ROWS, 2] floats = base (-INFINITY: nothing seen), sum of the weights
 *
 * shape = {B, H, Nq, Nk, causal shift, D, E, window}; slice = {heads of a group, slices, keys of a slice, page size}.
 *
 * Quantised elements are unsigned numbers of CLF_BITS bits, two in a byte when there are 4 (the lower half first);
 * every CLF_SPAN neighbours share a scale and a shift in f16: value = number * scale + shift.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/math.cl"
#include "prelude/mask.cl"
#include "fused/place.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_ROWS
#define CLF_ROWS 1 /* of the matrix of queries */
#endif
#ifndef CLF_BITS
#define CLF_BITS 0 /* of a quantised element: 8 or 4; 0 = plain storage */
#endif
#ifndef CLF_SPAN
#define CLF_SPAN 32 /* elements that share a scale: a multiple of 16 that divides the widths */
#endif
#define D_PADDED ((CLF_D + 15) / 16 * 16)
#define E_PADDED ((CLF_E + 15) / 16 * 16)

#ifndef CLF_PAGES
#define CLF_PAGES 0 /* 1: key k of batch item b lies in page pages[b][k / page size] */
#endif

#if CLF_BITS
typedef uchar clf_kept;
#else
typedef clf_storage clf_kept;
#endif

/* The sequence's own shape, with no more queries than were promised: there are rows for so many. */
static int8 clf_decode_shape(int8 shape, int b, int2 start CLF_SEQUENCE_PARAMETERS)
{
    const int most = shape.s2;
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    shape.s2 = min(shape.s2, most);
    return shape;
}

/* Keys or values of a head: where key k's elements start, and its scales. */
typedef struct clf_kept_rows {
    __global const clf_kept *p;
    __global const clf_f16 *scales;
    __global const int *pages;
    long at, page_stride, stride;
    long scales_at, scales_page_stride, scales_stride;
    int page;
} clf_kept_rows;

/* at = {offset, strides of batch (or page), head, key}. */
static clf_kept_rows clf_kept_rows_of(__global const clf_kept *p, long4 at, __global const clf_f16 *scales,
                                      long4 scales_at, __global const int *pages, long2 pages_at, int page, int b, int h)
{
    clf_kept_rows rows;
    rows.p = p;
    rows.scales = scales;
    rows.at = at.x + h * at.z + (CLF_PAGES ? 0 : b * at.y);
    rows.scales_at = scales_at.x + h * scales_at.z + (CLF_PAGES ? 0 : b * scales_at.y);
    rows.page_stride = at.y;
    rows.scales_page_stride = scales_at.y;
    rows.stride = at.w;
    rows.scales_stride = scales_at.w;
    rows.pages = pages + (CLF_PAGES ? pages_at.x + b * pages_at.y : 0);
    rows.page = page;
    return rows;
}

static long clf_kept_at(const clf_kept_rows *rows, int k)
{
#if CLF_PAGES
    return rows->at + rows->pages[k / rows->page] * rows->page_stride + k % rows->page * rows->stride;
#else
    return rows->at + k * rows->stride;
#endif
}

static long clf_scales_at(const clf_kept_rows *rows, int k)
{
#if CLF_PAGES
    return rows->scales_at + rows->pages[k / rows->page] * rows->scales_page_stride +
           k % rows->page * rows->scales_stride;
#else
    return rows->scales_at + k * rows->scales_stride;
#endif
}
