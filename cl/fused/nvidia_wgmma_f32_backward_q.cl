/* The gradient of the queries of floats by warp groups, sm_90: products of parts of bf16 (nvidia_wgmma_parts.cl).
 *
 *     warp group 0: asks       Q G  K2 K1 K0 V2 V1 V0  K2 K1 ...   two rings of STAGES units of COLUMNS rows each,
 *                                |  full            ^ free         parts of keys and of values in turn
 *     warp group 1: 64 queries   v                  |              tiles 0, 2, 4 ... in one ring
 *     warp group 2: the same 64 queries                            tiles 1, 3, 5 ... in the other
 *
 *     a step:  S = Q K^T, dP = G V^T | S becomes P, dP becomes dS = P (dP - delta) | dQ += dS K
 *
 * nvidia_wgmma_f32_backward.cl tells of the groups and the hand-over.
 */
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64
#endif
#include "fused/nvidia_wgmma_f32_backward.cl"

/* The lane that asks for a group's tiles. */
CLF_INLINE void ask_for_all(__global const uchar *maps, int items, int b, int h, int start, int steps, int group,
                            uint units, uint at)
{
    int unit = 0;
    for (int n = group; n < steps; n += CLF_CONSUMERS)
        for (int i = 0; i < UNITS; i++)
            ask_for_unit(i < PARTS ? MAP_K(maps) : MAP_V(maps), i % PARTS * items + b, h / CLF_GROUPS,
                         (start + n) * CLF_COLUMNS, unit++, units, at);
}

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_backward_q_nvidia_wgmma_f32(__global const clf_mask *mask, long8 mask_at,
                                           __global const uchar *padding, long4 padding_at,
                                           __global const float *lse, long4 lse_at,
                                           __global const float *delta, long4 delta_at,
                                           __global clf_result *grad_q, long4 grad_q_at,
                                           int8 shape, float4 factor, uint8 random CLF_EXTRA_PARAMETERS,
                                           __global const uchar *maps, long maps_at)
{
    __local uint4 tiles[(UNITS * PART_BYTES + CLF_CONSUMERS * RING_BYTES) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    const uint q_tile = clf_nv_address((__local const void *)tiles), g_tile = q_tile + PARTS * PART_BYTES;
    const uint all_units = g_tile + PARTS * PART_BYTES, all_at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s2 + 63) / 64, tile = count - 1 - get_group_id(0) % count;
    const int bh = get_group_id(0) / count, b = bh / shape.s1, h = bh % shape.s1, q_first = tile * 64;
    const int seen = clf_keys_seen(min(q_first + 64, shape.s2) - 1, shape.s3, shape.s4);
    const int start = clf_nv_same(clf_first_key(q_first, shape) / CLF_COLUMNS);
    const int steps = clf_nv_same(max((seen + CLF_COLUMNS - 1) / CLF_COLUMNS - start, 0));

    make_barriers(item, all_at);
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        const int group = clf_nv_same(item >> 5);
        maps += maps_at;
        if (group < CLF_CONSUMERS && lane == 0 && steps > 0) {
            see_maps(maps);
            if (group == 0)
                ask_for_rest(MAP_Q(maps), MAP_G(maps), shape.s0, b, h, q_first, q_tile, g_tile, all_at);
            ask_for_all(maps, shape.s0, b, h, start, steps, group, all_units + group * RING_BYTES,
                        all_at + 8 * group * RING);
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, q_mine = q_first + (item >> 5 & 3) * 16 + (lane >> 2);
        const float scale = clf_query_scale(factor.x);
        float all[1][D / 8][4], sum[8][4], s[1][CLF_COLUMNS / 8][4], ds[1][CLF_COLUMNS / 8][4], base[2], mean[2];
        uint p[PARTS][CLF_COLUMNS / 4];

        load_numbers(lse + clf_queries_at(lse_at, b, h, (int2)(0)), (int)lse_at.w,
                     delta + clf_queries_at(delta_at, b, h, (int2)(0)), (int)delta_at.w, q_mine, shape.s2, base, mean);
        EACH_SUM(all, D) = 0.0f;

        /* Tiles from `clear` to `plain` are seen whole by all the queries. */
        const int plain = clf_nv_same(clf_keys_seen(q_first, shape.s3, shape.s4) / CLF_COLUMNS);
        const int clear = clf_nv_same((clf_first_key(q_first + 63, shape) + CLF_COLUMNS - 1) / CLF_COLUMNS);
        const uint units = all_units + group * RING_BYTES, at = all_at + 8 * group * RING;
        if (group < steps)
            clf_nv_barrier_wait(all_at + 8 * REST, 0);
        for (int n = group, unit = 0; n < steps; n += CLF_CONSUMERS, unit += UNITS) {
            const int now = start + n, looks = now >= plain || (CLF_WINDOW && now < clear);
            start_scores((float *)s, q_tile, unit, units, at);
            start_scores((float *)ds, g_tile, unit + PARTS, units, at);
            wait_scores(6, ((float *)s)); /* all but the six products of the others */
            if (looks) {
                EACH_SCORE(a, j, i)
                    s[a][j][i] = clf_score(s[a][j][i], 0, 0, min(q_mine + i / 2 * 8, shape.s2 - 1),
                                           now * CLF_COLUMNS + j * 8 + (lane & 3) * 2 + i % 2, shape, mask, mask_at,
                                           padding, padding_at CLF_EXTRA_ARGUMENTS);
            }
            EACH_SCORE(a, j, i)
                s[a][j][i] = clf_nv_exp2(fma(s[a][j][i], scale, -base[i / 2]));
            wait_scores(0, ((float *)ds));
            free_units(unit + PARTS, lane, at);
            if (looks) { /* where the weight is 0 the other factor may be NaN, from a hidden row */
                EACH_SCORE(a, j, i)
                    ds[a][j][i] = s[a][j][i] == 0.0f ? 0.0f : ds[a][j][i];
            }
            EACH_SCORE(a, j, i)
                ds[a][j][i] = s[a][j][i] * (ds[a][j][i] - mean[i / 2]);
            split_weights(ds, p);
            ADD(all, unit)
            free_units(unit, lane, at);
        }
        const uint place = q_tile + (item & 127) * 16;
        clf_nv_turn_wait(2, 256);
        if (group == 1)
            give(all, place);
        clf_nv_turn_wait(2, 256);
        if (group == 0) {
            take(all, place);
            STORE_ROWS(all, factor.x, grad_q + clf_queries_at(grad_q_at, b, h, (int2)(0)), (int)grad_q_at.w, q_mine,
                       shape.s2, D, shape.s5, lane);
        }
    }
}
