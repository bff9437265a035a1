/* Where the rows of a head are. Query head h reads the keys and values of head h / CLF_GROUPS: nothing is copied, and
 * the owner of a head's gradients walks over the query heads h .. h + CLF_GROUPS - 1 that share it, in that order.
 */
#ifndef CLF_GROUPS
#define CLF_GROUPS 1 /* heads of q for each head of k and v */
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
