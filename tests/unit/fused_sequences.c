/* Sequences of different lengths, in a row or in batches; all their slots used or not. */
#include "fused_part.h"

static const job jobs[] = {
    { .name = "two sequences", .batch = 1, .heads = 1, .k_heads = 1, .queries = 6, .keys = 9, .width = 8, .value_width = 4,
      .causal = true, .bottom_right = true, .sequences = 2, .q_starts = { 0, 3, 5 }, .k_starts = { 1, 4, 8 },
      .padding = true },
    { .name = "five sequences, one without queries, one without keys", .batch = 1, .heads = 6, .k_heads = 2,
      .queries = 120, .keys = 155, .width = 8, .value_width = 12, .causal = true, .bottom_right = true,
      .window = 30, .sinks = true, .dropout = 0.25f, .sequences = 5, .q_starts = { 2, 39, 39, 40, 110, 115 },
      .k_starts = { 0, 45, 54, 54, 87, 151 }, .k_lengths = { 45, 9, 0, 20, 64 }, .max_queries = 70, .max_keys = 64,
      .config = "{\"name\": \"fused_attention\", \"causal\": true, \"window_left\": 29, \"dropout\": 0.25, "
                "\"max_queries\": 70, \"max_keys\": 64}" },
    { .name = "lengths in batches, f16 from f32", .out = CLF_F16, .batch = 3, .heads = 2, .k_heads = 2, .queries = 9,
      .keys = 70, .width = 8, .value_width = 12, .sequences = 3, .k_lengths = { 70, 0, 33 } },
};

static void check_all(clf_device *device)
{
    check_jobs(device, jobs, sizeof jobs / sizeof jobs[0]);
}

Test(fused_sequences, rows_and_gradients)
{
    for_each_device(check_all);
}

/* Rows of no sequence are 0, those that nobody promised NaN; the others do not change. */
static void check_promise(clf_device *device)
{
    static const job wrong = { .name = "too many queries", .batch = 1, .heads = 1, .k_heads = 1, .queries = 80, .keys = 9,
                               .width = 8, .value_width = 4, .causal = true, .bottom_right = true, .sequences = 2,
                               .q_starts = { 0, 70, 75 }, .k_starts = { 0, 4, 8 }, .max_queries = 66,
                               .forward_only = true, .family = "reference" };
    tensors       t = { .device = device };
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    float         out[80 * 4];

    if (clf_device_get_info(device)->simulator)
        return;
    cr_assert_eq(plan_job(device, &wrong, &t.args, &instance, &plan), CLF_SUCCESS, "%s", clf_error_message());
    make_all(&t, &wrong);
    execute(&wrong, plan, &t, &t.args);
    cr_assert_eq(clf_tensor_read_floats(device, &t.args.io[CLF_QKV_OUT], out), CLF_SUCCESS);
    for (int i = 0; i < 80; i++)
        cr_expect(i >= 75 ? out[4 * i] == 0 : i >= 66 && i < 70 ? isnan(out[4 * i]) : isfinite(out[4 * i]), "row %d is %g",
                  i, (double)out[4 * i]);
    free_all(&t);
    clf_plan_release(plan);
    clf_instance_release(instance);
}

Test(fused_sequences, promise)
{
    for_each_device(check_promise);
}

static void check_refusals(clf_device *device)
{
    static const job batches = { .name = "a batch of 2 in a row", .batch = 2, .heads = 1, .k_heads = 1, .queries = 6,
                                 .keys = 9, .width = 8, .value_width = 4, .sequences = 2, .q_starts = { 0, 3, 5 },
                                 .k_starts = { 1, 4, 8 } };
    static const job padded = { .name = "padding of batches", .batch = 1, .heads = 1, .k_heads = 1, .queries = 6,
                                .keys = 9, .width = 8, .value_width = 4, .sequences = 2, .q_starts = { 0, 3, 5 },
                                .padding = true };

    expect_refused(device, &batches, "'q' has a batch of 2, not 1, for 2 sequences in a row");
    expect_refused(device, &padded, "key padding needs queries and keys both in a row");
}

Test(fused_sequences, refusals)
{
    for_each_device(check_refusals);
}
