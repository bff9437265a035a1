/* Few queries, many keys: slices that are merged, heads that share keys, lengths of their own, pages, quantised keys
 * and values; many queries of those last; against attention in double precision over the numbers that the device gets. What a sequence does not
 * use is NaN. */
#include "attention/fused_attention.h"
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <string.h>

typedef struct row {
    int       batch, heads, key_heads, queries, keys, width, value_width;
    clf_dtype dtype;
    const char *config;  /* members beyond the name */
    int       page;      /* 0 = none */
    int       bits;      /* of quantised elements; 0 = none */
    bool      lengths;
    bool      heavy;     /* too much for a simulator */
    int       group;     /* elements that share a scale; 0 = 16 */
} row;

static const row rows[] = {
    { 1, 2, 2, 1, 37, 16, 16, CLF_F32, "", 0, 0, false, false, 0 },
    { 2, 6, 2, 1, 600, 64, 40, CLF_F32, "", 0, 0, true, true, 0 },
    { 1, 8, 1, 2, 1100, 64, 64, CLF_F16, ", \"causal\": true", 0, 0, false, true, 0 },
    { 2, 4, 4, 3, 530, 40, 64, CLF_BF16, ", \"window_left\": 100, \"causal\": true", 0, 0, true, true, 0 },
    { 3, 2, 1, 1, 96, 32, 32, CLF_F32, "", 16, 0, true, false, 0 },
    { 3, 3, 1, 2, 700, 64, 64, CLF_F16, ", \"causal\": true", 20, 0, true, true, 0 },
    { 2, 2, 2, 1, 40, 32, 32, CLF_F32, "", 0, 8, false, false, 0 },
    { 2, 4, 1, 1, 300, 64, 64, CLF_F16, "", 0, 8, true, true, 0 },
    { 2, 4, 2, 1, 300, 64, 64, CLF_F32, "", 32, 4, true, true, 0 },
    { 2, 2, 1, 20, 40, 16, 32, CLF_F32, ", \"causal\": true", 16, 4, true, false, 0 },
};

/* For tensor cores: all rows of a tile, widths that are no whole chunks, rows that do not start at whole chunks, scales
 * of every size. */
static const row matrix_rows[] = {
    { 2, 8, 2, 4, 1100, 128, 80, CLF_F16, ", \"causal\": true", 0, 0, true, true, 0 },
    { 2, 5, 1, 2, 600, 256, 128, CLF_BF16, "", 0, 0, true, true, 0 },
    { 1, 4, 2, 1, 300, 20, 36, CLF_F16, "", 16, 0, true, true, 0 },
    { 2, 9, 1, 1, 700, 128, 128, CLF_F16, "", 20, 8, true, true, 32 },
    { 2, 4, 2, 2, 300, 80, 80, CLF_BF16, ", \"causal\": true", 0, 8, true, true, 16 },
    { 2, 12, 1, 1, 530, 96, 96, CLF_F16, "", 32, 4, true, true, 32 },
    { 1, 4, 1, 1, 2100, 128, 128, CLF_BF16, "", 0, 4, false, true, 128 },
    { 2, 6, 2, 2, 300, 64, 64, CLF_F16, ", \"mask_mod\": \"k % 3 != 1\"", 0, 0, true, true, 0 },
    { 2, 4, 2, 1, 300, 64, 64, CLF_F16, ", \"mask_mod\": \"k % 3 != 1\"", 16, 8, true, true, 32 },
    { 2, 4, 2, 4, 300, 128, 32, CLF_BF16, ", \"softcap\": 1.5", 0, 0, true, true, 0 },
};

static int group_of(const row *what)
{
    return what->group ? what->group : 16;
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

static uint64_t state;

static float next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 40) / 8388608.0 - 1);
}

