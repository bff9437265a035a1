/* Attention of few queries on tensor cores of sm_80 and later: a slice of the keys, CLF_WARPS warps a group.
 *
 *      queries: 16 rows            a warp's ring: CLF_STAGES tiles of CLF_KEYS keys and as many values
 *     +-----------------+         +---------+---------+--
 *     | 1 .. 16 rows of | scores  | K V     | K V     |       A warp owns every CLF_WARPS-th tile of the slice, its
 *     | all heads that  | ------> | now     | coming  |       copies, its softmax and its sums: no warp waits for
 *     | share the keys  | weights +---------+---------+--     another one before the slice ends.
 *     +-----------------+ ------>  sums: 16 x E in registers
 *
 * Work split: as in decode_rows.cl, a group for each slice of each head of keys. Reading keys and values is all that
 * takes time, so the tensor cores multiply 16 rows however few there are, and what is free is spent on being exact:
 * weights are split in two numbers of the storage type, weight = high + low. With up to 8 rows the low ones are the
 * rows 8 to 15 of the left operand, at no cost; beyond they take a second product.
 *
 *     rows 0-7    high parts of the weights          rows 0-7    sums    +
 *     rows 8-15   low parts                  x V  =  rows 8-15   the rest, added when the slice ends
 *
 * Quantised keys and values are multiplied as the whole numbers 0 .. 255 or 0 .. 15, which f16 and bf16 hold exactly.
 * Keys: the product of each span of columns is multiplied by its scale, and the shift by the sum of the queries'
 * span. Values: weights are multiplied by the span's scale before they are split; shifts are summed up beside. In f16
 * weight * scale counts in units of 1 / FINE, so that small scales lose nothing: a scale may be up to 65504 / FINE,
 * and those of f16 numbers are.
 *
 * Local memory: the rings, 136 KiB for 32 keys x 2 stages of f16, 128 wide. Registers: 170 to 255, nothing spilled up
 * to 128 columns. Hidden values that are NaN or infinite go nowhere (nvidia_mma_tile.cl).
 *
 * Measured on an H100, 32 items of 32 heads on 8, 128 wide, 8192 keys: bytes of keys and values over time, as a share
 * of what clEnqueueCopyBuffer reads and writes (3.0 TB/s); for 8 and 4 bits, a scale for 32 columns, also with
 * scales:
 *                                                          f16     8 bits         4 bits
 *     16 keys, 3 stages                                    0.94    0.80 / 0.90    0.48 / 0.60
 *     copies ask for 128 bytes; whole tiles without a look at every row; scales in pairs
 *                                                          0.97    0.82 / 0.92    0.48 / 0.60
 *     32 keys, 2 stages                                    0.98    0.82 / 0.92    0.49 / 0.61
 *     half of the nibbles widened in their place           -       -              0.53 / 0.67
 * A scale for 128 columns: 0.90 / 0.93 and 0.73 / 0.78. 16 rows: 0.95. 64 wide: 0.95 and 0.74 / 0.83. 256 wide (16
 * keys): 0.97. Merging adds 8 us. Tried and left: 4 and 6 stages, which leave room for fewer groups; 128 and 168
 * registers, which make room for more: no change. 4 bits wait for arithmetic.
 *
 * NDRange: one dimension, 32 * CLF_WARPS for each slice of each head of keys.
 */
#include "fused/nvidia_decode_tile.cl"

static float over_lanes(float x)
{
    x += clf_nv_swap_float(x, 1);
    return x + clf_nv_swap_float(x, 2);
}

/* The query of a lane's row `pair`, and the sums of its spans; zeros where it does not exist. */
CLF_INLINE void load_query(__global const ushort *from, int exists, int pair, int t, uint x[D_STEPS][4],
                           float q_sum[D_SPANS + !D_SPANS][PAIRS])
{
#pragma unroll
    for (int span = 0; span < D_SPANS; span++)
        q_sum[span][pair] = 0.0f;
#pragma unroll
    for (int i = 0; i < D_STEPS; i++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const int one = query_column(i, side, 0, t), two = query_column(i, side, 1, t);
            const uint low = exists && one < CLF_D ? from[one] : 0, high = exists && two < CLF_D ? from[two] : 0;
            x[i][side * 2 + pair] = low | high << 16;
#if CLF_BITS
            const float2 numbers = unpack(low | high << 16);
            q_sum[i * 16 / CLF_SPAN][pair] += numbers.x + numbers.y;
#endif
        }
#pragma unroll
    for (int span = 0; span < D_SPANS; span++)
        q_sum[span][pair] = over_lanes(q_sum[span][pair]);
}

