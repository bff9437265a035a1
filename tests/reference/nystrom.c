/* Nystrom attention in plain C, with every matrix written out. */
#include "attention/nystrom.h"
#include "dense.h"
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    clf__dense            d;
    const clf_reference  *r;
    const nystrom_config *c;
    int64_t  items, heads, queries, keys, width, value_width, marks;
    bool     xformers, exact, alike; /* alike: as many queries as keys */
    int      iterations;
    double   scale;
} problem;

/* One head: its matrices, in the order of forward. */
typedef struct head {
    double *q, *k, *v;             /* as attention sees them */
    double *q_marks, *k_marks, *q_share, *k_share;
    double *far, *far_weights, *near, *near_weights, *values, *weights, *x;
    double *z;                     /* iterates, one behind the other */
    double  c;
    int64_t column;                /* where the scale comes from: item * marks + column */
} head;

static double *take(problem *p, int64_t count)
{
    return clf__dense_take(&p->d, count);
}

static double add(const problem *p, double sum, double a, double b)
{
    return clf__dense_add(&p->d, sum, a, b);
}

static void multiply(const problem *p, clf__turn turn, double alpha, const double *a, const double *b, int64_t rows,
                     int64_t depth, int64_t columns, bool more, double *c)
{
    clf__dense_multiply(&p->d, turn, alpha, a, b, rows, depth, columns, more, c);
}

static double *iterate(const problem *p, const head *h, int n)
{
    return h->z + n * p->marks * p->marks;
}

/* ---- masks and landmarks -------------------------------------------------------------------------------- */

/* What the mask adds to the scores of a key: -inf for padding. */
static double bias_of(const problem *p, int64_t item, int64_t key)
{
    const clf_dtype dtype = p->r->args->io[CLF_QKV_KEY_PADDING_MASK].dtype;
    const double *mask = p->r->io[CLF_QKV_KEY_PADDING_MASK];

    if (!mask)
        return 0;
    const double value = mask[item / p->heads * p->keys + key];
    if (dtype == CLF_BOOL8 || dtype == CLF_U8)
        return value != 0 ? 0 : -INFINITY;
    return value;
}

static bool kept(const problem *p, int64_t item, int64_t row)
{
    return bias_of(p, item, row) != -INFINITY;
}

static int64_t start_of(int64_t l, int64_t rows, int64_t count)
{
    const int64_t longer = l - (count - rows % count);
    return l * (rows / count) + (longer > 0 ? longer : 0);
}

/* Means of segments; `masked` says that the key padding mask is about these rows. */
static void pool(problem *p, int64_t item, const double *x, int64_t rows, bool masked, double *share, double *marks)
{
    for (int64_t l = 0; l < p->marks; l++) {
        const int64_t first = start_of(l, rows, p->marks), end = start_of(l + 1, rows, p->marks);
        int64_t members = 0;
        for (int64_t i = first; i < end; i++)
            members += p->xformers || !masked || kept(p, item, i);
        share[l] = members ? 1 / (double)members : 0;
        for (int64_t d = 0; d < p->width; d++) {
            double sum = 0;
            for (int64_t i = first; i < end; i++)
                if (!masked || kept(p, item, i))
                    sum = add(p, sum, x[i * p->width + d], 1);
            marks[l * p->width + d] = add(p, 0, sum, share[l]);
        }
    }
}

static void pool_back(const problem *p, int64_t item, int64_t rows, bool masked, const double *share,
                      const double *grad, double *to)
{
    for (int64_t l = 0; l < p->marks; l++)
        for (int64_t i = start_of(l, rows, p->marks); i < start_of(l + 1, rows, p->marks); i++)
            for (int64_t d = 0; d < p->width && (!masked || kept(p, item, i)); d++)
                to[i * p->width + d] = add(p, to[i * p->width + d], grad[l * p->width + d], share[l]);
}

/* ---- softmax --------------------------------------------------------------------------------------------- */

typedef enum rule { KEYS, LANDMARKS, BETWEEN } rule; /* what hides columns (and rows) */

typedef struct hiding {
    const problem *p;
    const head    *h;
    int64_t        item;
    rule           rule;
} hiding;

