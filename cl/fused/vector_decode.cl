/* Attention of few queries on CPUs: a slice of the keys, one work-item a group.
 *
 *                    keys: CLF_KEYS x D, as they lie      values: CLF_KEYS x E, as they lie
 *                   +----------------------------+      +----------------------------+
 *                   |  16 columns at a time      |      |  WIDE vectors at a time    |
 *                   +----------------------------+      +----------------------------+
 *   queries         +------+    s -> p
 *   CLF_ROWS x D    |      |  CLF_ROWS x CLF_KEYS  -->   acc: CLF_ROWS x E
 *                   +------+
 *
 * Work split: a group owns all queries that read one head of keys, and one slice of its keys (decode_rows.cl). What
 * counts is that keys and values come from memory once and that every load feeds CLF_ROWS multiply-adds: a product
 * of a query and a key is a vector of partial sums, and sixteen such vectors become sixteen scores by fifteen
 * pairwise additions, so nothing is packed or turned. TALL rows share a loaded vector; acc stays in registers for
 * all keys of a block.
 *
 * Private memory: queries and acc CLF_ROWS x (D + E) floats (16 KiB at most 16 rows of 128), s CLF_ROWS x CLF_KEYS.
 * Softmax relative to a lazy base as in vector_forward.cl. In blocks where anything is hidden values meet their
 * weights one by one, and a weight of 0 skips them: NaN in a hidden row goes nowhere.
 *
 * What each step gave, ms for one query of 32 heads on 16384 keys of width 128 (PoCL, two AVX-512 cores; on 32 heads of
 * keys in f32, in f16, in 8 bits; on 4 heads of keys in f16): partial sums added by neighbouring lanes 44, 30, -, 10.6;
 * by halves, which shuffle in one instruction, 31, 24, -, 7.9; the next block's lines fetched ahead, -, 18, 33, 5.6;
 * scales that spread from a small array instead of each on its own, 9.5 in 8 bits. A plain loop that reads the same
 * memory takes 19 in f16: what is left there is memory, and with 8 queries a head the additions of partial sums.
 *
 * NDRange: global (slices, heads of keys, B), local (1, 1, 1). Build with CLF_LANES=16.
 */
#include "fused/decode_rows.cl"

#ifndef CLF_PREFETCH
#define CLF_PREFETCH 0 /* 1: instructions that fetch ahead exist */
#endif
#ifndef CLF_KEYS
#define CLF_KEYS 32 /* of a block, a multiple of 16 */
#endif
#define TALL (CLF_ROWS >= 8 ? 8 : CLF_ROWS)  /* rows that share a vector of keys or values */
#define SIDE (TALL >= 8 ? 2 : TALL >= 4 ? 4 : 8) /* keys at a time */
#define VECTORS (E_PADDED / 16)
#define WIDE (SIDE >= 8 && VECTORS % 8 == 0 ? 8 : SIDE >= 4 && VECTORS % 4 == 0 ? 4 : VECTORS % 2 == 0 ? 2 : 1)
#define SLACK 8.0f

#if CLF_BITS
#define PAIRS(width) (2 * ((width) / CLF_SPAN))
#else
#define PAIRS(width) 1
#endif

