/* Which parts of the scores a kernel looks at, where a pattern or a mask snippet leaves only some of them
 * (src/fused/sparse.h).
 *
 *     starts    of every list, and the end of the last       lists = tiles of queries (or of keys) in each head, or
 *     order     the lists of each head, longest first                 rows, where keys are gathered one by one
 *     entries   of tiles four numbers each, of rows the
 *               key (or query); -1 stands for a key of zeros
 *     bits      of partial parts of tiles
 *
 *     lists_at = {lists of a head, heads or 1, batches or 1, where order starts, where entries start}
 *
 * A tile's entry: {number, parts with any pair, parts with some pair hidden, where their bits start}. A part is a few
 * rows of the tile (all of them where kernels do not split it). Of each partial part, one after another, there are
 * bits for every pair: a row a query, 32 keys a number. In the other parts every pair is in the pattern. Rows beyond
 * the last query and keys beyond the last one are not told of.
 *
 * Lists of a mask snippet (CLF_BLOCKS 2) are made on the device (list_tiles.cl): counts of all lists, then room for the
 * most entries of each; no order, no bits, because the snippet itself tells what it hides in a partial part.
 *
 *     lists_at = {lists of a head, heads or 1, batches or 1, most entries, -, -, where it starts: low, high half}
 */
#include "prelude/types.cl"

#ifndef CLF_BLOCKS
#define CLF_BLOCKS 0 /* 1: lists of a pattern, 2: of a mask snippet */
#endif

#if CLF_BLOCKS
#define CLF_LIST_PARAMETERS , __global const int *lists, int8 lists_at

/* The first list of a head, and in lists of patterns the one that comes at place `turn` in the order. */
static int clf_lists_of(int8 lists_at, int b, int h)
{
    return ((lists_at.s2 == 1 ? 0 : b) * lists_at.s1 + (lists_at.s1 == 1 ? 0 : h)) * lists_at.s0;
}

#if CLF_BLOCKS == 2
static __global int *clf_listed_counts(__global const int *lists, int8 lists_at)
{
    return (__global int *)lists + (((long)lists_at.s7 << 32) | (uint)lists_at.s6);
}

static __global int *clf_listed_tiles(__global const int *lists, int8 lists_at)
{
    return clf_listed_counts(lists, lists_at) + lists_at.s0 * lists_at.s1 * lists_at.s2;
}

/* The entries of a list: from begin to end - 1. */
static int clf_list_begin(__global const int *lists, int8 lists_at, int list) { return list * lists_at.s3; }
static int clf_list_end(__global const int *lists, int8 lists_at, int list)
{
    return list * lists_at.s3 + clf_listed_counts(lists, lists_at)[list];
}

static int4 clf_list_tile(__global const int *lists, int8 lists_at, int entry)
{
    return vload4(entry, clf_listed_tiles(lists, lists_at));
}
#else
static int clf_list_in_turn(__global const int *lists, int8 lists_at, int b, int h, int turn)
{
    return lists[lists_at.s3 + clf_lists_of(lists_at, b, h) + turn];
}

/* The entries of a list: from begin to end - 1. */
static int clf_list_begin(__global const int *lists, int8 lists_at, int list) { return lists[list]; }
static int clf_list_end(__global const int *lists, int8 lists_at, int list) { return lists[list + 1]; }

/* An entry of tiles. */
static int4 clf_list_tile(__global const int *lists, int8 lists_at, int entry)
{
    return vload4(entry, lists + lists_at.s4);
}
#endif

/* Where the bits of a partial part are: `words` numbers for each partial part before it. */
static __global const int *clf_list_bits(__global const int *lists, int4 tile, int part, int words)
{
    return lists + tile.w + popcount(tile.z & ((1 << part) - 1)) * words;
}

/* The same scores where their bit is set, -INFINITY elsewhere: sixteen keys of `word`, or one. */
static clf_real clf_list_seen(clf_real score, int word, int first)
{
#if CLF_LANES == 16
    const int16 sign = (int16)(word) << (31 - first - CLF_LANE);
    return sign < 0 ? score : (float16)(-INFINITY);
#else
    return (word >> first) & 1 ? score : -INFINITY;
#endif
}
#else
#define CLF_LIST_PARAMETERS
#endif
