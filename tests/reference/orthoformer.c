/* Orthoformer in plain C. Landmarks are chosen in single precision, step by step as every device does it, so that both
 * choose the same; what follows is written out in matrices.
 */
#include "attention/orthoformer.h"
#include "dense.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    clf__dense d;
    const clf_reference      *r;
    const orthoformer_config *c;
    int64_t items, heads, queries, keys, width, value_width, marks;
    bool    xformers, exact;
    double  scale;
} problem;

/* ---- arithmetic of the choice: float, nothing contracted --------------------------------------------------- */

static float add(float a, float b)
{
    volatile float sum = a + b;
    return sum;
}

static float times(float a, float b)
{
    volatile float product = a * b;
    return product;
}

static float root_reciprocal(float x)
{
    uint32_t bits;
    float y;

    if (!(x > 1e-24f))
        return 1e12f;
    memcpy(&bits, &x, sizeof bits);
    bits = 0x5f3759df - (bits >> 1);
    memcpy(&y, &bits, sizeof y);
    for (int n = 0; n < 4; n++)
        y = times(y, add(1.5f, -times(times(0.5f, x), times(y, y))));
    return y;
}

static float reciprocal(float x)
{
    uint32_t bits;
    float y;

    memcpy(&bits, &x, sizeof bits);
    bits = 0x7ef311c7 - bits;
    memcpy(&y, &bits, sizeof y);
    for (int n = 0; n < 4; n++)
        y = times(y, add(2.0f, -times(x, y)));
    return y;
}

static float dot(const float *a, const float *b, int64_t width)
{
    float sum = 0;

    for (int64_t d = 0; d < width; d++)
        sum = add(sum, times(a[d], b[d]));
    return sum;
}

static void make_unit(float *row, int64_t width)
{
    const float scale = root_reciprocal(dot(row, row, width));

    for (int64_t d = 0; d < width; d++)
        row[d] = times(row[d], scale);
}

/* Philox4x32-10, first word: one of 0 .. count - 1. */
static int64_t draw_below(const problem *p, int64_t count, int64_t j, int64_t item, int stream)
{
    const uint64_t seed = p->r->args->seed, offset = p->r->args->offset;
    uint32_t x[4] = { (uint32_t)j, (uint32_t)item, (uint32_t)stream, (uint32_t)offset };
    uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) ^ (uint32_t)(offset >> 32) ^ 0x4f525448u };

    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)x[0] * 0xD2511F53u, b = (uint64_t)x[2] * 0xCD9E8D57u;
        x[0] = (uint32_t)(b >> 32) ^ x[1] ^ key[0];
        x[2] = (uint32_t)(a >> 32) ^ x[3] ^ key[1];
        x[1] = (uint32_t)b;
        x[3] = (uint32_t)a;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return (int64_t)(((uint64_t)x[0] * (uint64_t)count) >> 32);
}

/* ---- rows that may be chosen ----------------------------------------------------------------------------- */

static bool kept(const problem *p, int64_t item, int64_t key)
{
    const double *mask = p->r->io[CLF_QKV_KEY_PADDING_MASK];
    return !mask || mask[item / p->heads * p->keys + key] != 0;
}

static int64_t list_rows(const problem *p, int64_t item, bool of_keys, int64_t *list)
{
    const int64_t rows = of_keys ? p->keys : p->queries;
    int64_t count = 0;

    for (int64_t row = 0; row < rows; row++)
        if ((!of_keys && p->queries != p->keys) || kept(p, item, row))
            list[count++] = row;
    return count;
}

/* `size` of the rows in a list of `count`; answers how many. */
static int64_t draw(const problem *p, int64_t item, const int64_t *list, int64_t count, int64_t size, bool any,
                    int stream, const clf_host_tensor *given, int64_t *picks)
{
    size = any || size < count ? size : count;
    for (int64_t j = 0; j < size; j++) {
        const int64_t first = j * count / size, end = (j + 1) * count / size;
        if (given)
            picks[j] = list[((const int32_t *)given->data)[j]];
        else if (any)
            picks[j] = list[draw_below(p, count, j, 0, stream)];
        else
            picks[j] = list[first + draw_below(p, end - first, j, item, stream)];
    }
    return size;
}

static void copy_row(const problem *p, int slot, int64_t item, int64_t row, float *to)
{
    const int64_t rows = slot == CLF_QKV_Q ? p->queries : p->keys;

    for (int64_t d = 0; d < p->width; d++)
        to[d] = (float)p->r->io[slot][(item * rows + row) * p->width + d];
}

