/* Fused attention on CPUs, forward: out = softmax(scale q k^T + mask) v, one work-item a group.
 *
 *                 keys, turned: D x CLF_KEYS    values: CLF_KEYS x E
 *                +-----------------------+     +-----------------+
 *                |  packed once a block  |     |  packed too     |
 *                +-----------------------+     +-----------------+
 *   queries      +-----------------------+     +-----------------+
 *   8 at a time  |  s -> p: 8 x CLF_KEYS | --> | acc: 8 x E      |
 *                +-----------------------+     +-----------------+
 *   ... CLF_ROWS of them use the same block of keys before the next is packed
 *
 * Work split: a group owns CLF_ROWS queries of one head and walks over all keys they see. Both products run
 * in 8 x 32 register tiles (prelude/tile.cl: sixteen sums, two vectors of b). With CLF_D = CLF_E = 64 the
 * turned keys, the values (16 KiB each) and s (2 KiB) stay in the first-level cache, queries and acc
 * (64 KiB each) in the second. No __local memory; at most about 260 KiB of private memory.
 *
 * Softmax: vector_softmax.cl. Tiles that no edge crosses skip masking, tiles beyond the edges of causal order and
 * window are skipped. A masked probability is exactly 0, which is all that a finite value needs; blocks of values with
 * NaN or infinity (noticed while packing) go through a product that skips the zeros.
 *
 * With CLF_BLOCKS the blocks of keys are those in the group's list (lists.cl), and of each only those eights of rows
 * are computed that see any of it: 8 x CLF_KEYS is the grain in which a mask snippet costs time, 8 x 16 that of a pattern
 * or window (vector_sixteens.cl).
 *
 * What each step gave, as a share of OpenBLAS' sgemm of 2048^3 on the same two AVX-512 cores (PoCL, f32,
 * D = 64, H = 8, N = 2048): blocks of 32 keys shared by 16 queries 0.50, by 64 queries 0.69, by 256 queries
 * 0.75; 64 keys, lazy base, vector sums, turning by shuffles 0.80 (D = 128: 0.73, dropout: 0.49). Sixteens of keys
 * take BigBird's blocks of 16 from 12 to 5.5 ms, a window of 5 from 5.2 to 3.9 ms.
 *
 * NDRange: global (ceil(Nq / CLF_ROWS), H, B), local (1, 1, 1). Build with CLF_LANES=16. CLF_ROWS may be
 * any multiple of 8, fewer where there are too few groups for the cores; CLF_KEYS any multiple of 32.
 * shape = {B, H, Nq, Nk, causal shift, D, E, window}, factor = {scale, 1 / (1 - dropout)}. lse may be absent.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"
#include "prelude/result.cl"
#include "prelude/math.cl"
#include "prelude/philox.cl"
#include "prelude/mask.cl"
#include "prelude/tile.cl"
#include "fused/place.cl"
#include "fused/lists.cl"
#include "fused/vector_sixteens.cl"

#ifndef CLF_D
#define CLF_D 64 /* width of q and k */
#endif
#ifndef CLF_E
#define CLF_E CLF_D /* width of v and out */
#endif
#ifndef CLF_DROPOUT
#define CLF_DROPOUT 0
#endif
#ifndef CLF_ROWS
#define CLF_ROWS (CLF_D + CLF_E <= 128 ? 256 : CLF_D + CLF_E <= 256 ? 128 : 64)
#endif
#ifndef CLF_KEYS
#define CLF_KEYS 64
#endif

#define D_PADDED ((CLF_D + 15) / 16 * 16)
#define E_PADDED ((CLF_E + 15) / 16 * 16)

/* Has the mask snippet something to hide from these rows? */
#if CLF_BLOCKS == 2
#define SNIPPET_HIDES ((tile.z >> part) & 1)
#else
#define SNIPPET_HIDES 0
#endif

#include "fused/vector_softmax.cl"

