/* Exact softmax attention on tensor cores of sm_80 and later: f16 or bf16, sums in float.
 *
 *        the group's queries          keys and values pass by, COLUMNS a step, two tiles of each in local memory
 *     +-----------------------+      +---------+---------+-- - -      A warp owns TALL * 16 queries: their scores, weights
 *     | warp 0: TALL*16 rows  |      | K step  | K next  |            and sums of values live in its registers, and no
 *     | warp 1                |      +---------+---------+            number of a row leaves the four lanes that share it.
 *     | ...                   |      | V step  | V next  |            Scores become weights in place, and rounded in pairs
 *     +-----------------------+      +---------+---------+-- - -      they are the left operand of the second product.
 *
 * Groups of a head follow each other, the last queries first; with causal order tiles beyond the last query are never
 * touched, and warps leave out tiles beyond their own. Tiles that every row sees whole run in a loop without a look at
 * single scores.
 *
 * Hand-over: copies are asynchronous. A step waits for those its work-items asked for one step ago; the one barrier of
 * the step shows them to all and tells that the tiles of the step before are read, whose place the next copies take.
 *
 * Measured on an H100 (sm_90), f16, 4096 queries and keys, widths 64 / 128, TFLOP/s (causal):
 *     one tile of K and V, two barriers a step                              291 (266) / 299 (259)
 *     two tiles of each, one barrier                                        303 (281) / 350 (269)
 *     both registers of right operands side by side, as products want them (one move a register before), unmasked
 *     tiles in a loop of their own                                          328 (301) / 383 (334)
 * Tried and left: queries in registers 323 / -, 32 keys a step 262 / 350, one row of pieces a warp 302 / 326, eight
 * warps slower still. Tiles: 4 warps, TALL 2, 64 keys. Registers 239 / 255, spilled 0 / 24 bytes.
 * The rest of the time: products alone ran at 636. A step at width 128 keeps the tensor cores busy for 1530 cycles and
 * local memory for 1280 (80 ldmatrix a warp); exponentials (512) and the other arithmetic of softmax run under the
 * products of only one other warp on the same scheduler, because 255 registers allow two.
 */
#include "fused/nvidia_mma_tile.cl"
#include "fused/nvidia_mma_drop.cl"
#include "fused/nvidia_mma_softmax.cl"

