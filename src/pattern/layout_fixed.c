/* Fixed layout: windows of local_blocks that see each other, and the last global_blocks of each window, which all
 * rows see; other heads may take earlier ones. */
#include "pattern/layout.h"
#include "core/status.h"

clf_status clf__layout_check_horizontal(const clf_layout_options *o)
{
    if (o->horizontal_global && o->unidirectional)
        return clf__fail(CLF_UNSUPPORTED, "horizontal_global with unidirectional: global blocks would see later ones");
    return CLF_SUCCESS;
}

static clf_status check(const clf_layout_options *o, int64_t n)
{
    (void)n;
    if (o->local_blocks < 1 || o->global_blocks < 1 || o->local_blocks % o->global_blocks)
        return clf__fail(CLF_OUT_OF_RANGE, "local_blocks = %lld is no multiple of global_blocks = %lld",
                         (long long)o->local_blocks, (long long)o->global_blocks);
    if (o->global_patterns < 1 || o->global_patterns > o->local_blocks / o->global_blocks)
        return clf__fail(CLF_OUT_OF_RANGE, "global_patterns = %lld; a window has room for %lld",
                         (long long)o->global_patterns, (long long)(o->local_blocks / o->global_blocks));
    if (o->global_patterns > 1 && !o->different_per_head)
        return clf__fail(CLF_UNSUPPORTED, "global_patterns = %lld, but all heads have the same layout",
                         (long long)o->global_patterns);
    return clf__layout_check_horizontal(o);
}

static void fill(const clf__layout *layout, int64_t *drawn)
{
    const clf_layout_options *o = layout->options;
    const int64_t n = layout->n, window = o->local_blocks, whole = n - n % window;
    const int64_t place = window - (1 + layout->head % o->global_patterns) * o->global_blocks;

    (void)drawn;
    for (int64_t row = 0; row < n; row++) {
        const int64_t first = row / window * window;
        clf__layout_fill(layout, row, first, o->unidirectional ? row + 1 : first + window);
    }
    for (int64_t first = place; first < whole; first += window)
        clf__layout_global(layout, first, first + o->global_blocks, o->horizontal_global);
    if (whole < n) { /* a short last window: its own, or the last blocks of all */
        const int64_t last = n - o->global_blocks, first = whole + place < last ? whole + place : last;
        clf__layout_global(layout, first, first + o->global_blocks, o->horizontal_global);
    }
}

const clf__layout_kind clf__layout_fixed = { check, fill };
