/* The gradients of keys and values of floats by warp groups, sm_90: products of parts of bf16 (nvidia_wgmma_parts.cl).
 *
 *     warp group 0: asks       K V  Q2 Q1 Q0 G2 G1 G0  Q2 Q1 ...   two rings of STAGES units of COLUMNS rows each,
 *                                |  full            ^ free         parts of queries and of grad_out in turn
 *     warp group 1: 64 keys      v                  |              tiles 0, 2, 4 ... in one ring
 *     warp group 2: the same 64 keys                               tiles 1, 3, 5 ... in the other
 *
 *     a step:  S = K Q^T, dP = V G^T | S becomes P, dP becomes dS = P (dP - delta) | dK += dS Q | dV += P G
 *
 * nvidia_wgmma_f32_backward.cl tells of the groups and the hand-over. Scores are turned, so that weights and their
 * gradients are left operands as they stand. Of a tile's sums 64 columns at a time are in registers beside the sums of
 * all tiles. The softmax of one group runs under the products of the other.
 */
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64
#endif
#include "fused/nvidia_wgmma_f32_backward.cl"

/* The lane that asks for a group's tiles, of `steps` for each head of queries that shares the keys. */
CLF_INLINE void ask_for_all(__global const uchar *maps, int items, int b, int h, int start, int steps, int group,
                            uint units, uint at)
{
    int unit = 0;
    for (int n = group; n < steps * CLF_GROUPS; n += CLF_CONSUMERS)
        for (int i = 0; i < UNITS; i++)
            ask_for_unit(i < PARTS ? MAP_Q(maps) : MAP_G(maps), i % PARTS * items + b, h + n / steps,
                         (start + n % steps) * CLF_COLUMNS, unit++, units, at);
}

/* A lane knows the numbers of queries `lane`, `lane` + 32 ... of a tile; this is the one of its scores' column
 * j * 8 + 2t + i. */
#define OF_COLUMN(numbers, j, i) \
    as_float(clf_nv_from(as_uint(numbers[(j) / 4]), (j) % 4 * 8 + (lane & 3) * 2 + (i)))

/* The weights of a tile whose scores are complete, in place. */
#define WEIGH(first, looks) { \
        if (looks) { \
            EACH_SCORE(a, j, i) \
                s[a][j][i] = clf_score(s[a][j][i], 0, 0, \
                                       min((first) + j * 8 + (lane & 3) * 2 + i % 2, shape.s2 - 1), \
                                       k_mine + i / 2 * 8, shape, mask, mask_at, padding, \
                                       padding_at CLF_EXTRA_ARGUMENTS); \
        } \
        _Pragma("unroll") \
        for (int j = 0; j < CLF_COLUMNS / 8; j++) \
            _Pragma("unroll") \
            for (int i = 0; i < 2; i++) { \
                const float base = OF_COLUMN(bases, j, i); \
                s[0][j][i] = clf_nv_exp2(fma(s[0][j][i], scale, -base)); \
                s[0][j][i + 2] = clf_nv_exp2(fma(s[0][j][i + 2], scale, -base)); \
            } \
    }