/* ---- the choices ---------------------------------------------------------------------------------------------- */

/* Everything that choosing takes; `marks` are the landmarks, `there` how many. */
typedef struct choice {
    int64_t *list, *picks, *nearest;
    float   *rows, *best, *sums, *marks;
    int64_t  there;
} choice;

static void choose_orthogonal(const problem *p, int64_t item, choice *c)
{
    const bool sampled = p->c->subsample_fraction < 1;
    const uint64_t fraction = (uint64_t)((double)p->c->subsample_fraction * 0x1p24) + 1;
    const clf_host_tensor *first = p->c->randint[sampled];
    int64_t count = list_rows(p, item, false, c->list), size = count, newest;

    memcpy(c->picks, c->list, (size_t)count * sizeof *c->picks);
    if (sampled) {
        size = (int64_t)(((uint64_t)count * fraction) >> 24);
        size = draw(p, item, c->list, count, size < p->marks ? p->marks : size, p->xformers, STREAM_ROWS,
                    p->c->randint[0], c->picks);
    }
    for (int64_t i = 0; i < size; i++) {
        copy_row(p, CLF_QKV_Q, item, c->picks[i], c->rows + i * p->width);
        make_unit(c->rows + i * p->width, p->width);
        c->best[i] = 0;
    }
    newest = first ? ((const int32_t *)first->data)[item] : draw_below(p, size, 0, item, STREAM_FIRST);
    c->there = p->marks < size ? p->marks : size;
    for (int64_t l = 0; l < c->there; l++) {
        int64_t least = 0;
        copy_row(p, CLF_QKV_Q, item, c->picks[newest], c->marks + l * p->width);
        for (int64_t i = 0; i < size; i++) {
            const float meets = fabsf(dot(c->rows + i * p->width, c->rows + newest * p->width, p->width));
            c->best[i] = i == newest ? 10 : meets > c->best[i] ? meets : c->best[i];
            least = c->best[i] < c->best[least] ? i : least;
        }
        newest = least;
    }
}

static void choose_random(const problem *p, int64_t item, choice *c)
{
    const int64_t from_q = p->xformers ? p->marks / 2 : (p->marks + 1) / 2;

    c->there = p->marks;
    for (int half = 0; half < 2; half++) {
        const int64_t wanted = half ? p->marks - from_q : from_q, count = list_rows(p, item, half, c->list);
        const int64_t size = draw(p, item, c->list, count, wanted, p->xformers, half ? STREAM_KEYS : STREAM_ROWS,
                                  p->c->randint[half], c->picks);
        /* The landmarks that are missing lie at the end of their half: they are left out. */
        for (int64_t i = 0; i < size; i++)
            copy_row(p, half ? CLF_QKV_K : CLF_QKV_Q, item, c->picks[i],
                     c->marks + ((half ? c->there : 0) + i) * p->width);
        c->there = half ? c->there + size : size;
    }
}

static void update_centres(const problem *p, choice *c, int64_t size, bool unit)
{
    for (int64_t k = 0; k < c->there; k++) {
        float count = 1e-6f;
        for (int64_t chunk = 0; chunk * ORTHOFORMER_CHUNK < size; chunk++) {
            float members = 0;
            for (int64_t i = chunk * ORTHOFORMER_CHUNK; i < size && i < (chunk + 1) * ORTHOFORMER_CHUNK; i++)
                members = add(members, c->nearest[i] == k);
            count = add(count, members);
        }
        for (int64_t d = 0; d < p->width; d++) {
            float sum = 0;
            for (int64_t chunk = 0; chunk * ORTHOFORMER_CHUNK < size; chunk++) {
                float part = 0;
                for (int64_t i = chunk * ORTHOFORMER_CHUNK; i < size && i < (chunk + 1) * ORTHOFORMER_CHUNK; i++)
                    if (c->nearest[i] == k)
                        part = add(part, c->rows[i * p->width + d]);
                sum = add(sum, part);
            }
            c->marks[k * p->width + d] = times(sum, reciprocal(count));
        }
        if (unit)
            make_unit(c->marks + k * p->width, p->width);
    }
}