static double hidden(const void *user, int64_t i, int64_t j)
{
    const hiding *hide = user;

    if (hide->rule == KEYS)
        return hide->p->c->base.causal && j > i ? -INFINITY : bias_of(hide->p, hide->item, j);
    return hide->h->k_share[j] == 0 || (hide->rule == BETWEEN && hide->h->q_share[i] == 0) ? -INFINITY : 0;
}

static clf__scores scores_of(const problem *p, const hiding *hide, const double *q, const double *k, int64_t rows,
                             int64_t columns)
{
    return (clf__scores){ .q = q, .k = k, .rows = rows, .columns = columns, .width = p->width, .scale = p->scale,
                          .bias = hidden, .user = hide, .rounded = p->exact };
}

static void soften(const problem *p, const head *h, int64_t item, const double *q, const double *k, int64_t rows,
                   int64_t columns, double *weights)
{
    const hiding hide = { p, h, item, BETWEEN };
    const clf__scores scores = scores_of(p, &hide, q, k, rows, columns);

    clf__dense_soften(&p->d, &scores, weights);
}

/* out = softmax v */
static void attend(const problem *p, const head *h, int64_t item, rule rule, const double *q, const double *k,
                   const double *v, int64_t rows, int64_t columns, double *weights, double *out)
{
    const hiding hide = { p, h, item, rule };
    const clf__scores scores = scores_of(p, &hide, q, k, rows, columns);

    clf__dense_attend(&p->d, &scores, v, p->value_width, weights, out);
}

static void soften_back(problem *p, const double *weights, double *grad, const double *q, const double *k, int64_t rows,
                        int64_t columns, double *grad_q, double *grad_k)
{
    const clf__scores scores = scores_of(p, NULL, q, k, rows, columns);

    clf__dense_soften_back(&p->d, &scores, weights, grad, grad_q, grad_k);
}

static void attend_back(problem *p, const double *weights, const double *out, const double *grad_out, const double *q,
                        const double *k, const double *v, int64_t rows, int64_t columns, double *grad_q, double *grad_k,
                        double *grad_v)
{
    const clf__scores scores = scores_of(p, NULL, q, k, rows, columns);

    clf__dense_attend_back(&p->d, &scores, weights, v, p->value_width, out, grad_out, grad_q, grad_k, grad_v);
}

/* ---- the pseudo-inverse -------------------------------------------------------------------------------- */

/* to = identity I - from */
static void subtract(const problem *p, double identity, const double *from, double *to)
{
    for (int64_t i = 0; i < p->marks * p->marks; i++)
        to[i] = add(p, i / p->marks == i % p->marks ? identity : 0, from[i], -1);
}

/* The largest sum of a column, of this matrix or of all. */
static void find_scale(const problem *p, head *heads, int64_t item)
{
    const bool shared = p->xformers && p->c->pinverse_original_init;

    heads[item].c = -1;
    for (int64_t other = shared ? 0 : item; other < (shared ? p->items : item + 1); other++)
        for (int64_t j = 0; j < p->marks; j++) {
            double sum = 0;
            for (int64_t i = 0; i < p->marks; i++)
                sum = add(p, sum, heads[other].near_weights[i * p->marks + j], 1);
            if (sum > heads[item].c) {
                heads[item].c = sum;
                heads[item].column = other * p->marks + j;
            }
        }
}

typedef struct factors {
    double *a, *u1, *u2, *t;
} factors;

static factors factors_of(problem *p, const double *near, const double *z)
{
    const int64_t l = p->marks, size = l * l;
    const factors f = { take(p, size), take(p, size), take(p, size), take(p, size) };

    if (p->d.failed)
        return f;
    multiply(p, CLF__PLAIN, 1, near, z, l, l, l, false, f.a);
    subtract(p, 7, f.a, f.u1);
    multiply(p, CLF__PLAIN, 1, f.a, f.u1, l, l, l, false, f.u2);
    subtract(p, 15, f.u2, f.u2);
    multiply(p, CLF__PLAIN, 1, f.a, f.u2, l, l, l, false, f.t);
    subtract(p, 13, f.t, f.t);
    return f;
}

