/* The registry: walking, finding, building from JSON, the table. */
#include "registry/registry.h"
#include "toy.h"
#include <clformers/log.h>
#include <criterion/criterion.h>
#include <stdlib.h>

typedef struct other_config {
    clf_attention_config base;
    int num_rules;
} other_config;
static const clf_field other_fields[] = { CLF_ATTENTION_FIELDS(other_config), CLF_INT(other_config, num_rules, 2),
                                          CLF_FIELDS_END };
typedef struct mlp_config {
    clf_config_header header;
    int hidden;
} mlp_config;
static const clf_field mlp_fields[] = { CLF_INT(mlp_config, hidden, 4, .min = 1), CLF_FIELDS_END };

static const clf_descriptor other_descriptor = { .summary = "other", .config = CLF_SCHEMA(other_config, other_fields),
                                                 .io = clf_attention_io_qkv };
static const clf_descriptor mlp_descriptor = { .summary = "mlp", .config = CLF_SCHEMA(mlp_config, mlp_fields) };
static const clf_component other = { sizeof(clf_descriptor), CLF_ATTENTION, "other", &other_descriptor, NULL };
static const clf_component mlp = { sizeof(clf_descriptor), CLF_FEEDFORWARD, "mlp", &mlp_descriptor, NULL };
static const clf_component *const list[] = { &other, &toy, &mlp, NULL };
static const clf_component *const empty[] = { NULL };

static void use_list(void)
{
    clf__registry_use(list);
}

TestSuite(registry, .init = use_list);

Test(registry, walk)
{
    cr_expect_eq(clf_component_next(NULL), &other);
    cr_expect_eq(clf_component_next(&other), &toy);
    cr_expect_eq(clf_component_next(&toy), &mlp);
    cr_expect_null(clf_component_next(&mlp));
    cr_expect_null(clf_component_next(&bare), "not in the list");
    clf__registry_use(empty);
    cr_expect_null(clf_component_next(NULL));
}

/* What the build made of src/: sorted, complete, unique, with sound schemas. */
Test(registry, built_in_parts)
{
    clf__registry_use(NULL);
    const clf_component *last = NULL;
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        void *config = NULL;
        cr_expect_eq(c->size, sizeof(clf_descriptor));
        cr_expect_not_null(clf_kind_name(c->kind));
        cr_expect(c->descriptor->summary && c->descriptor->paper, "%s has no summary or paper", c->name);
        cr_expect(!last || c->kind > last->kind || (c->kind == last->kind && strcmp(c->name, last->name) > 0));
        for (const clf_field *field = c->descriptor->config.fields; field && field->name; field++)
            cr_expect_not_null(field->doc, "%s: %s", c->name, field->name);
        const clf_status status = clf_config_parse(&c->descriptor->config, NULL, NULL, &config);
        cr_expect(status == CLF_SUCCESS || status == CLF_MISSING_KEY, "%s: %s", c->name, clf_error_message());
        clf_config_free(&c->descriptor->config, config);
        last = c;
    }
}

Test(registry, find)
{
    const clf_component *found = NULL;
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "toy", &found), CLF_SUCCESS);
    cr_expect_eq(found, &toy);
    cr_expect_eq(clf_component_find(CLF_FEEDFORWARD, "toy", &found), CLF_UNKNOWN_COMPONENT);
    cr_expect_null(found);
    cr_expect_str_eq(clf_error_message(), "there is no feedforward 'toy'; there is: mlp");
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "othre", &found), CLF_UNKNOWN_COMPONENT);
    cr_expect_str_eq(clf_error_message(),
                     "there is no attention 'othre' (did you mean 'other'?); there is: other, toy");
    cr_expect_eq(clf_component_find((clf_kind)9, "toy", &found), CLF_UNKNOWN_COMPONENT);
    cr_expect_eq(clf_component_find(CLF_NORM, "toy", &found), CLF_UNKNOWN_COMPONENT);
    cr_expect(strstr(clf_error_message(), "there is: none") != NULL);
    cr_expect_eq(clf_component_find(CLF_ATTENTION, NULL, &found), CLF_INVALID_VALUE);
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "toy", NULL), CLF_INVALID_VALUE);
}

static int lines;
static void count_line(clf_log_level level, const char *message, void *user)
{
    (void)level;
    (void)user;
    lines += strstr(message, "num_rules") != NULL;
}

