/* Sinks: one more score in the sum of exponentials of a row, larger and smaller than the others, or -infinity. */
#include "fused_part.h"

static const job jobs[] = {
    { .name = "sinks", .batch = 1, .heads = 2, .k_heads = 2, .queries = 5, .keys = 3, .width = 8, .value_width = 4,
      .causal = true, .shift = -2, .sinks = true },
    { .name = "sinks and groups", .batch = 2, .heads = 3, .k_heads = 1, .queries = 75, .keys = 69, .width = 8,
      .value_width = 12, .causal = true, .shift = -6, .sinks = true, .dropout = 0.25f },
};

static void check_all(clf_device *device)
{
    check_jobs(device, jobs, sizeof jobs / sizeof jobs[0]);
}

Test(fused_sinks, rows_and_gradients)
{
    for_each_device(check_all);
}
