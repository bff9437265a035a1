/* The same bits a thousand times, in both passes, whatever runs beside. */
#include "fused_any.h"

#define TYPES(type, out_type) .dtype = CLF_##type, .out = CLF_##out_type
static const any configurations[] = {
    { TYPES(F32, F32), .causal = true, .backward = true },
    { TYPES(F16, F32), .place = IN_A_ROW, .groups = true, .sinks = true, .dropout = true, .padding = true, .backward = true },
    { TYPES(BF16, BF16), .mask_mod = true, .alibi = true, .softcap = true, .mask = true, .backward = true },
    { TYPES(F32, F16), .place = IN_PAGES, .bits = 4, .causal = true, .wide_values = true },
    { TYPES(F16, F16), .place = IN_PAGES, .bits = 8, .few = true, .groups = true, .window = true },
};

static void check_configuration(clf_device *device, const any *a)
{
    const bool simulator = clf_device_get_info(device)->simulator;
    float *before[TENSORS] = { NULL };
    any_run r;

    begin(&r, device, a, simulator);
    want_all(&r);
    cr_assert_eq(plan_any(&r, NULL), CLF_SUCCESS, "%s", clf_error_message());
    for (int turn = 0; turn < (simulator ? 3 : 1000); turn++) {
        run_any(&r);
        for (int i = 0; i < TENSORS; i++) {
            const size_t bytes = is_result(&r, i) ? (size_t)clf_tensor_elements(tensor_at(&r, i)) * sizeof(float) : 0;
            if (!bytes)
                continue;
            if (turn)
                cr_assert(memcmp(before[i], r.host[i], bytes) == 0, "%s: configuration %d, tensor %d differs in run %d",
                          clf_device_get_info(device)->name, (int)(a - configurations), i, turn);
            else
                before[i] = memcpy(malloc(bytes), r.host[i], bytes);
            if (!turn)
                cr_expect_lt(first_wrong(&r, i), 0, "configuration %d, tensor %d", (int)(a - configurations), i);
        }
    }
    for (int i = 0; i < TENSORS; i++)
        free(before[i]);
    unplan(&r);
    end(&r);
}

static void check_all(clf_device *device)
{
    for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++)
        check_configuration(device, &configurations[i]);
}

Test(fused_repeats, a_thousand_times)
{
    for_each_device(check_all);
}
