/* The gradients of keys and values by warp groups, sm_90: rows are keys, tiles of queries and grad_out pass by.
 *
 *     warp group 0: asks       keys and values, then tiles of COLUMNS queries and grad_out; writes lse and delta
 *                              |  full      ^ free
 *     warp group 1: 64 keys    v            |     S = K Q^T | dP = V grad_out^T | dV += P grad_out | dK += dS Q
 *     warp group 2: 64 keys      ...              ----------+- S becomes P -----+- dS = P (dP - delta) -----
 *
 * P = exp2(S - lse). The scores are turned, so that weights and their gradients are left operands as they stand, in
 * registers. The copy engine brings tiles; all of the first group write the numbers of their queries, read from
 * global memory a step before. Left operands in registers must be ready before a product starts that runs beside
 * another: both sums start when both operands are packed, and only the next tile's scores start behind them.
 *
 * Hand-over: as in nvidia_wgmma_backward_q.cl, but all 128 work-items of the first group arrive at FULL. The numbers
 * are ordinary stores, which the arrival at FULL (a release) shows to those who have waited for it (an acquire). They
 * have been read when FREE is told a step later: the sums that the arriving warp has waited for were made of them by
 * all its lanes.
 *
 * Measured on an H100 as in the other kernel: delta and this one, ms (causal):
 *                                                              width 64            width 128
 *     64 queries a step                                        2.22 (1.24)         2.01 (1.13)
 *     24 in place of 40 registers for those who load           2.22 (1.25)         1.91 (1.17)
 *     128 queries                                              2.30 (1.30), 52 bytes spilled
 *     3 groups compute                                         2.27 (1.34), products wait for want of registers
 *     sums behind the wait for the next tile                   2.40 (1.33)         1.96 (1.20)
 *     sums behind the next tile's scores                       2.76 (1.67)         -
 *     the copy engine; all of backward, TFLOP/s                396 (340)           469 (358)
 *     with 128 queries a step, 28 bytes spilled outside it     433 (367)           -
 * Chosen: 2 groups, 128 queries at width 64, 64 at width 128; registers at entry 168. At width 128 the sums take 128
 * registers, the scores 64 and packed operands 32 of 232, none spilled; without the branches of causal order the
 * compiler orders a step so that it would make products wait for want of registers, hence 24 and 240 there, 80 bytes
 * spilled by those who load.
 * The products alone take 1.11 ms at 989 TFLOP/s; the rest is as in the other kernel.
 */
#ifndef CLF_STAGES
#define CLF_STAGES 4
#endif
#if CLF_D > 64 && CLF_E > 64 && !CLF_CAUSAL
#define REGISTERS_LOAD 24
#endif
#include "fused/nvidia_wgmma_tile.cl"
#include "fused/nvidia_maps.cl"

#if SCALED || CLF_KEY_PADDING || CLF_DROPOUT || CLF_SEQUENCES
#error left to nvidia_mma
#endif
#if CLF_STAGES < 3
#error a tile is announced when the next one is on its way, while the one before it is in use
#endif

#define K_BYTES BYTES(GROUP_ROWS, D)
#define V_BYTES BYTES(GROUP_ROWS, E)
#define Q_BYTES BYTES(CLF_COLUMNS, D)
#define G_BYTES BYTES(CLF_COLUMNS, E)
#define NUMBERS (2 * CLF_COLUMNS) /* base and mean of each query of a tile */

/* The barriers of a stage. */
enum { FULL = 0, FREE = CLF_STAGES, BARRIERS = 2 * CLF_STAGES };

/* What passes by: tiles of a head's queries and grad_out with the numbers of their rows, then those of the next head
 * that shares the keys, `*_head` elements further on. */
typedef struct passing {
    __global const uchar *maps; /* for the copy engine; 0 where it cannot do it */
    matrix queries, grads;
    int b, h;
    __global const float *lse, *delta;
    int lse_step, delta_step, rows;
    long q_head, g_head, lse_head, delta_head;
} passing;

CLF_INLINE void next_head(passing *all)
{
    all->h++;
    all->queries.p += all->q_head;
    all->grads.p += all->g_head;
    all->lse += all->lse_head;
    all->delta += all->delta_head;
}

CLF_INLINE matrix heads_of(__global const clf_storage *p, long4 p_at, int b, int h, int rows, int width, int padded)
{
    matrix m = matrix_of(p, clf_queries_at(p_at, b, h, (int2)(0)), p_at.w, rows, width, padded);
    m.aligned = m.aligned && (CLF_GROUPS == 1 || (CELL_BYTES * p_at.z & 15) == 0);
    m.whole = m.whole && m.aligned;
    return m;
}