CLF_INLINE void begin_sums(seen *own)
{
#pragma unroll
    for (int j = 0; j < E_TILES; j++)
        own->sum[j][0] = own->sum[j][1] = own->sum[j][2] = own->sum[j][3] = 0.0f;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        own->base[pair] = -INFINITY;
        own->total[pair] = 0.0f;
#pragma unroll
        for (int span = 0; span < E_SPANS; span++)
            own->shift[span][pair] = 0.0f;
    }
}

/* The sums of the warps come together, in their order, and leave the group. `sums` and `bases` start at the slice. */
CLF_INLINE void leave(seen *own, int warp, int lane, int item, __local float *room, __local float2 *ends,
                      __global float *sums, __global float *bases)
{
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        own->total[pair] = over_lanes(own->total[pair]);
#pragma unroll
        for (int span = 0; span < E_SPANS; span++)
            own->shift[span][pair] = over_lanes(own->shift[span][pair]);
        if ((lane & 3) == 0)
            ends[warp * 16 + pair * 8 + (lane >> 2)] = (float2)(own->base[pair], own->total[pair]);
    }
    clf_nv_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        const int r = pair * 8 + (lane >> 2);
        float top = -INFINITY;
        for (int w = 0; w < CLF_WARPS; w++)
            top = fmax(top, ends[w * 16 + r].x);
        const float weight = top == -INFINITY ? 0.0f : clf_nv_exp2(own->base[pair] - top);
        if (r >= CLF_ROWS)
            continue;
