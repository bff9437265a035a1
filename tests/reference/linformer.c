/* Linformer in plain C: mixtures of keys and values, exact attention to them, and back. */
#include "attention/linformer.h"
#include "exact.h"
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    const clf_reference *reference;
    int64_t items, heads, keys, mixtures, room; /* room: columns of the weights */
} problem;

static const int slots[2] = { CLF_QKV_K, CLF_QKV_V };

static double add(const problem *p, double sum, double a, double b)
{
    return clf_reference_add(p->reference, sum, a, b);
}

static bool is_padding(const problem *p, int64_t item, int64_t key)
{
    const double *mask = p->reference->io[CLF_QKV_KEY_PADDING_MASK];
    return mask && mask[item / p->heads * p->keys + key] == 0;
}

static int64_t width_of(const problem *p, int which)
{
    return p->reference->args->io[slots[which]].shape[3];
}

/* mixed = weight x, padding left out */
static void mix(const problem *p, int which, double *mixed)
{
    const double *x = p->reference->io[slots[which]], *weight = p->reference->parameter[which];
    const int64_t width = width_of(p, which);

    for (int64_t item = 0; item < p->items; item++)
        for (int64_t m = 0; m < p->mixtures; m++)
            for (int64_t d = 0; d < width; d++) {
                double sum = 0;
                for (int64_t j = 0; j < p->keys; j++)
                    if (!is_padding(p, item, j))
                        sum = add(p, sum, weight[m * p->room + j], x[(item * p->keys + j) * width + d]);
                mixed[(item * p->mixtures + m) * width + d] = clf_reference_store(p->reference, sum);
            }
}

/* The gradient of x from that of what was mixed. */
static void unmix(const problem *p, int which, const double *gradient)
{
    const double *weight = p->reference->parameter[which];
    double *to = p->reference->grad[slots[which]];
    const int64_t width = width_of(p, which);

    for (int64_t i = 0; to && i < p->items * p->keys; i++)
        for (int64_t d = 0; d < width; d++) {
            double sum = 0;
            for (int64_t m = 0; m < p->mixtures && !is_padding(p, i / p->keys, i % p->keys); m++)
                sum = add(p, sum, weight[m * p->room + i % p->keys],
                          gradient[(i / p->keys * p->mixtures + m) * width + d]);
            to[i * width + d] = clf_reference_store(p->reference, sum);
        }
}

static void weigh(const problem *p, int which, const double *gradient)
{
    const double *x = p->reference->io[slots[which]];
    double *to = p->reference->parameter_grad[which];
    const int64_t width = width_of(p, which);

    for (int64_t m = 0; to && m < p->mixtures; m++)
        for (int64_t j = 0; j < p->room; j++) {
            double sum = 0;
            for (int64_t item = 0; item < p->items && j < p->keys; item++)
                for (int64_t d = 0; d < width && !is_padding(p, item, j); d++)
                    sum = add(p, sum, gradient[(item * p->mixtures + m) * width + d],
                              x[(item * p->keys + j) * width + d]);
            to[m * p->room + j] = clf_reference_store(p->reference, sum);
        }
}

/* xFormers drops elements of the result, too. */
static void drop(const problem *p, const double *from, double *to)
{
    const linformer_config *c = p->reference->config;
    const clf_tensor *out = &p->reference->args->io[CLF_QKV_OUT];
    const int64_t rows = out->shape[2], width = out->shape[3];
    const bool again = c->base.semantics == CLF_SEMANTICS_XFORMERS && p->reference->args->training &&
                       c->base.dropout > 0;

    for (int64_t i = 0; i < p->items * rows * width; i++) {
        const bool kept = !again || clf_reference_keep(p->reference, c->base.dropout, i / width / rows,
                                                       i / width % rows, LINFORMER_CHANNEL_KEY + i % width);
        to[i] = !kept    ? 0
                : !again ? from[i]
                         : clf_reference_store(p->reference, from[i] / (1 - (double)c->base.dropout));
    }
}

/* Attention to what was mixed, as a problem of its own: its arrays are mixed keys and values, their gradients, the
 * result before the last dropout, its gradient. */
static clf_status attend(const problem *p, double *array[6])
{
    const clf_reference *outer = p->reference;
    const linformer_config *c = outer->config;
    const clf__exact exact = { .scale = 1 / sqrt((double)outer->args->io[CLF_QKV_Q].shape[3]),
                               .dropout = c->base.dropout };
    clf_reference inner = *outer;
    clf_args args = *outer->args;
    clf_status status;

    for (int which = 0; which < 2; which++) {
        args.io[slots[which]].shape[2] = p->mixtures;
        inner.io[slots[which]] = array[which];
        inner.grad[slots[which]] = outer->pass & CLF_BACKWARD ? array[2 + which] : NULL;
    }
    args.io[CLF_QKV_KEY_PADDING_MASK].rank = 0;
    inner.io[CLF_QKV_KEY_PADDING_MASK] = NULL;
    inner.io[CLF_QKV_OUT] = array[4];
    inner.args = &args;
    if (outer->pass & CLF_BACKWARD) {
        drop(p, outer->grad[CLF_QKV_OUT], array[5]);
        inner.grad[CLF_QKV_OUT] = array[5];
    }
    if ((status = clf__reference_exact(&inner, &exact)))
        return status;
    drop(p, array[4], outer->io[CLF_QKV_OUT]);
    return CLF_SUCCESS;
}

clf_status clf_reference_linformer(const clf_reference *reference);
clf_status clf_reference_linformer(const clf_reference *reference)
{
    const linformer_config *c = reference->config;
    const int64_t *shape = reference->args->io[CLF_QKV_K].shape;
    const problem p = { .reference = reference, .items = shape[0] * shape[1], .heads = shape[1], .keys = shape[2],
                        .mixtures = c->k, .room = c->base.seq_len };
    const int64_t out = clf_tensor_elements(&reference->args->io[CLF_QKV_OUT]);
    double *array[6] = { NULL };
    bool complete = true;
    clf_status status = CLF_OUT_OF_HOST_MEMORY;

    for (int i = 0; i < 6; i++) {
        array[i] = calloc((size_t)(i < 4 ? p.items * p.mixtures * width_of(&p, i % 2) : out) + 1, sizeof *array[i]);
        complete = complete && array[i];
    }
    if (complete) {
        mix(&p, 0, array[0]);
        mix(&p, 1, array[1]);
        status = attend(&p, array);
        for (int which = 0; which < 2 && !status && (reference->pass & CLF_BACKWARD); which++) {
            unmix(&p, which, array[2 + which]);
            weigh(&p, which, array[2 + which]);
        }
    }
    for (int i = 0; i < 6; i++)
        free(array[i]);
    return status;
}
