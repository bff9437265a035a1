/* Global tokens: pairs written down one by one, and xFormers' lost entries taken away. */
#include "attention/global.h"
#include "exact.h"
#include <math.h>
#include <stdlib.h>

static bool is_global(const global_config *c, int64_t i)
{
    const uint8_t *given = c->attention_query_mask ? c->attention_query_mask->data : NULL;
    return given ? given[i] != 0 : i < c->num_global_tokens;
}

clf_status clf_reference_global(const clf_reference *reference);
clf_status clf_reference_global(const clf_reference *reference)
{
    const global_config *c = reference->config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const int64_t n = reference->args->io[CLF_QKV_Q].shape[2];
    clf__exact_pairs pairs = { 1, n, n, calloc((size_t)(n * n) + 1, 1) };
    const clf__exact exact = {
        .scale = 1 / sqrt((double)reference->args->io[CLF_QKV_Q].shape[3]),
        .dropout = c->base.dropout,
        .sees = clf__exact_pairs_see,
        .user = &pairs,
    };

    if (!pairs.seen)
        return CLF_OUT_OF_HOST_MEMORY;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            pairs.seen[i * n + j] = (is_global(c, i) || is_global(c, j) || (!xformers && i == j)) &&
                                    (xformers || !c->base.causal || j <= i);
    if (xformers)
        clf__exact_pairs_drop(&pairs, reference, c->force_sparsity);
    const clf_status status = clf__reference_exact(reference, &exact);
    free(pairs.seen);
    return status;
}