/* Number i of the tile of queries from `first` on: bases come first. */
static float number_of(const passing *all, int first, int i)
{
    const int query = first + i % CLF_COLUMNS;
    if (i < CLF_COLUMNS)
        return base_of(all->lse, all->lse_step, query, all->rows);
    return query < all->rows ? all->delta[query * all->delta_step] : 0.0f;
}

/* A tile of queries and grad_out, with the first one what rests: one work-item asks the copy engine. */
CLF_INLINE void ask_for_tiles(const passing *all, int first, uint q_tile, uint g_tile, int rests, int k_first,
                              uint k_tile, uint v_tile, uint full)
{
    clf_nv_barrier_expect(full, Q_BYTES + G_BYTES);
    if (rests) {
        see_maps(all->maps);
        clf_nv_barrier_expect(full, K_BYTES + V_BYTES);
        for (int group = 0; group < CLF_CONSUMERS; group++) {
            ask_for(MAP_K(all->maps), all->b, all->h / CLF_GROUPS, k_first + group * 64, 64, 64, D,
                    k_tile + group * BYTES(64, D), full);
            ask_for(MAP_V(all->maps), all->b, all->h / CLF_GROUPS, k_first + group * 64, 64, 64, E,
                    v_tile + group * BYTES(64, E), full);
        }
    }
    ask_for(MAP_Q(all->maps), all->b, all->h, first, CLF_COLUMNS, 64, D, q_tile, full);
    ask_for(MAP_G(all->maps), all->b, all->h, first, CLF_COLUMNS, 64, E, g_tile, full);
}

/* The loading warp group: what rests comes with the first tiles; numbers are read a step ahead of their tile. What the
 * copy engine brings, a barrier counts; own copies have arrived when those of the next tile are on their way. */
CLF_INLINE void load_all(const matrix *keys, const matrix *values, passing all, int k_first, int start, int steps,
                         int item, uint k_tile, uint v_tile, uint q_tiles, uint g_tiles, __local float *numbers,
                         uint at)
{
    float next[NUMBERS / 128];
#pragma unroll
    for (int i = 0; i < NUMBERS / 128; i++)
        next[i] = number_of(&all, start * CLF_COLUMNS, item + 128 * i);
    for (int group = 0; !all.maps && group < CLF_CONSUMERS; group++) {
        load_blocks(keys, k_first + group * 64, 64, D, item, 128, k_tile + group * BYTES(64, D));
        load_blocks(values, k_first + group * 64, 64, E, item, 128, v_tile + group * BYTES(64, E));
    }
    uint arrived = 0;
    int stage = 0, phase = 1, first = start * CLF_COLUMNS, more = CLF_GROUPS - 1, rests = 1;
    while (first < steps * CLF_COLUMNS) {
        clf_nv_barrier_wait(at + 8 * (FREE + stage), phase);
        const uint full = at + 8 * (FULL + stage);
        const uint q_tile = q_tiles + stage * Q_BYTES, g_tile = g_tiles + stage * G_BYTES;
        if (!all.maps) {
            load_blocks(&all.queries, first, CLF_COLUMNS, D, item, 128, q_tile);
            load_blocks(&all.grads, first, CLF_COLUMNS, E, item, 128, g_tile);
            clf_nv_commit();
        } else if (item == 0) {
            ask_for_tiles(&all, first, q_tile, g_tile, rests, k_first, k_tile, v_tile, full);
        }
        rests = 0;
        first += CLF_COLUMNS;
        if (CLF_GROUPS > 1 && more > 0 && first >= steps * CLF_COLUMNS) {
            next_head(&all);
            first = start * CLF_COLUMNS;
            more--;
        }
#pragma unroll
        for (int i = 0; i < NUMBERS / 128; i++) {
            numbers[stage * NUMBERS + item + 128 * i] = next[i];
            next[i] = number_of(&all, first, item + 128 * i);
        }
        if (all.maps) {
            clf_nv_barrier_arrive(full);
        } else if (arrived) {
            clf_nv_wait(1);
            clf_nv_publish();
            clf_nv_barrier_arrive(arrived);
        }
        arrived = full;
        stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
        phase ^= stage == 0;
    }
    clf_nv_wait(0);
    clf_nv_publish();
    if (arrived && !all.maps)
        clf_nv_barrier_arrive(arrived);
}

