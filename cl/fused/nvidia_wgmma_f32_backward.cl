/* What the backward kernels of floats by warp groups share. A work-group owns 64 rows, which rest in parts; both
 * computing groups work on them, because the parts of more rows would leave no room for what passes by, and take turns
 * at the tiles. Each has a ring of its own, which a lane of a warp of its own fills. In the end the groups add up what
 * they have, in the same order always.
 *
 * Hand-over, without a barrier of all:
 *   - a unit is FULL when the lane that asked for it has arrived and the engine has written the bytes that were
 *     announced before; what rests has a barrier of its own, REST, which is used once.
 *   - a unit is FREE when one lane of each warp of its computing group has arrived, behind wgmma.wait_group, which is
 *     the warp's own: products of a warp group read a unit for all four of its warps. FREE comes before the next
 *     request for the place. Engine and tensor cores are the same proxy.
 *   - phases: the n-th use of a place has phase n mod 2; nobody is ever two uses ahead, because FULL needs FREE, and
 *     whoever waits for a use has waited for the one before, as the ring is its own.
 *   - in the end a barrier of both computing groups tells that nobody multiplies what rests any more, whose place takes
 *     the sums that are handed over; a second one shows them.
 *
 * Measured on an H100, 4096 queries and keys, widths 64 / 128, all of backward, TFLOP/s, 2.5 times the operations of
 * forward counted (causal): 82 (74) / 75 (69), at 16384 84 (85) / 75 (78); nvidia_mma has 45 (42) / 38 (35).
 * Tiles: 64 rows at width 64, 32 at 128. Registers 168 at entry, 240 in a step; 40 bytes are spilled by the gradients
 * of keys at width 128, outside the steps. Local memory 208 KiB.
 * The rest of the time: seven products run for five that count, so they run at 115 / 105 where forward's do at 122. At
 * width 128 units of 32 rows make the tensor cores read what rests twice as often.
 */
#define REGISTERS_LOAD 24
#define SUM_WIDTH 64
#include "fused/nvidia_wgmma_parts.cl"

#if SCALED || CLF_KEY_PADDING || CLF_DROPOUT || CLF_SEQUENCES
#error left to nvidia_mma
#endif

/* The barriers: a ring's for each computing group, then REST. */
enum { RING = 2 * CLF_STAGES, REST = CLF_CONSUMERS * RING, BARRIERS = REST + 1 };
#define RING_BYTES (CLF_STAGES * UNIT_BYTES)

CLF_INLINE void make_barriers(int item, uint at)
{
    if (item < BARRIERS) {
        clf_nv_barrier_make(at + 8 * item, item < REST && item % RING >= FREE ? 4 : 1);
        clf_nv_publish();
    }
}

/* Both tensors that rest, 64 rows from `first` on. */
CLF_INLINE void ask_for_rest(__global const uchar *x_map, __global const uchar *y_map, int items, int b, int h,
                             int first, uint x_tile, uint y_tile, uint at)
{
    const uint full = at + 8 * REST;
    clf_nv_barrier_expect(full, 2 * PARTS * PART_BYTES);
    for (int part = 0; part < PARTS; part++) {
        ask_for(x_map, part * items + b, h, first, 64, BOX, D, x_tile + part * PART_BYTES, full);
        ask_for(y_map, part * items + b, h, first, 64, BOX, D, y_tile + part * PART_BYTES, full);
    }
    clf_nv_barrier_arrive(full);
}

/* all += weights (in parts) by the units from `first` on. */
#define ADD(all, first) \
    _Pragma("unroll") \
    for (int block = 0; block < D / 64; block++) { \
        start_sums((float *)sum, p, first, block, units, at); \
        wait_sums(0, ((float *)sum)); \
        _Pragma("unroll") \
        for (int j = 0; j < 8; j++) \
            _Pragma("unroll") \
            for (int i = 0; i < 4; i++) \
                all[0][block * 8 + j][i] += sum[j][i]; \
    }

/* The sums of a group's other half of tiles, by way of local memory: a work-item's place is `to`. */
CLF_INLINE void give(float sum[1][D / 8][4], uint to)
{
#pragma unroll
    for (int j = 0; j < D / 8; j++)
        clf_nv_put16(to + j * 128 * 16, as_uint4((float4)(sum[0][j][0], sum[0][j][1], sum[0][j][2], sum[0][j][3])));
}

CLF_INLINE void take(float sum[1][D / 8][4], uint from)
{
#pragma unroll
    for (int j = 0; j < D / 8; j++) {
        uint other[4];
        clf_nv_get16(from + j * 128 * 16, other);
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum[0][j][i] += as_float(other[i]);
    }
}
