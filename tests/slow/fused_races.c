/* The same bits in a thousand runs of both passes, in problems large enough for all compute units of a GPU to race and
 * for heads as wide as each tile of the kernels for tensor cores. */
#include "../unit/devices.h"
#include "fused/fused.h"
#include <clformers/clformers.h>
#include <string.h>

enum { Q, K, V, GRAD_OUT, OUT, LSE, GRAD_Q, GRAD_K, GRAD_V, TENSORS }; /* results from OUT on */

typedef struct problem {
    clf_dtype dtype;
    int64_t   width, group;
    bool      causal;
    float     dropout;
} problem;

static const problem problems[] = {
    { CLF_F16, 64, 1, false, 0 }, { CLF_F16, 128, 1, false, 0 }, { CLF_BF16, 128, 2, true, 0 },
    { CLF_F16, 256, 1, true, 0 }, { CLF_F16, 64, 2, true, 0.2f }, { CLF_F32, 64, 1, true, 0 },
};

typedef struct race {
    clf_device         *device;
    clf_fused_attention p;
    clf_plan           *plan;
    clf_buffer          buffer[2]; /* workspace, saved */
    void               *first[TENSORS], *again;
} race;

static bool went_well(clf_status status, const char *doing)
{
    cr_expect_eq(status, CLF_SUCCESS, "%s: %s", doing, clf_error_message());
    return status == CLF_SUCCESS;
}

static clf_tensor *tensor_of(race *r, int i)
{
    clf_fused_attention *p = &r->p;
    clf_tensor *const all[TENSORS] = { &p->q, &p->k, &p->v, &p->grad_out, &p->out, &p->lse, &p->grad_q, &p->grad_k,
                                       &p->grad_v };
    return all[i];
}

static bool write_random(race *r, int i)
{
    const clf_tensor *t = tensor_of(r, i);
    const size_t      count = (size_t)clf_tensor_elements(t), bytes = count * clf_dtype_size(t->dtype);
    void             *numbers = malloc(bytes);
    uint32_t          state = (uint32_t)i;

    for (size_t n = 0; numbers && n < count; n++) {
        state = 1664525u * state + 1013904223u;
        const float x = (float)((double)state / 4294967296.0 - 0.5) * 3;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (t->dtype == CLF_F32)
            ((float *)numbers)[n] = x;
        else
            ((uint16_t *)numbers)[n] = t->dtype == CLF_F16 ? clf_float_to_half(x) : (uint16_t)(bits >> 16);
    }
    const bool well = numbers && went_well(clf_tensor_write(r->device, t, numbers), "writing");
    free(numbers);
    return well;
}

static bool begin(race *r, const problem *a, int64_t heads, int64_t rows)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };
    const int64_t q[4] = { 1, heads, rows, a->width }, k[4] = { 1, heads / a->group, rows, a->width };
    bool well = true;

    r->p = (clf_fused_attention){ .size = sizeof r->p, .causal = a->causal, .dropout = a->dropout };
    for (int i = 0; i < TENSORS && well; i++)
        well = went_well(clf_tensor_alloc(r->device, i == LSE ? CLF_F32 : a->dtype, i == LSE ? 3 : 4,
                                          i == K || i == V || i >= GRAD_K ? k : q, tensor_of(r, i)), "allocating") &&
               (i >= OUT || write_random(r, i));
    well = well && went_well(clf_fused_attention_plan(r->device, &r->p, &options, &r->plan), "planning");
    for (int i = 0; i < 2 && well; i++) {
        const clf_plan_info info = clf_plan_get_info(r->plan);
        r->buffer[i].bytes = i ? info.saved_bytes : info.workspace_bytes;
        well = !r->buffer[i].bytes ||
               went_well(clf_pool_acquire(r->device, r->buffer[i].bytes, &r->buffer[i].mem), "allocating");
    }
    r->again = malloc((size_t)(heads * rows * a->width) * sizeof(float));
    return well && r->again;
}

static void end(race *r)
{
    for (int i = 0; i < TENSORS; i++) {
        if (tensor_of(r, i)->mem)
            clf_tensor_free(r->device, tensor_of(r, i));
        free(r->first[i]);
    }
    for (int i = 0; i < 2; i++)
        if (r->buffer[i].mem)
            clf_pool_release(r->device, r->buffer[i].mem, NULL);
    clf_plan_release(r->plan);
    free(r->again);
}

/* One run; what differs from the first, -1: nothing, -2: it failed. */
static int run_once(race *r)
{
    const clf_buffer *b = r->buffer;

    if (!went_well(clf_fused_attention_forward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "forward") ||
        !went_well(clf_fused_attention_backward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "backward"))
        return -2;
    for (int i = OUT; i < TENSORS; i++) {
        const clf_tensor *t = tensor_of(r, i);
        const size_t      bytes = (size_t)clf_tensor_elements(t) * clf_dtype_size(t->dtype);
        const bool        is_first = !r->first[i];

        if (is_first && !(r->first[i] = malloc(bytes)))
            return -2;
        if (!went_well(clf_tensor_read(r->device, t, is_first ? r->first[i] : r->again), "reading"))
            return -2;
        if (!is_first && memcmp(r->first[i], r->again, bytes) != 0)
            return i;
    }
    return -1;
}

static void check_all(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    const bool is_gpu = !info->software && !info->simulator && info->type & CL_DEVICE_TYPE_GPU;
    const int64_t heads = is_gpu ? 16 : 2, rows = is_gpu ? 2048 - 40 : 70;
    const int turns = is_gpu ? 1000 : info->simulator ? 1 : 5;

    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        race r = { .device = device };
        int  differs = -1, turn = 0;

        if (begin(&r, &problems[i], heads, rows))
            for (; turn < turns && differs == -1; turn++)
                differs = run_once(&r);
        cr_expect(turn == turns && differs == -1, "%s, %s: problem %d: tensor %d differs in run %d", info->name,
                  r.plan ? clf_plan_get_info(r.plan).family : "", (int)i, differs, turn);
        end(&r);
    }
}

Test(fused_races, a_thousand_times)
{
    for_each_device(check_all);
}
