/* For kernels whose work-items own CLF_LANES neighbouring channels of a row, with f32 tensors beside those of the call:
 * where a work-item is, rows that are kept, dropout of the elements of a result.
 */
#include "prelude/lanes.cl"
#include "prelude/philox.cl"

/* Where a work-item is. */
typedef struct clf_place {
    int b, h, row, channel, left; /* left: channels from `channel` to the end of the row */
} clf_place;

static clf_place clf_place_of(ulong item, int heads, int rows, int width)
{
    const int blocks = (width + CLF_LANES - 1) / CLF_LANES, channel = (int)(item % blocks) * CLF_LANES;
    const ulong head = item / blocks / rows;
    const clf_place p = { (int)(head / heads), (int)(head % heads), (int)(item / blocks % rows), channel,
                          width - channel };
    return p;
}

static long clf_row_at(clf_place p, int row, long4 at)
{
    return at.x + p.b * at.y + p.h * at.z + row * at.w + p.channel;
}

static int clf_is_kept(__global const uchar *keep, long4 keep_at, int b, int row)
{
    return !keep || keep[keep_at.x + b * keep_at.y + row];
}

/* What dropout leaves of the channels of a place; all of them unless random.s5. */
static clf_real clf_drop(clf_real x, clf_place p, int heads, float scale, uint8 random)
{
    if (!random.s5)
        return x;
#if CLF_LANES == 16
    int16 first, second;
    clf_keep32(p.channel, p.row, p.b * heads + p.h, random, &first, &second);
    return first ? x * scale : (clf_real)(0.0f);
#else
    return clf_keep(p.channel, p.row, p.b * heads + p.h, random) ? x * scale : 0.0f;
#endif
}
