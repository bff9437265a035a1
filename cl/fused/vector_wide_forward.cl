/* Fused attention on CPUs, forward, of values that are wider than heads are: what vector_forward.cl computes, with the
 * probabilities of a block of keys kept while they meet the values panel by panel.
 *
 *                 keys, turned: D x CLF_KEYS    values: panels of CLF_KEYS x 32, as many as E needs
 *                +-----------------------+     +-------+  +-------+  +-------+
 *                |  packed once a block  |     | 8 KiB |  |       |  |       |
 *                +-----------------------+     +-------+  +-------+  +-------+
 *   queries      +-----------------------+     +-------+  +-------+  +-------+
 *   CLF_ROWS,    |  s -> p: CLF_ROWS x   | --> | acc   |  |       |  |       |
 *   by eights    |          CLF_KEYS     |     | 8 x 32|  |       |  |       |
 *                +-----------------------+     +-------+  +-------+  +-------+
 *
 * Work split: a group of one work-item owns CLF_ROWS queries of one head and walks over all keys they see. First all
 * scores of a block of keys become probabilities (vector_softmax.cl), then every panel of values, which the first-level
 * cache holds, passes by all rows. Scores and powers are computed once, whatever the width of the values: in launches of
 * 128 columns, 512 of them take 1.33 times the multiply-adds and four times the powers of this kernel. The lines of the
 * next block are touched between the tiles, so that they wait in the second level when it is their turn.
 *
 * 256 rows with D = 64 and E = 512 are 810 KiB of private memory: acc 528, values 130, p and queries 64 each, of a
 * second-level cache of 1 MiB. Neither rows of acc nor panels begin at powers of two from each other, or they would meet
 * in few sets of the caches.
 *
 * Least CPU time of compositional attention (N = 2048, H = 8, D = 64, E = 512, PoCL, two AVX-512 cores), all of which
 * but the projections is this: OpenBLAS products and softmax over ours 0.69 in launches of 128 columns by
 * vector_forward.cl; 0.97 by panels with 128 rows; values packed in the order of memory 1.01; 256 rows, the next lines
 * touched 1.04; aligned stores of tiles 1.09 (median of five runs of five calls in turns).
 *
 * NDRange, options and arguments are those of vector_forward.cl, without lists of blocks.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "prelude/tile.cl"
#include "fused/place.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E 512 /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_ROWS
#define CLF_ROWS 256
#endif
#ifndef CLF_KEYS
#define CLF_KEYS 64
#endif

#define PANEL 32
#define PANEL_STEP (PANEL * (CLF_KEYS + 1))
#define D_PADDED ((CLF_D + 15) / 16 * 16)
#define E_PADDED ((CLF_E + PANEL - 1) / PANEL * PANEL)
#define ACC_STEP (E_PADDED + 16)

#include "fused/vector_softmax.cl"

/* The values of a block of keys into panels, in the order of memory. Are all of them finite? */
static int pack_values(__global const clf_storage *v, long at, long stride, int count, float *to)
{
    const int whole = CLF_E / PANEL * PANEL;
    int16 largest = (int16)(0);
    for (int r = 0; r < CLF_KEYS; r++)
        for (int n = 0; n < whole; n += 16) {
            const float16 x = r < count ? clf_load16(v, at + r * stride + n) : (float16)(0.0f);
            *(float16 *)(to + n / PANEL * PANEL_STEP + r * PANEL + n % PANEL) = x;
            largest = max(largest, as_int16(x) & 0x7fffffff);
        }
    const int rest = whole == CLF_E || clf_pack(v, at + whole, stride, count, CLF_KEYS, CLF_E - whole,
                                                to + whole / PANEL * PANEL_STEP, PANEL);
    return rest && !any(largest >= (int16)(0x7f800000));
}

/* Lines of the cache in a row of `count` elements. */
#define LINES(count) (((count) * (int)sizeof(clf_storage) + 63) / 64)

/* Reads from the lines `from` to `end` - 1 of rows of `lines` each. */
static void touch(__global const clf_storage *p, long at, long stride, int lines, int from, int end)
{
    for (int i = from; i < end; i++)
        (void)*(volatile __global const uchar *)(p + at + i / lines * stride + i % lines * (64 / (int)sizeof *p));
}

/* acc += p values, panel by panel. `depths`: how many keys each eight rows have probabilities of. Meanwhile the
 * `next_count` rows of values behind those come nearer. */
