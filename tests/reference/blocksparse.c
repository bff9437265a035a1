/* Block-sparse attention: the layout asked pair by pair. */
#include "attention/blocksparse.h"
#include "exact.h"
#include <clformers/pattern.h>
#include <math.h>
#include <stdlib.h>

/* A layout for one head, which the tests of patterns look at by themselves. */
static clf_status make_layout(const blocksparse_config *c, int64_t rows, bool causal, uint8_t *layout)
{
    clf_layout_options options = clf_layout_defaults((clf_layout_kind)c->pattern, 1, c->block_size, rows * c->block_size);

    options.unidirectional = causal;
    options.seed = (uint64_t)c->seed;
    options.sliding_blocks = options.sliding_blocks < rows ? options.sliding_blocks : rows;
    return clf_layout_make(&options, layout);
}

clf_status clf_reference_blocksparse(const clf_reference *reference);
clf_status clf_reference_blocksparse(const clf_reference *reference)
{
    const blocksparse_config *c = reference->config;
    const bool causal = c->base.causal && c->base.semantics == CLF_SEMANTICS_PAPER;
    const int64_t n = reference->args->io[CLF_QKV_Q].shape[2], block = c->block_size, rows = (n + block - 1) / block;
    const int64_t heads = c->layout && c->layout->rank == 3 ? c->layout->shape[0] : 1;
    uint8_t *made = calloc((size_t)(rows * rows) + 1, 1);
    clf__exact_pairs pairs = { heads, n, n, calloc((size_t)(heads * n * n) + 1, 1) };
    const uint8_t *layout = c->layout ? c->layout->data : made;
    const clf__exact exact = {
        .scale = 1 / sqrt((double)reference->args->io[CLF_QKV_Q].shape[3]),
        .dropout = c->base.dropout,
        .sees = clf__exact_pairs_see,
        .user = &pairs,
    };
    clf_status status = made && pairs.seen ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;

    if (!status && !c->layout)
        status = make_layout(c, rows, causal, made);
    for (int64_t h = 0; !status && h < heads; h++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < (causal ? i + 1 : n); j++)
                pairs.seen[(h * n + i) * n + j] = layout[(h * rows + i / block) * rows + j / block];
    if (!status)
        status = clf__reference_exact(reference, &exact);
    free(made);
    free(pairs.seen);
    return status;
}
