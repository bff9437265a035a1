/* Sliding-window attention: a predicate; for xFormers, which loses entries, pairs written down one by one. */
#include "attention/local.h"
#include "exact.h"
#include <math.h>
#include <stdlib.h>

typedef struct band {
    int64_t queries, keys, left, right;
} band;

static bool inside(const band *band, int64_t i, int64_t j)
{
    const int64_t place = i + band->keys - band->queries;
    return j >= place - band->left && j <= place + band->right;
}

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    (void)item;
    return inside(user, query, key);
}

/* The band as xFormers' paths leave it; queries and keys are as many. */
static clf_status shipped(const clf_reference *reference, clf__exact *exact, const band *band)
{
    const local_config *c = reference->config;
    const int64_t n = band->queries;
    clf__exact_pairs pairs = { 1, n, n, calloc((size_t)(n * n) + 1, 1) };

    if (!pairs.seen)
        return CLF_OUT_OF_HOST_MEMORY;
    for (int64_t i = 0; i < n * n; i++)
        pairs.seen[i] = inside(band, i / n, i % n);
    clf__exact_pairs_drop(&pairs, reference, c->force_sparsity);
    exact->sees = clf__exact_pairs_see;
    exact->user = &pairs;
    const clf_status status = clf__reference_exact(reference, exact);
    free(pairs.seen);
    return status;
}

clf_status clf_reference_local(const clf_reference *reference);
clf_status clf_reference_local(const clf_reference *reference)
{
    const local_config *c = reference->config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const int64_t half = c->window_size / 2, n = reference->args->io[CLF_QKV_Q].shape[2];
    const band band = {
        .queries = n,
        .keys = reference->args->io[CLF_QKV_K].shape[2],
        .left = !c->base.causal ? half : xformers ? c->window_size : c->window_size - 1,
        .right = c->base.causal ? 0 : half,
    };
    clf__exact exact = {
        .scale = 1 / sqrt((double)reference->args->io[CLF_QKV_Q].shape[3]),
        .dropout = c->base.dropout,
        .sees = sees,
        .user = &band,
    };

    return xformers ? shipped(reference, &exact, &band) : clf__reference_exact(reference, &exact);
}
