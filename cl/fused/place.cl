/* Where the rows of a head are, and how many.
 *
 * Heads: query head h reads the keys and values of head h / CLF_GROUPS: nothing is copied, and the owner of a head's
 * gradients walks over the query heads h .. h + CLF_GROUPS - 1 that share it, in that order.
 *
 * Sequences: item b is the b-th sequence. With CLF_STARTS its queries (1), its keys (2) or both (3) are some of the
 * rows of batch 0, in a row with those of the others; with CLF_LENGTHS only so many of its rows are keys.
 *
 *     start = clf_starts(b)                  its first rows: {of q, of k}; {0, 0} where every item has its own batch
 *     shape = clf_own_shape(shape, b, start) its queries, keys and causal shift in place of the largest ones
 *
 * From there on a kernel counts within its sequence: causal order, windows, snippets and dropout's random numbers see
 * sequence b, query q, key k just as in a batch of sequences. Whatever the tables say, rows are inside the tensors.
 *
 * A sink is a score of each head without a key: rows begin with it, CLF_SINK(h) in powers of two, as the largest score
 * and a sum of 1. Without sinks it is -infinity.
 */
#ifndef CLF_GROUPS
#define CLF_GROUPS 1 /* heads of q for each head of k and v */
#endif
#ifndef CLF_STARTS
#define CLF_STARTS 0
#endif
#ifndef CLF_LENGTHS
#define CLF_LENGTHS 0
#endif
#ifndef CLF_BOTTOM_RIGHT
#define CLF_BOTTOM_RIGHT 0 /* 1: the shift counts from the sequence's own Nk - Nq */
#endif
#ifndef CLF_SINKS
#define CLF_SINKS 0
#endif

#if CLF_SINKS
#define CLF_SINK_PARAMETERS , __global const float *sinks, long4 sinks_at
#define CLF_SINK(h) (sinks[sinks_at.x + (h) * sinks_at.y] * CLF_LOG2E)
#else
#define CLF_SINK_PARAMETERS
#define CLF_SINK(h) (-INFINITY)
#endif

/* Behind `shape`, in every kernel that has it: the tables, {offset, stride} of each, and the rows of a head of q and
 * k. */
#if CLF_STARTS || CLF_LENGTHS
#define CLF_SEQUENCES 1
#define CLF_SEQUENCE_PARAMETERS , __global const int *q_starts, long4 q_starts_at, \
                                __global const int *k_starts, long4 k_starts_at, \
                                __global const int *k_lengths, long4 k_lengths_at, int2 all_rows
#define CLF_SEQUENCE_ARGUMENTS , q_starts, q_starts_at, k_starts, k_starts_at, k_lengths, k_lengths_at, all_rows
#else
#define CLF_SEQUENCES 0
#define CLF_SEQUENCE_PARAMETERS
#define CLF_SEQUENCE_ARGUMENTS
#endif

static int2 clf_starts(int b CLF_SEQUENCE_PARAMETERS)
{
    int2 start = (int2)(0);
#if CLF_STARTS & 1
    start.x = clamp(q_starts[q_starts_at.x + b * q_starts_at.y], 0, all_rows.x);
#endif
#if CLF_STARTS & 2
    start.y = clamp(k_starts[k_starts_at.x + b * k_starts_at.y], 0, all_rows.y);
#endif
    return start;
}

static int8 clf_own_shape(int8 shape, int b, int2 start CLF_SEQUENCE_PARAMETERS)
{
#if CLF_STARTS & 1
    shape.s2 = clamp(q_starts[q_starts_at.x + (b + 1) * q_starts_at.y], start.x, all_rows.x) - start.x;
#endif
#if CLF_STARTS & 2
    shape.s3 = clamp(k_starts[k_starts_at.x + (b + 1) * k_starts_at.y], start.y, all_rows.y) - start.y;
#endif
#if CLF_LENGTHS
    shape.s3 = clamp(k_lengths[k_lengths_at.x + b * k_lengths_at.y], 0, shape.s3);
#endif
#if CLF_SEQUENCES && CLF_BOTTOM_RIGHT
    shape.s4 += shape.s3 - shape.s2;
#endif
    return shape;
}

/* The first row of query head h in a tensor with the rows of q; at = {offset, strides of batch, head, row}. */
static long clf_queries_at(long4 at, int b, int h, int2 start)
{
#if CLF_STARTS & 1
    return at.x + h * at.z + start.x * at.w;
#else
    return at.x + b * at.y + h * at.z;
#endif
}

/* The first row of what query head h sees in a tensor with the rows of k. */
static long clf_keys_at(long4 at, int b, int h, int2 start)
{
#if CLF_STARTS & 2
    return at.x + h / CLF_GROUPS * at.z + start.y * at.w;
#else
    return at.x + b * at.y + h / CLF_GROUPS * at.z;
#endif
}

/* Key padding is laid out like the keys: {offset, strides of batch, key} for the keys of the sequence. */
static long4 clf_padding_at(long4 at, int2 start)
{
#if CLF_STARTS & 2
    return (long4)(at.x + start.y * at.z, 0, at.z, 0);
#else
    return at;
#endif
}
