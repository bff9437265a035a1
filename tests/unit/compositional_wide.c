/* Compositional attention with more columns of values than a launch takes: some at a time, on CPUs more of them forward
 * than backward. Values and gradients against the double reference, guards, NaN in hidden rows, the same bits twice.
 *
 * `nonlinear` cuts a hidden layer off at 0, where the gradient jumps by as much as it is, not by what rounding is. What
 * was retrieved is stored in 16 bits; of the thousands of hidden values that it makes, some lie so close to 0 that a
 * fair last bit decides their side, and no tolerance made of rounding errors holds a row with such a one. So there half
 * of the hidden layer is kept above 0 and half below by its bias: both sides are compared, and nothing is undecided.
 * In f32 the sides fall as they like: the hidden value nearest to 0 is 1e-4 there, far from what rounding moves. */
#include "devices.h"
#include "kit.h"
#include <stdio.h>

typedef struct wide_case {
    const char *config; /* further members */
    bool        causal, padding;
    float       dropout;
    clf_dtype   dtype;
    bool        spread; /* the hidden layer's bias, see above */
} wide_case;

static const wide_case cases[] = {
    { ", \"num_rules\": 2, \"dim_attn\": 600, \"nonlinear\": true", .causal = true, .padding = true },
    { ", \"num_rules\": 3, \"dim_attn\": 291, \"qk_rule\": true", .dropout = 0.25f, .dtype = CLF_F16 },
    { ", \"num_rules\": 4, \"dim_attn\": 512", .padding = true, .dtype = CLF_BF16 },
    { ", \"num_rules\": 4, \"dim_attn\": 512, \"nonlinear\": true", .padding = true, .dtype = CLF_BF16,
      .spread = true },
    { ", \"num_rules\": 2, \"dim_attn\": 300, \"nonlinear\": true", .dtype = CLF_F16, .spread = true },
};

static void run_case(clf_device *device, const clf_component *component, const clf__kit_case *plain, const wide_case *w)
{
    clf__kit_case c = *plain;
    char about[256];

    c.what = KIT_PROBLEM;
    c.every_family = false;
    KIT_EXTENT(&c, 'Q') = 70;
    KIT_EXTENT(&c, 'K') = 91;
    c.present |= w->padding ? 1u << CLF_QKV_KEY_PADDING_MASK : 0;
    c.causal = w->causal;
    c.dropout = w->dropout;
    c.training = w->dropout > 0;
    c.dtype = w->dtype ? w->dtype : CLF_F32;
    c.spread = w->spread ? "score_network.0.bias" : NULL;
    c.spread_by = 16; /* without it, hidden values are within 11 of 0 */
    (void)snprintf(c.own, sizeof c.own, "%s%s", plain->own, w->config);
    clf__kit_check check = { .device = device, .component = component, .c = &c };
    const clf__kit_verdict verdict = clf__kit_check_problem(&check);
    clf__kit_describe(component, &c, about, sizeof about);
    cr_expect(verdict == KIT_PASSED, "%s: %s: %s", clf_device_get_info(device)->name, about, check.why);
}

static void check_cases(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    const clf_component *component = NULL;
    clf__kit_cases plain = { .list = NULL };

    if (info->simulator || info->software) /* slow; sweeps have them */
        return;
    cr_assert_eq(clf_component_find(CLF_ATTENTION, "compositional", &component), CLF_SUCCESS);
    clf__kit_generate(component, info, &plain);
    cr_assert(!plain.failed && plain.count > 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_case(device, component, &plain.list[0], &cases[i]);
    free(plain.list);
}

Test(compositional_wide, values_and_gradients)
{
    for_each_device(check_cases);
}
