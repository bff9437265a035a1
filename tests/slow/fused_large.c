/* Tensors of more than 2^32 elements, in both passes, with every family that plans them: random numbers in a few
 * groups of heads (the first, one across element 2^31, one across 2^32, the last), zeros in all others. Each group must
 * have the bits that it has in a small problem, so no place was cut to 32 bits.
 *
 * For GPUs of some 52 GiB and more. CLF_LARGE_HEADS=12, say, is the same with so many heads of keys, on any device. */
#include "../unit/devices.h"
#include "fused/fused.h"
#include <clformers/clformers.h>
#include <math.h>
#include <string.h>

enum { Q, K, V, GRAD_OUT, OUT, LSE, GRAD_Q, GRAD_K, GRAD_V, TENSORS }; /* results from OUT on */
enum { WIDTH = 64, PLACES = 4, ZEROS = PLACES, KINDS };                /* of groups of heads */

/* No powers of 2, so that tiles are not full and heads lie across the limits. */
typedef struct shape {
    int64_t k_heads, group, queries, keys;
} shape;

static const shape shapes[] = {
    { 8392, 8, 1000, 1000 }, /* q, out and their gradients have 4.297e9 elements */
    { 67136, 1, 40, 1000 },  /* k, v and theirs */
};

typedef struct large {
    clf_device         *device;
    const shape        *s;
    const char         *family;
    int64_t             k_heads;
    clf_fused_attention p;
    clf_plan           *plan;
    clf_buffer          buffer[2]; /* workspace, saved */
} large;

typedef void *answers[TENSORS][KINDS]; /* results of a group */

static int families_run;

static bool went_well(clf_status status, const char *doing)
{
    cr_expect_eq(status, CLF_SUCCESS, "%s: %s", doing, clf_error_message());
    return status == CLF_SUCCESS;
}

static clf_tensor *tensor_of(large *r, int i)
{
    clf_fused_attention *p = &r->p;
    clf_tensor *const all[TENSORS] = { &p->q, &p->k, &p->v, &p->grad_out, &p->out, &p->lse, &p->grad_q, &p->grad_k,
                                       &p->grad_v };
    return all[i];
}

/* What of tensor i belongs to head g of k, and its bytes. */
static clf_tensor group_of(large *r, int i, int64_t g, size_t *bytes)
{
    const clf_tensor *t = tensor_of(r, i);
    const int64_t     count = clf_tensor_elements(t) / r->k_heads;
    clf_tensor        part = clf_tensor_view(t->mem, t->dtype, 1, &count);

    *bytes = (size_t)count * clf_dtype_size(t->dtype);
    part.offset = t->offset + (uint64_t)g * *bytes;
    return part;
}

