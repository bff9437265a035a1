/* Layouts of blocks: options, what is common to all, and the choice of the kind. */
#include "pattern/layout.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

clf_layout_options clf_layout_defaults(clf_layout_kind kind, int64_t heads, int64_t block_size, int64_t seq_len)
{
    static const int64_t four = 4, zero = 0;

    return (clf_layout_options){
        .size = sizeof(clf_layout_options),
        .kind = kind,
        .heads = heads,
        .seq_len = seq_len,
        .block_size = block_size,
        .local_blocks = 4,
        .global_blocks = 1,
        .global_patterns = 1,
        .sliding_blocks = 3,
        .random_blocks = kind == CLF_LAYOUT_BIGBIRD ? 1 : 0,
        .windows = &four,
        .window_count = 1,
        .global_first = &zero,
        .global_count = 1,
    };
}

/* ---- what kinds draw with ------------------------------------------------------------------------------ */

void clf__layout_fill(const clf__layout *layout, int64_t row, int64_t first, int64_t end)
{
    first = first < 0 ? 0 : first;
    end = end > layout->n ? layout->n : end;
    if (first < end)
        memset(layout->blocks + row * layout->n + first, 1, (size_t)(end - first));
}

void clf__layout_random(const clf__layout *layout, int64_t *drawn)
{
    const clf_layout_options *o = layout->options;
    const clf__stream stream = clf__stream_open(o->seed, "layout", true);
    const bool shipped = o->semantics == CLF_SEMANTICS_XFORMERS;
    const bool below = o->unidirectional && !(shipped && o->kind == CLF_LAYOUT_VARIABLE);

    for (int64_t row = 0; row < layout->n; row++) {
        const int64_t range = below ? row + 1 : layout->n, count = o->random_blocks < range ? o->random_blocks : range;
        const uint64_t first = (uint64_t)(layout->head * layout->n + row) * (uint64_t)o->random_blocks;

        if (o->draw)
            o->draw(o->user, layout->head, row, range, count, drawn);
        else
            clf__draw_distinct(&stream, first, range, count, drawn);
        for (int64_t i = 0; i < count; i++)
            clf__layout_fill(layout, row, drawn[i], drawn[i] + 1);
    }
}

void clf__layout_sliding(const clf__layout *layout)
{
    const int64_t half = layout->options->sliding_blocks / 2;

    for (int64_t row = 0; row < layout->n; row++)
        clf__layout_fill(layout, row, row - half, row + half + 1);
}

void clf__layout_global(const clf__layout *layout, int64_t first, int64_t end, bool rows)
{
    for (int64_t row = 0; row < layout->n; row++)
        if (!layout->options->unidirectional || row >= first)
            clf__layout_fill(layout, row, first, end);
    for (int64_t row = first < 0 ? 0 : first; rows && row < end && row < layout->n; row++)
        clf__layout_fill(layout, row, 0, layout->n);
}

static void hide_later_blocks(const clf__layout *layout)
{
    for (int64_t row = 0; row < layout->n; row++)
        memset(layout->blocks + row * layout->n + row + 1, 0, (size_t)(layout->n - row - 1));
}

/* ---- the kinds --------------------------------------------------------------------------------------------- */

static clf_status accept(const clf_layout_options *options, int64_t n)
{
    (void)options;
    (void)n;
    return CLF_SUCCESS;
}

static void fill_dense(const clf__layout *layout, int64_t *drawn)
{
    (void)drawn;
    memset(layout->blocks, 1, (size_t)(layout->n * layout->n));
}

const clf__layout_kind clf__layout_dense = { accept, fill_dense };

static const clf__layout_kind *const kinds[] = {
    [CLF_LAYOUT_DENSE] = &clf__layout_dense,       [CLF_LAYOUT_FIXED] = &clf__layout_fixed,
    [CLF_LAYOUT_VARIABLE] = &clf__layout_variable, [CLF_LAYOUT_BIGBIRD] = &clf__layout_bigbird,
    [CLF_LAYOUT_LONGFORMER] = &clf__layout_longformer,
};

static clf_status check(const clf_layout_options *o, const uint8_t *layout)
{
    if (!o)
        return clf__fail(CLF_INVALID_VALUE, "options is NULL");
    if ((unsigned)o->kind >= sizeof kinds / sizeof kinds[0])
        return clf__fail(CLF_OUT_OF_RANGE, "kind = %d is no kind of layout", (int)o->kind);
    if (o->heads < 1 || o->heads > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_INVALID_SHAPE, "heads = %lld", (long long)o->heads);
    if (o->block_size < 1 || o->seq_len < 0 || o->seq_len > CLF__PATTERN_LARGEST || o->seq_len % o->block_size)
        return clf__fail(CLF_INVALID_SHAPE, "seq_len = %lld is no multiple of block_size = %lld", (long long)o->seq_len,
                         (long long)o->block_size);
    const int64_t n = o->seq_len / o->block_size;
    if (!layout && n > 0)
        return clf__fail(CLF_INVALID_VALUE, "layout is NULL");
    return kinds[o->kind]->check(o, n);
}

clf_status clf_layout_make(const clf_layout_options *options, uint8_t *layout)
{
    clf_status status = check(options, layout);

    if (status)
        return status;
    const int64_t n = options->seq_len / options->block_size;
    const int64_t different = options->different_per_head ? options->heads : 1;
    const bool windows_only = options->kind == CLF_LAYOUT_BIGBIRD || options->kind == CLF_LAYOUT_LONGFORMER;
    const size_t bytes = ((size_t)n + 1) * sizeof(int64_t); /* random_blocks <= n where they are drawn */
    int64_t *drawn = malloc(bytes);
    if (!drawn)
        return clf__no_memory(bytes);
    memset(layout, 0, (size_t)(options->heads * n * n));
    for (int64_t h = 0; h < different; h++) {
        const clf__layout one = { options, h, n, layout + h * n * n };
        kinds[options->kind]->fill(&one, drawn);
        if (options->unidirectional && (windows_only || options->semantics != CLF_SEMANTICS_XFORMERS))
            hide_later_blocks(&one);
    }
    for (int64_t h = different; h < options->heads; h++)
        memcpy(layout + h * n * n, layout, (size_t)(n * n));
    free(drawn);
    return CLF_SUCCESS;
}
