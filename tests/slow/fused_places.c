/* Who reads what in fused attention, with every family that can run here, in all storage types: groups of heads,
 * sinks, sequences of different lengths. The unit tests have the small ones of these. */
#include "../unit/fused_part.h"

static const job jobs[] = {
    { .name = "heads 3 to 1", .batch = 2, .heads = 6, .k_heads = 2, .queries = 70, .keys = 83, .width = 24,
      .value_width = 40, .causal = true, .shift = 8, .window = 30, .dropout = 0.25f },
    { .name = "heads 8 to 1", .batch = 1, .heads = 8, .k_heads = 1, .queries = 130, .keys = 65, .width = 64,
      .value_width = 64, .padding = true },
    { .name = "sinks", .batch = 2, .heads = 4, .k_heads = 4, .queries = 69, .keys = 130, .width = 32, .value_width = 32,
      .padding = true, .sinks = true },
    { .name = "sinks, causal", .batch = 2, .heads = 3, .k_heads = 1, .queries = 75, .keys = 69, .width = 64,
      .value_width = 64, .causal = true, .shift = -6, .sinks = true, .dropout = 0.25f },
    { .name = "heads 3 to 1, sinks, several tiles", .batch = 2, .heads = 6, .k_heads = 2, .queries = 200, .keys = 210,
      .width = 64, .value_width = 64, .causal = true, .shift = 10, .sinks = true },
    { .name = "heads 2 to 1, wide, a window", .batch = 1, .heads = 4, .k_heads = 2, .queries = 300, .keys = 290,
      .width = 128, .value_width = 100, .causal = true, .shift = -10, .window = 150 },
    { .name = "heads 4 to 1, nothing hidden", .batch = 1, .heads = 4, .k_heads = 1, .queries = 130, .keys = 260,
      .width = 50, .value_width = 128, .sinks = true },
    { .name = "sequences", .batch = 1, .heads = 6, .k_heads = 2, .queries = 300, .keys = 311, .width = 64,
      .value_width = 64, .causal = true, .bottom_right = true, .sequences = 5, .q_starts = { 2, 139, 139, 140, 290, 295 },
      .k_starts = { 0, 45, 54, 54, 240, 311 }, .padding = true },
    { .name = "sequences, aligned at the top left", .batch = 1, .heads = 2, .k_heads = 2, .queries = 300, .keys = 311,
      .width = 32, .value_width = 40, .causal = true, .sequences = 4, .q_starts = { 0, 130, 131, 200, 300 },
      .k_starts = { 0, 100, 103, 250, 311 }, .window = 40, .sinks = true, .max_queries = 130, .max_keys = 147 },
    { .name = "gaps between keys", .batch = 1, .heads = 4, .k_heads = 1, .queries = 90, .keys = 300, .width = 32,
      .value_width = 32, .causal = true, .bottom_right = true, .sequences = 3, .q_starts = { 0, 1, 5, 90 },
      .k_starts = { 0, 100, 200, 300 }, .k_lengths = { 70, 0, 100 }, .dropout = 0.125f },
    { .name = "queries in a row, keys in batches", .batch = 1, .heads = 4, .k_heads = 2, .queries = 9, .keys = 150,
      .width = 64, .value_width = 64, .causal = true, .bottom_right = true, .sequences = 3, .q_starts = { 0, 1, 5, 9 },
      .k_lengths = { 150, 33, 64 }, .max_queries = 4 },
    { .name = "keys in a row, queries in batches", .batch = 2, .heads = 2, .k_heads = 2, .queries = 33, .keys = 150,
      .width = 32, .value_width = 32, .sequences = 2, .k_starts = { 10, 60, 145 } },
    { .name = "lengths", .batch = 2, .heads = 2, .k_heads = 2, .queries = 70, .keys = 150, .width = 32,
      .value_width = 32, .causal = true, .bottom_right = true, .sequences = 2, .k_lengths = { 20, 140 }, .padding = true },
};

static void check_all(clf_device *device)
{
    static const clf_dtype dtypes[] = { CLF_F32, CLF_F16, CLF_BF16 };
    const bool cpu = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;

    if (clf_device_get_info(device)->simulator)
        return;
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
            int possible = 0;
            for (int f = 0; clf__fused_families[f]; f++) {
                job j = jobs[i];
                if (cpu && d > 0 && strcmp(clf__fused_families[f], "portable") == 0)
                    continue; /* a minute each to compile */
                j.family = clf__fused_families[f];
                j.dtype = dtypes[d];
                possible += check_job_if_possible(device, &j);
            }
            cr_expect_geq(possible, 2, "%s: only %d families", jobs[i].name, possible);
        }
}

Test(fused_places, all)
{
    for_each_device(check_all);
}
