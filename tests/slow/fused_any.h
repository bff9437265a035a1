/* Fused attention with any features at once, through its public face: results and gradients against plain C in double,
 * which knows nothing of tiles, pages and rows. What nobody may read (rows of no sequence, slots behind lengths, pages
 * of nobody, padding, keys that a mask hides from all) is NaN or infinite. */
#ifndef CLF_SLOW_FUSED_ANY_H
#define CLF_SLOW_FUSED_ANY_H

#include "../unit/devices.h"
#include <clformers/clformers.h>
#include <clformers/author.h>
#include <math.h>
#include <string.h>

/* Where sequences are; the last: queries in a row, keys in pages. */
typedef enum place { IN_BATCHES, WITH_LENGTHS, IN_A_ROW, IN_PAGES, ROWS_ON_PAGES } place;

typedef struct any {
    bool      causal, window, mask, padding, alibi, sinks, softcap, score_mod, mask_mod, dropout, groups, wide_values;
    place     place;
    int       bits;
    clf_dtype dtype, out;
    bool      few;      /* queries: decoding */
    bool      backward;
} any;

enum { SEQUENCES = 3, PAGE = 16, GROUP = 16 };
enum { Q, K, V, OUT, LSE, GRAD_OUT, GRAD_Q, GRAD_K, GRAD_V, SINKS, GRAD_SINKS, SLOPES, TABLE, MASK, TENSORS };

typedef struct any_run {
    const any          *a;
    clf_device         *device;
    clf_fused_attention p;
    clf_plan           *plan;
    clf_buffer          buffer[2];
    int                 heads, k_heads, queries, keys, width, value_width; /* of a sequence at most */
    int                 n[2][SEQUENCES], start[2][SEQUENCES + 1], rows[2]; /* of queries, of keys */
    int32_t             pages[SEQUENCES * 16];
    int                 most_pages;
    float              *host[TENSORS]; /* inputs as the device has them; results as it left them */
    double             *want[TENSORS];
    uint8_t            *keep;          /* of key padding */
    uint32_t            state;
} any_run;

/* ---- where things are ------------------------------------------------------------------------------------ */

static bool is_in_a_row(const any *a, int of_keys)
{
    return a->place == IN_A_ROW || (a->place == ROWS_ON_PAGES && !of_keys);
}

static bool is_paged(const any *a)
{
    return a->place == IN_PAGES || a->place == ROWS_ON_PAGES;
}

/* The row of query (of_keys 0) or key i of sequence s in head h, among all rows of a tensor. */
static int64_t row_of(const any_run *r, int of_keys, int s, int h, int i)
{
    const int heads = of_keys ? r->k_heads : r->heads, most = of_keys ? r->keys : r->queries;

    if (is_in_a_row(r->a, of_keys))
        return (int64_t)h * r->rows[of_keys] + r->start[of_keys][s] + i;
    if (is_paged(r->a) && of_keys)
        return ((int64_t)r->pages[s * r->most_pages + i / PAGE] * r->k_heads + h) * PAGE + i % PAGE;
    return ((int64_t)s * heads + h) * most + i;
}

static int64_t padding_of(const any_run *r, int s, int key)
{
    return r->a->place == IN_A_ROW ? r->start[1][s] + key : s * r->keys + key;
}

static void lay_out(any_run *r)
{
    const any *a = r->a;

    for (int side = 0; side < 2; side++) {
        const int most = side ? r->keys : r->queries;
        const bool differ = is_in_a_row(a, side) || (side && a->place != IN_BATCHES);
        int at = is_in_a_row(a, side); /* the first row belongs to nobody */
        for (int s = 0; s < SEQUENCES; s++, at += r->n[side][s - 1]) {
            r->n[side][s] = !differ || s == 0 ? most : s == 1 ? most / 2 : side ? 0 : 1;
            r->start[side][s] = at;
        }
        r->start[side][SEQUENCES] = at;
        r->rows[side] = is_in_a_row(a, side) ? at + 3 : most;
    }
    r->most_pages = (r->keys + PAGE - 1) / PAGE;
    for (int i = 0; i < SEQUENCES * r->most_pages; i++)
        r->pages[i] = SEQUENCES * r->most_pages - i; /* page 0 is nobody's */
}

/* ---- tensors --------------------------------------------------------------------------------------------- */