static clf_status plan(large *r)
{
    const clf_plan_options options = { .size = sizeof options, .family = r->family, .passes = CLF_FORWARD | CLF_BACKWARD };
    const int64_t q[4] = { 1, r->k_heads * r->s->group, r->s->queries, WIDTH }, k[4] = { 1, r->k_heads, r->s->keys, WIDTH };

    r->p = (clf_fused_attention){ .size = sizeof r->p };
    for (int i = 0; i < TENSORS; i++)
        *tensor_of(r, i) = clf_tensor_view(NULL, i == LSE ? CLF_F32 : CLF_F16, i == LSE ? 3 : 4,
                                           i == K || i == V || i >= GRAD_K ? k : q);
    return clf_fused_attention_plan(r->device, &r->p, &options, &r->plan);
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

/* Does all of it fit, with what the pool adds to sizes? */
static bool has_room(large *r)
{
    const clf_plan_info info = clf_plan_get_info(r->plan);
    uint64_t all = 0, largest = 0;

    for (int i = 0; i < TENSORS + 2; i++) {
        const uint64_t bytes = i < TENSORS ? clf_tensor_end(tensor_of(r, i)) : i > TENSORS ? info.saved_bytes :
                               info.workspace_bytes;
        all += bytes + bytes / 8;
        largest = bytes + bytes / 8 > largest ? bytes + bytes / 8 : largest;
    }
    return all <= clf_device_get_info(r->device)->global_memory &&
           largest <= clf_device_get_capabilities(r->device)->max_allocation;
}

/* From the host: behind fills of so much NVIDIA's driver 580 answers CL_OUT_OF_RESOURCES. */
static bool fill(const large *r, cl_mem mem, uint64_t bytes, int byte)
{
    const uint64_t piece = UINT64_C(1) << 28;
    void          *block = malloc((size_t)piece);
    cl_int         error = block ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;

    if (block)
        memset(block, byte, (size_t)piece);
    for (uint64_t at = 0; at < bytes && !error; at += piece)
        error = clEnqueueWriteBuffer(clf_device_queue(r->device), mem, CL_TRUE, (size_t)at,
                                     (size_t)(bytes - at < piece ? bytes - at : piece), block, 0, NULL, NULL);
    free(block);
    cr_expect_eq(error, CL_SUCCESS, "filling: %d", error);
    return !error;
}

/* Zeros in what is read, NaN in what is written. */
static bool allocate(large *r)
{
    const clf_plan_info info = clf_plan_get_info(r->plan);
    const uint64_t      bytes[2] = { info.workspace_bytes, info.saved_bytes };
    bool                well = true;

    for (int i = 0; i < TENSORS && well; i++) {
        const clf_tensor like = *tensor_of(r, i);
        clf_tensor      *t = tensor_of(r, i);
        well = went_well(clf_tensor_alloc(r->device, like.dtype, like.rank, like.shape, t), "allocating") &&
               fill(r, t->mem, clf_tensor_end(t), i < OUT ? 0 : 0xff);
    }
    for (int i = 0; i < 2 && well; i++) {
        r->buffer[i].bytes = bytes[i];
        well = !bytes[i] || (went_well(clf_pool_acquire(r->device, bytes[i], &r->buffer[i].mem), "allocating") &&
                             fill(r, r->buffer[i].mem, bytes[i], 0xff));
    }
    return well;
}

static void end(large *r)
{
    for (int i = 0; i < TENSORS; i++)
        if (tensor_of(r, i)->mem)
            clf_tensor_free(r->device, tensor_of(r, i));
    for (int i = 0; i < 2; i++)
        if (r->buffer[i].mem)
            clf_pool_release(r->device, r->buffer[i].mem, NULL);
    clf_plan_release(r->plan);
    clf_pool_trim(r->device, 0);
}

/* ---- running and comparing ------------------------------------------------------------------------------- */

/* The same numbers at a place in every problem of a shape. */
static bool write_random(large *r, int i, int place, int64_t g)
{
    size_t           bytes;
    const clf_tensor part = group_of(r, i, g, &bytes);
    uint16_t        *numbers = malloc(bytes);
    uint32_t         state = (uint32_t)(place * TENSORS + i);

    for (size_t n = 0; numbers && n < bytes / sizeof *numbers; n++) {
        state = 1664525u * state + 1013904223u;
        numbers[n] = clf_float_to_half((float)((double)state / 4294967296.0 - 0.5) * 3);
    }
    const bool well = numbers && went_well(clf_tensor_write(r->device, &part, numbers), "writing");
    free(numbers);
    return well;
}

static bool run(large *r, const int64_t *at)
{
    const clf_buffer *b = r->buffer;
    bool              well = allocate(r);

    for (int n = 0; n < OUT * PLACES && well; n++)
        well = write_random(r, n / PLACES, n % PLACES, at[n % PLACES]);
    return well && went_well(clf_fused_attention_forward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "forward") &&
           went_well(clf_fused_attention_backward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "backward");
}

/* How many are no numbers, or, of zeros, not what those give. */
static size_t wrong_numbers(const large *r, int i, int kind, const void *numbers, size_t bytes)
{
    const double known = i == LSE ? log((double)r->s->keys) : 0, tolerance = i == LSE ? 1e-4 : 0;
    size_t       wrong = 0;

    for (size_t n = 0; n < bytes / (i == LSE ? 4 : 2); n++) {
        const float x = i == LSE ? ((const float *)numbers)[n] : clf_half_to_float(((const uint16_t *)numbers)[n]);
        wrong += !isfinite(x) || (kind == ZEROS && fabs((double)x - known) > tolerance);
    }
    return wrong;
}

/* The groups alone, beside so many of zeros that planning splits the work as in the large problem. */
static bool run_small(const large *like, answers a)
{
    static const int64_t at[KINDS] = { 0, 1, 2, 3, 4 };
    const int64_t twice = 2 * (int64_t)clf_device_get_info(like->device)->compute_units;
    large r = { .device = like->device, .s = like->s, .family = like->family, .k_heads = twice < KINDS ? KINDS : twice };
    bool  well = went_well(plan(&r), "planning") && run(&r, at);

    for (int i = OUT; i < TENSORS; i++)
        for (int kind = ZEROS; kind >= 0 && well; kind--) {
            size_t           bytes;
            const clf_tensor part = group_of(&r, i, at[kind], &bytes);
            a[i][kind] = malloc(bytes);
            well = a[i][kind] && went_well(clf_tensor_read(r.device, &part, a[i][kind]), "reading");
            if (well)
                cr_expect(wrong_numbers(&r, i, kind, a[i][kind], bytes) == 0 &&
                              (kind == ZEROS || memcmp(a[i][kind], a[i][ZEROS], bytes) != 0),
                          "%s: tensor %d, kind %d: wrong in a small problem", r.family, i, kind);
        }
    end(&r);
    return well;
}

/* All groups of a result, to the bit. */
static void compare(large *r, int i, const int64_t *at, answers a)
{
    size_t     bytes;
    clf_tensor part = group_of(r, i, 0, &bytes);
    void      *got = malloc(bytes);
    int64_t    wrong = 0, first = -1;
    bool       well = got != NULL;

    for (int64_t g = 0; g < r->k_heads && well; g++) {
        int kind = 0;
        while (kind < PLACES && at[kind] != g)
            kind++;
        part = group_of(r, i, g, &bytes);
        well = went_well(clf_tensor_read(r->device, &part, got), "reading");
        if (well && memcmp(got, a[i][kind], bytes) != 0 && wrong++ == 0)
            first = g;
    }
    free(got);
    cr_expect(well && wrong == 0, "%s, %s, %d heads of q to one: %lld of %lld groups of tensor %d are wrong, first %lld",
              clf_device_get_info(r->device)->name, r->family, (int)r->s->group, (long long)wrong, (long long)r->k_heads, i,
              (long long)first);
}

static void check_family(clf_device *device, const shape *s, const char *family, int64_t k_heads)
{
    const int64_t longest = s->group * s->queries > s->keys ? s->group * s->queries : s->keys;
    const int64_t limit = k_heads == s->k_heads ? (INT64_C(1) << 32) / (longest * WIDTH) : k_heads - 3;
    const int64_t at[PLACES] = { 0, limit / 2, limit, k_heads - 1 };
    large         r = { .device = device, .s = s, .family = family, .k_heads = k_heads };
    answers       a = { { NULL } };

    if (plan(&r) == CLF_SUCCESS && has_room(&r)) {
        families_run++;
        const bool well = run_small(&r, a) && run(&r, at);
        for (int i = OUT; i < TENSORS && well; i++)
            compare(&r, i, at, a);
    }
    end(&r);
    for (int i = 0; i < TENSORS * KINDS; i++)
        free(a[i / KINDS][i % KINDS]);
}

static void check_all(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    const char            *text = getenv("CLF_LARGE_HEADS");
    const int64_t          asked = text ? atoll(text) : 0, fewer = text && asked < 10 ? 10 : asked;

    if (info->simulator || (!fewer && (info->software || (info->type & CL_DEVICE_TYPE_CPU))))
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int f = 0; clf__fused_families[f]; f++)
            if (strcmp(clf__fused_families[f], "reference") != 0) /* takes minutes */
                check_family(device, &shapes[i], clf__fused_families[f], fewer ? fewer : shapes[i].k_heads);
}

Test(fused_large, both_passes)
{
    for_each_device(check_all);
    if (!families_run) {
        cr_skip_test("no GPU with so much memory");
    }
}
