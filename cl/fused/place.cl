/* Where the rows of a head are. Query head h reads the keys and values of head h / CLF_GROUPS: nothing is copied, and
 * the owner of a head's gradients walks over the query heads h .. h + CLF_GROUPS - 1 that share it, in that order.
 *
 * A sink is a score of each head without a key: rows begin with it, CLF_SINK(h) in powers of two, as the largest score
 * and a sum of 1. Without sinks it is -infinity.
 */
#ifndef CLF_GROUPS
#define CLF_GROUPS 1 /* heads of q for each head of k and v */
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

/* The first element of head h in a tensor with the rows of q; at = {offset, strides of batch, head, row}. */
static long clf_queries_at(long4 at, int b, int h)
{
    return at.x + b * at.y + h * at.z;
}

/* The first element of what query head h sees in a tensor with the rows of k. */
static long clf_keys_at(long4 at, int b, int h)
{
    return at.x + b * at.y + h / CLF_GROUPS * at.z;
}
