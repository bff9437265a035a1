/* Heads of q that share a head of k and v. */
#include "fused_part.h"

static const job jobs[] = {
    { .name = "two heads of q to one", .batch = 1, .heads = 4, .k_heads = 2, .queries = 5, .keys = 9, .width = 8,
      .value_width = 4, .causal = true, .shift = 1 },
    { .name = "three heads of q to one", .batch = 2, .heads = 6, .k_heads = 2, .queries = 37, .keys = 45, .width = 8,
      .value_width = 12, .causal = true, .shift = 8, .dropout = 0.25f },
    { .name = "all to one, f32 from f16", .dtype = CLF_F16, .out = CLF_F32, .batch = 1, .heads = 8, .k_heads = 1,
      .queries = 70, .keys = 33, .width = 8, .value_width = 12, .padding = true },
};

static void check_all(clf_device *device)
{
    check_jobs(device, jobs, sizeof jobs / sizeof jobs[0]);
}

Test(fused_heads, shared)
{
    for_each_device(check_all);
}

static void check_refusals(clf_device *device)
{
    static const job three = { .name = "8 heads to 3", .batch = 1, .heads = 8, .k_heads = 3, .queries = 4, .keys = 4,
                               .width = 8, .value_width = 8 };

    expect_refused(device, &three, "q has 8 heads, k 3 and v 3");
}

Test(fused_heads, refusals)
{
    for_each_device(check_refusals);
}

/* What takes more rounds than software rasterisers go is refused there, and the naive family spares them. */
static void check_rounds(clf_device *device)
{
    static const job naive = { .name = "eight heads to one", .family = "reference", .batch = 1, .heads = 8, .k_heads = 1,
                               .queries = 130, .keys = 2, .width = 64, .value_width = 64 };
    static const job long_ones[] = {
        { .name = "many keys", .batch = 1, .heads = 1, .k_heads = 1, .queries = 1, .keys = 50000, .width = 64,
          .value_width = 64, .forward_only = true, .family = "portable" },
        { .name = "many queries of eight heads", .batch = 1, .heads = 8, .k_heads = 1, .queries = 4096, .keys = 2,
          .width = 64, .value_width = 64 },
    };

    if (!clf_device_get_info(device)->software)
        return;
    check_job(device, &naive);
    for (size_t i = 0; i < sizeof long_ones / sizeof long_ones[0]; i++)
        expect_refused(device, &long_ones[i], "rounds");
}

Test(fused_heads, software_rasterisers)
{
    for_each_device(check_rounds);
}
