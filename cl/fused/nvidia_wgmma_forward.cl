/* Exact softmax attention by warp groups, sm_90: the tensor cores read their operands from local memory themselves, and
 * the copy engine brings them there.
 *
 *     warp group 0: asks      K0 K1 V0 K2 V1 ...           STAGES tiles of COLUMNS keys each of K and of V
 *                              |  full      ^ free
 *     warp group 1: 64 queries v            |              S = Q K^T (next tile)     -- products -----+
 *     warp group 2: 64 queries   ...                       sums += P V (last tile)   -- run ----------+--- wait
 *     (3: 64 queries, width 64)                            S becomes weights meanwhile
 *
 * A step starts the scores of its tile and, behind them, the sums of the tile before, whose weights are ready; while
 * the latter run, the scores become weights. With two computing groups they take turns at starting products, so that
 * the softmax of one runs under the products of the other. The first group gives its registers away (24 or 40 of 168;
 * the others get 240 or 232; at width 64 32 and 160 of 128). Groups stay on their compute unit and go on with more
 * queries. Where the copy engine cannot do it (rows that do not start at multiples of 16 bytes, sequences, padding) the
 * first group copies with all its work-items.
 *
 * Hand-over, without a barrier of all:
 *   - a tile is FULL when who asked for it has arrived and the engine has written the bytes that were announced before;
 *     where the first group copies itself, when all its 128 work-items have arrived: each waits for its own copies
 *     first and publishes them to the tensor cores (fence.proxy.async). Computing groups wait for FULL before they
 *     start products.
 *   - a tile is FREE when one lane of every computing warp has arrived; it does so behind wgmma.wait_group, which
 *     is the warp's own, and products of a warp group read the tile for all four of its warps, so four arrivals a
 *     group are needed and enough. FREE comes before the next request for the place. Engine and tensor cores are
 *     the same proxy.
 *   - maps are a group's own: one warp writes them (release), and the lane that asks is one of that warp (acquire).
 *   - queries of a warp group are loaded and read by itself, between two barriers of its 128 work-items.
 *   - phases: the n-th use of a stage has phase n mod 2; nobody is ever two uses ahead, because FULL needs FREE.
 *
 * Measured on an H100, f16, 4096 / 16384 queries and keys, TFLOP/s (causal):
 *                                                          width 64                 width 128
 *     overlap as above, a tile of queries a group          476/518 (392/515)        594/643 (512/634)
 *     groups stay; queries loaded by who needs them        511/561 (226/435)        616/649 (500/404)
 *     what describes tiles in registers of the warp (it had come from the lanes' for each product), causal tiles in
 *     pairs of equal cost                                  506/555 (434/511)        607/641 (519/583)
 *     the copy engine in place of cp.async                 517/560 (440/517)        633/665 (574/649)
 *     176 keys a step at width 128, 240 registers          521/566 (443/525)        652/694 (585/660)
 * Width 256, 64 keys a step: 747 (664). 176 keys with causal order: 561/646.
 * ALiBi 424, softcap 171, whose tangents are 7 instructions of the unit for exponentials (causal, 4096, width 128).
 * Windows look at single scores in the tiles at both ends.
 * Spilled: nothing in the steps; 100 to 400 bytes where the first group copies itself and between tiles.
 * The rest of the time: at width 64 exponentials (one unit gives 16 a cycle, a step of 128 keys needs 24576); at width
 * 128 the first tile of each group's queries, during which no sums run, and 2048 tiles on 132 units, the last of 16
 * rounds half empty.
 */
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 128
#endif
#if CLF_D == 128 && CLF_E == 128 && !CLF_CAUSAL
#define REGISTERS_LOAD 24 /* 176 keys a step need the rest */
#endif
#include "fused/nvidia_wgmma_tile.cl"
#include "fused/nvidia_maps.cl"
#include "fused/nvidia_wgmma_work.cl"

#ifndef CLF_TURNS
#define CLF_TURNS 1 /* 1: warp groups take turns at issuing products */
#endif

/* Sequences end within tiles, and padding hides rows: the copy engine knows neither. */
#define RAGGED (CLF_SEQUENCES || CLF_KEY_PADDING)

#define Q_BYTES BYTES(GROUP_ROWS, D)
#define K_BYTES BYTES(CLF_COLUMNS, D)
#define V_BYTES BYTES(CLF_COLUMNS, E)

/* The barriers of a stage; each has a place for every stage. A tile is FULL when all who load it have arrived, and
 * FREE when a lane of every computing warp has. */