#pragma unroll
        for (int j = 0; j < E_TILES; j++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int column = sum_column(j, i, lane & 3);
                float x = CLF_ROWS > 8 ? own->sum[j][2 * pair + i] : own->sum[j][i] + own->sum[j][2 + i];
#if CLF_BITS
                x = (x + own->shift[sum_column(j, 0, 0) / CLF_SPAN][pair]) * (1.0f / FINE);
#endif
                room[(warp * CLF_ROWS + r) * E_PADDED + column] = x * weight;
            }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int n = item; n < CLF_ROWS * E_PADDED; n += ITEMS) {
        float x = 0.0f;
        for (int w = 0; w < CLF_WARPS; w++)
            x += room[w * CLF_ROWS * E_PADDED + n];
        sums[n] = x;
    }
    if (item < CLF_ROWS) {
        float top = -INFINITY, total = 0.0f;
        for (int w = 0; w < CLF_WARPS; w++)
            top = fmax(top, ends[w * 16 + item].x);
        for (int w = 0; w < CLF_WARPS; w++)
            total += top == -INFINITY ? 0.0f : clf_nv_exp2(ends[w * 16 + item].x - top) * ends[w * 16 + item].y;
        bases[item * 2] = top;
        bases[item * 2 + 1] = total;
    }
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_decode_nvidia(__global const clf_storage *q, long4 q_at,
                             __global const clf_kept *k, long4 k_at,
                             __global const clf_kept *v, long4 v_at,
                             __global const clf_mask *mask, long8 mask_at,
                             __global const uchar *padding, long4 padding_at,
                             __global const clf_f16 *k_scales, long4 k_scales_at,
                             __global const clf_f16 *v_scales, long4 v_scales_at,
                             __global const int *pages, long2 pages_at,
                             __global float *sums, long sums_at, __global float *bases, long bases_at,
                             int4 slice, int8 shape CLF_SEQUENCE_PARAMETERS, float4 factor,
                             uint8 random CLF_EXTRA_PARAMETERS)
{
    __local uint4 tiles[LOCAL_BYTES / 16] __attribute__((aligned(128)));
    __local float2 ends[CLF_WARPS * 16];

    const int item = get_local_id(0), lane = item & 31, warp = item >> 5, t = lane & 3;
    const int heads = shape.s1 / slice.x, group = get_group_id(0), part = group % slice.y, both = group / slice.y;
    const int b = both / heads, head = both % heads, rows = slice.x * shape.s2;
    shape = clf_own_shape(shape, b, (int2)(0) CLF_SEQUENCE_ARGUMENTS);
    const clf_kept_rows keys = clf_kept_rows_of(k, k_at, k_scales, k_scales_at, pages, pages_at, slice.w, b, head);
    const clf_kept_rows values = clf_kept_rows_of(v, v_at, v_scales, v_scales_at, pages, pages_at, slice.w, b, head);
    const int k_aligned = is_aligned(&keys), v_aligned = is_aligned(&values);
    const float scale = clf_query_scale(factor.x);

    /* Tiles `warp`, `warp + CLF_WARPS` ... of the keys that any row sees. */
    const int begin = max(part * slice.z, clf_first_key(0, shape));
    const int end = min((part + 1) * slice.z, clf_keys_seen(shape.s2 - 1, shape.s3, shape.s4));
    const int origin = begin / CLF_KEYS * CLF_KEYS + warp * CLF_KEYS, stride = CLF_WARPS * CLF_KEYS;
    const int steps = end > origin ? (end - origin + stride - 1) / stride : 0;
    const uint ring = clf_nv_address(tiles) + warp * (CLF_STAGES * STAGE_BYTES);

    uint x[D_STEPS][4];
    float q_sum[D_SPANS + !D_SPANS][PAIRS];
    int h[PAIRS], row[PAIRS]; /* head and query of this lane's rows */
#pragma unroll
    for (int i = 0; i < D_STEPS; i++)
        x[i][0] = x[i][1] = x[i][2] = x[i][3] = 0;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        const int r = pair * 8 + (lane >> 2), one = min(r, rows - 1);
        h[pair] = head * slice.x + one / shape.s2;
        row[pair] = one % shape.s2;
        load_query((__global const ushort *)q + q_at.x + b * q_at.y + h[pair] * q_at.z + row[pair] * q_at.w, r < rows,
                   pair, t, x, q_sum);
    }

    seen own;
    begin_sums(&own);

    /* Between these every row sees every key. */
    const int plain_begin = max(begin, clf_first_key(shape.s2 - 1, shape));
    const int plain_end = min(end, clf_keys_seen(0, shape.s3, shape.s4));
    const uint k_lane = ((lane & 7) + (lane >> 4) * 8) * PITCH(D_CHUNKS) + (lane >> 3 & 1) * 16;
    const uint v_lane = KEY_BYTES + (lane & 15) * PITCH(E_CHUNKS) + (lane >> 4) * 16;
    const uint k_scales_lane = SCALES_AT + t * 8, v_scales_lane = k_scales_lane + 4 * CLF_KEYS * D_SPANS;
    int slot = 0, next = 0; /* where the step's tile is, where the next one to come goes to */
    for (int step = 1 - CLF_STAGES; step < steps; step++) {
        if (step >= 0) {
            clf_nv_wait_tile(CLF_STAGES);
            clf_nv_warp_barrier();
        }
        if (step + CLF_STAGES - 1 < steps) {
            const wanted coming = want(&keys, origin + (step + CLF_STAGES - 1) * stride, begin, end, lane);
            const uint to = ring + next * STAGE_BYTES, scales_to = to + SCALES_AT;
            load_rows(&keys, &coming, k_aligned, D_CHUNKS, CLF_D, D_SPANS, lane, to, scales_to);
            load_rows(&values, &coming, v_aligned, E_CHUNKS, CLF_E, E_SPANS, lane, to + KEY_BYTES,
                      scales_to + 4 * CLF_KEYS * D_SPANS);
        }
        clf_nv_commit();
        next = next + 1 == CLF_STAGES ? 0 : next + 1;
        if (step < 0)
            continue;
        const int first = origin + step * stride;
        const uint stage = ring + slot * STAGE_BYTES;
        slot = slot + 1 == CLF_STAGES ? 0 : slot + 1;

        float s[CLF_KEYS / 8][4];
        score_keys(stage + k_lane, stage + k_scales_lane, x, q_sum, s);
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 8; j++)
#pragma unroll
            for (int i = 0; i < 2 * PAIRS; i++)
                s[j][i] *= scale;
        const int look = CLF_EVERY_SCORE || first < plain_begin || first + CLF_KEYS > plain_end;
        if (look) {
#pragma unroll
            for (int j = 0; j < CLF_KEYS / 8; j++)
#pragma unroll
                for (int i = 0; i < 2 * PAIRS; i++) {
                    const int key = first + j * 8 + t * 2 + i % 2;
                    s[j][i] = clf_score(s[j][i], b, h[i / 2], row[i / 2], key, shape, mask, mask_at, padding,
                                        padding_at CLF_EXTRA_ARGUMENTS);
                    s[j][i] = key >= begin && key < end ? s[j][i] : -INFINITY;
                }
        }
        soften(s, &own);
#if CLF_BITS
        add_quantised(s, stage + v_lane, stage + v_scales_lane, &own);
#elif CLF_EVERY_SCORE
        add_values(s, stage + v_lane, 1, &own);
#elif CAREFUL
        if (look)
            add_values(s, stage + v_lane, 1, &own);
        else
            add_values(s, stage + v_lane, 0, &own);
#else
        add_values(s, stage + v_lane, 0, &own);
#endif
    }

    const long place_of = (long)group * CLF_ROWS;
    leave(&own, warp, lane, item, (__local float *)tiles, ends, sums + sums_at + place_of * E_PADDED,
          bases + bases_at + place_of * 2);
}
