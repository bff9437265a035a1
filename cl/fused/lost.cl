/* Which pairs xFormers' sparse path loses under a mask: the last ones in row-major order, until their number is a
 * multiple of four. Nothing is read back: the mask may be another one in each run.
 *
 *     x . x x . .     clf_fused_count_left: how many pairs order, pattern and mask leave of each row (a work-item a row)
 *     . x . . x .
 *     x . . . x(x)    clf_fused_find_lost: the first pair that is lost, {row, key}: here 9 are left, 1 is too many, and
 *                     everything from (2, 5) on goes. {rows, 0} where nothing is lost.
 *
 * The families then ask, as a mask snippet, whether a pair comes before that one: two numbers, whatever the length.
 *
 * NDRange: one dimension in groups of 64: count_left a work-item for each row, rounded up; find_lost one group. Build
 * without lanes; CLF_BLOCKS=1: sparse rows of a pattern (lists.cl), otherwise causal order and window tell who is asked.
 */
#include "prelude/mask.cl"
#include "fused/lists.cl"

#define ITEMS 64

#if CLF_BLOCKS
#define LIST_ARGUMENTS , lists, lists_at
#else
#define LIST_ARGUMENTS
#endif

/* The places of a row that may hold a pair, and the key of one. */
static int2 places_of(int q, int8 shape CLF_LIST_PARAMETERS)
{
#if CLF_BLOCKS
    return (int2)(clf_list_begin(lists, lists_at, q), clf_list_end(lists, lists_at, q));
#else
    return (int2)(clf_first_key(q, shape), clf_keys_seen(q, shape.s3, shape.s4));
#endif
}

/* The key at a place, or -1 where it is hidden. The mask is the same for all heads. */
static int key_at(int q, int place, int8 shape, __global const clf_mask *mask, long8 mask_at CLF_LIST_PARAMETERS)
{
#if CLF_BLOCKS
    const int key = lists[lists_at.s4 + place];
#else
    const int key = place;
#endif
    const float score = clf_score(0.0f, 0, 0, q, key, shape, mask, mask_at, 0, (long4)(0));
    return score == -INFINITY ? -1 : key;
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_count_left(__global const clf_mask *mask, long8 mask_at, __global int *counts, long4 counts_at, int8 shape
                          CLF_LIST_PARAMETERS)
{
    const int q = get_global_id(0);
    if (q >= shape.s2)
        return;
    const int2 places = places_of(q, shape LIST_ARGUMENTS);
    int count = 0;
    for (int place = places.x; place < places.y; place++)
        count += key_at(q, place, shape, mask, mask_at LIST_ARGUMENTS) >= 0;
    counts[counts_at.x + q] = count;
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_fused_find_lost(__global const clf_mask *mask, long8 mask_at, __global int *counts, long4 counts_at,
                         __global int *first, long4 first_at, int8 shape CLF_LIST_PARAMETERS)
{
    __local int sums[ITEMS];
    const int item = get_local_id(0);
    int sum = 0;
    for (int q = item; q < shape.s2; q += ITEMS)
        sum += counts[counts_at.x + q] & 3;
    sums[item] = sum & 3;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item > 0)
        return;
    int lost = 0, row = shape.s2, key = 0;
    for (int i = 0; i < ITEMS; i++)
        lost += sums[i];
    for (lost &= 3; lost > 0; lost -= counts[counts_at.x + row])
        row--;
    if (row < shape.s2) { /* keeps -lost pairs, the next one is the first that goes */
        int2 places = places_of(row, shape LIST_ARGUMENTS);
        for (int left = -lost; places.x < places.y; places.x++) {
            key = key_at(row, places.x, shape, mask, mask_at LIST_ARGUMENTS);
            if (key >= 0 && left-- == 0)
                break;
        }
    }
    first[first_at.x] = row;
    first[first_at.x + 1] = key;
}
