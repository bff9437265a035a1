/* Exact softmax attention with the order that the config asks for, softcap, ALiBi, and the expressions that tests use. */
#include "attention/fused_attention.h"
#include "exact.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rules {
    const fused_attention_config *config;
    int64_t left, right, shift; /* left and right -1: no limit */
    int64_t heads;
    const double *slopes;       /* of the heads; NULL = none */
    const double *table;        /* extra_0 */
} rules;

/* ---- expressions, by their text -------------------------------------------------------------------------- */

static bool sees_prefix(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)r;
    return k <= q || k < n[0];
}
static bool sees_window(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)r;
    return k >= q - n[0] && k <= q + n[1];
}
static bool sees_dilated(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)r;
    return (q - k) % n[0] == 0;
}
static bool sees_neighbours(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)r;
    return llabs(q / n[0] - k / n[0]) <= n[1] && llabs(q % n[0] - k % n[0]) <= n[2];
}
static bool sees_causal(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)r, (void)n;
    return k <= q;
}
static bool sees_small(const rules *r, int64_t q, int64_t k, const int *n)
{
    (void)n;
    return k <= q + 3 && r->table[(k + q) & 3] < 1;
}

static const struct { const char *form; bool (*sees)(const rules *r, int64_t q, int64_t k, const int *n); } masks[] = {
    { "@causal", sees_causal },
    { "@prefix_lm(%d)", sees_prefix },
    { "@sliding_window(%d,%d)", sees_window },
    { "@dilated(%d)", sees_dilated },
    { "@neighbourhood_2d(%d,%d,%d)", sees_neighbours },
    { "(k <= q + 3) & (CLF_GATHER(table, (k + q) & 3) < 1.0f)", sees_small },
};

static bool passes_mask_mod(const rules *r, int64_t q, int64_t k)
{
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        int n[3] = { 0 };
        const size_t plain = strcspn(masks[i].form, "%");
        if (strncmp(r->config->mask_mod, masks[i].form, plain) == 0 &&
            (!masks[i].form[plain] || sscanf(r->config->mask_mod + plain, masks[i].form + plain, &n[0], &n[1], &n[2]) > 0))
            return masks[i].sees(r, q, k, n);
    }
    return false;
}

static double bend(double cap, double score, double *slope)
{
    const double bent = tanh(score / cap);

    *slope *= 1 - bent * bent;
    return cap * bent;
}

static double score_mod(const rules *r, int64_t h, int64_t q, int64_t k, double score, double *slope)
{
    float cap;

    if (sscanf(r->config->score_mod, "@softcap(%f)", &cap) == 1)
        return bend((double)cap, score, slope);
    if (strcmp(r->config->score_mod, "@alibi(table)") == 0)
        return score + r->table[h] * (double)(k - q);
    *slope *= r->table[h]; /* score * table[h] + 0.125f * clf_to_real(k - q) */
    return score * r->table[h] + 0.125 * (double)(k - q);
}

/* ---- what exact attention asks ---------------------------------------------------------------------------- */

static bool sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const rules *r = user;
    const int64_t distance = key - query - r->shift;

    (void)item;
    return (r->right < 0 || distance <= r->right) && (r->left < 0 || distance >= -r->left) &&
           (!r->config->mask_mod || passes_mask_mod(r, query, key));
}

static double change(const void *user, int64_t item, int64_t query, int64_t key, double score, double *slope)
{
    const rules *r = user;

    *slope = 1;
    if (r->config->softcap > 0)
        score = bend((double)r->config->softcap, score, slope);
    if (r->config->score_mod)
        score = score_mod(r, item % r->heads, query, key, score, slope);
    return r->slopes ? score + r->slopes[item % r->heads] * (double)(key - query - r->shift) : score;
}

/* The slopes of the paper, for up to 256 heads. */
static void usual_slopes(int64_t heads, double *slopes)
{
    int64_t count = 1;

    for (; count * 2 <= heads; count *= 2)
        ;
    for (int64_t i = 0; i < heads; i++)
        slopes[i] = (double)(float)pow(2, i < count ? -8.0 * (double)(i + 1) / (double)count
                                                    : -4.0 * (double)(2 * (i - count) + 1) / (double)count);
}

clf_status clf_reference_fused_attention(const clf_reference *reference);
clf_status clf_reference_fused_attention(const clf_reference *reference)
{
    const fused_attention_config *c = reference->config;
    const clf_tensor *q = &reference->args->io[CLF_QKV_Q], *k = &reference->args->io[CLF_QKV_K];
    double usual[256];
    const rules r = {
        .config = c,
        .left = c->window_left,
        .right = c->base.causal ? 0 : c->window_right,
        .shift = c->causal_alignment == FUSED_TOP_LEFT ? 0 : k->shape[2] - q->shape[2],
        .heads = q->shape[1],
        .slopes = c->alibi ? usual : reference->io[FUSED_ALIBI],
        .table = reference->io[FUSED_EXTRA],
    };
    const clf__exact exact = {
        .scale = c->scale != 0 ? (double)c->scale : 1 / sqrt((double)q->shape[3]),
        .dropout = c->base.dropout,
        .sees = sees,
        .change = c->softcap > 0 || r.slopes || c->score_mod ? change : NULL,
        .user = &r,
    };

    if (c->alibi)
        usual_slopes(r.heads, usual);
    return clf__reference_exact(reference, &exact);
}