/* Does a score of this step need a look? */
#define LOOKS(n) (CLF_CAUSAL && (start + (n) < plain || (CLF_WINDOW && start + (n) >= clear)))

/* The weights of a tile whose scores are complete, in place. */
#define WEIGH(n) { \
        __local const float *bases = numbers + stage * NUMBERS + (lane & 3) * 2; \
        if (LOOKS(n)) { \
            const int first = (start + (n)) * CLF_COLUMNS; \
            EACH_SCORE(a, j, i) \
                s[a][j][i] = clf_score(s[a][j][i], 0, 0, \
                                       min(first + j * 8 + (lane & 3) * 2 + i % 2, shape.s2 - 1), \
                                       k_mine + i / 2 * 8, shape, mask, mask_at, padding, \
                                       padding_at CLF_EXTRA_ARGUMENTS); \
        } \
        _Pragma("unroll") \
        for (int j = 0; j < CLF_COLUMNS / 8; j++) { \
            const float2 base = *(__local const float2 *)(bases + j * 8); \
            _Pragma("unroll") \
            for (int i = 0; i < 4; i++) \
                s[0][j][i] = clf_nv_exp2(fma(s[0][j][i], scale, -(i % 2 ? base.y : base.x))); \
        } \
    }

/* Their gradients; both ready to be multiplied. Where the weight is 0 the other factor may be NaN. */
#define DIFFERENTIATE(n) { \
        __local const float *means = numbers + stage * NUMBERS + CLF_COLUMNS + (lane & 3) * 2; \
        if (LOOKS(n)) { \
            EACH_SCORE(a, j, i) \
                ds[a][j][i] = s[a][j][i] == 0.0f ? 0.0f : ds[a][j][i]; \
        } \
        _Pragma("unroll") \
        for (int j = 0; j < CLF_COLUMNS / 8; j++) { \
            const float2 mean = *(__local const float2 *)(means + j * 8); \
            _Pragma("unroll") \
            for (int i = 0; i < 4; i++) \
                ds[0][j][i] = s[0][j][i] * (ds[0][j][i] - (i % 2 ? mean.y : mean.x)); \
        } \
        pack_weights(s, p); \
        pack_weights(ds, dp); \
    }

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_backward_kv_nvidia_wgmma(__global const clf_storage *q, long4 q_at,
                                        __global const clf_storage *k, long4 k_at,
                                        __global const clf_storage *v, long4 v_at,
                                        __global const clf_mask *mask, long8 mask_at,
                                        __global const uchar *padding, long4 padding_at,
                                        __global const clf_storage *grad_out, long4 grad_out_at,
                                        __global const float *lse, long4 lse_at,
                                        __global const float *delta, long4 delta_at,
                                        __global clf_storage *grad_k, long4 grad_k_at,
                                        __global clf_storage *grad_v, long4 grad_v_at,
                                        int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS,
                                        __global const uchar *maps, long maps_at)
{
    __local uint4 tiles[(K_BYTES + V_BYTES + CLF_STAGES * (Q_BYTES + G_BYTES)) / 16] __attribute__((aligned(1024)));
    __local float numbers[CLF_STAGES * NUMBERS] __attribute__((aligned(16)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    const uint k_tile = clf_nv_address((__local const void *)tiles), v_tile = k_tile + K_BYTES;
    const uint q_tiles = v_tile + V_BYTES, g_tiles = q_tiles + CLF_STAGES * Q_BYTES;
    const uint at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s3 + GROUP_ROWS - 1) / GROUP_ROWS;
    const int tile = get_group_id(0) % count, owner = get_group_id(0) / count, heads = shape.s1 / CLF_GROUPS;
    const int b = owner / heads, h = owner % heads * CLF_GROUPS, k_first = tile * GROUP_ROWS;
    /* Queries before `start` and from `steps` on see none of these keys. */
    const int k_last = min(k_first + GROUP_ROWS, shape.s3) - 1;
    const int start = clf_nv_same(clf_first_query(k_first, shape.s2, shape.s4) / CLF_COLUMNS);
    const int steps = clf_nv_same((clf_queries_end(k_last, shape) + CLF_COLUMNS - 1) / CLF_COLUMNS);

    const int bulk = clf_nv_map_takes(q, q_at) && clf_nv_map_takes(k, k_at) && clf_nv_map_takes(v, v_at) &&
                     clf_nv_map_takes(grad_out, grad_out_at);

    if (item < BARRIERS) {
        clf_nv_barrier_make(at + 8 * item, item < FREE ? 128 : CLF_CONSUMERS * 4);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        const matrix keys = matrix_of(k, clf_keys_at(k_at, b, h, (int2)(0)), k_at.w, shape.s3, shape.s5, D);
        const matrix values = matrix_of(v, clf_keys_at(v_at, b, h, (int2)(0)), v_at.w, shape.s3, shape.s6, E);
        const passing all = {
            bulk ? maps + maps_at : 0,
            heads_of(q, q_at, b, h, shape.s2, shape.s5, D),
            heads_of(grad_out, grad_out_at, b, h, shape.s2, shape.s6, E), b, h,
            lse + clf_queries_at(lse_at, b, h, (int2)(0)), delta + clf_queries_at(delta_at, b, h, (int2)(0)),
            (int)lse_at.w, (int)delta_at.w, shape.s2, q_at.z, grad_out_at.z, lse_at.z, delta_at.z
        };
        load_all(&keys, &values, all, k_first, start, steps, item, k_tile, v_tile, q_tiles, g_tiles, numbers, at);
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, k_group = k_first + group * 64;
        const int k_mine = k_group + (item >> 5 & 3) * 16 + (lane >> 2);
        const float scale = clf_query_scale(factor.x);
        float sum_k[1][D / 8][4], sum_v[1][E / 8][4], s[1][CLF_COLUMNS / 8][4], ds[1][CLF_COLUMNS / 8][4];
        uint p[1][CLF_COLUMNS / 16][4], dp[1][CLF_COLUMNS / 16][4];

        EACH_SUM(sum_k, D) = 0.0f;
        EACH_SUM(sum_v, E) = 0.0f;

        /* Tiles from `plain` to `clear` see all of the group's keys. */
        const int seeing = clf_first_query(min(k_group + 63, shape.s3 - 1), shape.s2, shape.s4);
        const int plain = clf_nv_same((seeing + CLF_COLUMNS - 1) / CLF_COLUMNS);
        const int clear = clf_nv_same(clf_queries_end(k_group, shape) / CLF_COLUMNS);
        const ulong k_tile_of = clf_nv_tile(k_tile + group * BYTES(64, D), 16);
        const ulong v_tile_of = clf_nv_tile(v_tile + group * BYTES(64, E), 16);
        if (start < steps) {
            int n = 0, stage = 0, phase = 0;
            const int per_head = steps - start;
            do {
                const int own = CLF_GROUPS > 1 ? n % per_head : n; /* of this head's tiles */
                const uint q_tile = q_tiles + stage * Q_BYTES, g_tile = g_tiles + stage * G_BYTES;
                clf_nv_barrier_wait(at + 8 * (FULL + stage), phase);
                scores_D((float *)s, k_tile_of, clf_nv_tile(q_tile, 16));
                wait_sums_E(1, ((float *)sum_v)); /* those of the step before */
                wait_sums_D(1, ((float *)sum_k));
                if (n > 0 && lane == 0)
                    clf_nv_barrier_arrive(at + 8 * (FREE + (stage == 0 ? CLF_STAGES : stage) - 1));
                scores_E((float *)ds, v_tile_of, clf_nv_tile(g_tile, 16));
                wait_scores(1, ((float *)s));
                WEIGH(own)
                wait_scores(0, ((float *)ds));
                DIFFERENTIATE(own)
                add_weighted_E((float *)sum_v, (const uint *)p, clf_nv_tile(g_tile, CLF_COLUMNS * 128));
                add_weighted_D((float *)sum_k, (const uint *)dp, clf_nv_tile(q_tile, CLF_COLUMNS * 128));
                stage = clf_nv_same(stage + 1 == CLF_STAGES ? 0 : stage + 1);
                phase ^= stage == 0;
            } while (++n < per_head * CLF_GROUPS);
            wait_sums_E(0, ((float *)sum_v));
            wait_sums_D(0, ((float *)sum_k));
        }
        if (grad_k)
            STORE_ROWS(sum_k, factor.x, grad_k + clf_keys_at(grad_k_at, b, h, (int2)(0)), (int)grad_k_at.w, k_mine,
                       shape.s3, D, shape.s5, lane);
        if (grad_v)
            STORE_ROWS(sum_v, 1.0f, grad_v + clf_keys_at(grad_v_at, b, h, (int2)(0)), (int)grad_v_at.w, k_mine,
                       shape.s3, E, shape.s6, lane);
    }
}