Test(registry, one_config_serves_many_parts)
{
    void *config = NULL;
    clf_log_set(CLF_LOG_INFO, count_line, NULL);
    cr_assert_eq(clf_component_config(&toy, "{\"num_rules\": 3, \"landmarks\": 7}", NULL, NULL, &config), CLF_SUCCESS,
                 "%s", clf_error_message());
    cr_expect_eq(lines, 1);
    cr_expect_eq(((toy_config *)config)->landmarks, 7);
    cr_expect_eq(((toy_config *)config)->computed, 0, "not resolved yet");
    clf_config_free(&toy.descriptor->config, config);
    cr_expect_eq(clf_component_config(&toy, "{\"hidden\": 3}", NULL, NULL, &config), CLF_UNKNOWN_KEY, "another kind's");
    cr_expect_str_eq(clf_error_message(), "toy: unknown key 'hidden'");
    cr_expect_null(config);
    cr_expect_eq(clf_component_config(&toy, "{\"landmarks\": 13}", NULL, NULL, &config), CLF_UNSUPPORTED,
                 "resolve refuses");
    cr_expect_eq(clf_component_config(&other, "{\"causal\": true}", NULL, NULL, &config), CLF_UNSUPPORTED,
                 "no such trait");
    cr_expect_eq(clf_component_config(NULL, "{}", NULL, NULL, &config), CLF_INVALID_VALUE);
    cr_expect_eq(clf_component_config(&toy, "{}", NULL, NULL, NULL), CLF_INVALID_VALUE);
}

Test(registry, build)
{
    clf_device *device = NULL;
    clf_instance *instance = NULL;
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_build(device, CLF_ATTENTION, "{\"name\": \"toy\", \"landmarks\": 5}", &instance), CLF_SUCCESS,
                 "%s", clf_error_message());
    cr_expect_eq(((const toy_config *)clf_instance_config(instance))->landmarks, 5);
    clf_instance_release(instance);
    static const struct { const char *json; clf_status status;
    } wrong[] = {
        { "{\"landmarks\": 5}", CLF_MISSING_KEY },
        { "{\"name\": null}", CLF_MISSING_KEY },
        { "{\"name\": 3}", CLF_INVALID_CONFIG },
        { "{\"name\": \"tox\"}", CLF_UNKNOWN_COMPONENT },
        { "{\"name\": \"toy\"", CLF_INVALID_CONFIG },
        { NULL, CLF_INVALID_VALUE },
        { "", CLF_INVALID_CONFIG },
        { "{\"name\": \"toy\", \"landmark\": 5}", CLF_UNKNOWN_KEY },
        { "{\"name\": \"toy\", \"landmarks\": 99}", CLF_OUT_OF_RANGE },
        { "{\"name\": \"toy\", \"landmarks\": 13}", CLF_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        instance = (clf_instance *)&device;
        cr_expect_eq(clf_build(device, CLF_ATTENTION, wrong[i].json, &instance), wrong[i].status, "%s: %s",
                     wrong[i].json ? wrong[i].json : "NULL", clf_error_message());
        cr_expect_null(instance);
    }
    cr_expect_eq(clf_build(device, CLF_ATTENTION, "{\"name\": \"toy\"}", NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_build(NULL, CLF_ATTENTION, "{\"name\": \"toy\"}", &instance), CLF_INVALID_VALUE);
    clf_device_release(device);
}

Test(registry, table)
{
    char *table = clf_component_table();
    cr_assert_not_null(table);
    cr_expect_str_eq(table,
                     "| attention | summary | paper | honours | own fields |\n|---|---|---|---|---|\n"
                     "| `other` | other |  |  | `num_rules` |\n"
                     "| `toy` | sums of values \\| for tests | nobody 2020 | causal, mask, key padding, cross, value "
                     "width, dropout, lse, f16, bf16 | `landmarks`, `features` |\n"
                     "\n| feedforward | summary | paper | honours | own fields |\n|---|---|---|---|---|\n"
                     "| `mlp` | mlp |  |  | `hidden` |\n");
    clf_free(table);
    clf__registry_use(empty);
    table = clf_component_table();
    cr_expect_str_eq(table, "");
    clf_free(table);
}