static clf_tensor *tensor_at(any_run *r, int i)
{
    clf_fused_attention *p = &r->p;
    clf_tensor *const all[TENSORS] = { &p->q, &p->k, &p->v, &p->out, &p->lse, &p->grad_out, &p->grad_q, &p->grad_k,
                                       &p->grad_v, &p->sinks, &p->grad_sinks, &p->alibi_slopes, &p->extra[0], &p->mask };
    return all[i];
}

static float next_number(any_run *r)
{
    r->state = 1664525u * r->state + 1013904223u;
    return (float)((double)r->state / 4294967296.0 - 0.5) * 3;
}

static bool is_hidden_key(const any_run *r, int s, int key)
{
    return (r->a->padding && !r->keep[padding_of(r, s, key)]) || (r->a->mask && key == r->keys / 3);
}

/* Numbers where somebody reads, NaN and infinity elsewhere. */
static void fill_rows(any_run *r, float *x, int64_t count, int of_keys, int width)
{
    for (int64_t n = 0; n < count; n++)
        x[n] = n & 1 ? INFINITY : NAN;
    for (int s = 0; s < SEQUENCES; s++)
        for (int h = 0; h < (of_keys ? r->k_heads : r->heads); h++)
            for (int i = 0; i < r->n[of_keys][s]; i++)
                for (int d = 0; d < width && !(of_keys && is_hidden_key(r, s, i)); d++)
                    x[row_of(r, of_keys, s, h, i) * width + d] = next_number(r);
}

static void make(any_run *r, int i, clf_dtype dtype, int rank, const int64_t *shape, int of_keys)
{
    clf_tensor *t = tensor_at(r, i);

    cr_assert_eq(clf_tensor_alloc(r->device, dtype, rank, shape, t), CLF_SUCCESS, "%s", clf_error_message());
    const int64_t count = clf_tensor_elements(t);
    r->host[i] = calloc((size_t)count, sizeof(float));
    r->want[i] = calloc((size_t)count, sizeof(double));
    if (of_keys >= 0)
        fill_rows(r, r->host[i], count, of_keys, (int)shape[3]);
    for (int64_t n = 0; of_keys < 0 && n < count; n++)
        r->host[i][n] = i == MASK && (n % r->keys == r->keys / 3 || n % 7 == 3) ? -INFINITY : next_number(r);
    cr_assert_eq(clf_tensor_write_floats(r->device, t, r->host[i]), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(r->device, t, r->host[i]), CLF_SUCCESS, "%s", clf_error_message());
}

static void make_table(any_run *r, clf_tensor *t, int64_t rows, int64_t columns, const int32_t *data)
{
    const int64_t shape[2] = { rows, columns };

    cr_assert_eq(clf_tensor_alloc(r->device, CLF_I32, columns ? 2 : 1, shape, t), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(r->device, t, data), CLF_SUCCESS);
}