/* Scales and shifts of key k's row of `width`, as floats: from here they spread over a vector for nothing. */
CLF_INLINE void load_pairs(const clf_kept_rows *rows, int k, int width, float *pairs)
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
CLF_INLINE float16 load16(const clf_kept_rows *rows, long at, const float *pairs, int n, int width)
{
#if CLF_BITS
#if CLF_BITS == 8
    const float16 number = convert_float16(vload16(0, rows->p + at + n));
#else
    const uchar8 both = vload8(0, rows->p + at + n / 2);
    const uchar8 low = both & (uchar8)(15), high = both >> (uchar8)(4);
    const float16 number = convert_float16((uchar16)(low.s0, high.s0, low.s1, high.s1, low.s2, high.s2, low.s3, high.s3,
                                                     low.s4, high.s4, low.s5, high.s5, low.s6, high.s6, low.s7, high.s7));
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

/* Lane j becomes the sum of all lanes of x[j]: halves meet halves, then quarters quarters ... */
static float16 sum_each(const float16 *x)
{
    float16 y[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float16 a = x[i], b = x[i + 8];
        y[i] = (float16)(a.lo, b.lo) + (float16)(a.hi, b.hi);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float16 a = y[i], b = y[i + 4];
        y[i] = (float16)(a.s0123, b.s0123, a.s89ab, b.s89ab) + (float16)(a.s4567, b.s4567, a.scdef, b.scdef);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float16 a = y[i], b = y[i + 2];
        y[i] = (float16)(a.s01, b.s01, a.s45, b.s45, a.s89, b.s89, a.scd, b.scd) +
               (float16)(a.s23, b.s23, a.s67, b.s67, a.sab, b.sab, a.sef, b.sef);
    }
    const float16 a = y[0], b = y[1];
    return (float16)(a.s0, b.s0, a.s2, b.s2, a.s4, b.s4, a.s6, b.s6, a.s8, b.s8, a.sa, b.sa, a.sc, b.sc, a.se, b.se) +
           (float16)(a.s1, b.s1, a.s3, b.s3, a.s5, b.s5, a.s7, b.s7, a.s9, b.s9, a.sb, b.sb, a.sd, b.sd, a.sf, b.sf);
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

/* Ask for a row that the next block needs: a line of 64 bytes at a time. */
CLF_INLINE void touch(const clf_kept_rows *rows, int k, int width)
{
    __global const uchar *p = (__global const uchar *)(rows->p + clf_kept_at(rows, k));
    const int bytes = CLF_BITS == 4 ? width / 2 : width * (int)sizeof(clf_kept);
#pragma unroll
    for (int n = 0; n < bytes; n += 64)
        FETCH(p + n);
}

/* Scores of sixteen keys; those from `count` on repeat the last one. */
static void score16(const float *queries, const clf_kept_rows *keys, const clf_kept_rows *values, int first, int count,
                    int last, float *s)
{
    float16 part[CLF_ROWS * 16] __attribute__((aligned(64)));
    for (int j = 0; j < 16; j += SIDE) {
        float pairs[SIDE * PAIRS(CLF_D)];
        long at[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; i++) {
            const int ahead = min(first + CLF_KEYS + j + i, last);
            touch(keys, ahead, CLF_D);
            touch(values, ahead, CLF_E);
        }
#pragma unroll
        for (int i = 0; i < SIDE; i++) {
            at[i] = clf_kept_at(keys, first + min(j + i, count - 1));
            load_pairs(keys, first + min(j + i, count - 1), CLF_D, pairs + i * PAIRS(CLF_D));
        }
        for (int r = 0; r < CLF_ROWS; r += TALL) {
            float16 sum[TALL * SIDE];
#pragma unroll
            for (int n = 0; n < TALL * SIDE; n++)
                sum[n] = (float16)(0.0f);
            for (int n = 0; n < D_PADDED; n += 16) {
                float16 key[SIDE];
#pragma unroll
                for (int i = 0; i < SIDE; i++)
                    key[i] = load16(keys, at[i], pairs + i * PAIRS(CLF_D), n, CLF_D);
#pragma unroll
                for (int y = 0; y < TALL; y++) {
                    const float16 query = *(const float16 *)(queries + (r + y) * D_PADDED + n);
#pragma unroll
                    for (int i = 0; i < SIDE; i++)
                        sum[y * SIDE + i] = clf_fma(query, key[i], sum[y * SIDE + i]);
                }
            }
#pragma unroll
            for (int y = 0; y < TALL; y++)
#pragma unroll
                for (int i = 0; i < SIDE; i++)
                    part[(r + y) * 16 + j + i] = sum[y * SIDE + i];
        }
    }
    for (int r = 0; r < CLF_ROWS; r++)
        *(float16 *)(s + r * CLF_KEYS) = sum_each(part + r * 16);
}

/* acc += p values, for `count` keys. */
static void add_values(const float *p, const clf_kept_rows *values, int first, int count, float *acc)
{
    for (int n = 0; n < E_PADDED; n += 16 * WIDE)
        for (int r = 0; r < CLF_ROWS; r += TALL) {
            float16 sum[TALL * WIDE];
#pragma unroll
            for (int y = 0; y < TALL; y++)
#pragma unroll
                for (int i = 0; i < WIDE; i++)
                    sum[y * WIDE + i] = *(const float16 *)(acc + (r + y) * E_PADDED + n + i * 16);
            for (int j = 0; j < count; j++) {
                const long at = clf_kept_at(values, first + j);
                float pairs[PAIRS(CLF_E)];
                load_pairs(values, first + j, CLF_E, pairs);
#pragma unroll
                for (int i = 0; i < WIDE; i++) {
                    const float16 value = load16(values, at, pairs, n + i * 16, CLF_E);
#pragma unroll
                    for (int y = 0; y < TALL; y++)
                        sum[y * WIDE + i] = clf_fma((float16)(p[(r + y) * CLF_KEYS + j]), value, sum[y * WIDE + i]);
                }
            }
#pragma unroll
            for (int y = 0; y < TALL; y++)
#pragma unroll
                for (int i = 0; i < WIDE; i++)
                    *(float16 *)(acc + (r + y) * E_PADDED + n + i * 16) = sum[y * WIDE + i];
        }
}

/* The same where a weight of 0 must not meet its value. */
static void add_seen_values(const float *p, const clf_kept_rows *values, int first, int count, float *acc)
{
    for (int j = 0; j < count; j++) {
        const long at = clf_kept_at(values, first + j);
        float pairs[PAIRS(CLF_E)];
        load_pairs(values, first + j, CLF_E, pairs);
        for (int r = 0; r < CLF_ROWS; r++) {
            const float weight = p[r * CLF_KEYS + j];
            if (weight == 0.0f)
                continue;
            for (int n = 0; n < E_PADDED; n += 16) {
                float16 *sum = (float16 *)(acc + r * E_PADDED + n);
                *sum = clf_fma((float16)(weight), load16(values, at, pairs, n, CLF_E), *sum);
            }
        }
    }
}

/* Scores become weights relative to the row's base, which moves only when a score outgrows it by SLACK. */
static void soften(float *s, int width, float *base, float *limit, float16 *sum, float *acc)
{
    for (int r = 0; r < CLF_ROWS; r++) {
        float16 largest = *(const float16 *)(s + r * CLF_KEYS);
        for (int n = 16; n < width; n += 16)
            largest = clf_max(*(const float16 *)(s + r * CLF_KEYS + n), largest);
        if (any(largest > limit[r])) {
            const float top = clf_max16(largest);
            const float16 shrink = limit[r] == -INFINITY ? (float16)(0.0f) : clf_exp2((float16)(base[r] - top));
            sum[r] *= shrink;
            for (int n = 0; n < E_PADDED; n += 16)
                *(float16 *)(acc + r * E_PADDED + n) *= shrink;
            base[r] = top;
            limit[r] = top + SLACK;
        }
        for (int n = 0; n < width; n += 16) {
            const float16 p = clf_exp2(*(const float16 *)(s + r * CLF_KEYS + n) - base[r]);
            *(float16 *)(s + r * CLF_KEYS + n) = p;
            sum[r] += p;
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_decode_vector(__global const clf_storage *q, long4 q_at,
                             __global const clf_kept *k, long4 k_at,
                             __global const clf_kept *v, long4 v_at,
                             __global const clf_mask *mask, long8 mask_at,
                             __global const uchar *padding, long4 padding_at,
                             __global const clf_f16 *k_scales, long4 k_scales_at,
                             __global const clf_f16 *v_scales, long4 v_scales_at,
                             __global const int *pages, long2 pages_at,
                             __global float *sums, long sums_at, __global float *bases, long bases_at,
                             int4 slice, int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random CLF_EXTRA_PARAMETERS)
{
    float queries[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float acc[CLF_ROWS * E_PADDED] __attribute__((aligned(64)));
    float s[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    float16 sum[CLF_ROWS];
    float base[CLF_ROWS], limit[CLF_ROWS];

    const int part = get_group_id(0), head = get_group_id(1), b = get_group_id(2);
    const int rows = slice.x * shape.s2;
    shape = clf_own_shape(shape, b, (int2)(0) CLF_SEQUENCE_ARGUMENTS);
    const clf_kept_rows keys = clf_kept_rows_of(k, k_at, k_scales, k_scales_at, pages, pages_at, slice.w, b, head);
    const clf_kept_rows values = clf_kept_rows_of(v, v_at, v_scales, v_scales_at, pages, pages_at, slice.w, b, head);

    const float scale = clf_query_scale(factor.x);
    for (int r = 0; r < CLF_ROWS; r++) {
        const int one = min(r, rows - 1), h = head * slice.x + one / shape.s2;
        clf_load_row(q, q_at.x + b * q_at.y + h * q_at.z + one % shape.s2 * q_at.w, CLF_D, queries + r * D_PADDED, D_PADDED);
        for (int n = 0; n < D_PADDED; n += 16)
            *(float16 *)(queries + r * D_PADDED + n) *= scale;
        for (int n = 0; n < E_PADDED; n += 16)
            *(float16 *)(acc + r * E_PADDED + n) = (float16)(0.0f);
        sum[r] = (float16)(0.0f);
        base[r] = 0.0f;
        limit[r] = -INFINITY;
    }

    const int seen_by_one = clf_keys_seen(0, shape.s3, shape.s4);
    const int begin = max(part * slice.z, clf_first_key(0, shape) / CLF_KEYS * CLF_KEYS);
    const int end = min((part + 1) * slice.z, clf_keys_seen(shape.s2 - 1, shape.s3, shape.s4));
    for (int first = begin; first < end; first += CLF_KEYS) {
        const int count = min(CLF_KEYS, end - first), width = (count + 15) & ~15;
        const int look = CLF_EVERY_SCORE || first + width > seen_by_one || clf_first_key(shape.s2 - 1, shape) > first;
        for (int n = 0; n < width; n += 16)
            score16(queries, &keys, &values, first + n, count - n, end - 1, s + n);
        if (look)
            for (int r = 0; r < CLF_ROWS; r++) {
                const int one = min(r, rows - 1), h = head * slice.x + one / shape.s2;
                for (int n = 0; n < width; n += 16) {
                    float16 *at = (float16 *)(s + r * CLF_KEYS + n);
                    *at = clf_score(*at, b, h, one % shape.s2, first + n + CLF_LANE, shape, mask, mask_at,
                                    padding, padding_at CLF_EXTRA_ARGUMENTS);
                }
            }
        soften(s, width, base, limit, sum, acc);
        if (look)
            add_seen_values(s, &values, first, count, acc);
        else
            add_values(s, &values, first, count, acc);
    }

    const long row_at = ((b * (shape.s1 / slice.x) + head) * (long)slice.y + part) * CLF_ROWS;
    for (int r = 0; r < rows; r++) {
        for (int n = 0; n < E_PADDED; n += 16)
            vstore16(*(const float16 *)(acc + r * E_PADDED + n), 0, sums + sums_at + (row_at + r) * E_PADDED + n);
        bases[bases_at + (row_at + r) * 2] = limit[r] == -INFINITY ? -INFINITY : base[r];
        bases[bases_at + (row_at + r) * 2 + 1] = clf_sum16(sum[r]);
    }
}
