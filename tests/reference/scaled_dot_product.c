/* Exact softmax attention: everybody sees everybody, or nobody the future. */
#include "attention/scaled_dot_product.h"
#include "exact.h"
#include <math.h>

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const int64_t *shift = user;

    (void)item;
    return key <= query + *shift;
}

clf_status clf_reference_scaled_dot_product(const clf_reference *reference);
clf_status clf_reference_scaled_dot_product(const clf_reference *reference)
{
    const scaled_dot_product_config *c = reference->config;
    const clf_tensor *q = &reference->args->io[CLF_QKV_Q], *k = &reference->args->io[CLF_QKV_K];
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    const bool top_left = c->causal_alignment == ALIGN_TOP_LEFT || (c->causal_alignment == ALIGN_AUTO && xformers);
    const int64_t shift = top_left ? 0 : k->shape[2] - q->shape[2];
    const clf__exact exact = {
        .scale = c->scale != 0 ? (double)c->scale : 1 / sqrt((double)q->shape[3]),
        .dropout = c->base.dropout,
        .sees = c->base.causal ? sees : NULL,
        .user = &shift,
    };

    return clf__reference_exact(reference, &exact);
}
