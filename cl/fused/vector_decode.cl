/* Attention of few queries on CPUs: a slice of the keys, one work-item a group.
 *
 *                    keys: 16 x D, as floats              values: CLF_KEYS x E, as they lie
 *                   +----------------------------+      +----------------------------+
 *                   |  COLUMNS of a row at a time|      |  WIDE vectors at a time    |
 *                   +----------------------------+      +----------------------------+
 *   queries         +------+    s -> p
 *   CLF_ROWS x D    |      |  CLF_ROWS x CLF_KEYS  -->   acc: CLF_ROWS x E
 *                   +------+
 *
 * Work split: a group owns all queries that read one head of keys, and one slice of its keys (decode_rows.cl). What
 * counts is that keys and values come from memory once and that every load feeds CLF_ROWS multiply-adds.
 *
 * Scores: a vector of the queries holds COLUMNS = 16 / CLF_ROWS columns of every row, so that COLUMNS numbers of a key,
 * spread by the load itself, meet all rows in one multiply-add; sixteen keys have a sum each. Pairs of lanes are added
 * only at the end, and sixteen sums become rows of sixteen scores by shuffles (decode_vectors.cl). To be spread, keys
 * become floats first, sixteen at a time; a single row meets them as they lie.
 * Values: TALL rows share a loaded vector; acc stays in registers for all keys of a block.
 * What the next step reads is fetched ahead, a few lines between the multiply-adds. A single row is as fast as memory:
 * its blocks are long enough for what processors fetch by themselves.
 *
 * Private memory, which with what is fetched ahead should fit the first cache: queries and acc CLF_ROWS x (D + E)
 * floats, sixteen keys, s CLF_ROWS x CLF_KEYS.
 * Softmax relative to a lazy base as in vector_forward.cl. In blocks where anything is hidden values meet their
 * weights one by one, and a weight of 0 skips them: NaN in a hidden row goes nowhere.
 *
 * What each step gave, ms for one query of 32 heads on 16384 keys of width 128 (PoCL, two AVX-512 cores; on 32 heads of
 * keys in f32, in f16, in 8 bits; on 4 heads of keys in f16): partial sums added by neighbouring lanes 44, 30, -, 10.6;
 * by halves, which shuffle in one instruction, 31, 24, -, 7.9; the next block's lines fetched ahead, -, 18, 33, 5.6;
 * scales that spread from a small array instead of each on its own, 9.5 in 8 bits. In turns with that, on 32 and on 4
 * heads: sixteen halves by one instruction 0.79 of the time in f16 on 32; spread keys 1.05 in f16 and 0.97 in 8 bits
 * on 4, with the fetches between the multiply-adds 0.95 and 0.97, sixteen keys at a time and values as they lie 0.81
 * and 0.86. Blocks of 64 keys instead of 32: 1.1.
 * On another processor (two cores of Zen 4, medians): a single row without fetches, in blocks of 128 keys, 0.63 of the
 * time in f16, 0.8 in 8 bits, 0.93 in f32; more rows without fetches 1.2.
 *
 * NDRange: global (slices, heads of keys, B), local (1, 1, 1). Build with CLF_LANES=16.
 */
#include "fused/decode_vectors.cl"

#define TALL (CLF_ROWS >= 8 ? 8 : CLF_ROWS) /* rows that share a vector of values */
#define SIDE 8                              /* keys at a time of a single row */
#define VECTORS (E_PADDED / 16)
#define WIDE (TALL <= 2 && VECTORS % 8 == 0 ? 8 : TALL <= 4 && VECTORS % 4 == 0 ? 4 : VECTORS % 2 == 0 ? 2 : 1)
#define SLACK 8.0f

#if COLUMNS < 16
/* Scores of sixteen keys; meanwhile rows of values from `ahead` on are fetched. */
static void score16(const float *queries, const float *block, const clf_kept_rows *values, int ahead, int last,
                    float *s)
{
    float16 sum[16];
#pragma unroll
    for (int j = 0; j < 16; j++)
        sum[j] = (float16)(0.0f);
    for (int part = 0; part < D_PADDED / 16; part++) {
        for (int j = 16 * part / (D_PADDED / 16); j < 16 * (part + 1) / (D_PADDED / 16); j++)
            clf_touch(values, min(ahead + j, last), CLF_E, 0, 1);
        for (int n = part * 16; n < part * 16 + 16; n += COLUMNS) {
            const float16 query = *(const float16 *)(queries + n * CLF_ROWS);
#pragma unroll
            for (int j = 0; j < 16; j++)
                sum[j] = clf_fma(query, clf_spread(block + j * D_PADDED + n), sum[j]);
        }
    }
    clf_add_and_turn(sum, s);
}