enum { K_FULL = 0, V_FULL = CLF_STAGES, K_FREE = 2 * CLF_STAGES, V_FREE = 3 * CLF_STAGES, BARRIERS = 4 * CLF_STAGES };

/* Tiles of keys and values in the order in which they are used, K of every step and V of the step before: K0 K1 V0 K2
 * V1 ... `done` counts the steps of the tiles of queries before. */
typedef struct turn {
    int is_v, first; /* its first row */
    int stage, phase;
} turn;

static turn turn_of(int n, int first, int steps, int done)
{
    turn t;
    t.is_v = n == 2 * steps - 1 || (n > 1 && (n & 1) == 0);
    const int step = t.is_v ? (n - 1) / 2 : (n + 1) / 2;
    t.first = first + step * CLF_COLUMNS;
    t.stage = (done + step) % CLF_STAGES;
    t.phase = (done + step) / CLF_STAGES & 1;
    return t;
}

/* One work-item of the loading warp group, for one tile of queries, where the copy engine can do it. */
CLF_INLINE void ask_for_all(__global const uchar *maps, int b, int h, int first, int steps, int done, uint k_tiles,
                            uint v_tiles, uint at)
{
    for (int n = 0; n < 2 * steps; n++) {
        const turn t = turn_of(n, first, steps, done);
        const uint full = at + 8 * ((t.is_v ? V_FULL : K_FULL) + t.stage);
        const uint to = t.is_v ? v_tiles + t.stage * V_BYTES : k_tiles + t.stage * K_BYTES;
        clf_nv_barrier_wait(at + 8 * ((t.is_v ? V_FREE : K_FREE) + t.stage), t.phase ^ 1);
        clf_nv_barrier_expect(full, t.is_v ? V_BYTES : K_BYTES);
        ask_for(maps + (t.is_v ? CLF_NV_MAP_BYTES : 0), b, h / CLF_GROUPS, t.first, CLF_COLUMNS, CLF_COLUMNS,
                t.is_v ? E : D, to, full);
        clf_nv_barrier_arrive(full);
    }
}

/* Values of hidden keys, which may be NaN, arrive as zeros. */
CLF_INLINE void load_values(const matrix *values, __global const uchar *kept, long kept_step, int first, int item,
                            uint to)
{
#if CLF_KEY_PADDING
    for (int n = item; n < CLF_COLUMNS * (E / 8); n += 128) {
        matrix row = *values;
        const int r = first + n / (E / 8);
        row.limit = r < values->limit && kept[r * kept_step] ? values->limit : 0;
        load_chunk(&row, r, n % (E / 8), to + block_place(n / (E / 8), n % (E / 8), CLF_COLUMNS));
    }
#else
    load_blocks(values, first, CLF_COLUMNS, E, item, 128, to);
#endif
}

/* The loading warp group, for one tile of queries, where it must copy itself. What was asked for one tile ago has
 * arrived when the next one is on its way. */
CLF_INLINE void load_all(const matrix *keys, const matrix *values, __global const uchar *kept, long kept_step,
                         int first, int steps, int done, int item, uint k_tiles, uint v_tiles, uint at)
{
    uint arrived = 0;
    for (int n = 0; n < 2 * steps; n++) {
        const turn t = turn_of(n, first, steps, done);
        clf_nv_barrier_wait(at + 8 * ((t.is_v ? V_FREE : K_FREE) + t.stage), t.phase ^ 1);
        if (t.is_v)
            load_values(values, kept, kept_step, t.first, item, v_tiles + t.stage * V_BYTES);
        else
            load_blocks(keys, t.first, CLF_COLUMNS, D, item, 128, k_tiles + t.stage * K_BYTES);
        clf_nv_commit();
        if (n > 0) {
            clf_nv_wait(1);
            clf_nv_publish();
            clf_nv_barrier_arrive(arrived);
        }
        arrived = at + 8 * ((t.is_v ? V_FULL : K_FULL) + t.stage);
    }
    if (steps > 0) {
        clf_nv_wait(0);
        clf_nv_publish();
        clf_nv_barrier_arrive(arrived);
    }
}

/* A warp group's own 64 queries of a tile. */
CLF_INLINE void load_queries(__global const clf_storage *q, long4 q_at, work w, int group, int item, uint to)
{
    const matrix queries = matrix_of(q, clf_queries_at(q_at, w.b, w.h, w.start), q_at.w, w.shape.s2, w.shape.s5, D);
    load_blocks(&queries, w.q_first + group * 64, 64, D, item & 127, 128, to);
    clf_nv_commit();
}

