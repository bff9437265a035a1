/* Counting what needs a plugin: parts themselves, and parts that configs nest. */
#include "component/module.h"
#include "toy.h"
#include <criterion/criterion.h>

typedef struct outer_config {
    clf_attention_config base;
    clf_nested_config   *inner, *other;
} outer_config;

static const clf_field outer_fields[] = {
    CLF_ATTENTION_FIELDS(outer_config),
    CLF_COMPONENT(outer_config, inner, CLF_ATTENTION, .optional = true),
    CLF_COMPONENT(outer_config, other, CLF_ATTENTION, .optional = true),
    CLF_FIELDS_END
};
static const clf_descriptor outer_descriptor = { .summary = "outer", .config = CLF_SCHEMA(outer_config, outer_fields) };
static const clf_component  outer = { sizeof(clf_descriptor), CLF_ATTENTION, "outer", &outer_descriptor, NULL };

static const clf_component *const parts[] = { &toy, NULL };
static clf__module module = { .components = parts };

Test(module, parts)
{
    clf__module_use(&toy, NULL, 1); /* nothing is loaded yet */
    clf__module_add(&module);
    cr_expect_eq(module.uses, 0);
    clf__module_use(&toy, NULL, 1);
    clf__module_use(&outer, NULL, 1);
    cr_expect_eq(module.uses, 1);
    cr_expect_eq(clf__module_remove(&module), 1);
    clf__module_use(&toy, NULL, -1);
    cr_expect_eq(clf__module_remove(&module), 0);
    clf__module_use(&toy, NULL, 1);
    cr_expect_eq(module.uses, 0, "it is gone");
}

Test(module, nested_parts)
{
    outer_config      middle = { .inner = NULL };
    clf_nested_config leaf = { .schema = &toy.descriptor->config }, within = { .schema = &outer_descriptor.config };
    outer_config      config = { .inner = &leaf, .other = &within };
    within.config = &middle;
    middle.other = &leaf;
    clf__module_add(&module);
    clf__module_use(&outer, &config, 1);
    cr_expect_eq(module.uses, 2, "once directly, once inside another part");
    cr_expect_eq(clf__module_remove(&module), 2);
    clf__module_use(&outer, &config, -1);
    cr_expect_eq(clf__module_remove(&module), 0);
}