static float rounded(float x, clf_dtype dtype)
{
    uint32_t bits;
    if (dtype == CLF_F16)
        return clf_half_to_float(clf_float_to_half(x));
    if (dtype == CLF_F32)
        return x;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

typedef struct problem {
    const row *what;
    int64_t    slots;                    /* rows of keys and values of a head: keys, or those of all pages */
    int32_t    lengths[4], pages[4 * 64];
    float     *q, *k, *v, *out, *lse;    /* as floats; k and v by slot */
    uint8_t   *packed[2];
    float     *scales[2];
} problem;

/* A key that no query sees, whatever its place. */
static bool is_hidden(const row *what, int key)
{
    return strstr(what->config, "k % 3 != 1") && key % 3 == 1;
}

/* Where key `key` of batch item b is: item (or page) and row in it. */
static int64_t place(const problem *p, int b, int head, int key)
{
    const int page = p->what->page, most = page ? (p->what->keys + page - 1) / page : 0;
    const int64_t item = page ? p->pages[b * most + key / page] : b, row_ = page ? key % page : key;

    return (item * p->what->key_heads + head) * (page ? page : p->what->keys) + row_;
}

static void quantise(const problem *p, int which, float *x, int64_t count, int width)
{
    const int levels = (1 << p->what->bits) - 1, per_byte = 8 / p->what->bits, group = group_of(p->what);

    for (int64_t i = 0; i < count; i++)
        for (int g = 0; g < width / group; g++) {
            float *at = x + i * width + g * group, least = INFINITY, most = -INFINITY;
            for (int n = 0; n < group; n++) {
                least = fminf(least, at[n]);
                most = fmaxf(most, at[n]);
            }
            const float scale = rounded((most - least) / (float)levels, CLF_F16), shift = rounded(least, CLF_F16);
            float *to = p->scales[which] + (i * (width / group) + g) * 2;
            to[0] = scale;
            to[1] = shift;
            for (int n = 0; n < group; n++) {
                const int number = (int)fminf(fmaxf(floorf((at[n] - shift) / scale + 0.5f), 0), (float)levels);
                const int64_t column = i * width + g * group + n;
                p->packed[which][column / per_byte] |= (uint8_t)(number << (p->what->bits * (column % per_byte)));
                at[n] = (float)number * scale + shift;
            }
        }
}

static void *room(int64_t count, size_t size)
{
    void *memory = calloc((size_t)(count > 0 ? count : 1), size);
    cr_assert_not_null(memory);
    return memory;
}

static void make(problem *p, const row *what)
{
    const int64_t rows_ = (int64_t)what->batch * what->heads * what->queries;
    const int most = what->page ? (what->keys + what->page - 1) / what->page : 0;

    *p = (problem){ .what = what, .slots = what->page ? (int64_t)(most * what->batch + 1) * what->page
                                                      : (int64_t)what->batch * what->keys };
    state = (uint64_t)what->keys;
    p->q = room(rows_ * what->width, sizeof *p->q);
    p->out = room(rows_ * what->value_width, sizeof *p->out);
    p->lse = room(rows_, sizeof *p->lse);
    for (int64_t i = 0; i < rows_ * what->width; i++)
        p->q[i] = rounded(3 * next(), what->dtype);
    for (int b = 0; b < what->batch; b++)
        p->lengths[b] = !what->lengths ? what->keys : b == 0 ? what->keys - 3 : b == 1 ? 1 : 0;
    for (int i = 0; i < most * what->batch; i++) /* from the last page to the first; page 0 is nobody's */
        p->pages[i] = most * what->batch - i;
    float **const to[2] = { &p->k, &p->v };
    const int widths[2] = { what->width, what->value_width };
    for (int which = 0; which < 2; which++) {
        const int64_t count = p->slots * what->key_heads;
        float *x = *to[which] = room(count * widths[which], sizeof *x);
        for (int64_t i = 0; i < count * widths[which]; i++)
            x[i] = rounded(next(), what->dtype);
        if (what->bits) {
            p->packed[which] = room(count * widths[which], 1);
            p->scales[which] = room(count * widths[which] / group_of(what) * 2, sizeof(float));
            quantise(p, which, x, count, widths[which]);
        }
    }
}

/* What no key uses is NaN. */
static void poison(problem *p)
{
    const row *w = p->what;
    const int64_t count = p->slots * w->key_heads;
    bool *used = room(count, sizeof *used);

    for (int b = 0; b < w->batch; b++)
        for (int h = 0; h < w->key_heads; h++)
            for (int key = 0; key < p->lengths[b]; key++)
                used[place(p, b, h, key)] = !is_hidden(w, key);
    for (int64_t i = 0; i < count; i++) {
        for (int n = 0; !used[i] && n < w->width; n++)
            p->k[i * w->width + n] = NAN;
        for (int n = 0; !used[i] && n < w->value_width; n++)
            p->v[i * w->value_width + n] = NAN;
        for (int n = 0; !used[i] && w->bits && n < w->width / group_of(w) * 2; n++)
            p->scales[0][i * (w->width / group_of(w) * 2) + n] = NAN;
        for (int n = 0; !used[i] && w->bits && n < w->value_width / group_of(w) * 2; n++)
            p->scales[1][i * (w->value_width / group_of(w) * 2) + n] = NAN;
    }
    free(used);
}

static void forget(problem *p)
{
    free(p->q), free(p->k), free(p->v), free(p->out), free(p->lse);
    for (int which = 0; which < 2; which++)
        free(p->packed[which]), free(p->scales[which]);
}

/* ---- the device -------------------------------------------------------------------------------------- */

static void upload(clf_device *device, clf_tensor *tensor, clf_dtype dtype, int rank, const int64_t *shape,
                   const void *data)
{
    cr_assert_eq(clf_tensor_alloc(device, dtype, rank, shape, tensor), CLF_SUCCESS, "%s", clf_error_message());
    if (dtype == CLF_U8 || dtype == CLF_I32)
        cr_assert_eq(clf_tensor_write(device, tensor, data), CLF_SUCCESS, "%s", clf_error_message());
    else
        cr_assert_eq(clf_tensor_write_floats(device, tensor, data), CLF_SUCCESS, "%s", clf_error_message());
}

static void upload_keys(clf_device *device, const problem *p, int which, clf_args *args)
{
    const row *w = p->what;
    const int width = which ? w->value_width : w->width, page = w->page ? w->page : w->keys;
    const int64_t items = p->slots / page;
    const int64_t shape[] = { items, w->key_heads, page, w->bits ? width * w->bits / 8 : width };
    const int64_t scales[] = { items, w->key_heads, page, width / group_of(w) * 2 };
    clf_tensor *to = &args->io[which ? CLF_QKV_V : CLF_QKV_K];

    upload(device, to, w->bits ? CLF_U8 : w->dtype, 4, shape, w->bits ? (const void *)p->packed[which]
                                                              : which ? p->v : p->k);
    if (w->bits)
        upload(device, &args->io[which ? FUSED_V_SCALES : FUSED_K_SCALES], CLF_F16, 4, scales, p->scales[which]);
}

static void run(clf_device *device, problem *p, const char *family)
{
    const row *w = p->what;
    const int64_t q[] = { w->batch, w->heads, w->queries, w->width }, out[] = { q[0], q[1], q[2], w->value_width };
    const int64_t batch = w->batch, table[] = { batch, w->page ? (w->keys + w->page - 1) / w->page : 0 };
    const clf_plan_options options = { .size = sizeof options, .family = family };
    clf_args      args = { .size = sizeof args };
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    clf_buffer    workspace = { 0 };
    char          config[256];

    (void)snprintf(config, sizeof config, "{\"name\": \"fused_attention\"%s}", w->config);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    upload(device, &args.io[CLF_QKV_Q], w->dtype, 4, q, p->q);
    upload_keys(device, p, 0, &args);
    upload_keys(device, p, 1, &args);
    if (w->lengths)
        upload(device, &args.io[FUSED_K_LENGTHS], CLF_I32, 1, &batch, p->lengths);
    if (w->page)
        upload(device, &args.io[FUSED_BLOCK_TABLE], CLF_I32, 2, table, p->pages);
    cr_assert_eq(clf_tensor_alloc(device, w->dtype, 4, out, &args.io[CLF_QKV_OUT]), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 3, out, &args.io[CLF_QKV_LSE]), CLF_SUCCESS);
    cr_assert_eq(clf_plan_create(instance, &args, &options, &plan), CLF_SUCCESS, "%s", clf_error_message());
    workspace.bytes = clf_plan_get_info(plan).workspace_bytes;
    cr_assert_eq(clf_pool_acquire(device, workspace.bytes, &workspace.mem), CLF_SUCCESS);
    for (int again = 0; again < 2; again++) {
        const int64_t count = clf_tensor_elements(&args.io[CLF_QKV_OUT]);
        float *first = again ? p->out : NULL;
        if (again)
            p->out = room(count, sizeof *p->out);
        cr_assert_eq(clf_forward(plan, &args, workspace, (clf_buffer){ 0 }, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                     clf_error_message());
        cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], p->out), CLF_SUCCESS);
        cr_expect(!again || memcmp(first, p->out, (size_t)count * sizeof *first) == 0, "%s: two runs differ", family);
        free(first);
    }
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_LSE], p->lse), CLF_SUCCESS);
    clf_pool_release(device, workspace.mem, NULL);
    clf_plan_release(plan);
    clf_instance_release(instance);
    for (int i = 0; i < CLF_MAX_IO; i++)
        clf_tensor_free(device, &args.io[i]);
}