static void choose_kmeans(const problem *p, int64_t item, choice *c)
{
    const bool unit = p->c->landmark_selection == SELECT_KMEANS_SPHERICAL;
    const int64_t size = list_rows(p, item, false, c->list);

    c->there = draw(p, item, c->list, size, p->marks, false, STREAM_ROWS, p->c->randperm, c->picks);
    for (int64_t i = 0; i < size + c->there; i++) {
        float *row = i < size ? c->rows + i * p->width : c->marks + (i - size) * p->width;
        copy_row(p, CLF_QKV_Q, item, i < size ? c->list[i] : c->picks[i - size], row);
        if (unit)
            make_unit(row, p->width);
    }
    for (int round = 0; round < ORTHOFORMER_ITERATIONS; round++) {
        for (int64_t i = 0; i < size; i++) {
            float least = INFINITY;
            for (int64_t k = 0; k < c->there; k++) {
                const float *x = c->rows + i * p->width, *centre = c->marks + k * p->width;
                float away = 0;
                for (int64_t d = 0; d < p->width; d++) {
                    const float off = add(x[d], -centre[d]);
                    away = add(away, unit ? times(x[d], -centre[d]) : times(off, off));
                }
                if (away < least) {
                    least = away;
                    c->nearest[i] = k;
                }
            }
        }
        update_centres(p, c, size, unit);
    }
}

/* The landmarks of all heads, [items][1 + marks x width]: how many, and which. */
static clf_status choose(const problem *p, double *to)
{
    const int64_t longest = p->queries > p->keys ? p->queries : p->keys, rows = longest > p->marks ? longest : p->marks;
    const int64_t pitch = 1 + p->marks * p->width;
    choice c = { .list = calloc((size_t)(3 * rows), sizeof(int64_t)),
                 .rows = calloc((size_t)(rows * p->width + rows + p->marks * p->width), sizeof(float)) };

    if (!c.list || !c.rows) {
        free(c.list);
        free(c.rows);
        return CLF_OUT_OF_HOST_MEMORY;
    }
    c.picks = c.list + rows;
    c.nearest = c.picks + rows;
    c.best = c.rows + rows * p->width;
    c.marks = c.best + rows;
    for (int64_t item = 0; item < p->items; item++) {
        switch (p->c->landmark_selection) {
        case SELECT_ORTHOGONAL:
            choose_orthogonal(p, item, &c);
            break;
        case SELECT_RANDOM:
            choose_random(p, item, &c);
            break;
        default:
            choose_kmeans(p, item, &c);
        }
        to[item * pitch] = (double)c.there;
        for (int64_t i = 0; i < c.there * p->width; i++)
            to[item * pitch + 1 + i] = (double)c.marks[i];
    }
    free(c.list);
    free(c.rows);
    return CLF_SUCCESS;
}

/* ---- attention --------------------------------------------------------------------------------------------- */

typedef struct hiding {
    const problem *p;
    int64_t item;
    bool    masked;
} hiding;

static double hidden(const void *user, int64_t i, int64_t j)
{
    const hiding *hide = user;
    const problem *p = hide->p;
    const clf_tensor *mask = &p->r->args->io[CLF_QKV_ATT_MASK];
    const double *values = p->r->io[CLF_QKV_ATT_MASK];

    if (!kept(p, hide->item, j))
        return -INFINITY;
    if (!hide->masked || !values)
        return 0;
    const int64_t matrix = mask->rank == 3 ? hide->item % mask->shape[0] : hide->item;
    const double value = values[(matrix * p->queries + i) * p->keys + j];
    if (mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8)
        return value != 0 ? 0 : -INFINITY;
    return value;
}

static void store(const problem *p, int slot, int64_t item, int64_t count, const double *from)
{
    for (int64_t i = 0; p->r->grad[slot] && i < count; i++)
        p->r->grad[slot][item * count + i] = clf_reference_store(p->r, from[i]);
}

