/* Layouts of windows with global and random blocks: variable, bigbird, longformer. */
#include "pattern/layout.h"
#include "core/status.h"

/* ---- checks ---------------------------------------------------------------------------------------- */

static clf_status check_globals(const clf_layout_options *o)
{
    if (o->global_count > 0 && !o->global_first)
        return clf__fail(CLF_INVALID_VALUE, "global_first is NULL, global_count = %zu", o->global_count);
    for (size_t i = 0; i < o->global_count; i++) {
        if (o->global_first[i] < 0)
            return clf__fail(CLF_OUT_OF_RANGE, "global_first[%zu] = %lld", i, (long long)o->global_first[i]);
        if (o->global_end && o->global_end[i] <= o->global_first[i])
            return clf__fail(CLF_OUT_OF_RANGE, "global_end[%zu] = %lld lies not behind global_first[%zu] = %lld", i,
                             (long long)o->global_end[i], i, (long long)o->global_first[i]);
    }
    return CLF_SUCCESS;
}

static clf_status check_count(const char *name, int64_t count, int64_t least, int64_t n)
{
    if (count < least || count > n)
        return clf__fail(CLF_OUT_OF_RANGE, "%s = %lld; %lld to %lld are possible in a row of %lld blocks", name,
                         (long long)count, (long long)least, (long long)n, (long long)n);
    return CLF_SUCCESS;
}

static clf_status check_variable(const clf_layout_options *o, int64_t n)
{
    clf_status status = check_count("random_blocks", o->random_blocks, 0, n);

    if (status || (status = check_globals(o)) || (status = clf__layout_check_horizontal(o)))
        return status;
    if (!o->windows || o->window_count == 0)
        return clf__fail(CLF_INVALID_VALUE, "windows is empty");
    for (size_t i = 0; i < o->window_count; i++)
        if (o->windows[i] < 1 || o->windows[i] > CLF__PATTERN_LARGEST)
            return clf__fail(CLF_OUT_OF_RANGE, "windows[%zu] = %lld", i, (long long)o->windows[i]);
    return CLF_SUCCESS;
}

static clf_status check_bigbird(const clf_layout_options *o, int64_t n)
{
    clf_status status = check_count("random_blocks", o->random_blocks, 0, n);

    if (status || (status = check_count("sliding_blocks", o->sliding_blocks, 0, n)) ||
        (status = check_count("global_blocks", o->global_blocks, 0, n)))
        return status;
    if (o->unidirectional && o->semantics == CLF_SEMANTICS_XFORMERS && o->random_blocks > 1)
        return clf__fail(CLF_UNSUPPORTED, "random_blocks = %lld when unidirectional: the first row has one block",
                         (long long)o->random_blocks);
    return CLF_SUCCESS;
}

static clf_status check_longformer(const clf_layout_options *o, int64_t n)
{
    const clf_status status = check_count("sliding_blocks", o->sliding_blocks, 0, n);

    return status ? status : check_globals(o);
}

/* ---- filling ------------------------------------------------------------------------------------------ */

static void fill_globals(const clf__layout *layout, bool rows)
{
    const clf_layout_options *o = layout->options;

    for (size_t i = 0; i < o->global_count; i++)
        clf__layout_global(layout, o->global_first[i], o->global_end ? o->global_end[i] : o->global_first[i] + 1, rows);
}

static void fill_variable(const clf__layout *layout, int64_t *drawn)
{
    const clf_layout_options *o = layout->options;

    clf__layout_random(layout, drawn);
    for (int64_t first = 0, i = 0; first < layout->n; i++) {
        const size_t which = (size_t)i < o->window_count ? (size_t)i : o->window_count - 1;
        const int64_t end = first + o->windows[which];
        for (int64_t row = first; row < end && row < layout->n; row++)
            clf__layout_fill(layout, row, first, o->unidirectional ? row + 1 : end);
        first = end;
    }
    fill_globals(layout, o->horizontal_global);
}

static void fill_bigbird(const clf__layout *layout, int64_t *drawn)
{
    clf__layout_random(layout, drawn);
    clf__layout_sliding(layout);
    clf__layout_global(layout, 0, layout->options->global_blocks, true);
}

static void fill_longformer(const clf__layout *layout, int64_t *drawn)
{
    (void)drawn;
    clf__layout_sliding(layout);
    fill_globals(layout, true);
}

const clf__layout_kind clf__layout_variable = { check_variable, fill_variable };
const clf__layout_kind clf__layout_bigbird = { check_bigbird, fill_bigbird };
const clf__layout_kind clf__layout_longformer = { check_longformer, fill_longformer };
