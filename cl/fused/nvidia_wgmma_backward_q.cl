/* The gradient of queries by warp groups, sm_90: rows are queries, tiles of keys and values pass by, brought by the
 * copy engine (maps come from nvidia_delta.cl).
 *
 *     warp group 0: asks      queries and grad_out, then tiles of COLUMNS keys and values, STAGES of each
 *                              |  full      ^ free
 *     warp group 1: 64 queries v            |     S = Q K^T | dP = grad_out V^T | dQ += dS K       products in order
 *     warp group 2: 64 queries   ...              ----------+- S becomes P -----+- dS = P (dP - delta) -------
 *
 * P = exp2(S - lse). A step starts the scores of its tile behind the sums of the tile before; scores become weights
 * while grad_out meets the values. What a group's own products do not hide runs under those of the other group.
 * No atomics: this kernel and the one for keys and values each compute the scores once more, seven products in place of
 * five, and every sum has one owner and one order.
 *
 * Hand-over, without a barrier of all:
 *   - a tile is FULL when who asked for it has arrived and the engine has written the bytes that were announced before;
 *     those of what rests belong to the first tile. Where the first group copies itself, all its 128 work-items arrive:
 *     each waits for its own copies first and publishes them to the tensor cores (fence.proxy.async); what rests is
 *     asked for before the first tile, and waiting for a group of copies waits for all groups before it.
 *   - a tile is FREE when one lane of every computing warp has arrived. It does so behind the wait that completes the
 *     sums of this tile, the last products to read it; that wait is the warp's own, and products of a warp group read
 *     the tile for all four of its warps, so four arrivals a group are needed and enough.
 *   - the loading group waits for FREE before it asks for another tile: the n-th use of a stage waits for phase n - 1
 *     of FREE (the phase before the first counts as complete), the computing groups for phase n of FULL. Nobody is two
 *     uses ahead, because FULL needs FREE, so one bit tells phases apart.
 *   - nobody waits for ever: own copies of tile n are told FULL when tile n + 1 has been asked for, which needs the
 *     place of tile n + 1 - STAGES. That one is told FREE when step n + 2 - STAGES begins, and with three stages or
 *     more this is step n - 1 or an earlier one. So announcing a tile needs no more than that the tile before it
 *     has been announced, and the first two need nothing.
 *
 * Measured on an H100, f16, 16384 queries in heads of 4096, 2048 columns in all: delta and this kernel, ms (causal):
 *                                                              width 64            width 128
 *     2 groups compute, 64 keys a step                         1.74 (1.01)         1.45 (0.81)
 *     3 groups                                                 1.48 (0.91)         1.40 (0.86), 24 bytes spilled
 *     2 groups, 128 keys                                       1.53 (0.90)         1.43 (0.82), 28 bytes spilled
 *     as chosen, sums behind the next tile's scores            1.65 (0.97)         1.35 (0.80), with 64 keys
 *     3 groups, 128 keys, the copy engine                      slower by a fifth
 * Chosen: 128 keys at width 64 (1024 queries fill its tiles better than those of 3 groups), 64 at width 128, where the
 * last line would make all of backward a hundredth faster for a loop of its own. Registers: 168 at entry, 232 in a
 * step, none spilled. All of backward, counted as 2.5 times the forward pass: 365 (319) TFLOP/s at width 64, 415 (352)
 * at width 128 with cp.async, 433 (367) and 469 (358) with the copy engine; nvidia_mma has 233 (222) and 247 (223).
 * The products alone take 0.83 ms at 989 TFLOP/s, 0.07 is delta's. The rest: at width 128 local memory, which scores
 * of 64 rows and 64 keys read for as long as they multiply; at width 64 the time between a tile's scores and its sums,
 * of which the other group's products hide a part.
 */
#ifndef CLF_STAGES
#define CLF_STAGES 4
#endif
#include "fused/nvidia_wgmma_tile.cl"
#include "fused/nvidia_maps.cl"

#if SCALED || CLF_KEY_PADDING || CLF_DROPOUT || CLF_SEQUENCES
#error left to nvidia_mma
#endif
#if CLF_STAGES < 3
#error a tile is announced when the next one is on its way, while the one before it is in use
#endif

#define Q_BYTES BYTES(GROUP_ROWS, D)
#define G_BYTES BYTES(GROUP_ROWS, E)
#define K_BYTES BYTES(CLF_COLUMNS, D)
#define V_BYTES BYTES(CLF_COLUMNS, E)

/* The barriers of a stage. */
enum { FULL = 0, FREE = CLF_STAGES, BARRIERS = 2 * CLF_STAGES };