static void invert(problem *p, head *h)
{
    const int64_t l = p->marks;

    for (int64_t i = 0; i < l * l; i++)
        iterate(p, h, 0)[i] = h->c > 0 ? add(p, 0, h->near_weights[i % l * l + i / l], add(p, 0, 1 / h->c, 1)) : 0;
    for (int n = 0; n < p->iterations && !p->d.failed; n++) {
        const factors f = factors_of(p, h->near_weights, iterate(p, h, n));
        if (!p->d.failed)
            multiply(p, CLF__PLAIN, 0.25, iterate(p, h, n), f.t, l, l, l, false, iterate(p, h, n + 1));
    }
}

/* Adds to the gradients of this matrix and of the one that the scale comes from. */
static void invert_back(problem *p, head *heads, int64_t item, double *grad, double *grad_near)
{
    const head *h = &heads[item];
    const int64_t l = p->marks;
    double *gt = take(p, l * l), *ga = take(p, l * l), *gu = take(p, l * l), through = 0;

    for (int n = p->iterations - 1; n >= 0 && !p->d.failed; n--) {
        const factors f = factors_of(p, h->near_weights, iterate(p, h, n));
        double *next = take(p, l * l);
        if (p->d.failed)
            return;
        multiply(p, CLF__LEFT, -0.25, iterate(p, h, n), grad, l, l, l, false, gt);
        multiply(p, CLF__RIGHT, 1, gt, f.u2, l, l, l, false, ga);
        multiply(p, CLF__LEFT, -1, f.a, gt, l, l, l, false, gu);
        multiply(p, CLF__RIGHT, 1, gu, f.u1, l, l, l, true, ga);
        multiply(p, CLF__LEFT, -1, f.a, gu, l, l, l, true, ga);
        multiply(p, CLF__RIGHT, 1, ga, iterate(p, h, n), l, l, l, true, grad_near + item * l * l);
        multiply(p, CLF__RIGHT, 0.25, grad, f.t, l, l, l, false, next);
        multiply(p, CLF__LEFT, 1, h->near_weights, ga, l, l, l, true, next);
        grad = next;
    }
    if (!(h->c > 0))
        return;
    for (int64_t i = 0; i < l * l; i++) {
        through = add(p, through, grad[i], iterate(p, h, 0)[i]);
        double *to = grad_near + item * l * l + i % l * l + i / l;
        *to = add(p, *to, grad[i], 1 / h->c);
    }
    for (int64_t i = 0; i < l; i++) {
        double *to = grad_near + (h->column / l * l + i) * l + h->column % l;
        *to = add(p, *to, through, -1 / h->c);
    }
}

/* ---- forward ------------------------------------------------------------------------------------------------ */

static void begin(problem *p, head *h, int64_t item)
{
    const clf_reference *r = p->r;
    const int64_t l = p->marks;

    h->q = take(p, p->queries * p->width);
    h->k = r->io[CLF_QKV_K] + item * p->keys * p->width;
    h->v = r->io[CLF_QKV_V] + item * p->keys * p->value_width;
    h->x = take(p, p->queries * p->value_width);
    h->weights = take(p, p->queries * (p->exact ? p->keys : l));
    if (p->d.failed)
        return;
    for (int64_t i = 0; i < p->queries * p->width; i++)
        h->q[i] = p->xformers && !kept(p, item, i / p->width) ? 0 : r->io[CLF_QKV_Q][item * p->queries * p->width + i];
    if (p->exact)
        return;
    h->q_marks = take(p, l * p->width);
    h->k_marks = take(p, l * p->width);
    h->q_share = take(p, l);
    h->k_share = take(p, l);
    h->far = take(p, l * p->value_width);
    h->far_weights = take(p, l * p->keys);
    h->near_weights = take(p, l * l);
    h->values = take(p, l * p->value_width);
    h->z = take(p, (p->iterations + 1) * l * l);
    if (p->d.failed)
        return;
    pool(p, item, h->q, p->queries, p->alike, h->q_share, h->q_marks);
    pool(p, item, h->k, p->keys, true, h->k_share, h->k_marks);
    attend(p, h, item, KEYS, h->q_marks, h->k, h->v, l, p->keys, h->far_weights, h->far);
    soften(p, h, item, h->q_marks, h->k_marks, l, l, h->near_weights);
}

