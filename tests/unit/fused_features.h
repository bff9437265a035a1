/* What may become of a score, in cases of the test kit: values and gradients against the double reference, guards,
 * NaN in hidden rows, the same bits twice. */
#ifndef CLF_UNIT_FUSED_FEATURES_H
#define CLF_UNIT_FUSED_FEATURES_H

#include "attention/fused_attention.h"
#include "devices.h"
#include "kit.h"

typedef struct feature_case {
    const char *config;      /* further members */
    uint32_t    present;     /* optional tensors, a bit each */
    bool        causal;
    float       dropout;
    clf_dtype   mask;        /* of att_mask */
    int64_t     queries, keys;
    clf__kit_values values;
    int         drop;        /* leading axes that the mask lacks */
    unsigned    ones;        /* axes of it that are 1, a bit each */
    clf_dtype   dtype;       /* of the floating tensors */
} feature_case;

#define BIT(slot_) (1u << (slot_))

static inline const clf_component *fused_attention(void)
{
    const clf_component *component = NULL;

    cr_assert_eq(clf_component_find(CLF_ATTENTION, "fused_attention", &component), CLF_SUCCESS);
    return component;
}

/* Runs a case; `family` NULL is the one that planning chooses. It may be refused only when it has a family. */
static inline void run_feature(clf_device *device, const feature_case *f, int64_t width, const char *family,
                               clf__kit_what what)
{
    const clf_component   *component = fused_attention();
    const clf_device_info *info = clf_device_get_info(device);
    clf__kit_cases         cases = { .list = NULL };
    char                   about[256];

    clf__kit_generate(component, info, &cases);
    cr_assert(!cases.failed && cases.count > 0);
    clf__kit_case c = cases.list[0];
    free(cases.list);
    c.what = what;
    c.every_family = false;
    KIT_EXTENT(&c, 'Q') = f->queries;
    KIT_EXTENT(&c, 'K') = f->keys;
    KIT_EXTENT(&c, 'D') = KIT_EXTENT(&c, 'E') = width;
    KIT_EXTENT(&c, 'H') = 3;
    KIT_EXTENT(&c, 'W') = 5;
    c.present |= f->present;
    c.causal = f->causal;
    c.dropout = f->dropout;
    c.training = f->dropout > 0;
    c.mask_dtype = f->mask ? f->mask : CLF_BOOL8;
    c.values = f->values;
    c.mask_drop = f->drop;
    c.mask_ones = f->ones;
    c.dtype = f->dtype ? f->dtype : CLF_F32;
    (void)snprintf(c.own, sizeof c.own, "%s", f->config);
    clf__kit_check check = { .device = device, .component = component, .c = &c, .family = family };
    const clf__kit_verdict verdict = what == KIT_PROBLEM ? clf__kit_check_problem(&check)
                                                         : clf__kit_check_differences(&check);
    clf__kit_describe(component, &c, about, sizeof about);
    cr_expect(verdict == KIT_PASSED || (verdict == KIT_REFUSED && family), "%s: %s%s%s: %s: %s", info->name,
              family ? family : "", family ? ": " : "", about, verdict == KIT_REFUSED ? "refused" : "failed", check.why);
}

#endif
