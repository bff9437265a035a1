/* What the vector kernel for few queries is made of: keys and values as vectors of floats, lines fetched ahead, and
 * vectors of partial sums that become scores. Build with CLF_LANES=16.
 */
#include "fused/decode_rows.cl"

#ifndef CLF_PREFETCH
#define CLF_PREFETCH 0 /* 1: instructions that fetch ahead exist */
#endif
#ifndef CLF_KEYS
#define CLF_KEYS (CLF_ROWS == 1 ? 128 : 32) /* of a block, a multiple of 16 */
#endif
#define COLUMNS (16 / CLF_ROWS) /* of a row side by side in a vector of the queries */

#if CLF_BITS
#define PAIRS(width) (2 * ((width) / CLF_SPAN))
#else
#define PAIRS(width) 1
#endif

/* Scales and shifts of key k's row of `width`, as floats: from here they spread over a vector for nothing. */
CLF_INLINE void clf_load_pairs(const clf_kept_rows *rows, int k, int width, float *pairs)
{
#if CLF_BITS
    const long at = clf_scales_at(rows, k);
    int n = 0;
    for (; n + 8 <= PAIRS(width); n += 8) {
        const ushort8 bits = vload8(0, (__global const ushort *)rows->scales + at + n);
        vstore8(vload_half8(0, (const half *)&bits), 0, pairs + n);
    }
    for (; n < PAIRS(width); n++)
        pairs[n] = clf_load_f16(rows->scales, at + n);
#endif
}

/* Columns n .. n + 15 of a row of `width` that starts at `at`, as floats. */
CLF_INLINE float16 clf_load_kept16(const clf_kept_rows *rows, long at, const float *pairs, int n, int width)
{
#if CLF_BITS
#if CLF_BITS == 8
    const float16 number = convert_float16(vload16(0, rows->p + at + n));
#else
    const uchar8 both = vload8(0, rows->p + at + n / 2);
    const uchar8 low = both & (uchar8)(15), high = both >> (uchar8)(4);
    uchar16 bytes;
    bytes.even = low;
    bytes.odd = high;
    const float16 number = convert_float16(bytes);
#endif
    return clf_fma(number, (float16)(pairs[n / CLF_SPAN * 2]), (float16)(pairs[n / CLF_SPAN * 2 + 1]));
#else
    if (n + 16 <= width)
        return clf_load16(rows->p, at + n);
    float lane[16];
    for (int i = 0; i < 16; i++)
        lane[i] = n + i < width ? clf_load(rows->p, at + n + i) : 0.0f;
    return vload16(0, lane);
#endif
}

/* Sixteen scores of every row, from sixteen keys' vectors in which a row has COLUMNS lanes. While it has more than one,
 * two vectors become one: their lanes are added in pairs, lanes of the second key between those of the first. What is
 * left is turned by perfect shuffles, so that vector r has row r's scores, lane j key j's. */
static void clf_add_and_turn(float16 *x, float *s)
{
#if CLF_ROWS < 2
#pragma unroll
    for (int i = 0; i < 8 * CLF_ROWS; i++) {
        const float16 a = x[i], b = x[i + 8 * CLF_ROWS];
        x[i] = (float16)(a.lo, b.lo) + (float16)(a.hi, b.hi);
    }
#endif
#if CLF_ROWS < 4
#pragma unroll
    for (int i = 0; i < 4 * CLF_ROWS; i++) {
        const float16 a = x[i], b = x[i + 4 * CLF_ROWS];
        x[i] = (float16)(a.s0123, b.s0123, a.s89ab, b.s89ab) + (float16)(a.s4567, b.s4567, a.scdef, b.scdef);
    }
#endif
#if CLF_ROWS < 8
#pragma unroll
    for (int i = 0; i < 2 * CLF_ROWS; i++) {
        const float16 a = x[i], b = x[i + 2 * CLF_ROWS];
        x[i] = (float16)(a.s01, b.s01, a.s45, b.s45, a.s89, b.s89, a.scd, b.scd) +
               (float16)(a.s23, b.s23, a.s67, b.s67, a.sab, b.sab, a.sef, b.sef);
    }
#endif
#if CLF_ROWS < 16
#pragma unroll
    for (int i = 0; i < CLF_ROWS; i++) {
        const float16 a = x[i], b = x[i + CLF_ROWS];
        float16 even, odd;
        even.even = a.even;
        even.odd = b.even;
        odd.even = a.odd;
        odd.odd = b.odd;
        x[i] = even + odd;
    }
#endif
#pragma unroll
    for (int stage = 1; stage < CLF_ROWS; stage *= 2) {
        float16 y[CLF_ROWS];
#pragma unroll
        for (int i = 0; i < CLF_ROWS / 2; i++) {
            y[2 * i].even = x[i].lo;
            y[2 * i].odd = x[i + CLF_ROWS / 2].lo;
            y[2 * i + 1].even = x[i].hi;
            y[2 * i + 1].odd = x[i + CLF_ROWS / 2].hi;
        }
#pragma unroll
        for (int i = 0; i < CLF_ROWS; i++)
            x[i] = y[i];
    }
#pragma unroll
    for (int r = 0; r < CLF_ROWS; r++)
        *(float16 *)(s + r * CLF_KEYS) = x[r];
}

/* PoCL's prefetch() does nothing; its compiler is clang, whose built-in function takes any address as a number. */
#if CLF_PREFETCH && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define FETCH(p) __builtin_prefetch((const void *)(size_t)(p))
#endif
#endif
#ifndef FETCH
#define FETCH(p) prefetch(p, 1)
#endif

/* Ask for part `part` of `parts` of a row, lines of 64 bytes. */
CLF_INLINE void clf_touch(const clf_kept_rows *rows, int k, int width, int part, int parts)
{
    __global const uchar *p = (__global const uchar *)(rows->p + clf_kept_at(rows, k));
    const int bytes = CLF_BITS == 4 ? width / 2 : width * (int)sizeof(clf_kept);
    const int lines = ((bytes + 63) / 64 + parts - 1) / parts;
#pragma unroll
    for (int n = 0; n < lines; n++)
        if (lines * parts * 64 <= bytes || (part * lines + n) * 64 < bytes)
            FETCH(p + (part * lines + n) * 64);
}

/* `count` of sixteen keys as floats, zeros for the others. */
CLF_INLINE void clf_unpack(const clf_kept_rows *keys, int first, int count, float *block)
{
    for (int j = 0; j < count; j++) {
        const long at = clf_kept_at(keys, first + j);
        float pairs[PAIRS(CLF_D)];
        clf_load_pairs(keys, first + j, CLF_D, pairs);
#pragma unroll
        for (int n = 0; n < D_PADDED; n += 16)
            *(float16 *)(block + j * D_PADDED + n) = clf_load_kept16(keys, at, pairs, n, CLF_D);
    }
    for (int n = count * D_PADDED; n < 16 * D_PADDED; n += 16)
        *(float16 *)(block + n) = (float16)(0.0f);
}

/* COLUMNS numbers in the lanes of every row. */
CLF_INLINE float16 clf_spread(const float *p)
{
#if COLUMNS == 8
    const float8 x = *(const float8 *)p;
    return (float16)(x, x);
#elif COLUMNS == 4
    const float4 x = *(const float4 *)p;
    return (float16)(x, x, x, x);
#elif COLUMNS == 2
    return as_float16((ulong8)(*(const ulong *)p));
#else
    return (float16)(*p);
#endif
}
