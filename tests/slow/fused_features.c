/* What may become of a score: each feature alone in every family, and all pairs of features in the family that planning
 * chooses. */
#include "../unit/fused_features.h"

static const feature_case alone[] = {
    { ", \"softcap\": 1.5", 0, .queries = 33, .keys = 33 },
    { ", \"softcap\": 30", 0, .queries = 17, .keys = 70, .values = KIT_PEAKY },
    { ", \"alibi\": true", 0, .queries = 33, .keys = 65, .causal = true },
    { ", \"alibi\": true, \"causal_alignment\": \"top_left\"", 0, .queries = 33, .keys = 65, .causal = true },
    { "", BIT(FUSED_ALIBI), .queries = 70, .keys = 33 },
    { ", \"window_left\": 5", 0, .queries = 33, .keys = 40 },
    { ", \"window_right\": 5", 0, .queries = 40, .keys = 33 },
    { ", \"window_left\": 0, \"window_right\": 0", BIT(FUSED_ALIBI), .queries = 33, .keys = 33 },
    { ", \"window_left\": 70, \"window_right\": 3", 0, .queries = 97, .keys = 130, .causal = true },
    { ", \"mask_mod\": \"@causal\"", 0, .queries = 133, .keys = 133 },
    { ", \"mask_mod\": \"@prefix_lm(3)\"", 0, .queries = 133, .keys = 140 },
    { ", \"mask_mod\": \"@sliding_window(4, 2)\"", 0, .queries = 140, .keys = 133 },
    { ", \"mask_mod\": \"@dilated(3)\"", 0, .queries = 133, .keys = 133, .causal = true },
    { ", \"mask_mod\": \"@neighbourhood_2d(12, 1, 2)\"", 0, .queries = 144, .keys = 144 },
    { ", \"mask_mod\": \"(k <= q + 3) & (CLF_GATHER(table, (k + q) & 3) < 1.0f)\", \"extra_names\": \"table\"",
      BIT(FUSED_EXTRA), .queries = 33, .keys = 40 },
    { ", \"score_mod\": \"@softcap(2)\"", 0, .queries = 33, .keys = 33, .values = KIT_PEAKY },
    { ", \"score_mod\": \"@alibi(table)\", \"extra_names\": \"table\"", BIT(FUSED_EXTRA), .queries = 33, .keys = 33 },
    { ", \"score_mod\": \"score * table[h] + 0.125f * clf_to_real(k - q)\", \"score_mod_slope\": \"table[h]\", "
      "\"extra_names\": \"table\"", BIT(FUSED_EXTRA), .queries = 1, .keys = 97 },
};

#define MASKED .present = BIT(CLF_QKV_ATT_MASK), .queries = 19, .keys = 37
static const feature_case masks[] = {
    { "", MASKED, .mask = CLF_F32 },
    { "", MASKED, .mask = CLF_F32, .ones = 2 },
    { "", MASKED, .mask = CLF_F32, .ones = 4 },
    { "", MASKED, .mask = CLF_F32, .ones = 8 },
    { "", MASKED, .mask = CLF_F32, .ones = 15 },
    { "", MASKED, .mask = CLF_F32, .drop = 1 },
    { "", MASKED, .mask = CLF_F32, .drop = 3 },
    { "", MASKED, .mask = CLF_F16, .drop = 2 },
    { "", MASKED, .mask = CLF_BF16, .dtype = CLF_F16, .ones = 3 },
    { "", MASKED, .mask = CLF_F32, .dtype = CLF_BF16, .ones = 3 },
    { ", \"softcap\": 1.5", MASKED, .mask = CLF_F32, .dropout = 0.2f, .causal = true, .ones = 2 },
};

/* Gradients of additive masks in every family. */
static void check_masks(clf_device *device)
{
    const char *const *families = fused_attention()->descriptor->families;

    for (size_t i = 0; i < sizeof masks / sizeof masks[0] && !clf_device_get_info(device)->simulator; i++) {
        run_feature(device, &masks[i], 16, NULL, KIT_PROBLEM);
        for (int family = 0; families[family]; family++)
            run_feature(device, &masks[i], 16, families[family], KIT_PROBLEM);
    }
}

Test(fused_features, gradients_of_masks)
{
    for_each_device(check_masks);
}

/* Two values of each thing, 0 and 1: rows of a covering array of strength two. */
enum { SOFTCAP, ALIBI, WINDOW, MASK, PADDING, MASK_MOD, SCORE_MOD, DROPOUT, THINGS };
static const char *const rows[] = { "00000000", "11111111", "01010101", "10101010", "00110011", "11001100", "00001111",
                                    "11110000", "01101001", "10010110" };

static void check_alone(clf_device *device)
{
    const char *const *families = fused_attention()->descriptor->families;
    const bool         small = clf_device_get_info(device)->simulator;

    for (size_t i = 0; i < sizeof alone / sizeof alone[0] && !small; i++) {
        run_feature(device, &alone[i], 16, NULL, KIT_PROBLEM);
        run_feature(device, &alone[i], 16, NULL, KIT_DIFFERENCES);
        for (int family = 0; families[family]; family++)
            run_feature(device, &alone[i], 16, families[family], KIT_PROBLEM);
    }
}

Test(fused_features, alone)
{
    for_each_device(check_alone);
}

static feature_case case_of(const char *row, char *config, size_t size)
{
    feature_case f = { .config = config, .queries = 21, .keys = 43, .mask = CLF_F32 };

    (void)snprintf(config, size, "%s%s%s%s%s", row[SOFTCAP] == '1' ? ", \"softcap\": 1.5" : "",
                   row[WINDOW] == '1' ? ", \"window_left\": 9, \"window_right\": 4" : "",
                   row[MASK_MOD] == '1' ? ", \"mask_mod\": \"@dilated(2)\"" : "",
                   row[SCORE_MOD] == '1' ? ", \"score_mod\": \"@alibi(table)\", \"extra_names\": \"table\"" : "",
                   row[DROPOUT] == '1' ? ", \"scale\": 0.5" : "");
    f.present = (row[ALIBI] == '1' ? BIT(FUSED_ALIBI) : 0) | (row[MASK] == '1' ? BIT(CLF_QKV_ATT_MASK) : 0) |
                (row[PADDING] == '1' ? BIT(CLF_QKV_KEY_PADDING_MASK) : 0) | (row[SCORE_MOD] == '1' ? BIT(FUSED_EXTRA) : 0);
    f.dropout = row[DROPOUT] == '1' ? 0.2f : 0;
    return f;
}

/* Every two things take all four combinations of values in some row. */
Test(fused_features, rows_cover_all_pairs)
{
    for (int a = 0; a < THINGS; a++)
        for (int b = a + 1; b < THINGS; b++) {
            unsigned seen = 0;
            for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                seen |= 1u << ((rows[i][a] - '0') * 2 + rows[i][b] - '0');
            cr_expect_eq(seen, 15, "things %d and %d: %u", a, b, seen);
        }
}

static void check_pairs(clf_device *device)
{
    char config[256];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const feature_case f = case_of(rows[i], config, sizeof config);
        run_feature(device, &f, 8, NULL, KIT_PROBLEM);
    }
}

Test(fused_features, pairs)
{
    for_each_device(check_pairs);
}
