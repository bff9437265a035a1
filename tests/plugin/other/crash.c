/* A part that takes the process along. */
#include <clformers/author.h>
#include <stdlib.h>

typedef struct crash_config {
    clf_attention_config base;
} crash_config;

static const clf_field crash_fields[] = { CLF_ATTENTION_FIELDS(crash_config), CLF_FIELDS_END };

static clf_status crash_plan(clf_plan *plan)
{
    (void)plan;
    abort();
}

static clf_status crash_forward(clf_run *run)
{
    (void)run;
    return CLF_SUCCESS;
}

CLF_REGISTER_ATTENTION(crash) = {
    .summary = "aborts while it plans",
    .config = CLF_SCHEMA(crash_config, crash_fields),
    .io = clf_attention_io_qkv,
    .plan = crash_plan,
    .forward = crash_forward,
};