static void weigh(const float *p, const int *depths, int finite, const float *values, int count, float *acc,
                  __global const clf_storage *next, long next_at, long next_stride, int next_count)
{
    const int lines = LINES(CLF_E) * next_count;
    const int products = E_PADDED / PANEL * ((count + CLF_TILE_ROWS - 1) / CLF_TILE_ROWS);
    const int share = (lines + products - 1) / products;
    int line = 0;
    for (int n = 0; n < E_PADDED; n += PANEL)
        for (int r = 0; r < count; r += CLF_TILE_ROWS) {
            const float *panel = values + n / PANEL * PANEL_STEP;
            const int depth = depths[r / CLF_TILE_ROWS];
            touch(next, next_at, next_stride, LINES(CLF_E), line, min(line + share, lines));
            line += share;
            if (depth > 0 && finite)
                clf_product32(p + r * CLF_KEYS, CLF_KEYS, 1, panel, PANEL, depth, 0, 1, acc + r * ACC_STEP + n, ACC_STEP);
            else if (depth > 0)
                clf_product_careful(p + r * CLF_KEYS, CLF_KEYS, 1, panel, PANEL, depth, acc + r * ACC_STEP + n, ACC_STEP,
                                    PANEL);
        }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_forward_vector_wide(__global const clf_storage *q, long4 q_at,
                                   __global const clf_storage *k, long4 k_at,
                                   __global const clf_storage *v, long4 v_at,
                                   __global const clf_mask *mask, long8 mask_at,
                                   __global const uchar *padding, long4 padding_at,
                                   __global clf_result *out, long4 out_at,
                                   __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                   int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                   CLF_EXTRA_PARAMETERS)
{
    float queries[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float acc[CLF_ROWS * ACC_STEP] __attribute__((aligned(64)));
    float sum[CLF_ROWS * 16] __attribute__((aligned(64)));
    float base[CLF_ROWS], limit[CLF_ROWS];
    float keys[D_PADDED * CLF_KEYS] __attribute__((aligned(64)));
    float rows[CLF_KEYS * D_PADDED] __attribute__((aligned(64)));
    float values[E_PADDED / PANEL * PANEL_STEP] __attribute__((aligned(64)));
    float p[CLF_ROWS * CLF_KEYS] __attribute__((aligned(64)));
    int depths[CLF_ROWS / CLF_TILE_ROWS];

    const int h = get_group_id(1), b = get_group_id(2);
    /* The last rows see most keys: start with them, so that no core is left with a long one in the end. */
    const int block = CLF_CAUSAL ? get_num_groups(0) - 1 - get_group_id(0) : get_group_id(0);
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && block * CLF_ROWS >= shape.s2)
        return;
    const int q_first = block * CLF_ROWS, q_count = min(CLF_ROWS, shape.s2 - q_first);
    const long q_base = clf_queries_at(q_at, b, h, start);
    const long k_base = clf_keys_at(k_at, b, h, start), v_base = clf_keys_at(v_at, b, h, start);

    begin(q, q_base + q_first * q_at.w, q_at.w, q_count, clf_query_scale(factor.x), CLF_SINK(h),
          queries, acc, sum, base, limit);

    const int k_end = clf_keys_seen(q_first + q_count - 1, shape.s3, shape.s4);
    for (int k_first = clf_first_key(q_first, shape) / CLF_KEYS * CLF_KEYS; k_first < k_end; k_first += CLF_KEYS) {
        const int k_count = min(CLF_KEYS, k_end - k_first);
        clf_pack(k, k_base + k_first * k_at.w, k_at.w, k_count, CLF_KEYS, CLF_D, rows, D_PADDED);
        clf_transpose(rows, CLF_KEYS, D_PADDED, keys);

        for (int r = 0; r < q_count; r += CLF_TILE_ROWS) {
            const int tile_rows = min(CLF_TILE_ROWS, q_count - r), row = q_first + r;
            const int seen_by_one = clf_keys_seen(row, shape.s3, shape.s4) - k_first;
            const int seen = clf_keys_seen(row + tile_rows - 1, shape.s3, shape.s4) - k_first;
            const int count = min(k_count, seen), width = (count + 31) & ~31;
            const int none = count <= 0 || clf_first_key(row, shape) >= k_first + k_count;
            float *s = p + r * CLF_KEYS;
            depths[r / CLF_TILE_ROWS] = none ? 0 : count;
            if (none)
                continue;
            for (int n = 0; n < width; n += 32)
                clf_product32(queries + r * D_PADDED, D_PADDED, 1, keys + n, CLF_KEYS, CLF_D, 1, 1, s + n, CLF_KEYS);
            if (CLF_EVERY_SCORE || width > seen_by_one || clf_first_key(row + tile_rows - 1, shape) > k_first)
                hide(s, width, tile_rows, b, h, row, k_first, shape, mask, mask_at,
                     padding, padding_at CLF_EXTRA_ARGUMENTS);
            soften(s, width, base + r, limit + r, sum + r * 16, acc + r * ACC_STEP);
            if (CLF_DROPOUT)
                drop(s, width, b * shape.s1 + h, row, k_first, random);
        }

        const int next = k_first + CLF_KEYS, next_count = clamp(k_end - next, 0, CLF_KEYS);
        const int finite = pack_values(v, v_base + k_first * v_at.w, v_at.w, k_count, values);
        touch(k, k_base + next * k_at.w, k_at.w, LINES(CLF_D), 0, next_count * LINES(CLF_D));
        weigh(p, depths, finite, values, q_count, acc, v, v_base + next * v_at.w, v_at.w, next_count);
    }

    const float keep_scale = CLF_DROPOUT ? factor.y : 1.0f;
    for (int r = 0; r < q_count; r++) {
        const float total = clf_sum16(vload16(0, sum + r * 16));
        const float scale = total == 0.0f ? 0.0f : keep_scale / total;
        for (int n = 0; n < E_PADDED; n += 16)
            vstore16(vload16(0, acc + r * ACC_STEP + n) * scale, 0, acc + r * ACC_STEP + n);
        clf_store_result_row(acc + r * ACC_STEP, CLF_E, out,
                             clf_queries_at(out_at, b, h, start) + (q_first + r) * out_at.w);
        if (lse)
            lse[clf_queries_at(lse_at, b, h, start) + (q_first + r) * lse_at.w] =
                total == 0.0f ? -INFINITY : base[r] * CLF_LN2 + log(total);
    }
}
