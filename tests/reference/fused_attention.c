/* Exact softmax attention, with the order that the config asks for. */
#include "attention/fused_attention.h"
#include "exact.h"
#include <math.h>

typedef struct order {
    int64_t left, right, shift; /* left and right -1: no limit */
} order;

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const order *o = user;
    const int64_t distance = key - query - o->shift;

    (void)item;
    return (o->right < 0 || distance <= o->right) && (o->left < 0 || distance >= -o->left);
}

clf_status clf_reference_fused_attention(const clf_reference *reference);
clf_status clf_reference_fused_attention(const clf_reference *reference)
{
    const fused_attention_config *c = reference->config;
    const clf_tensor *q = &reference->args->io[CLF_QKV_Q], *k = &reference->args->io[CLF_QKV_K];
    const order o = {
        .left = c->window_left,
        .right = c->base.causal ? 0 : c->window_right,
        .shift = c->causal_alignment == FUSED_TOP_LEFT ? 0 : k->shape[2] - q->shape[2],
    };
    const clf__exact exact = {
        .scale = c->scale != 0 ? (double)c->scale : 1 / sqrt((double)q->shape[3]),
        .dropout = c->base.dropout,
        .sees = sees,
        .user = &o,
    };

    return clf__reference_exact(reference, &exact);
}