#define Q_BYTES BYTES(ROWS, D)
#define K_BYTES BYTES(CLF_COLUMNS, D)
#define V_BYTES BYTES(CLF_COLUMNS, E)

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_forward_nvidia_mma(__global const clf_storage *q, long4 q_at,
                                  __global const clf_storage *k, long4 k_at,
                                  __global const clf_storage *v, long4 v_at,
                                  __global const clf_mask *mask, long8 mask_at,
                                  __global const uchar *padding, long4 padding_at,
                                  __global clf_storage *out, long4 out_at,
                                  __global float *lse, long4 lse_at CLF_SINK_PARAMETERS,
                                  int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor, uint8 random
                                  CLF_EXTRA_PARAMETERS, __global clf_storage *rest, long4 rest_at)
{
    __local uint4 tiles[(Q_BYTES + 2 * (K_BYTES + V_BYTES)) / 16] __attribute__((aligned(128)));
    const uint q_tile = clf_nv_address(tiles), k_tiles = q_tile + Q_BYTES, v_tiles = k_tiles + 2 * K_BYTES;

    const int item = get_local_id(0), lane = item & 31, warp = item >> 5;
    const int count = (shape.s2 + ROWS - 1) / ROWS;
    const int tile = count - 1 - get_group_id(0) % count, bh = get_group_id(0) / count;
    const int b = bh / shape.s1, h = bh % shape.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    padding_at = clf_padding_at(padding_at, start);
    if (CLF_SEQUENCES && tile * ROWS >= shape.s2)
        return;
    const int q_first = tile * ROWS, q_warp = q_first + warp * CLF_TALL * 16, q_mine = q_warp + (lane >> 2);
    const matrix queries = matrix_of(q, clf_queries_at(q_at, b, h, start), q_at.w, shape.s2, shape.s5, D);
    const matrix keys = matrix_of(k, clf_keys_at(k_at, b, h, start), k_at.w, shape.s3, shape.s5, D);
    const matrix values = matrix_of(v, clf_keys_at(v_at, b, h, start), v_at.w, shape.s3, shape.s6, E);
    const float scale = clf_query_scale(factor.x), later_scale = SCALED ? 1.0f : scale;

    const uint q_lane = q_tile + warp * BYTES(CLF_TALL * 16, D) + row_at(D, lane);
    const uint k_lane = column_at(D, lane), v_lane = turned_at(E, lane);
    state own;
    begin(&own);

    const int seen = clf_keys_seen(min(q_first + ROWS, shape.s2) - 1, shape.s3, shape.s4);
    const int seen_by_last = clf_keys_seen(q_warp + CLF_TALL * 16 - 1, shape.s3, shape.s4);
    const int begin_at = clf_first_key(q_first, shape) / CLF_COLUMNS, steps = (seen + CLF_COLUMNS - 1) / CLF_COLUMNS;

    load_tile(&queries, q_first, ROWS, D, item, q_tile);
    if (begin_at < steps) {
        load_tile(&keys, begin_at * CLF_COLUMNS, CLF_COLUMNS, D, item, k_tiles + (begin_at & 1) * K_BYTES);
        load_tile(&values, begin_at * CLF_COLUMNS, CLF_COLUMNS, E, item, v_tiles + (begin_at & 1) * V_BYTES);
    }
    clf_nv_commit();
    /* The keys from which on a score needs a look: whole tiles before are seen by every row of the group. */
    const int plain = LOOK_AT_ALL ? 0 : clf_keys_seen(q_first, shape.s3, shape.s4) / CLF_COLUMNS;
    int step = begin_at;
    for (; step < min(plain, steps); step++) {
        const int first = step * CLF_COLUMNS;
        const uint k_tile = k_tiles + (step & 1) * K_BYTES, v_tile = v_tiles + (step & 1) * V_BYTES;
        begin_step(&keys, D, k_tiles, &values, E, v_tiles, step, steps, item);
        float s[CLF_TALL][CLF_COLUMNS / 8][4];
        multiply_tiles(q_lane, k_tile + k_lane, D, s);
#if SCALED
        EACH_SCORE(a, j, i)
            s[a][j][i] *= scale;
#endif
        soften(s, later_scale, &own);
#if CLF_DROPOUT
        drop(s, lane, q_mine, first, bh, random, 1.0f);
#endif
        uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4];
        pack_weights(s, p);
        ADD_WEIGHTED(p, v_tile + v_lane, E, own.sum);
    }
    for (; step < steps; step++) {
        const int first = step * CLF_COLUMNS;
        const uint k_tile = k_tiles + (step & 1) * K_BYTES, v_tile = v_tiles + (step & 1) * V_BYTES;
        begin_step(&keys, D, k_tiles, &values, E, v_tiles, step, steps, item);
        if (first >= seen_by_last)
            continue; /* on the diagonal, above this warp's rows */
        float s[CLF_TALL][CLF_COLUMNS / 8][4];
        multiply_tiles(q_lane, k_tile + k_lane, D, s);
        EACH_SCORE(a, j, i)
            s[a][j][i] = clf_score(SCALED ? s[a][j][i] * scale : s[a][j][i], b, h,
                                   min(q_mine + a * 16 + i / 2 * 8, shape.s2 - 1),
                                   first + j * 8 + (lane & 3) * 2 + i % 2, shape, mask, mask_at, padding,
                                   padding_at CLF_EXTRA_ARGUMENTS);
        soften(s, later_scale, &own);
#if CLF_DROPOUT
        drop(s, lane, q_mine, first, bh, random, 1.0f);
#endif
        uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4];
        pack_weights(s, p);
#if LOOK_AT_ALL
        ADD_WEIGHTED_CAREFULLY(p, v_tile + v_lane, E, own.sum);
#else
        ADD_WEIGHTED(p, v_tile + v_lane, E, own.sum);
#endif
    }
    clf_nv_wait(0);

    out += clf_queries_at(out_at, b, h, start);
    rest += clf_queries_at(rest_at, b, h, start);
    if (lse)
        lse += clf_queries_at(lse_at, b, h, start);
    finish(&own, factor.y, CLF_SINK(h), q_mine, lane, shape.s2, shape.s6, out, (int)out_at.w, rest, lse, (int)lse_at.w);
}
