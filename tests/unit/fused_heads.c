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