#define STAGE(step) ((done + (step)) % CLF_STAGES)
#define AWAIT(what, step) clf_nv_barrier_wait(at + 8 * (what + STAGE(step)), (done + (step)) / CLF_STAGES & 1)
#define FREE(what, step) do { \
        if (lane == 0) \
            clf_nv_barrier_arrive(at + 8 * (what + STAGE(step))); \
    } while (0)

/* Turns: a warp group issues its products when the other one has issued its own and is busy with its softmax. */
#if CLF_TURNS && CLF_CONSUMERS == 2
#define TURN_BEGIN clf_nv_turn_wait(2 + group, 256);
#define TURN_END if (group == 0 || step + 1 < steps) clf_nv_turn_give(3 - group, 256);
#else
#define TURN_BEGIN
#define TURN_END
#endif

/* One step: the products of this tile of keys start, those of the last step's weights with V behind them; while the
 * latter run, the scores become weights. The sums move to the new bases when they are complete. */
#define STEP(LOOK) { \
        const uint k_stage = clf_nv_same(STAGE(step)), v_stage = clf_nv_same(STAGE(step - 1)); \
        AWAIT(K_FULL, step); \
        TURN_BEGIN \
        scores_D((float *)s, q_tile_of, clf_nv_tile(k_tiles + k_stage * K_BYTES, 16)); \
        AWAIT(V_FULL, step - 1); \
        add_weighted_E((float *)own.sum, (const uint *)p, \
                     clf_nv_tile(v_tiles + v_stage * V_BYTES, CLF_COLUMNS * 128)); \
        TURN_END \
        wait_scores(1, ((float *)s)); \
        FREE(K_FREE, step); \
        if (LOOK) { \
            LOOK_AT(k_first + step * CLF_COLUMNS) \
        } \
        const int moved = clf_nv_any(rebase(s, scale, &own, shrink)); \
        weigh(s, scale, &own); \
        DROP(k_first + step * CLF_COLUMNS) \
        wait_sums_E(0, ((float *)own.sum)); \
        FREE(V_FREE, step - 1); \
        if (moved) \
            rescale(&own, shrink); \
        pack_weights(s, p); \
    }

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_fused_forward_nvidia_wgmma(__global const clf_storage *q, long4 q_at,
                                    __global const clf_storage *k, long4 k_at,
                                    __global const clf_storage *v, long4 v_at,
                                    __global const clf_mask *mask, long8 mask_at,
                                    __global const uchar *padding, long4 padding_at,
                                    __global clf_storage *out, long4 out_at,
                                    __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                    int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                    CLF_EXTRA_PARAMETERS,
                                    __global clf_storage *rest, long4 rest_at,
                                    __global uchar *maps, long maps_at)
{
    __local uint4 tiles[(Q_BYTES + CLF_STAGES * (K_BYTES + V_BYTES)) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    __local uint4 draft[CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));
    const uint q_tile = clf_nv_address((__local const void *)tiles), k_tiles = q_tile + Q_BYTES;
    const uint v_tiles = k_tiles + CLF_STAGES * K_BYTES, at = clf_nv_address((__local const void *)barriers);

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const int count = (shape.s2 + GROUP_ROWS - 1) / GROUP_ROWS, end = end_of_pieces(count, shape);
    const int bulk = !RAGGED && clf_nv_map_takes(k, k_at) && clf_nv_map_takes(v, v_at);
    int done = 0;

    if (item < BARRIERS) {
        clf_nv_barrier_make(at + 8 * item, item >= K_FREE ? CLF_CONSUMERS * 4 : bulk ? 1 : 128);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_LOAD);
        maps += maps_at + (long)get_group_id(0) * (2 * CLF_NV_MAP_BYTES);
        if (bulk && item < 32) {
            const int4 extents = (int4)(shape.s0, shape.s1 / CLF_GROUPS, shape.s3, shape.s5);
            show_map(maps, draft, k, k_at, extents, CLF_COLUMNS, lane);
            show_map(maps + CLF_NV_MAP_BYTES, draft, v, v_at, (int4)(extents.xyz, shape.s6), CLF_COLUMNS, lane);
            clf_nv_map_see(maps);
            clf_nv_map_see(maps + CLF_NV_MAP_BYTES);
        }
        for (int n = first_piece(); n < end; n = next_piece(n, count)) {
            const work w = work_of(n, count, shape CLF_SEQUENCE_ARGUMENTS);
            if (!bulk) {
                const long k_start = clf_keys_at(k_at, w.b, w.h, w.start);
                const long v_start = clf_keys_at(v_at, w.b, w.h, w.start);
                const matrix keys = matrix_of(k, k_start, k_at.w, w.shape.s3, w.shape.s5, D);
                const matrix values = matrix_of(v, v_start, v_at.w, w.shape.s3, w.shape.s6, E);
                const long4 kept_at = clf_padding_at(padding_at, w.start);
                load_all(&keys, &values, padding + kept_at.x + w.b * kept_at.y, kept_at.z, w.k_first, w.steps, done,
                         item, k_tiles, v_tiles, at);
            } else if (item == 0) {
                ask_for_all(maps, w.b, w.h, w.k_first, w.steps, done, k_tiles, v_tiles, at);
            }
            done += w.steps;
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, row = group * 64 + (item >> 5 & 3) * 16 + (lane >> 2);
        const float dot_scale = clf_query_scale(factor.x), scale = SCALED ? 1.0f : dot_scale;
        const uint q_own = q_tile + group * BYTES(64, D);
        const ulong q_tile_of = clf_nv_tile(q_own, 16);

        /* A warp group loads its own queries, which nobody else reads: the first ones while the first keys are on
         * their way, the next ones while it finishes the last. */
        if (first_piece() < end)
            load_queries(q, q_at, work_of(first_piece(), count, shape CLF_SEQUENCE_ARGUMENTS), group, item, q_own);
        for (int n = first_piece(); n < end; n = next_piece(n, count)) {
            const work w = work_of(n, count, shape CLF_SEQUENCE_ARGUMENTS);
            const int q_mine = w.q_first + row, q_group = w.q_first + group * 64;
            const int k_first = w.k_first, steps = w.steps;
            /* Steps from `clear` to `plain` need no look at single scores. */
            const int in_sight = clf_keys_seen(q_group, w.shape.s3, w.shape.s4) - k_first;
            const int plain = CLF_EVERY_SCORE ? 0 : clf_nv_same(in_sight / CLF_COLUMNS);
            const int hidden = clf_first_key(q_group + 63, w.shape) - k_first;
            const int clear = CLF_WINDOW ? clf_nv_same((hidden + CLF_COLUMNS - 1) / CLF_COLUMNS) : 0;
            state own;
            float s[1][CLF_COLUMNS / 8][4], shrink[1][2];
            uint p[1][CLF_COLUMNS / 16][4];

            begin(&own);
            clf_nv_wait(0);
            clf_nv_publish();
            clf_nv_turn_wait(4 + group, 128); /* the queries are there, all of them */
            if (steps > 0) {
#if CLF_TURNS && CLF_CONSUMERS == 2
                if (group == 1 && steps > 1)
                    clf_nv_turn_give(2, 256); /* the first turn is the other one's */
#endif
                AWAIT(K_FULL, 0);
                scores_D((float *)s, q_tile_of, clf_nv_tile(k_tiles + STAGE(0) * K_BYTES, 16));
                wait_scores(0, ((float *)s));
                FREE(K_FREE, 0);
                if (plain < 1 || clear > 0) {
                    LOOK_AT(k_first)
                }
                (void)rebase(s, scale, &own, shrink);
                weigh(s, scale, &own);
                DROP(k_first)
                pack_weights(s, p);
                int step = 1;
                for (; CLF_WINDOW && step < min(clear, steps); step++)
                    STEP(1)
                for (; step < min(plain, steps); step++)
                    STEP(0)
                for (; step < steps; step++)
                    STEP(1)
            }
            const int next = next_piece(n, count);
            if (next < end) {
                clf_nv_turn_wait(4 + group, 128); /* nobody multiplies these queries any more */
                load_queries(q, q_at, work_of(next, count, shape CLF_SEQUENCE_ARGUMENTS), group, item, q_own);
            }
            if (steps > 0) {
                AWAIT(V_FULL, steps - 1);
                add_weighted_E((float *)own.sum, (const uint *)p,
                             clf_nv_tile(v_tiles + STAGE(steps - 1) * V_BYTES, CLF_COLUMNS * 128));
                wait_sums_E(0, ((float *)own.sum));
                FREE(V_FREE, steps - 1);
            }
            /* Found once more, so that nothing of it takes a register while the keys pass by. */
            const work again = work_of(clf_nv_same(n), count, shape CLF_SEQUENCE_ARGUMENTS);
            finish(&own, factor.y, CLF_SINK(again.h), again.q_first + row, lane, again.shape.s2, again.shape.s6,
                   out + clf_queries_at(out_at, again.b, again.h, again.start), (int)out_at.w,
                   rest + clf_queries_at(rest_at, again.b, again.h, again.start),
                   lse ? lse + clf_queries_at(lse_at, again.b, again.h, again.start) : 0, (int)lse_at.w);
            done += steps;
        }
    }
}
