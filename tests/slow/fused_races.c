/* The same bits in a thousand runs of both passes, in problems large enough for all compute units of a GPU to race and
 * for heads as wide as each tile of the kernels for tensor cores. */
#include "fused_whole.h"

typedef struct problem {
    clf_dtype dtype;
    int64_t   width, group;
    bool      causal;
    float     dropout;
} problem;

static const problem problems[] = {
    { CLF_F16, 64, 1, false, 0 }, { CLF_F16, 128, 1, false, 0 }, { CLF_BF16, 128, 2, true, 0 },
    { CLF_F16, 256, 1, true, 0 }, { CLF_F16, 64, 2, true, 0.2f }, { CLF_F32, 64, 1, true, 0 },
    { CLF_F32, 128, 2, false, 0 },
};

typedef struct race {
    whole w;
    void *first[TENSORS], *again;
} race;

static bool begin(race *r, const problem *a, int64_t heads, int64_t rows)
{
    const int64_t q[4] = { 1, heads, rows, a->width }, k[4] = { 1, heads / a->group, rows, a->width };
    bool well;

    r->w.p = (clf_fused_attention){ .causal = a->causal, .dropout = a->dropout };
    well = went_well(plan_whole(&r->w, a->dtype, q, k, NULL), "planning") && allocate_whole(&r->w);
    for (int i = 0; i < OUT && well; i++)
        well = write_random(&r->w, tensor_of(&r->w, i), (uint32_t)i);
    r->again = malloc((size_t)(heads * rows * a->width) * sizeof(float));
    return well && r->again;
}

static void end(race *r)
{
    for (int i = 0; i < TENSORS; i++)
        free(r->first[i]);
    free(r->again);
    end_whole(&r->w);
}

/* One run; what differs from the first, -1: nothing, -2: it failed. */
static int run_once(race *r)
{
    if (!run_whole(&r->w))
        return -2;
    for (int i = OUT; i < TENSORS; i++) {
        const clf_tensor *t = tensor_of(&r->w, i);
        const size_t      bytes = (size_t)clf_tensor_elements(t) * clf_dtype_size(t->dtype);
        const bool        is_first = !r->first[i];

        if (is_first && !(r->first[i] = malloc(bytes)))
            return -2;
        if (!went_well(clf_tensor_read(r->w.device, t, is_first ? r->first[i] : r->again), "reading"))
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
        race r = { .w.device = device };
        int  differs = -1, turn = 0;

        if (begin(&r, &problems[i], heads, rows))
            for (; turn < turns && differs == -1; turn++)
                differs = run_once(&r);
        cr_expect(turn == turns && differs == -1, "%s, %s: problem %d: tensor %d differs in run %d", info->name,
                  r.w.plan ? clf_plan_get_info(r.w.plan).family : "", (int)i, differs, turn);
        end(&r);
    }
}

Test(fused_races, a_thousand_times)
{
    for_each_device(check_all);
}
