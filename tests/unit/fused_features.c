/* Everything that fused attention does to scores at once, because each configuration is compiled; one by one, and in
 * pairs, they are in tests/slow. */
#include "fused_features.h"

static const feature_case cases[] = {
    { ", \"softcap\": 1.5, \"window_left\": 7, \"window_right\": 2, "
      "\"score_mod\": \"score * table[h] + 0.125f * clf_to_real(k - q)\", \"score_mod_slope\": \"table[h]\", "
      "\"mask_mod\": \"(k <= q + 3) & (CLF_GATHER(table, (k + q) & 3) < 1.0f)\", \"extra_names\": \"table\"",
      BIT(FUSED_ALIBI) | BIT(FUSED_EXTRA) | BIT(CLF_QKV_KEY_PADDING_MASK) | BIT(CLF_QKV_LSE),
      .queries = 19, .keys = 25 },
};

/* Gradients of additive masks: one program. The other forms of masks are in tests/slow. */
#define MASKED .present = BIT(CLF_QKV_ATT_MASK), .mask = CLF_F32, .queries = 9, .keys = 21
static const feature_case masks[] = {
    { "", MASKED, .ones = 1 },
    { "", MASKED, .drop = 2 },
    { "", MASKED, .ones = 6 },
};

static void check_masks(clf_device *device)
{
    const bool simulator = clf_device_get_info(device)->simulator;

    for (size_t i = 0; i < (simulator ? 1 : sizeof masks / sizeof masks[0]); i++)
        run_feature(device, &masks[i], 8, NULL, KIT_PROBLEM);
}

Test(fused_features, gradients_of_masks)
{
    for_each_device(check_masks);
}

/* Several tiles of queries and keys: those that the expression hides are skipped. Query q's window, aligned at the bottom
 * right, is q - 1 .. q + 8: half of it passes the expression. With many more keys than queries nothing would. */
static void check_cases(clf_device *device)
{
    const bool simulator = clf_device_get_info(device)->simulator;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        feature_case f = cases[i];
        f.queries = simulator ? 19 : 85;
        f.keys = simulator ? 25 : 91;
        run_feature(device, &f, 8, NULL, KIT_PROBLEM);
    }
}

Test(fused_features, values_and_gradients)
{
    for_each_device(check_cases);
}

/* The reference itself. */
static void check_differences(clf_device *device)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_feature(device, &cases[i], 8, NULL, KIT_DIFFERENCES);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++)
        run_feature(device, &masks[i], 8, NULL, KIT_DIFFERENCES);
}

Test(fused_features, reference)
{
    clf_device *device = NULL;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS);
    check_differences(device);
    clf_device_release(device);
}
