/* Sliding-window attention: a predicate, and xFormers' lost entries counted one by one. */
#include "attention/local.h"
#include "exact.h"
#include <math.h>

typedef struct band {
    int64_t queries, keys, left, right;
    int64_t kept; /* entries of the pattern that remain, -1 = all */
} band;

static bool inside(const band *band, int64_t i, int64_t j)
{
    const int64_t place = i + band->keys - band->queries;
    return j >= place - band->left && j <= place + band->right;
}

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const band *band = user;
    int64_t before = 0;

    (void)item;
    if (!inside(band, query, key))
        return false;
    if (band->kept < 0 || query < band->queries - 4)
        return true;
    for (int64_t i = 0; i <= query; i++)
        for (int64_t j = 0; j < (i == query ? key : band->keys); j++)
            before += inside(band, i, j);
    return before < band->kept;
}

clf_status clf_reference_local(const clf_reference *reference);
clf_status clf_reference_local(const clf_reference *reference)
{
    const local_config *c = reference->config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const int64_t half = c->window_size / 2, n = reference->args->io[CLF_QKV_Q].shape[2];
    band band = {
        .queries = n,
        .keys = reference->args->io[CLF_QKV_K].shape[2],
        .left = !c->base.causal ? half : xformers ? c->window_size : c->window_size - 1,
        .right = c->base.causal ? 0 : half,
        .kept = -1,
    };
    const clf__exact exact = {
        .scale = 1 / sqrt((double)reference->args->io[CLF_QKV_Q].shape[3]),
        .dropout = c->base.dropout,
        .sees = sees,
        .user = &band,
    };
    int64_t entries = 0;

    for (int64_t i = 0; xformers && i < n; i++)
        for (int64_t j = 0; j < n; j++)
            entries += inside(&band, i, j);
    if (xformers && (c->force_sparsity || (double)entries <= 0.3 * (double)n * (double)n))
        band.kept = entries / 4 * 4;
    return clf__reference_exact(reference, &exact);
}
