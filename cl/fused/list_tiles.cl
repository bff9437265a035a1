/* Lists of the tiles in which a mask snippet leaves anything, for the kernels that walk over lists (lists.cl): made on
 * the device ahead of each pass, nothing is read back.
 *
 *                   tiles of keys          clf_fused_list_tiles: a group looks at one tile, a work-item at every ITEMS-th
 *                 +---+---+---+---+        row of it until in each part a pair is seen and one is hidden, and writes the
 *     a list ->   | 0 | - | 2 | 3 |        tile's entry, or -1.
 *                 +---+---+---+---+
 *                 | 0 | 2 | 3 |   |        clf_fused_compact_lists: a work-item moves the entries of one list to the
 *                 +---+---+---+---+        front, in order, and counts them.
 *
 * Causal order and window are looked at, too: pairs beyond them count neither as seen nor as hidden, tiles beyond them
 * are read by nobody. So a pass asks the snippet once for each pair in its reach, whatever heads share the answer, and
 * the kernels ask again only in parts where some pair is hidden.
 *
 * What it gained (two AVX-512 cores, PoCL, f32, N = 4096, D = 64, H = 8): a window of 256 by snippet takes 0.17 of the
 * time of all pairs forward and 0.12 backward, where the window that kernels know takes 0.15 and 0.12; prefix-LM 0.50
 * and 0.62.
 *
 * NDRange: one dimension, list_tiles ITEMS for each tile (64 on GPUs, 1 on CPUs, where a row is looked at by sixteen
 * keys), compact_lists a work-item for each list, rounded up.
 * tile = {queries, keys of a tile, queries of a part, 1 = lists of tiles of keys}; shape as in clf_score.
 */
#include "prelude/mask.cl"
#include "fused/place.cl"
#include "fused/lists.cl"

#define ITEMS (CLF_LANES == 16 ? 1 : 64)

/* {is any pair seen, is any hidden} of a query and the keys of a tile. */
static int2 look(int b, int h, int q, int k_first, int k_end, int8 shape CLF_EXTRA_PARAMETERS)
{
    const int begin = max(k_first, clf_first_key(q, shape)), stop = min(k_end, clf_keys_seen(q, shape.s3, shape.s4));
    clf_bool seen = (clf_bool)(0), hidden = (clf_bool)(0);
    for (int n = begin; n < stop; n += CLF_LANES) {
        const clf_int k = n + CLF_LANE, last = (clf_int)(stop - 1);
        const clf_bool answer = clf_mask_mod(b, h, q, k < last ? k : last CLF_EXTRA_ARGUMENTS);
        seen |= answer;
        hidden |= answer == 0;
    }
    return (int2)(clf_any_lane(seen), clf_any_lane(hidden));
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_list_tiles(__global int *lists, int8 lists_at, int4 tile, int8 shape CLF_SEQUENCE_PARAMETERS
                          CLF_EXTRA_PARAMETERS)
{
    __local int found[2]; /* parts in which a pair is seen, is hidden: a bit each */
    const int slot = get_group_id(0), list = slot / lists_at.s3, other = slot % lists_at.s3;
    const int own = list % lists_at.s0, matrix = list / lists_at.s0, h = matrix % lists_at.s1, b = matrix / lists_at.s1;
    const int2 start = clf_starts(b CLF_SEQUENCE_ARGUMENTS);
    shape = clf_own_shape(shape, b, start CLF_SEQUENCE_ARGUMENTS);
    const int q_first = (tile.w ? other : own) * tile.x, q_end = min(q_first + tile.x, shape.s2);
    const int k_first = (tile.w ? own : other) * tile.y, k_end = min(k_first + tile.y, shape.s3);
    const int item = get_local_id(0);
    int some = 0, hidden = 0;
    if (item == 0)
        found[0] = found[1] = 0;
    for (int q = q_first + item; q < q_end; q += ITEMS) {
        const int part = 1 << ((q - q_first) / tile.z);
        if (some & hidden & part)
            continue;
        const int2 row = look(b, h, q, k_first, k_end, shape CLF_EXTRA_ARGUMENTS);
        some |= row.x ? part : 0;
        hidden |= row.y ? part : 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    atomic_or(&found[0], some);
    atomic_or(&found[1], hidden);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0)
        vstore4((int4)(found[0] ? other : -1, found[0], found[0] & found[1], 0), slot,
                clf_listed_tiles(lists, lists_at));
}

__kernel void clf_fused_compact_lists(__global int *lists, int8 lists_at)
{
    const int list = get_global_id(0);
    if (list >= lists_at.s0 * lists_at.s1 * lists_at.s2)
        return;
    __global int *tiles = clf_listed_tiles(lists, lists_at);
    int count = 0;
    for (int i = 0; i < lists_at.s3; i++) {
        const int4 tile = vload4(list * lists_at.s3 + i, tiles);
        if (tile.x >= 0)
            vstore4(tile, list * lists_at.s3 + count++, tiles);
    }
    clf_listed_counts(lists, lists_at)[list] = count;
}
