/* Software rasterisers end long loops early (src/fused/rounds.c): the longest problems that planning lets through there
 * come out right, and twice as long ones are refused. */
#include "../unit/fused_part.h"

typedef struct growing {
    job  job;
    bool keys; /* what grows: keys, or queries */
} growing;

#define SIZES(h_, g_, d_, e_) .batch = 1, .heads = h_, .k_heads = g_, .queries = 3, .keys = 3, .width = d_, \
    .value_width = e_, .longer = 8

static const growing all[] = {
    { { .name = "keys", SIZES(1, 1, 64, 64), .forward_only = true }, true },
    { { .name = "keys, wide", SIZES(1, 1, 128, 100), .forward_only = true }, true },
    { { .name = "keys, widest", SIZES(1, 1, 256, 256), .forward_only = true }, true },
    { { .name = "keys, dropout", SIZES(1, 1, 16, 24), .forward_only = true, .dropout = 0.25f }, true },
    { { .name = "keys, f16", .dtype = CLF_F16, SIZES(1, 1, 40, 33), .forward_only = true, .causal = true,
        .bottom_right = true }, true },
    { { .name = "keys, backward", SIZES(1, 1, 64, 64) }, true },
    { { .name = "queries, backward", SIZES(1, 1, 64, 64), .causal = true }, false },
    { { .name = "queries of eight heads, backward", SIZES(8, 1, 64, 64) }, false },
    { { .name = "queries of four heads, wide, backward", SIZES(4, 1, 128, 100), .dropout = 0.25f }, false },
    { { .name = "queries, a wide window, backward", .dtype = CLF_BF16, SIZES(8, 2, 24, 40), .causal = true,
        .window = 30000 }, false },
};

static job of_length(const growing *one, const char *family, int64_t length)
{
    job j = one->job;

    j.family = family;
    *(one->keys ? &j.keys : &j.queries) = length;
    return j;
}

static bool is_planned(clf_device *device, const job *j)
{
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    clf_args      args;
    const clf_status status = plan_job(device, j, &args, &instance, &plan);

    cr_assert(status == CLF_SUCCESS || status == CLF_UNSUPPORTED, "%s", clf_error_message());
    cr_expect(status == CLF_SUCCESS || strstr(clf_error_message(), "rounds"), "%s", clf_error_message());
    clf_plan_release(plan);
    clf_instance_release(instance);
    return status == CLF_SUCCESS;
}

static void check_longest(clf_device *device, const growing *one, const char *family)
{
    int64_t fits = 3, fails = 1 << 16;

    job j = of_length(one, family, fails);
    cr_assert(!is_planned(device, &j), "%s, %s: not refused", one->job.name, family);
    while (fails - fits > 1) {
        const int64_t middle = (fits + fails) / 2;
        j = of_length(one, family, middle);
        *(is_planned(device, &j) ? &fits : &fails) = middle;
    }
    j = of_length(one, family, fits);
    check_job(device, &j);
}

static void check_device(clf_device *device)
{
    static const char *const families[] = { "portable", "reference" };

    if (!clf_device_get_info(device)->software)
        return;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
            check_longest(device, &all[i], families[f]);
}

Test(fused_rounds, longest)
{
    for_each_device(check_device);
}
