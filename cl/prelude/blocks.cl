/* Block lists: which tiles of the scores hold anything at all.
 *
 * For each tile of queries a list of the key tiles in which any pair is visible (or for each tile of keys a list of
 * query tiles), ascending. An entry is 2 * tile, plus 1 where the tile is partial: some pair in it is hidden, or it
 * reaches beyond the last key. In the others every pair is visible; only additive masks and score snippets still have
 * to be applied there.
 *
 *     lists    = counts of all lists, then `capacity` entries for each list
 *     lists_at = {where they start, tiles of a head, heads or 1, batches or 1, capacity}
 *
 * With one batch or head, all share the lists. */

/* The number of a list. */
static long clf_block_list(long8 lists_at, int b, int h, int tile)
{
    const int one_b = lists_at.s3 == 1 ? 0 : b, one_h = lists_at.s2 == 1 ? 0 : h;
    return (one_b * lists_at.s2 + one_h) * lists_at.s1 + tile;
}

/* Where its count is, and its first entry. */
static long clf_block_count_at(long8 lists_at, long list) { return lists_at.s0 + list; }
static long clf_block_entries_at(long8 lists_at, long list)
{
    return lists_at.s0 + lists_at.s1 * lists_at.s2 * lists_at.s3 + list * lists_at.s4;
}

static int clf_block_tile(int entry) { return entry >> 1; }
static int clf_block_is_partial(int entry) { return entry & 1; }
