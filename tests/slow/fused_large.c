/* Tensors of more than 2^32 elements, in both passes, with every family that plans them: random numbers in a few
 * groups of heads (the first, one across element 2^31, one across 2^32, the last), zeros in all others. Each group must
 * have the bits that it has in a small problem, so no place was cut to 32 bits.
 *
 * For GPUs of some 52 GiB and more. CLF_LARGE_HEADS=12, say, is the same with so many heads of keys, on any device. */
#include "fused_whole.h"
#include <math.h>

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
    whole        w;
    const shape *s;
    const char  *family;
    int64_t      k_heads;
} large;

typedef void *answers[TENSORS][KINDS]; /* results of a group */

static int families_run;

/* What of tensor i belongs to head g of k, and its bytes. */
static clf_tensor group_of(large *r, int i, int64_t g, size_t *bytes)
{
    const clf_tensor *t = tensor_of(&r->w, i);
    const int64_t     count = clf_tensor_elements(t) / r->k_heads;
    clf_tensor        part = clf_tensor_view(t->mem, t->dtype, 1, &count);

    *bytes = (size_t)count * clf_dtype_size(t->dtype);
    part.offset = t->offset + (uint64_t)g * *bytes;
    return part;
}

static clf_status plan(large *r)
{
    const int64_t q[4] = { 1, r->k_heads * r->s->group, r->s->queries, WIDTH }, k[4] = { 1, r->k_heads, r->s->keys, WIDTH };

    return plan_whole(&r->w, CLF_F16, q, k, r->family);
}

/* Does all of it fit, with what the pool adds to sizes? */
static bool has_room(large *r)
{
    const clf_plan_info info = clf_plan_get_info(r->w.plan);
    uint64_t all = 0, largest = 0;

    for (int i = 0; i < TENSORS + 2; i++) {
        const uint64_t bytes = i < TENSORS ? clf_tensor_end(tensor_of(&r->w, i)) : i > TENSORS ? info.saved_bytes :
                               info.workspace_bytes;
        all += bytes + bytes / 8;
        largest = bytes + bytes / 8 > largest ? bytes + bytes / 8 : largest;
    }
    return all <= clf_device_get_info(r->w.device)->global_memory &&
           largest <= clf_device_get_capabilities(r->w.device)->max_allocation;
}

/* ---- running and comparing ------------------------------------------------------------------------------- */

/* The same numbers at a place in every problem of a shape. */
static bool run(large *r, const int64_t *at)
{
    bool well = allocate_whole(&r->w);

    for (int n = 0; n < OUT * PLACES && well; n++) {
        size_t           bytes;
        const clf_tensor part = group_of(r, n / PLACES, at[n % PLACES], &bytes);
        well = write_random(&r->w, &part, (uint32_t)(n % PLACES * TENSORS + n / PLACES));
    }
    return well && run_whole(&r->w);
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
    const int64_t twice = 2 * (int64_t)clf_device_get_info(like->w.device)->compute_units;
    large r = { .w.device = like->w.device, .s = like->s, .family = like->family, .k_heads = twice < KINDS ? KINDS : twice };
    bool  well = went_well(plan(&r), "planning") && run(&r, at);

    for (int i = OUT; i < TENSORS; i++)
        for (int kind = ZEROS; kind >= 0 && well; kind--) {
            size_t           bytes;
            const clf_tensor part = group_of(&r, i, at[kind], &bytes);
            a[i][kind] = malloc(bytes);
            well = a[i][kind] && went_well(clf_tensor_read(r.w.device, &part, a[i][kind]), "reading");
            if (well)
                cr_expect(wrong_numbers(&r, i, kind, a[i][kind], bytes) == 0 &&
                              (kind == ZEROS || memcmp(a[i][kind], a[i][ZEROS], bytes) != 0),
                          "%s: tensor %d, kind %d: wrong in a small problem", r.family, i, kind);
        }
    end_whole(&r.w);
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
        well = went_well(clf_tensor_read(r->w.device, &part, got), "reading");
        if (well && memcmp(got, a[i][kind], bytes) != 0 && wrong++ == 0)
            first = g;
    }
    free(got);
    cr_expect(well && wrong == 0, "%s, %s, %d heads of q to one: %lld of %lld groups of tensor %d are wrong, first %lld",
              clf_device_get_info(r->w.device)->name, r->family, (int)r->s->group, (long long)wrong, (long long)r->k_heads, i,
              (long long)first);
}

static void check_family(clf_device *device, const shape *s, const char *family, int64_t k_heads)
{
    const int64_t longest = s->group * s->queries > s->keys ? s->group * s->queries : s->keys;
    const int64_t limit = k_heads == s->k_heads ? (INT64_C(1) << 32) / (longest * WIDTH) : k_heads - 3;
    const int64_t at[PLACES] = { 0, limit / 2, limit, k_heads - 1 };
    large         r = { .w.device = device, .s = s, .family = family, .k_heads = k_heads };
    answers       a = { { NULL } };

    if (plan(&r) == CLF_SUCCESS && has_room(&r)) {
        families_run++;
        const bool well = run_small(&r, a) && run(&r, at);
        for (int i = OUT; i < TENSORS && well; i++)
            compare(&r, i, at, a);
    }
    end_whole(&r.w);
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