#if CLF_BLOCKS == 1
/* Pairs that the pattern does not have; s begins at key `first` of the tile. */
static void hide_unlisted(float *s, int first, int width, int rows, __global const int *bits)
{
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < width; n += 16) {
            float *at = s + r * CLF_KEYS + n;
            vstore16(clf_list_seen(vload16(0, at), bits[r * (CLF_KEYS / 32) + (first + n) / 32], (first + n) % 32), 0, at);
        }
}
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void clf_fused_forward_vector(__global const clf_storage *q, long4 q_at,
                              __global const clf_storage *k, long4 k_at,
                              __global const clf_storage *v, long4 v_at,
                              __global const clf_mask *mask, long8 mask_at,
                              __global const uchar *padding, long4 padding_at,
                              __global clf_result *out, long4 out_at,
                              __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                              int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                              CLF_EXTRA_PARAMETERS CLF_LIST_PARAMETERS)
{
    float queries[CLF_ROWS * D_PADDED] __attribute__((aligned(64)));
    float acc[CLF_ROWS * E_PADDED] __attribute__((aligned(64)));
    float sum[CLF_ROWS * 16] __attribute__((aligned(64)));
    float base[CLF_ROWS], limit[CLF_ROWS];
    float keys[D_PADDED * CLF_KEYS] __attribute__((aligned(64)));
    float rows[CLF_KEYS * (D_PADDED > E_PADDED ? D_PADDED : E_PADDED)] __attribute__((aligned(64)));
    float s[CLF_TILE_ROWS * CLF_KEYS] __attribute__((aligned(64)));

    const int h = get_group_id(1), b = get_group_id(2);
    /* The last rows see most keys: start with them, so that no core is left with a long one in the end. */
#if CLF_BLOCKS == 1
    const int block = clf_list_in_turn(lists, lists_at, b, h, get_group_id(0));
#else
    const int block = CLF_CAUSAL ? get_num_groups(0) - 1 - get_group_id(0) : get_group_id(0);
#endif
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
#if CLF_BLOCKS
    const int list = clf_lists_of(lists_at, b, h) + block;
    const int list_end = clf_list_end(lists, lists_at, list);
    for (int entry = clf_list_begin(lists, lists_at, list); entry < list_end; entry++) {
        const int4 tile = clf_list_tile(lists, lists_at, entry);
        const int k_first = tile.x * CLF_KEYS;
        if (k_first >= k_end)
            break;
#else
    for (int k_first = clf_first_key(q_first, shape) / CLF_KEYS * CLF_KEYS; k_first < k_end; k_first += CLF_KEYS) {
#endif
        const int k_count = min(CLF_KEYS, k_end - k_first);
        clf_pack(k, k_base + k_first * k_at.w, k_at.w, k_count, CLF_KEYS, CLF_D, rows, D_PADDED);
        clf_transpose(rows, CLF_KEYS, D_PADDED, keys);
        const int finite = clf_pack(v, v_base + k_first * v_at.w, v_at.w, k_count, CLF_KEYS,
                                    CLF_E, rows, E_PADDED);

        for (int r = 0; r < q_count; r += CLF_TILE_ROWS) {
            const int tile_rows = min(CLF_TILE_ROWS, q_count - r), row = q_first + r;
            const int seen_by_one = clf_keys_seen(row, shape.s3, shape.s4) - k_first;
            const int seen = clf_keys_seen(row + tile_rows - 1, shape.s3, shape.s4) - k_first;
            const int count = min(k_count, seen);
            if (count <= 0 || clf_first_key(row, shape) >= k_first + k_count)
                continue;
            const int unseen = max(clf_first_key(row, shape) - k_first, 0), from = first_sixteen(unseen, count);
            int sixteens = (1 << (count - from + 15) / 16) - 1; /* of keys that are computed */
#if CLF_BLOCKS
            const int part = r / CLF_TILE_ROWS;
            if (!((tile.y >> part) & 1))
                continue;
#endif
#if CLF_BLOCKS == 1
            __global const int *bits = clf_list_bits(lists, tile, part, CLF_TILE_ROWS * (CLF_KEYS / 32));
            const int partial = (tile.z >> part) & 1;
            if (partial)
                sixteens &= find_sixteens(tile_rows, bits);
#endif
            while (sixteens != 0) { /* neighbours at once */
                const int2 run = next_sixteens(&sixteens);
                const int first = from + run.x, width = run.y, k_own = k_first + first;
                const int ahead = max(unseen - first, 0), depth = min(count - first, width) - ahead;
                score_sixteens(queries + r * D_PADDED, D_PADDED, CLF_D, keys + first, width, 1, s);
                if (CLF_EVERY_SCORE || first + width > seen_by_one ||
                    clf_first_key(row + tile_rows - 1, shape) > k_own || SNIPPET_HIDES)
                    hide(s, width, tile_rows, b, h, row, k_own, shape, mask, mask_at,
                         padding, padding_at CLF_EXTRA_ARGUMENTS);
#if CLF_BLOCKS == 1
                if (partial)
                    hide_unlisted(s, first, width, tile_rows, bits);
#endif
                soften(s, width, base + r, limit + r, sum + r * 16, acc + r * E_PADDED);
                if (CLF_DROPOUT)
                    drop(s, width, b * shape.s1 + h, row, k_own, random);
                if (finite)
                    clf_product(s + ahead, CLF_KEYS, 1, rows + (first + ahead) * E_PADDED, depth, acc + r * E_PADDED,
                                E_PADDED);
                else
                    clf_product_careful(s + ahead, CLF_KEYS, 1, rows + (first + ahead) * E_PADDED, E_PADDED, depth,
                                        acc + r * E_PADDED, E_PADDED, E_PADDED);
            }
        }
    }

    const float keep_scale = CLF_DROPOUT ? factor.y : 1.0f;
    for (int r = 0; r < q_count; r++) {
        const float total = clf_sum16(vload16(0, sum + r * 16));
        const float scale = total == 0.0f ? 0.0f : keep_scale / total;
        for (int n = 0; n < E_PADDED; n += 16)
            vstore16(vload16(0, acc + r * E_PADDED + n) * scale, 0, acc + r * E_PADDED + n);
        clf_store_result_row(acc + r * E_PADDED, CLF_E, out,
                             clf_queries_at(out_at, b, h, start) + (q_first + r) * out_at.w);
        if (lse)
            lse[clf_queries_at(lse_at, b, h, start) + (q_first + r) * lse_at.w] =
                total == 0.0f ? -INFINITY : base[r] * CLF_LN2 + log(total);
    }
}