/* ---- the same in double ------------------------------------------------------------------------------- */

/* The larger error; NaN is the largest. */
static double worse(double x, double y)
{
    return isnan(x) || y <= x ? x : y;
}

/* The largest error of a row of out and lse, as a part of what is fair: rounding of the result and of f32 sums. */
static double row_error(const problem *p, int b, int h, int q, bool causal, int window)
{
    const row *w = p->what;
    const int head = h / (w->heads / w->key_heads), length = p->lengths[b], last = causal ? length - w->queries + q : length;
    const int64_t at = ((int64_t)b * w->heads + h) * w->queries + q;
    const double fair = w->dtype == CLF_F16 ? 0x1p-11 : w->dtype == CLF_BF16 ? 0x1p-8 : 0;
    double *score = room(w->keys, sizeof *score), top = -INFINITY, sum = 0, worst = 0;

    for (int key = 0; key < length; key++) {
        const float *k = p->k + place(p, b, head, key) * w->width;
        score[key] = 0;
        for (int d = 0; d < w->width; d++)
            score[key] += (double)p->q[at * w->width + d] * (double)k[d];
        score[key] /= sqrt(w->width);
        if (strstr(w->config, "softcap"))
            score[key] = 1.5 * tanh(score[key] / 1.5);
        score[key] = key <= last && key >= last - window && !is_hidden(w, key) ? score[key] : -INFINITY;
        top = fmax(top, score[key]);
    }
    for (int key = 0; key < length; key++)
        sum += score[key] = top == -INFINITY ? 0 : exp(score[key] - top);
    for (int e = 0; e < w->value_width; e++) {
        double value = 0;
        for (int key = 0; key < length; key++)
            value += score[key] > 0 ? score[key] / sum * (double)p->v[place(p, b, head, key) * w->value_width + e] : 0;
        const double error = fabs(value - (double)p->out[at * w->value_width + e]) / (1.01 * fair * fabs(value) + 4e-6);
        worst = worse(worst, error);
    }
    const double lse = top + log(sum), error = fabs(lse - (double)p->lse[at]) / 1e-5;
    free(score);
    return sum == 0 ? (p->lse[at] == -INFINITY ? worst : NAN) : worse(worst, error);
}