/* One work-item of the loading warp group, where the copy engine can do it: what rests comes with the first tiles. */
CLF_INLINE void ask_for_all(__global const uchar *maps, int b, int h, int q_first, int start, int steps, uint q_tile,
                            uint g_tile, uint k_tiles, uint v_tiles, uint at)
{
    int stage = 0, phase = 1;

    see_maps(maps);
    for (int first = start * CLF_COLUMNS; first < steps * CLF_COLUMNS; first += CLF_COLUMNS) {
        const uint full = at + 8 * (FULL + stage);
        clf_nv_barrier_wait(at + 8 * (FREE + stage), phase);
        clf_nv_barrier_expect(full, K_BYTES + V_BYTES);
        if (first == start * CLF_COLUMNS) {
            clf_nv_barrier_expect(full, Q_BYTES + G_BYTES);
            for (int group = 0; group < CLF_CONSUMERS; group++) {
                ask_for(MAP_Q(maps), b, h, q_first + group * 64, 64, 64, D, q_tile + group * BYTES(64, D), full);
                ask_for(MAP_G(maps), b, h, q_first + group * 64, 64, 64, E, g_tile + group * BYTES(64, E), full);
            }
        }
        ask_for(MAP_K(maps), b, h / CLF_GROUPS, first, CLF_COLUMNS, 64, D, k_tiles + stage * K_BYTES, full);
        ask_for(MAP_V(maps), b, h / CLF_GROUPS, first, CLF_COLUMNS, 64, E, v_tiles + stage * V_BYTES, full);
        clf_nv_barrier_arrive(full);
        stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
        phase ^= stage == 0;
    }
}

/* The loading warp group, where it must copy itself: what rests comes with the first tiles. */
CLF_INLINE void load_all(const matrix *queries, const matrix *grads, const matrix *keys, const matrix *values,
                         int q_first, int start, int steps, int item, uint q_tile, uint g_tile, uint k_tiles,
                         uint v_tiles, uint at)
{
    for (int group = 0; group < CLF_CONSUMERS; group++) {
        load_blocks(queries, q_first + group * 64, 64, D, item, 128, q_tile + group * BYTES(64, D));
        load_blocks(grads, q_first + group * 64, 64, E, item, 128, g_tile + group * BYTES(64, E));
    }
    uint arrived = 0;
    int stage = 0, phase = 1;
    for (int first = start * CLF_COLUMNS; first < steps * CLF_COLUMNS; first += CLF_COLUMNS) {
        clf_nv_barrier_wait(at + 8 * (FREE + stage), phase);
        load_blocks(keys, first, CLF_COLUMNS, D, item, 128, k_tiles + stage * K_BYTES);
        load_blocks(values, first, CLF_COLUMNS, E, item, 128, v_tiles + stage * V_BYTES);
        clf_nv_commit();
        if (arrived) {
            clf_nv_wait(1);
            clf_nv_publish();
            clf_nv_barrier_arrive(arrived);
        }
        arrived = at + 8 * (FULL + stage);
        stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
        phase ^= stage == 0;
    }
    clf_nv_wait(0);
    clf_nv_publish();
    if (arrived)
        clf_nv_barrier_arrive(arrived);
}

/* The weights of a tile whose scores are complete, in place. */
#define WEIGH(n) { \
        const int step = start + (n); \
        if (step >= plain || (CLF_WINDOW && step < clear)) { \
            EACH_SCORE(a, j, i) \
                s[a][j][i] = clf_score(s[a][j][i], 0, 0, min(q_mine + i / 2 * 8, shape.s2 - 1), \
                                       step * CLF_COLUMNS + j * 8 + (lane & 3) * 2 + i % 2, shape, mask, mask_at, \
                                       padding, padding_at CLF_EXTRA_ARGUMENTS); \
        } \
        EACH_SCORE(a, j, i) \
            s[a][j][i] = clf_nv_exp2(fma(s[a][j][i], scale, -base[i / 2])); \
    }

