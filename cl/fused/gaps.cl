/* What rows hold that belong to no sequence: `value`, in results and gradients alike. These are the rows before the
 * first start and from the last one on, and the slots behind k_lengths. Rows of a sequence beyond the largest number
 * that the caller promised were not computed: they are NaN, so that a wrong promise shows.
 *
 * A work-item looks its row up, by halving, and goes over all heads when there is something to write; most have
 * nothing.
 * NDRange: one dimension, 64 for each 64 rows of each batch. shape = {rows, batch, heads, width, sequences, most rows}.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

/* The last sequence that starts at or before the row; -1 if none does. */
static int sequence_of(__global const int *starts, long4 at, int sequences, int row)
{
    int low = -1, high = sequences;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (starts[at.x + middle * at.y] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void clf_fused_fill_gaps(__global clf_storage *rows, long4 rows_at, __global const int *starts, long4 starts_at,
                         __global const int *lengths, long4 lengths_at, int8 shape, float value)
{
    const int groups = (shape.s0 + 63) / 64, b = get_group_id(0) / groups;
    const int row = get_group_id(0) % groups * 64 + get_local_id(0);
    if (row >= shape.s0)
        return;

    const int s = starts ? sequence_of(starts, starts_at, shape.s4, row) : b;
    int own = row, count = s < 0 ? 0 : shape.s0;
    if (starts && s >= 0) {
        own = row - starts[starts_at.x + s * starts_at.y];
        count = starts[starts_at.x + (s + 1) * starts_at.y] - starts[starts_at.x + s * starts_at.y];
    }
    if (lengths && s >= 0)
        count = min(count, lengths[lengths_at.x + s * lengths_at.y]);
    if (own < min(count, shape.s5))
        return;
    const float x = own < count ? NAN : value;
    for (int h = 0; h < shape.s2; h++)
        for (int n = 0; n < shape.s3; n++)
            clf_store(x, rows, rows_at.x + b * rows_at.y + h * rows_at.z + row * rows_at.w + n);
}
