/* Exact softmax attention of floats by warp groups, sm_90: products of parts of bf16 (nvidia_wgmma_parts.cl).
 *
 *     warp group 0: asks      Q  K2 K1 K0 V2 V1 V0  K2 K1 ...   STAGES units of COLUMNS rows each in local memory,
 *                                |  full         ^ free         parts of K and of V in turn
 *     warp group 1: 64 queries   v               |              S = Q K^T, six products; S becomes weights
 *     warp group 2: 64 queries                                  T = P V, six products of what the weights are split
 *                                                               into; sums = sums * shrink + T
 *
 * nvidia_parts.cl has split the tensors before and described them to the copy engine. The softmax of one computing
 * group runs under the products of the other. Groups stay on their compute unit and go on with more queries.
 *
 * Hand-over, without a barrier of all:
 *   - a unit is FULL when the lane that asked for it has arrived and the engine has written the bytes that were
 *     announced before; computing groups wait for FULL before they start products.
 *   - a unit is FREE when one lane of every computing warp has arrived, behind wgmma.wait_group, which is the warp's
 *     own: products of a warp group read the unit for all four of its warps, so four arrivals a group are needed and
 *     enough. FREE comes before the next request for the place. Engine and tensor cores are the same proxy.
 *   - queries likewise, Q_FULL and Q_FREE of each computing group: it is the only one that reads them.
 *   - phases: the n-th use of a place has phase n mod 2; nobody is ever two uses ahead, because FULL needs FREE.
 *
 * Measured on an H100, 4096 queries and keys, widths 64 / 128, TFLOP/s, each product counted once (causal), the kernel
 * that splits included:
 *     nvidia_mma, three products of tf32                                     63 (60) / 60 (53)
 *     as above, the next tile's scores started behind the sums               118 (103) / 117 (106)
 *     each step for itself: the other group fills the gaps, and two loops
 *     become one                                                             117 (105) / 118 (108)
 *     one kernel splits all tensors                                          122 (108) / 123 (109)
 * That is 730 TFLOP/s of bf16; the kernel for bf16 itself has 525 / 687. At 16384 128 (119) / 128 (118).
 * Tiles: 128 keys at width 64, 64 at 128. Registers 168 at entry, 240 in a step; spilled are 8 bytes, outside the
 * steps. Local memory 208 KiB, most of it the parts of 128 queries and ten or seven units.
 * Errors: root mean square a third of those of PyTorch's products of floats, half of its memory-efficient backend's.
 * The rest of the time: splitting moves 1 GB, 0.4 of those 4.5 ms and a quarter of the time at 1024 queries.
 */
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 64
#endif
#define REGISTERS_LOAD 24
#include "fused/nvidia_wgmma_parts.cl"
#include "fused/nvidia_wgmma_work.cl"

#if CLF_SEQUENCES || CLF_KEY_PADDING
#error left to nvidia_mma: maps know neither
#endif

#define Q_BYTES (CLF_CONSUMERS * PARTS * PART_BYTES)

enum { Q_FULL = 2 * CLF_STAGES, Q_FREE = Q_FULL + CLF_CONSUMERS, BARRIERS = Q_FREE + CLF_CONSUMERS };

/* The lane that asks, for one tile of queries, the n-th of this group; `done` units were before. */
CLF_INLINE void ask_for_all(__global const uchar *maps, work w, int items, int n, int done, uint q_tiles, uint units,
                            uint at)
{
    for (int group = 0; group < CLF_CONSUMERS; group++) {
        const uint full = at + 8 * (Q_FULL + group);
        clf_nv_barrier_wait(at + 8 * (Q_FREE + group), (n & 1) ^ 1);
        clf_nv_barrier_expect(full, PARTS * PART_BYTES);
        for (int part = 0; part < PARTS; part++)
            ask_for(MAP_Q(maps), part * items + w.b, w.h, w.q_first + group * 64, 64, BOX, D,
                    q_tiles + (group * PARTS + part) * PART_BYTES, full);
        clf_nv_barrier_arrive(full);
    }
    for (int unit = done; unit < done + w.steps * UNITS; unit++) {
        const int i = (unit - done) % UNITS, is_v = i >= PARTS;
        ask_for_unit(is_v ? MAP_V(maps) : MAP_K(maps), i % PARTS * items + w.b, w.h / CLF_GROUPS,
                     w.k_first + (unit - done) / UNITS * CLF_COLUMNS, unit, units, at);
    }
}

