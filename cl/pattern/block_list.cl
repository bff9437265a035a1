/* Block lists from what hides pairs: causal order and window, a mask, key padding, a pattern, a snippet
 * (prelude/mask.cl).
 *
 *                 key tiles                    clf_block_classify: a work-item looks at one tile, pair by pair until
 *               +---+---+---+---+              one is visible and one is hidden, and writes what it found into the
 *   a list ->   | 0 | 3 | - | 6 |              slot of that tile: 2 * tile (+ 1 when partial), or -1.
 *               +---+---+---+---+
 *                 |               \            clf_block_compact: a work-item walks over the slots of one list and
 *               +---+---+---+---+              moves the entries to the front, in order; the rest stays -1.
 *               | 0 | 3 | 6 | - |  count 3
 *               +---+---+---+---+
 *
 * Slots belong to the tiles that can hold anything by the hull {low, high, below} of the pattern, which the host knows:
 * keys q + low .. q + high and those below `below`. A window over a long sequence has as many slots for each tile as
 * the window is wide, however long the sequence. With CLF_BASE 1 they belong to the entries of base lists instead
 * (the same tiles), made on the host from a pattern that is known in advance: then only those are looked at. No local
 * memory, no barrier; the order is fixed.
 *
 * One dimension: classify lists * capacity, compact lists, rounded up. Any CLF_LANES, any numbers of rows and columns.
 * shape as in clf_score, tiles = {queries, keys of a tile, 1 = lists of query tiles}.
 */
#include "prelude/types.cl"
#include "prelude/mask.cl"
#include "prelude/blocks.cl"

#ifndef CLF_BASE
#define CLF_BASE 0
#endif
#if CLF_BASE
#define BASE_PARAMETERS , __global const int *base, long8 base_at
#else
#define BASE_PARAMETERS
#endif

/* The tile that belongs to a slot of the list of query tile `tile`; -1 beyond the last. */
static int key_tile(int tile, int slot, int8 shape, int4 tiles, int4 hull)
{
    const int first_query = tile * tiles.s0, last_query = min(first_query + tiles.s0, shape.s2) - 1;
    const int ahead = (min(hull.s2, shape.s3) + tiles.s1 - 1) / tiles.s1;
    const int first = max(ahead, max(first_query + hull.s0, 0) / tiles.s1);
    const int key = slot < ahead ? slot : first + slot - ahead;
    const long last_key = slot < ahead ? shape.s3 - 1 : min(last_query + hull.s1, shape.s3 - 1);
    return (long)key * tiles.s1 <= last_key ? key : -1;
}

/* The same for the list of key tile `tile`. */
static int query_tile(int tile, int slot, int8 shape, int4 tiles, int4 hull)
{
    const int first_key = tile * tiles.s1, last_key = min(first_key + tiles.s1, shape.s3) - 1;
    const int from_all = first_key < hull.s2;
    const int first = from_all ? 0 : max(first_key - hull.s1, 0) / tiles.s0;
    const long last = from_all ? shape.s2 - 1 : min(last_key - hull.s0, shape.s2 - 1);
    return (long)(first + slot) * tiles.s0 <= last ? first + slot : -1;
}

__kernel void clf_block_classify(__global const clf_mask *mask, long8 mask_at,
                                 __global const uchar *padding, long4 padding_at,
                                 int8 shape, int4 tiles, int4 hull,
                                 __global int *lists, long8 lists_at BASE_PARAMETERS CLF_EXTRA_PARAMETERS)
{
    const long slots = lists_at.s1 * lists_at.s2 * lists_at.s3 * lists_at.s4, slot = get_global_id(0);
    if (slot >= slots)
        return;
    const long list = slot / lists_at.s4;
    const int tile = (int)(list % lists_at.s1), item = (int)(list / lists_at.s1);
    const int b = item / (int)lists_at.s2, h = item % (int)lists_at.s2, place = (int)(slot % lists_at.s4);
#if CLF_BASE
    const int other = clf_block_tile(base[clf_block_entries_at(base_at, clf_block_list(base_at, b, h, tile)) + place]);
#else
    const int other = tiles.s2 ? query_tile(tile, place, shape, tiles, hull)
                               : key_tile(tile, place, shape, tiles, hull);
#endif

    int some = 0, every = 0;
    if (other >= 0) {
        const int first_query = (tiles.s2 ? other : tile) * tiles.s0, first_key = (tiles.s2 ? tile : other) * tiles.s1;
        const int queries_end = min(first_query + tiles.s0, shape.s2), keys_end = min(first_key + tiles.s1, shape.s3);
        every = shape.s3 - first_key >= tiles.s1;
        for (int q = first_query; q < queries_end && !(some && !every); q++) {
            clf_bool visible = (clf_bool)(0), hidden = (clf_bool)(0);
            for (int n = first_key; n < keys_end; n += CLF_LANES) {
                const clf_int k = n + CLF_LANE;
                const clf_bool inside = k < keys_end;
                const clf_bool seen = clf_score((clf_real)(0.0f), b, h, q, k, shape, mask, mask_at,
                                                padding, padding_at CLF_EXTRA_ARGUMENTS) != (clf_real)(-INFINITY);
                visible |= seen & inside;
                hidden |= (seen == 0) & inside;
            }
            some |= clf_any_lane(visible);
            every &= !clf_any_lane(hidden);
        }
    }
    lists[clf_block_entries_at(lists_at, list) + place] = some ? 2 * other + !every : -1;
}

__kernel void clf_block_compact(__global int *lists, long8 lists_at)
{
    const long list = get_global_id(0);
    if (list >= lists_at.s1 * lists_at.s2 * lists_at.s3)
        return;
    const long entries = clf_block_entries_at(lists_at, list);
    int count = 0;
    for (int slot = 0; slot < lists_at.s4; slot++) {
        const int entry = lists[entries + slot];
        if (entry >= 0)
            lists[entries + count++] = entry;
    }
    for (int slot = count; slot < lists_at.s4; slot++)
        lists[entries + slot] = -1;
    lists[clf_block_count_at(lists_at, list)] = count;
}
