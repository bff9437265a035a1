/* Random attention: what was drawn, and xFormers' lost entries taken away. */
#include "attention/random.h"
#include "exact.h"
#include <clformers/pattern.h>
#include <math.h>
#include <stdlib.h>

/* The draw, which the tests of patterns look at by themselves. */
static clf_status draw(const random_config *c, int64_t n, bool causal, clf_pattern **pattern)
{
    const uint64_t seed = (uint64_t)c->seed;

    if (c->keys_per_row > 0)
        return clf_pattern_random_keys(1, n, n, c->keys_per_row < n ? c->keys_per_row : n, causal, seed, pattern);
    return clf_pattern_random(1, n, n, 1 - (double)c->r, seed, pattern);
}

clf_status clf_reference_random(const clf_reference *reference);
clf_status clf_reference_random(const clf_reference *reference)
{
    const random_config *c = reference->config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS, causal = c->base.causal && !xformers;
    const bool is_drawn = !c->pattern && (c->keys_per_row > 0 || (c->r > 0 && c->r < 1));
    const int64_t n = reference->args->io[CLF_QKV_Q].shape[2];
    const uint8_t *given = c->pattern ? c->pattern->data : NULL;
    clf__exact_pairs pairs = { 1, n, n, calloc((size_t)(n * n) + 1, 1) };
    const clf__exact exact = {
        .scale = 1 / sqrt((double)reference->args->io[CLF_QKV_Q].shape[3]),
        .dropout = c->base.dropout,
        .sees = clf__exact_pairs_see,
        .user = &pairs,
    };
    clf_pattern *pattern = NULL;
    clf_status status = pairs.seen ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;

    if (!status && is_drawn)
        status = draw(c, n, causal, &pattern);
    for (int64_t i = 0; !status && i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const bool drawn = given ? given[i * n + j] != 0 : pattern ? clf_pattern_sees(pattern, 0, 0, i, j) : c->r >= 1;
            pairs.seen[i * n + j] = (drawn || (!xformers && i == j)) && (!causal || j <= i);
        }
    if (!status && xformers)
        clf__exact_pairs_drop(&pairs, reference, c->force_sparsity);
    if (!status)
        status = clf__reference_exact(reference, &exact);
    clf_pattern_free(pattern);
    free(pairs.seen);
    return status;
}