/* Quantised on the device; the host then has what the numbers stand for. */
static void quantise(any_run *r, int i, clf_tensor *scales)
{
    clf_tensor *t = tensor_at(r, i), packed;
    const int64_t *s = t->shape, width = s[3];
    const int64_t shape[4] = { s[0], s[1], s[2], width * r->a->bits / 8 }, pairs[4] = { s[0], s[1], s[2], 2 * width / GROUP };
    const int64_t count = clf_tensor_elements(t);
    uint8_t *bytes = malloc((size_t)count);
    float *pair = malloc((size_t)(count / GROUP * 2) * sizeof *pair);

    cr_assert_eq(clf_tensor_alloc(r->device, CLF_U8, 4, shape, &packed), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_alloc(r->device, CLF_F16, 4, pairs, scales), CLF_SUCCESS);
    cr_assert_eq(clf_quantise(r->device, t, r->a->bits, GROUP, &packed, scales, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                 clf_error_message());
    cr_assert_eq(clf_tensor_read(r->device, &packed, bytes), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_read_floats(r->device, scales, pair), CLF_SUCCESS);
    for (int64_t n = 0; n < count; n++) {
        const int number = r->a->bits == 8 ? bytes[n] : bytes[n / 2] >> (n % 2 * 4) & 15;
        r->host[i][n] = (float)number * pair[n / GROUP * 2] + pair[n / GROUP * 2 + 1];
    }
    free(bytes), free(pair);
    clf_tensor_free(r->device, t);
    *t = packed;
}

static void make_places(any_run *r)
{
    const any *a = r->a;

    if (is_in_a_row(a, 0)) {
        make_table(r, &r->p.q_starts, SEQUENCES + 1, 0, r->start[0]);
        r->p.max_queries = r->queries;
    }
    if (is_in_a_row(a, 1))
        make_table(r, &r->p.k_starts, SEQUENCES + 1, 0, r->start[1]);
    if (a->place == WITH_LENGTHS || is_paged(a))
        make_table(r, &r->p.k_lengths, SEQUENCES, 0, r->n[1]);
    if (is_paged(a))
        make_table(r, &r->p.block_table, SEQUENCES, r->most_pages, r->pages);
    if (is_in_a_row(a, 1) || is_paged(a))
        r->p.max_keys = r->keys;
    if (!a->padding)
        return;
    const int64_t shape[2] = { a->place == IN_A_ROW ? 1 : SEQUENCES, a->place == IN_A_ROW ? r->rows[1] : r->keys };
    r->keep = malloc((size_t)(shape[0] * shape[1]));
    for (int64_t n = 0; n < shape[0] * shape[1]; n++)
        r->keep[n] = n % 5 != 2;
    cr_assert_eq(clf_tensor_alloc(r->device, CLF_U8, 2, shape, &r->p.key_padding_mask), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(r->device, &r->p.key_padding_mask, r->keep), CLF_SUCCESS);
}

static void make_all(any_run *r)
{
    const any *a = r->a;
    const int64_t batch = is_in_a_row(a, 0) ? 1 : SEQUENCES, pages = SEQUENCES * r->most_pages + 1, H = r->heads;
    const int64_t k_batch = is_in_a_row(a, 1) ? 1 : SEQUENCES;
    const int64_t q[4] = { batch, H, r->rows[0], r->width }, out[4] = { batch, H, r->rows[0], r->value_width };
    const bool paged = is_paged(a);
    const int64_t k[4] = { paged ? pages : k_batch, r->k_heads, paged ? PAGE : r->rows[1], r->width };
    const int64_t v[4] = { k[0], k[1], k[2], r->value_width }, mask[2] = { r->queries, r->keys }, four = 4;

    make_places(r);
    make(r, Q, a->dtype, 4, q, 0);
    make(r, K, a->bits ? CLF_F32 : a->dtype, 4, k, 1);
    make(r, V, a->bits ? CLF_F32 : a->dtype, 4, v, 1);
    if (a->bits) {
        quantise(r, K, &r->p.k_scales);
        quantise(r, V, &r->p.v_scales);
    }
    make(r, OUT, a->out, 4, out, 0);
    make(r, LSE, CLF_F32, 3, out, -1);
    if (a->mask)
        make(r, MASK, CLF_F32, 2, mask, -1);
    if (a->alibi)
        make(r, SLOPES, CLF_F32, 1, &H, -1);
    if (a->sinks)
        make(r, SINKS, CLF_F32, 1, &H, -1);
    if (a->score_mod || a->mask_mod)
        make(r, TABLE, CLF_F32, 1, &four, -1);
    if (!a->backward)
        return;
    make(r, GRAD_OUT, a->out, 4, out, 0);
    make(r, GRAD_Q, a->dtype, 4, q, 0);
    make(r, GRAD_K, a->dtype, 4, k, 1);
    make(r, GRAD_V, a->dtype, 4, v, 1);
    if (a->sinks)
        make(r, GRAD_SINKS, CLF_F32, 1, &H, -1);
}

/* ---- the same in double ---------------------------------------------------------------------------------- */

typedef struct pair {
    double score, slope; /* -INFINITY: hidden; its derivative by the scaled product */
    bool   kept;
} pair;

static pair look_at(const any_run *r, int s, int h, int i, int j)
{
    const any *a = r->a;
    const int shift = r->n[1][s] - r->n[0][s], group = r->heads / r->k_heads;
    const clf_args args = { .size = sizeof args, .training = true, .seed = r->p.seed, .offset = r->p.offset };
    const clf_reference reference = { .size = sizeof reference, .args = &args };
    const float *q = r->host[Q] + row_of(r, 0, s, h, i) * r->width, *k = r->host[K] + row_of(r, 1, s, h / group, j) * r->width;
    pair found = { -INFINITY, 1, !a->dropout || clf_reference_keep(&reference, r->p.dropout, (int64_t)s * r->heads + h, i, j) };
    double x = 0;

    if ((a->causal && j > i + shift) || (a->window && (j < i + shift - r->p.window_left ||
                                                       (!a->causal && j > i + shift + r->p.window_right))) ||
        is_hidden_key(r, s, j) || (a->mask_mod && !(j <= i + 9 && ((i + j) % 3 || r->host[TABLE][j & 3] < 0))))
        return found;
    for (int d = 0; d < r->width; d++)
        x += (double)q[d] * (double)k[d];
    x /= sqrt(r->width);
    if (a->softcap) {
        const double bent = tanh(x / (double)r->p.softcap);
        x = (double)r->p.softcap * bent;
        found.slope = 1 - bent * bent;
    }
    if (a->score_mod) {
        x = x * (double)r->host[TABLE][h & 3] + 0.125 * (j - i);
        found.slope *= (double)r->host[TABLE][h & 3];
    }
    x += a->alibi ? (double)r->host[SLOPES][h] * (j - i - shift) : 0;
    x += a->mask ? (double)r->host[MASK][i * r->keys + j] : 0;
    found.score = x;
    return found;
}

static void want_gradients(any_run *r, int s, int h, int i, const pair *pairs, double lse, double keep_scale)
{
    const int keys = r->n[1][s], group = r->heads / r->k_heads, D = r->width, E = r->value_width;
    const int64_t row = row_of(r, 0, s, h, i);
    const float *up = r->host[GRAD_OUT] + row * E, *q = r->host[Q] + row * D;
    double delta = 0;

    for (int e = 0; e < E; e++)
        delta += r->want[OUT][row * E + e] * (double)up[e];
    if (r->a->sinks)
        r->want[GRAD_SINKS][h] -= exp((double)r->host[SINKS][h] - lse) * delta;
    for (int j = 0; j < keys; j++) {
        const double p = exp(pairs[j].score - lse), weight = pairs[j].kept ? p * keep_scale : 0;
        const int64_t key = row_of(r, 1, s, h / group, j);
        double dp = 0;
        if (pairs[j].score == -INFINITY)
            continue;
        for (int e = 0; e < E; e++) {
            dp += pairs[j].kept ? (double)up[e] * (double)r->host[V][key * E + e] * keep_scale : 0;
            r->want[GRAD_V][key * E + e] += weight * (double)up[e];
        }
        const double ds = p * (dp - delta) * pairs[j].slope / sqrt(D);
        for (int d = 0; d < D; d++) {
            r->want[GRAD_Q][row * D + d] += ds * (double)r->host[K][key * D + d];
            r->want[GRAD_K][key * D + d] += ds * (double)q[d];
        }
    }
}

static void want_row(any_run *r, int s, int h, int i)
{
    const int keys = r->n[1][s], group = r->heads / r->k_heads, E = r->value_width;
    const double keep_scale = r->a->dropout ? 1 / (1 - (double)r->p.dropout) : 1;
    const double sink = r->a->sinks ? (double)r->host[SINKS][h] : -INFINITY;
    const int64_t row = row_of(r, 0, s, h, i);
    pair *pairs = malloc((size_t)(keys + 1) * sizeof *pairs);
    double top = sink, sum = 0;

    for (int j = 0; j < keys; j++) {
        pairs[j] = look_at(r, s, h, i, j);
        top = fmax(top, pairs[j].score);
    }
    for (int j = 0; j < keys && top > -INFINITY; j++)
        sum += exp(pairs[j].score - top);
    sum += sink > -INFINITY ? exp(sink - top) : 0;
    const double lse = sum == 0 ? -INFINITY : top + log(sum);
    r->want[LSE][row] = lse;
    for (int j = 0; j < keys && sum > 0; j++) {
        const double weight = pairs[j].kept ? exp(pairs[j].score - lse) * keep_scale : 0;
        for (int e = 0; e < E && weight > 0; e++)
            r->want[OUT][row * E + e] += weight * (double)r->host[V][row_of(r, 1, s, h / group, j) * E + e];
    }
    if (r->a->backward && sum > 0)
        want_gradients(r, s, h, i, pairs, lse, keep_scale);
    free(pairs);
}

static void want_all(any_run *r)
{
    for (int64_t n = 0; n < clf_tensor_elements(&r->p.lse); n++)
        r->want[LSE][n] = -INFINITY;
    for (int s = 0; s < SEQUENCES; s++)
        for (int h = 0; h < r->heads; h++)
            for (int i = 0; i < r->n[0][s]; i++)
                want_row(r, s, h, i);
}

/* ---- running --------------------------------------------------------------------------------------------- */

static void begin(any_run *r, clf_device *device, const any *a, bool small)
{
    *r = (any_run){ .a = a, .device = device, .heads = a->groups ? 4 : 2, .k_heads = 2, .state = 7,
                    .queries = a->few ? 2 : small ? 17 : 37, .keys = small ? 40 : 150, .width = 16,
                    .value_width = a->wide_values ? 32 : 16 };
    r->p = (clf_fused_attention){ .size = sizeof r->p, .causal = a->causal, .window = a->window, .window_left = 30,
                                  .window_right = 11, .softcap = a->softcap ? 1.5f : 0, .dropout = a->dropout ? 0.25f : 0,
                                  .seed = 5, .offset = 9 };
    if (a->mask_mod)
        r->p.mask_mod = "(k <= q + 9) & (((q + k) % 3 != 0) | (CLF_GATHER(table, k & 3) < 0.0f))";
    if (a->score_mod) {
        r->p.score_mod = "score * table[h & 3] + 0.125f * clf_to_real(k - q)";
        r->p.score_mod_slope = "table[h & 3]";
    }
    if (a->mask_mod || a->score_mod)
        r->p.extra_name[0] = "table";
    lay_out(r);
    make_all(r);
}

static clf_status plan_any(any_run *r, const char *family)
{
    const clf_plan_options options = { .size = sizeof options, .family = family, .allow_reference = true,
                                       .passes = CLF_FORWARD | (r->a->backward ? CLF_BACKWARD : 0) };
    const clf_status status = clf_fused_attention_plan(r->device, &r->p, &options, &r->plan);

    if (status)
        return status;
    const clf_plan_info info = clf_plan_get_info(r->plan);
    const uint64_t bytes[2] = { info.workspace_bytes, info.saved_bytes };
    for (int i = 0; i < 2; i++) {
        r->buffer[i] = (clf_buffer){ .bytes = bytes[i] };
        if (bytes[i])
            cr_assert_eq(clf_pool_acquire(r->device, bytes[i], &r->buffer[i].mem), CLF_SUCCESS);
    }
    return CLF_SUCCESS;
}

static void unplan(any_run *r)
{
    for (int i = 0; i < 2; i++)
        if (r->buffer[i].mem)
            clf_pool_release(r->device, r->buffer[i].mem, NULL);
    clf_plan_release(r->plan);
    r->plan = NULL;
}

static bool is_result(const any_run *r, int i)
{
    return r->host[i] && (i == OUT || i == LSE || i == GRAD_Q || i == GRAD_K || i == GRAD_V || i == GRAD_SINKS);
}

static void run_any(any_run *r)
{
    cr_assert_eq(clf_fused_attention_forward(r->plan, &r->p, r->buffer[0], r->buffer[1], NULL, 0, NULL, NULL), CLF_SUCCESS,
                 "%s", clf_error_message());
    if (r->a->backward)
        cr_assert_eq(clf_fused_attention_backward(r->plan, &r->p, r->buffer[0], r->buffer[1], NULL, 0, NULL, NULL),
                     CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < TENSORS; i++)
        if (is_result(r, i))
            cr_assert_eq(clf_tensor_read_floats(r->device, tensor_at(r, i), r->host[i]), CLF_SUCCESS);
}

static void end(any_run *r)
{
    clf_tensor *const others[] = { &r->p.q_starts, &r->p.k_starts, &r->p.k_lengths, &r->p.block_table,
                                   &r->p.key_padding_mask, &r->p.k_scales, &r->p.v_scales };

    for (int i = 0; i < TENSORS; i++) {
        if (r->host[i])
            clf_tensor_free(r->device, tensor_at(r, i));
        free(r->host[i]), free(r->want[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i]->rank > 0)
            clf_tensor_free(r->device, others[i]);
    free(r->keep);
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static double error_of(clf_dtype dtype)
{
    return dtype == CLF_BF16 ? 4e-2 : dtype == CLF_F16 ? 5e-3 : 3e-5;
}

/* The first number of tensor i that is wrong; -1 = none. Gradients know results as they were rounded, and most families
 * quantised keys as numbers of the queries' type. */
static int64_t first_wrong(any_run *r, int i)
{
    const double own = error_of(tensor_at(r, i)->dtype), out = i > LSE ? error_of(r->a->out) : 0;
    const double packed = r->a->bits ? error_of(r->a->dtype) : 0;
    const double tolerance = fmax(own, fmax(out, packed));

    for (int64_t n = 0; n < clf_tensor_elements(tensor_at(r, i)); n++) {
        const double x = r->want[i][n], y = (double)r->host[i][n];
        if (!(x == y || fabs(x - y) <= tolerance * (1 + fabs(x))))
            return n;
    }
    return -1;
}

#endif