static double keep_scale(const problem *p, int64_t item, int64_t row, int64_t e)
{
    return clf__dense_drop(&p->d, p->c->base.dropout, item, row, e);
}

/* The row of v that tap t of the convolution reads for a result; -1 outside. */
static int64_t tapped(const problem *p, int64_t item, int64_t row, int64_t t)
{
    const int64_t from = row + t - p->c->conv_kernel_size / 2;
    return from < 0 || from >= p->keys || (!p->xformers && !kept(p, item, from)) ? -1 : from;
}

static void finish(problem *p, head *heads, int64_t item)
{
    head *h = &heads[item];
    const int64_t l = p->marks, taps = p->c->conv_kernel_size;
    double *out = p->r->io[CLF_QKV_OUT] + item * p->queries * p->value_width;

    if (!p->exact) {
        find_scale(p, heads, item);
        invert(p, h);
        multiply(p, CLF__PLAIN, 1, iterate(p, h, p->iterations), h->far, l, l, p->value_width, false, h->values);
    }
    if (p->exact)
        attend(p, h, item, KEYS, h->q, h->k, h->v, p->queries, p->keys, h->weights, h->x);
    else
        attend(p, h, item, LANDMARKS, h->q, h->k_marks, h->values, p->queries, l, h->weights, h->x);
    for (int64_t i = 0; i < p->queries * p->value_width; i++) {
        const int64_t row = i / p->value_width, e = i % p->value_width;
        double sum = h->x[i];
        for (int64_t t = 0; t < taps; t++)
            if (tapped(p, item, row, t) >= 0)
                sum = add(p, sum, p->r->parameter[0][item % p->heads * taps + t],
                          h->v[tapped(p, item, row, t) * p->value_width + e]);
        out[i] = clf_reference_store(p->r, add(p, 0, sum, keep_scale(p, item, row, e)));
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------- */

typedef struct gradients {
    double *x, *q, *k, *v, *q_marks, *k_marks, *far, *values, *z;
} gradients;

static void convolve_back(const problem *p, const head *h, int64_t item, const gradients *g, double *weights)
{
    const int64_t taps = p->c->conv_kernel_size, width = p->value_width;

    for (int64_t i = 0; i < p->queries * taps; i++) {
        const int64_t row = i / taps, t = i % taps, from = tapped(p, item, row, t), w = item % p->heads * taps + t;
        for (int64_t e = 0; e < width && from >= 0; e++) {
            g->v[from * width + e] = add(p, g->v[from * width + e], p->r->parameter[0][w], g->x[row * width + e]);
            weights[w] = add(p, weights[w], h->v[from * width + e], g->x[row * width + e]);
        }
    }
}

/* Through the two attentions with the landmarks on one side, up to the gradient of the inverse. */
static void begin_back(problem *p, head *h, int64_t item, gradients *g, double *weights)
{
    const int64_t l = p->marks, values = p->value_width;

    *g = (gradients){ take(p, p->queries * values), take(p, p->queries * p->width), take(p, p->keys * p->width),
                      take(p, p->keys * values), take(p, l * p->width), take(p, l * p->width), take(p, l * values),
                      take(p, l * values), take(p, l * l) };
    if (p->d.failed)
        return;
    for (int64_t i = 0; i < p->queries * values; i++)
        g->x[i] = add(p, 0, p->r->grad[CLF_QKV_OUT][item * p->queries * values + i],
                      keep_scale(p, item, i / values, i % values));
    if (p->c->conv_kernel_size > 0)
        convolve_back(p, h, item, g, weights);
    if (p->exact) {
        attend_back(p, h->weights, h->x, g->x, h->q, h->k, h->v, p->queries, p->keys, g->q, g->k, g->v);
        return;
    }
    attend_back(p, h->weights, h->x, g->x, h->q, h->k_marks, h->values, p->queries, l, g->q, g->k_marks, g->values);
    multiply(p, CLF__LEFT, 1, iterate(p, h, p->iterations), g->values, l, l, values, false, g->far);
    attend_back(p, h->far_weights, h->far, g->far, h->q_marks, h->k, h->v, l, p->keys, g->q_marks, g->k, g->v);
    multiply(p, CLF__RIGHT, 1, g->values, h->far, l, values, l, false, g->z);
}

static void store(const problem *p, int slot, int64_t item, int64_t count, const double *from)
{
    for (int64_t i = 0; p->r->grad[slot] && i < count; i++)
        p->r->grad[slot][item * count + i] = clf_reference_store(p->r, from[i]);
}

static void finish_back(problem *p, head *h, int64_t item, gradients *g, double *grad_near)
{
    if (!p->exact) {
        soften_back(p, h->near_weights, grad_near, h->q_marks, h->k_marks, p->marks, p->marks, g->q_marks, g->k_marks);
        pool_back(p, item, p->queries, p->alike, h->q_share, g->q_marks, g->q);
        pool_back(p, item, p->keys, true, h->k_share, g->k_marks, g->k);
    }
    for (int64_t i = 0; i < p->queries * p->width; i++)
        if (p->xformers && !kept(p, item, i / p->width))
            g->q[i] = 0;
    store(p, CLF_QKV_Q, item, p->queries * p->width, g->q);
    store(p, CLF_QKV_K, item, p->keys * p->width, g->k);
    store(p, CLF_QKV_V, item, p->keys * p->value_width, g->v);
}

static void backward(problem *p, head *heads)
{
    const int64_t items = p->items, weights = p->c->conv_kernel_size ? p->heads * p->c->conv_kernel_size : 0;
    gradients *g = calloc((size_t)items + 1, sizeof *g);
    double *grad_near = take(p, items * p->marks * p->marks), *grad_weights = take(p, weights);

    p->d.failed = p->d.failed || !g;
    for (int64_t i = 0; i < items && !p->d.failed; i++)
        begin_back(p, &heads[i], i, &g[i], grad_weights);
    for (int64_t i = 0; i < items && !p->d.failed && !p->exact; i++)
        invert_back(p, heads, i, g[i].z, grad_near);
    for (int64_t i = 0; i < items && !p->d.failed; i++)
        finish_back(p, &heads[i], i, &g[i], grad_near + i * p->marks * p->marks);
    for (int64_t i = 0; i < weights && !p->d.failed; i++)
        p->r->parameter_grad[0][i] = clf_reference_store(p->r, grad_weights[i]);
    free(g);
}

clf_status clf_reference_nystrom(const clf_reference *reference);
clf_status clf_reference_nystrom(const clf_reference *reference)
{
    const clf_tensor *io = reference->args->io;
    const nystrom_config *c = reference->config;
    problem p = { .d = { .reference = reference },
                  .r = reference,
                  .c = c,
                  .items = io[CLF_QKV_Q].shape[0] * io[CLF_QKV_Q].shape[1],
                  .heads = io[CLF_QKV_Q].shape[1],
                  .queries = io[CLF_QKV_Q].shape[2],
                  .keys = io[CLF_QKV_K].shape[2],
                  .width = io[CLF_QKV_Q].shape[3],
                  .value_width = io[CLF_QKV_V].shape[3],
                  .marks = c->num_landmarks,
                  .xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS,
                  .iterations = c->use_razavi_pinverse ? c->inv_iterations : NYSTROM_CONVERGED };
    head *heads = calloc((size_t)p.items + 1, sizeof *heads);

    p.d.failed = !heads;
    p.exact = p.marks >= p.keys || (!p.xformers && p.marks >= p.queries);
    p.alike = p.queries == p.keys;
    p.scale = 1 / sqrt((double)p.width);
    for (int64_t i = 0; i < p.items && !p.d.failed; i++)
        begin(&p, &heads[i], i);
    for (int64_t i = 0; i < p.items && !p.d.failed; i++)
        finish(&p, heads, i);
    if ((reference->pass & CLF_BACKWARD) && !p.d.failed)
        backward(&p, heads);
    free(heads);
    return clf__dense_end(&p.d);
}