static void check(clf_device *device, const row *what, const char *family)
{
    const bool causal = strstr(what->config, "causal") != NULL;
    problem p;
    double  worst = 0;

    make(&p, what);
    poison(&p);
    run(device, &p, family);
    for (int b = 0; b < what->batch; b++)
        for (int h = 0; h < what->heads; h++)
            for (int q = 0; q < what->queries; q++) {
                const double error = row_error(&p, b, h, q, causal, strstr(what->config, "window") ? 100 : what->keys);
                worst = worse(worst, error);
            }
    cr_expect(worst <= 1, "%s on %s: %d heads on %d, %d queries, %d keys, %s, page %d, %d bits%s: error %g times the fair",
              family, clf_device_get_info(device)->name, what->heads, what->key_heads, what->queries, what->keys,
              clf_dtype_name(what->dtype), what->page, what->bits, what->config, worst);
    forget(&p);
}

static void check_device(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    const bool native = (info->type & CL_DEVICE_TYPE_CPU) && !info->software && !info->simulator;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (info->simulator && rows[i].heavy)
            continue;
        if (rows[i].queries * (rows[i].heads / rows[i].key_heads) > 16) { /* unpacked ahead of other families */
            check(device, &rows[i], native ? "vector" : "portable");
            check(device, &rows[i], "reference");
            continue;
        }
        if (!native || i < 2) /* compiling for work-items takes long there */
            check(device, &rows[i], "portable_decode");
        if (native)
            check(device, &rows[i], "vector_decode");
        if (clf_device_get_capabilities(device)->nvidia_matrix && rows[i].dtype != CLF_F32)
            check(device, &rows[i], "nvidia_decode");
    }
    for (size_t i = 0; i < sizeof matrix_rows / sizeof matrix_rows[0]; i++)
        if (clf_device_get_capabilities(device)->nvidia_matrix)
            check(device, &matrix_rows[i], "nvidia_decode");
}

Test(fused_decode, rows)
{
    for_each_device(check_device);
}