/* One step: scores, weights, sums. The last one of a tile frees the queries. */
#define STEP { \
        const int unit = done + step * UNITS; \
        start_scores((float *)s, q_tile, unit, units, at); \
        wait_scores(0, ((float *)s)); \
        free_units(unit, lane, at); \
        if (step + 1 == w.steps && lane == 0) \
            clf_nv_barrier_arrive(at + 8 * (Q_FREE + group)); \
        if (step < clear || step >= plain) { \
            LOOK_AT(w.k_first + step * CLF_COLUMNS) \
        } \
        (void)rebase(s, scale, &own, shrink); \
        weigh(s, scale, &own); \
        DROP(w.k_first + step * CLF_COLUMNS) \
        split_weights(s, p); \
        start_sums((float *)sum, p, unit + PARTS, 0, units, at); \
        wait_sums(0, ((float *)sum)); \
        free_units(unit + PARTS, lane, at); \
        _Pragma("unroll") \
        for (int j = 0; j < E / 8; j++) \
            _Pragma("unroll") \
            for (int i = 0; i < 4; i++) \
                own.sum[0][j][i] = fma(own.sum[0][j][i], shrink[0][i / 2], sum[j][i]); \
    }

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_forward_nvidia_wgmma_f32(__global const clf_mask *mask, long8 mask_at,
                                        __global const uchar *padding, long4 padding_at,
                                        __global clf_result *out, long4 out_at,
                                        __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                        int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                        CLF_EXTRA_PARAMETERS, __global const uchar *maps, long maps_at)
{
    __local uint4 tiles[(Q_BYTES + CLF_STAGES * UNIT_BYTES) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    const uint q_tiles = clf_nv_address((__local const void *)tiles), units = q_tiles + Q_BYTES;
    const uint at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s2 + GROUP_ROWS - 1) / GROUP_ROWS, end = end_of_pieces(count, shape);
    int done = 0, tile = 0;

    if (item < BARRIERS) {
        const int arrivals = item < FREE ? 1 : item < Q_FULL ? CLF_CONSUMERS * 4 : item < Q_FREE ? 1 : 4;
        clf_nv_barrier_make(at + 8 * item, arrivals);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        maps += maps_at;
        if (item == 0) {
            clf_nv_map_see(MAP_Q(maps));
            clf_nv_map_see(MAP_K(maps));
            clf_nv_map_see(MAP_V(maps));
            for (int n = first_piece(); n < end; n = next_piece(n, count)) {
                const work w = work_of(n, count, shape CLF_SEQUENCE_ARGUMENTS);
                ask_for_all(maps, w, shape.s0, tile++, done, q_tiles, units, at);
                done += w.steps * UNITS;
            }
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, row = group * 64 + (item >> 5 & 3) * 16 + (lane >> 2);
        const float dot_scale = clf_query_scale(factor.x), scale = SCALED ? 1.0f : dot_scale;
        const uint q_tile = q_tiles + group * PARTS * PART_BYTES;

        for (int n = first_piece(); n < end; n = next_piece(n, count), tile++) {
            const work w = work_of(n, count, shape CLF_SEQUENCE_ARGUMENTS);
            const int q_mine = w.q_first + row, q_group = w.q_first + group * 64;
            /* Steps from `clear` to `plain` need no look at single scores. */
            const int in_sight = clf_keys_seen(q_group, w.shape.s3, w.shape.s4) - w.k_first;
            const int plain = CLF_EVERY_SCORE ? 0 : clf_nv_same(in_sight / CLF_COLUMNS);
            const int hidden = clf_first_key(q_group + 63, w.shape) - w.k_first;
            const int clear = CLF_WINDOW ? clf_nv_same((hidden + CLF_COLUMNS - 1) / CLF_COLUMNS) : 0;
            state own;
            float s[1][CLF_COLUMNS / 8][4], sum[E / 8][4], shrink[1][2];
            uint p[PARTS][CLF_COLUMNS / 4];

            begin(&own);
            clf_nv_barrier_wait(at + 8 * (Q_FULL + group), tile & 1);
            for (int step = 0; step < w.steps; step++)
                STEP
            if (w.steps == 0 && lane == 0)
                clf_nv_barrier_arrive(at + 8 * (Q_FREE + group));
            /* Found once more, so that nothing of it takes a register while the keys pass by. */
            const work again = work_of(clf_nv_same(n), count, shape CLF_SEQUENCE_ARGUMENTS);
            finish(&own, factor.y, CLF_SINK(again.h), again.q_first + row, lane, again.shape.s2, again.shape.s6,
                   out + clf_queries_at(out_at, again.b, again.h, again.start), (int)out_at.w, 0,
                   lse ? lse + clf_queries_at(lse_at, again.b, again.h, again.start) : 0, (int)lse_at.w);
            done += w.steps * UNITS;
        }
    }
}