/* marks NULL: exact attention. */
static void attend(problem *p, int64_t item, const double *marks, int64_t there)
{
    const clf_reference *r = p->r;
    clf__dense *d = &p->d;
    const int64_t values = p->value_width, columns = marks ? there : p->keys;
    const double *q = r->io[CLF_QKV_Q] + item * p->queries * p->width,
                 *k = r->io[CLF_QKV_K] + item * p->keys * p->width;
    const double *v = r->io[CLF_QKV_V] + item * p->keys * values;
    const hiding hide = { p, item, !marks };
    const clf__scores far = { marks, k, there, p->keys, p->width, p->scale, hidden, &hide, false };
    const clf__scores near = { q,        marks ? marks : k,     p->queries, columns, p->width,
                               p->scale, marks ? NULL : hidden, &hide,      !marks };
    double *far_weights = clf__dense_take(d, there * p->keys), *known = clf__dense_take(d, there * values);
    double *weights = clf__dense_take(d, p->queries * columns), *x = clf__dense_take(d, p->queries * values);
    double *grad_x = clf__dense_take(d, p->queries * values), *grad_q = clf__dense_take(d, p->queries * p->width);
    double *grad_k = clf__dense_take(d, p->keys * p->width), *grad_v = clf__dense_take(d, p->keys * values);
    double *grad_marks = clf__dense_take(d, there * p->width), *grad_known = clf__dense_take(d, there * values);

    if (d->failed)
        return;
    if (marks)
        clf__dense_attend(d, &far, v, values, far_weights, known);
    clf__dense_attend(d, &near, marks ? known : v, values, weights, x);
    for (int64_t i = 0; i < p->queries * values; i++) {
        const double drop = clf__dense_drop(d, p->c->base.dropout, item, i / values, i % values);
        r->io[CLF_QKV_OUT][item * p->queries * values + i] = clf_reference_store(r, clf__dense_add(d, 0, x[i], drop));
        if (r->pass & CLF_BACKWARD)
            grad_x[i] = clf__dense_add(d, 0, r->grad[CLF_QKV_OUT][item * p->queries * values + i], drop);
    }
    if (!(r->pass & CLF_BACKWARD))
        return;
    clf__dense_attend_back(d, &near, weights, marks ? known : v, values, x, grad_x, grad_q, marks ? grad_marks : grad_k,
                           marks ? grad_known : grad_v);
    if (marks) /* what goes to the landmarks ends there */
        clf__dense_attend_back(d, &far, far_weights, v, values, known, grad_known, grad_marks, grad_k, grad_v);
    store(p, CLF_QKV_Q, item, p->queries * p->width, grad_q);
    store(p, CLF_QKV_K, item, p->keys * p->width, grad_k);
    store(p, CLF_QKV_V, item, p->keys * values, grad_v);
}

/* How many landmarks there are at most: as many as candidates, which are drawn with replacement when they are drawn. */
static int64_t landmarks_of(const problem *p)
{
    const int64_t wanted = p->c->num_landmarks;

    if (p->c->landmark_selection == SELECT_RANDOM)
        return p->xformers ? 2 * (wanted / 2) : wanted;
    if (p->c->landmark_selection == SELECT_ORTHOGONAL && p->c->subsample_fraction < 1)
        return wanted;
    return wanted < p->queries ? wanted : p->queries;
}

clf_status clf_reference_orthoformer(const clf_reference *reference);
clf_status clf_reference_orthoformer(const clf_reference *reference)
{
    const clf_tensor *io = reference->args->io;
    const orthoformer_config *c = reference->config;
    problem p = { .d = { .reference = reference },
                  .r = reference,
                  .c = c,
                  .items = io[CLF_QKV_Q].shape[0] * io[CLF_QKV_Q].shape[1],
                  .heads = io[CLF_QKV_Q].shape[1],
                  .queries = io[CLF_QKV_Q].shape[2],
                  .keys = io[CLF_QKV_K].shape[2],
                  .width = io[CLF_QKV_Q].shape[3],
                  .value_width = io[CLF_QKV_V].shape[3],
                  .xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS };
    double *own = NULL, **frozen = reference->frozen ? reference->frozen : &own;
    clf_status status = CLF_SUCCESS;

    p.exact = p.xformers ? c->num_landmarks == p.keys || p.queries == 0 || p.keys == 0
                         : c->num_landmarks >= p.keys || c->num_landmarks >= p.queries;
    p.marks = landmarks_of(&p);
    p.scale = 1 / sqrt((double)p.width);
    if (!p.exact && !*frozen) {
        *frozen = calloc((size_t)(p.items * (1 + p.marks * p.width)) + 1, sizeof **frozen);
        status = *frozen ? choose(&p, *frozen) : CLF_OUT_OF_HOST_MEMORY;
    }
    for (int64_t item = 0; item < p.items && !status; item++) {
        const double *marks = p.exact ? NULL : *frozen + item * (1 + p.marks * p.width);
        attend(&p, item, marks ? marks + 1 : NULL, marks ? (int64_t)marks[0] : 0);
    }
    free(own);
    const clf_status ended = clf__dense_end(&p.d);
    return status ? status : ended;
}