#else
/* Scores of sixteen keys of one row; those from `count` on repeat the last one. */
static void score16_directly(const float *query, const clf_kept_rows *keys, int first, int count, float *s)
{
    float16 part[16];
    for (int j = 0; j < 16; j += SIDE) {
        float pairs[SIDE * PAIRS(CLF_D)];
        long at[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; i++) {
            at[i] = clf_kept_at(keys, first + min(j + i, count - 1));
            clf_load_pairs(keys, first + min(j + i, count - 1), CLF_D, pairs + i * PAIRS(CLF_D));
        }
        float16 sum[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; i++)
            sum[i] = (float16)(0.0f);
        for (int n = 0; n < D_PADDED; n += 16)
#pragma unroll
            for (int i = 0; i < SIDE; i++)
                sum[i] = clf_fma(*(const float16 *)(query + n),
                                 clf_load_kept16(keys, at[i], pairs + i * PAIRS(CLF_D), n, CLF_D), sum[i]);
#pragma unroll
        for (int i = 0; i < SIDE; i++)
            part[j + i] = sum[i];
    }
    clf_add_and_turn(part, s);
}

#endif

/* acc += p values, for `count` keys; meanwhile keys from `ahead` on are fetched. */
static void add_values(const float *p, const clf_kept_rows *values, int first, int count, const clf_kept_rows *keys,
                       int ahead, int last, float *acc)
{
    float pairs[CLF_KEYS * PAIRS(CLF_E)];
    for (int j = 0; j < count; j++)
        clf_load_pairs(values, first + j, CLF_E, pairs + j * PAIRS(CLF_E));
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
                float16 value[WIDE];
                if (COLUMNS < 16)
                    clf_touch(keys, min(ahead + j, last), CLF_D, n / (16 * WIDE) + r / TALL * (VECTORS / WIDE),
                          VECTORS / WIDE * (CLF_ROWS / TALL));
#pragma unroll
                for (int i = 0; i < WIDE; i++)
                    value[i] = clf_load_kept16(values, at, pairs + j * PAIRS(CLF_E), n + i * 16, CLF_E);
#pragma unroll
                for (int y = 0; y < TALL; y++) {
                    const float16 weight = (float16)(p[(r + y) * CLF_KEYS + j]);
#pragma unroll
                    for (int i = 0; i < WIDE; i++)
                        sum[y * WIDE + i] = clf_fma(weight, value[i], sum[y * WIDE + i]);
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
        clf_load_pairs(values, first + j, CLF_E, pairs);
        for (int r = 0; r < CLF_ROWS; r++) {
            const float weight = p[r * CLF_KEYS + j];
            if (weight == 0.0f)
                continue;
            for (int n = 0; n < E_PADDED; n += 16) {
                float16 *sum = (float16 *)(acc + r * E_PADDED + n);
                *sum = clf_fma((float16)(weight), clf_load_kept16(values, at, pairs, n, CLF_E), *sum);
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
                             int4 slice, int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                             CLF_EXTRA_PARAMETERS)
{
    float queries[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float acc[CLF_ROWS * E_PADDED] __attribute__((aligned(64)));
    float s[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    float row[D_PADDED] __attribute__((aligned(64)));
#if COLUMNS < 16
    float block[16 * D_PADDED] __attribute__((aligned(64)));
#endif
    float16 sum[CLF_ROWS];
    float base[CLF_ROWS], limit[CLF_ROWS];

    const int part = get_group_id(0), head = get_group_id(1), b = get_group_id(2);
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_decode_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int rows = slice.x * shape.s2;
    if (rows == 0)
        return;
    const clf_kept_rows keys = clf_kept_rows_of(k, k_at, k_scales, k_scales_at, pages, pages_at, slice.w, b, head);
    const clf_kept_rows values = clf_kept_rows_of(v, v_at, v_scales, v_scales_at, pages, pages_at, slice.w, b, head);

    const float scale = clf_query_scale(factor.x);
    for (int r = 0; r < CLF_ROWS; r++) {
        const int one = min(r, rows - 1), h = head * slice.x + one / shape.s2;
        clf_load_row(q, clf_queries_at(q_at, b, h, start) + one % shape.s2 * q_at.w, CLF_D, row, D_PADDED);
        for (int n = 0; n < D_PADDED; n++)
            queries[n / COLUMNS * 16 + r * COLUMNS + n % COLUMNS] = row[n] * scale;
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
#if COLUMNS < 16
        for (int n = 0; n < width; n += 16) {
            clf_unpack(&keys, first + n, min(16, count - n), block);
            score16(queries, block, &values, first + n, end - 1, s + n);
        }
#else
        for (int n = 0; n < width; n += 16)
            score16_directly(queries, &keys, first + n, count - n, s + n);
#endif
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
            add_values(s, &values, first, count, &keys, first + CLF_KEYS, end - 1, acc);
    }

    const long row_at = ((b * (shape.s1 / slice.x) + head) * (long)slice.y + part) * CLF_ROWS;
    for (int r = 0; r < rows; r++) {
        for (int n = 0; n < E_PADDED; n += 16)
            vstore16(*(const float16 *)(acc + r * E_PADDED + n), 0, sums + sums_at + (row_at + r) * E_PADDED + n);
        bases[bases_at + (row_at + r) * 2] = limit[r] == -INFINITY ? -INFINITY : base[r];
        bases[bases_at + (row_at + r) * 2 + 1] = clf_sum16(sum[r]);
    }
}