/* Their gradients. Where the weight is 0 the other factor may be NaN. */
#define DIFFERENTIATE(looks) { \
        if (looks) { \
            EACH_SCORE(a, j, i) \
                ds[a][j][i] = s[a][j][i] == 0.0f ? 0.0f : ds[a][j][i]; \
        } \
        _Pragma("unroll") \
        for (int j = 0; j < CLF_COLUMNS / 8; j++) \
            _Pragma("unroll") \
            for (int i = 0; i < 2; i++) { \
                const float mean = OF_COLUMN(means, j, i); \
                ds[0][j][i] = s[0][j][i] * (ds[0][j][i] - mean); \
                ds[0][j][i + 2] = s[0][j][i + 2] * (ds[0][j][i + 2] - mean); \
            } \
    }

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_backward_kv_nvidia_wgmma_f32(__global const clf_mask *mask, long8 mask_at,
                                            __global const uchar *padding, long4 padding_at,
                                            __global const float *lse, long4 lse_at,
                                            __global const float *delta, long4 delta_at,
                                            __global clf_result *grad_k, long4 grad_k_at,
                                            __global clf_result *grad_v, long4 grad_v_at,
                                            int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS,
                                            __global const uchar *maps, long maps_at)
{
    __local uint4 tiles[(UNITS * PART_BYTES + CLF_CONSUMERS * RING_BYTES) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    const uint k_tile = clf_nv_address((__local const void *)tiles), v_tile = k_tile + PARTS * PART_BYTES;
    const uint all_units = v_tile + PARTS * PART_BYTES, all_at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s3 + 63) / 64, tile = get_group_id(0) % count, owner = get_group_id(0) / count;
    const int heads = shape.s1 / CLF_GROUPS, b = owner / heads, h = owner % heads * CLF_GROUPS, k_first = tile * 64;
    /* Queries before tile `start` and behind `steps` tiles see none of these keys. */
    const int k_last = min(k_first + 64, shape.s3) - 1;
    const int start = clf_nv_same(clf_first_query(k_first, shape.s2, shape.s4) / CLF_COLUMNS);
    const int end = clf_nv_same((clf_queries_end(k_last, shape) + CLF_COLUMNS - 1) / CLF_COLUMNS);
    const int steps = max(end - start, 0);

    make_barriers(item, all_at);
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        const int group = clf_nv_same(item >> 5);
        maps += maps_at;
        if (group < CLF_CONSUMERS && lane == 0 && steps > 0) {
            see_maps(maps);
            if (group == 0)
                ask_for_rest(MAP_K(maps), MAP_V(maps), shape.s0, b, h / CLF_GROUPS, k_first, k_tile, v_tile, all_at);
            ask_for_all(maps, shape.s0, b, h, start, steps, group, all_units + group * RING_BYTES,
                        all_at + 8 * group * RING);
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, k_mine = k_first + (item >> 5 & 3) * 16 + (lane >> 2);
        const float scale = clf_query_scale(factor.x);
        float sum_k[1][D / 8][4], sum_v[1][D / 8][4], sum[8][4], s[1][CLF_COLUMNS / 8][4], ds[1][CLF_COLUMNS / 8][4];
        uint p[PARTS][CLF_COLUMNS / 4];

        EACH_SUM(sum_k, D) = 0.0f;
        EACH_SUM(sum_v, D) = 0.0f;

        /* Tiles from `plain` to `clear` see all of the keys. */
        const int seeing = clf_first_query(k_last, shape.s2, shape.s4);
        const int plain = clf_nv_same((seeing + CLF_COLUMNS - 1) / CLF_COLUMNS);
        const int clear = clf_nv_same(clf_queries_end(k_first, shape) / CLF_COLUMNS);
        const uint units = all_units + group * RING_BYTES, at = all_at + 8 * group * RING;
        if (group < steps * CLF_GROUPS)
            clf_nv_barrier_wait(all_at + 8 * REST, 0);
        for (int n = group, unit = 0; n < steps * CLF_GROUPS; n += CLF_CONSUMERS, unit += UNITS) {
            const int head = CLF_GROUPS > 1 ? n / steps : 0, now = start + n - head * steps, first = now * CLF_COLUMNS;
            const int looks = CLF_CAUSAL && (now < plain || (CLF_WINDOW && now >= clear));
            __global const float *own_lse = lse + clf_queries_at(lse_at, b, h + head, (int2)(0));
            __global const float *own_delta = delta + clf_queries_at(delta_at, b, h + head, (int2)(0));
            float bases[CLF_COLUMNS / 32], means[CLF_COLUMNS / 32];
#pragma unroll
            for (int i = 0; i < CLF_COLUMNS / 32; i++) {
                const int query = first + lane + i * 32;
                bases[i] = base_of(own_lse, (int)lse_at.w, query, shape.s2);
                means[i] = query < shape.s2 ? own_delta[query * (int)delta_at.w] : 0.0f;
            }
            start_scores((float *)s, k_tile, unit, units, at);
            start_scores((float *)ds, v_tile, unit + PARTS, units, at);
            wait_scores(6, ((float *)s)); /* all but the six products of the others */
            WEIGH(first, looks)
            wait_scores(0, ((float *)ds));
            DIFFERENTIATE(looks)
            split_weights(ds, p);
            ADD(sum_k, unit)
            free_units(unit, lane, at);
            split_weights(s, p);
            ADD(sum_v, unit + PARTS)
            free_units(unit + PARTS, lane, at);
        }
        const uint place_k = k_tile + (item & 127) * 16, place_v = place_k + D / 8 * 128 * 16;
        clf_nv_turn_wait(2, 256);
        if (group == 0)
            give(sum_v, place_v);
        else
            give(sum_k, place_k);
        clf_nv_turn_wait(2, 256);
        if (group == 0 && grad_k) {
            take(sum_k, place_k);
            STORE_ROWS(sum_k, factor.x, grad_k + clf_keys_at(grad_k_at, b, h, (int2)(0)), (int)grad_k_at.w, k_mine,
                       shape.s3, D, shape.s5, lane);
        }
        if (group == 1 && grad_v) {
            take(sum_v, place_v);
            STORE_ROWS(sum_v, 1.0f, grad_v + clf_keys_at(grad_v_at, b, h, (int2)(0)), (int)grad_v_at.w, k_mine,
                       shape.s3, D, shape.s6, lane);
        }
    }
}