/* Their gradients, ready to be multiplied. Where the weight is 0 the other factor may be NaN, from a hidden row. */
#define DIFFERENTIATE(n) { \
        const int step = start + (n); \
        if (step >= plain || (CLF_WINDOW && step < clear)) { \
            EACH_SCORE(a, j, i) \
                ds[a][j][i] = s[a][j][i] == 0.0f ? 0.0f : ds[a][j][i]; \
        } \
        EACH_SCORE(a, j, i) \
            ds[a][j][i] = s[a][j][i] * (ds[a][j][i] - mean[i / 2]); \
        pack_weights(ds, p); \
    }

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_backward_q_nvidia_wgmma(__global const clf_storage *q, long4 q_at,
                                       __global const clf_storage *k, long4 k_at,
                                       __global const clf_storage *v, long4 v_at,
                                       __global const clf_mask *mask, long8 mask_at,
                                       __global const uchar *padding, long4 padding_at,
                                       __global const clf_storage *grad_out, long4 grad_out_at,
                                       __global const float *lse, long4 lse_at,
                                       __global const float *delta, long4 delta_at,
                                       __global clf_storage *grad_q, long4 grad_q_at,
                                       int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS,
                                       __global const uchar *maps, long maps_at)
{
    __local uint4 tiles[(Q_BYTES + G_BYTES + CLF_STAGES * (K_BYTES + V_BYTES)) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    const uint q_tile = clf_nv_address((__local const void *)tiles), g_tile = q_tile + Q_BYTES;
    const uint k_tiles = g_tile + G_BYTES, v_tiles = k_tiles + CLF_STAGES * K_BYTES;
    const uint at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s2 + GROUP_ROWS - 1) / GROUP_ROWS;
    const int tile = count - 1 - get_group_id(0) % count, bh = get_group_id(0) / count;
    const int b = bh / shape.s1, h = bh % shape.s1, q_first = tile * GROUP_ROWS;
    const int seen = clf_keys_seen(min(q_first + GROUP_ROWS, shape.s2) - 1, shape.s3, shape.s4);
    const int start = clf_nv_same(clf_first_key(q_first, shape) / CLF_COLUMNS);
    const int steps = clf_nv_same((seen + CLF_COLUMNS - 1) / CLF_COLUMNS);

    const int bulk = clf_nv_map_takes(q, q_at) && clf_nv_map_takes(k, k_at) && clf_nv_map_takes(v, v_at) &&
                     clf_nv_map_takes(grad_out, grad_out_at);

    if (item < BARRIERS) {
        clf_nv_barrier_make(at + 8 * item, item >= FREE ? CLF_CONSUMERS * 4 : bulk ? 1 : 128);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        if (!bulk) {
            const matrix queries = matrix_of(q, clf_queries_at(q_at, b, h, (int2)(0)), q_at.w, shape.s2, shape.s5, D);
            const matrix grads = matrix_of(grad_out, clf_queries_at(grad_out_at, b, h, (int2)(0)), grad_out_at.w,
                                           shape.s2, shape.s6, E);
            const matrix keys = matrix_of(k, clf_keys_at(k_at, b, h, (int2)(0)), k_at.w, shape.s3, shape.s5, D);
            const matrix values = matrix_of(v, clf_keys_at(v_at, b, h, (int2)(0)), v_at.w, shape.s3, shape.s6, E);
            load_all(&queries, &grads, &keys, &values, q_first, start, steps, item, q_tile, g_tile, k_tiles, v_tiles,
                     at);
        } else if (item == 0) {
            ask_for_all(maps + maps_at, b, h, q_first, start, steps, q_tile, g_tile, k_tiles, v_tiles, at);
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, q_group = q_first + group * 64;
        const int q_mine = q_group + (item >> 5 & 3) * 16 + (lane >> 2);
        const float scale = clf_query_scale(factor.x);
        float sum[1][D / 8][4], s[1][CLF_COLUMNS / 8][4], ds[1][CLF_COLUMNS / 8][4], base[2], mean[2];
        uint p[1][CLF_COLUMNS / 16][4];

        load_numbers(lse + clf_queries_at(lse_at, b, h, (int2)(0)), (int)lse_at.w,
                     delta + clf_queries_at(delta_at, b, h, (int2)(0)), (int)delta_at.w, q_mine, shape.s2, base, mean);
        EACH_SUM(sum, D) = 0.0f;

        /* Tiles from `clear` to `plain` are seen whole by all the group's queries. */
        const int plain = clf_nv_same(clf_keys_seen(q_group, shape.s3, shape.s4) / CLF_COLUMNS);
        const int clear = clf_nv_same((clf_first_key(q_group + 63, shape) + CLF_COLUMNS - 1) / CLF_COLUMNS);
        const ulong q_tile_of = clf_nv_tile(q_tile + group * BYTES(64, D), 16);
        const ulong g_tile_of = clf_nv_tile(g_tile + group * BYTES(64, E), 16);
        if (start < steps) {
            int n = 0, stage = 0, phase = 0;
            do {
                clf_nv_barrier_wait(at + 8 * (FULL + stage), phase);
                scores_D((float *)s, q_tile_of, clf_nv_tile(k_tiles + stage * K_BYTES, 16));
                wait_sums_D(1, ((float *)sum)); /* those of the step before */
                if (n > 0 && lane == 0)
                    clf_nv_barrier_arrive(at + 8 * (FREE + (stage == 0 ? CLF_STAGES : stage) - 1));
                scores_E((float *)ds, g_tile_of, clf_nv_tile(v_tiles + stage * V_BYTES, 16));
                wait_scores(1, ((float *)s));
                WEIGH(n)
                wait_scores(0, ((float *)ds));
                DIFFERENTIATE(n)
                add_weighted_D((float *)sum, (const uint *)p,
                               clf_nv_tile(k_tiles + stage * K_BYTES, CLF_COLUMNS * 128));
                stage = clf_nv_same(stage + 1 == CLF_STAGES ? 0 : stage + 1);
                phase ^= stage == 0;
            } while (++n < steps - start);
            wait_sums_D(0, ((float *)sum));
        }
        grad_q += grad_q_at.x + b * grad_q_at.y + h * grad_q_at.z;
        STORE_ROWS(sum, factor.x, grad_q, (int)grad_q_at.w, q_mine, shape.s2, D, shape.s5, lane);
    }
}
