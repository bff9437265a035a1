/* A part whose kernel includes a source of the library that is not in prelude/, or is one itself. */
#include <clformers/author.h>

typedef struct stray_config {
    clf_attention_config base;
    bool borrow;
} stray_config;

static const clf_field stray_fields[] = {
    CLF_ATTENTION_FIELDS(stray_config),
    CLF_BOOL(stray_config, borrow, false, .doc = "run a kernel of the library"),
    CLF_FIELDS_END
};

static clf_status stray_plan(clf_plan *plan)
{
    const stray_config *config = clf_plan_config(plan);
    cl_kernel kernel;
    return config->borrow ? clf_plan_kernel(plan, "fused/reference_forward.cl", "", "clf_fused_forward_reference", &kernel)
                          : clf_plan_kernel(plan, "attention/stray.cl", "", "stray", &kernel);
}

static clf_status stray_forward(clf_run *run)
{
    (void)run;
    return CLF_SUCCESS;
}

CLF_REGISTER_ATTENTION(stray) = {
    .summary = "includes what it may not",
    .config = CLF_SCHEMA(stray_config, stray_fields),
    .programs = { "attention/stray.cl" },
    .io = clf_attention_io_qkv,
    .plan = stray_plan,
    .forward = stray_forward,
};
