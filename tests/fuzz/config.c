/* Any text as a config: parsing takes or refuses it; what it takes can be copied and printed, and what was printed
 * parses to the same config. */
#include "config/config.h"
#include "fuzz.h"

#include <clformers/registry.h>
#include <math.h>
#include <string.h>

typedef struct inner_config {
    clf_config_header  header;
    int                width;
    char              *label;
    clf_nested_config *deeper;
} inner_config;

static const clf_field inner_fields[] = {
    CLF_INT(inner_config, width, 8, .min = 1),
    CLF_STRING(inner_config, label, NULL),
    CLF_COMPONENT(inner_config, deeper, CLF_NORM),
    CLF_FIELDS_END,
};
static const clf_schema inner = CLF_SCHEMA(inner_config, inner_fields);

/* Every type of field, at every dtype. */
typedef struct outer_config {
    clf_attention_config base;
    int                  number, choice, later;
    float                real, any;
    bool                 truth;
    char                *label;
    clf_host_tensor     *given, *f32, *f16, *bf16, *f64, *i8, *i16, *i32, *i64, *u8, *truths;
    clf_nested_config   *part;
} outer_config;

static const char *const choices[] = { "slow", "fast", NULL };
static const clf_field   outer_fields[] = {
    CLF_ATTENTION_FIELDS(outer_config),
    CLF_INT(outer_config, number, -1, .min = -5, .max = 1000),
    CLF_ENUM(outer_config, choice, 1, choices),
    CLF_INT(outer_config, later, 0, .optional = true),
    CLF_FLOAT(outer_config, real, 0.1, .min = 0.0),
    CLF_FLOAT(outer_config, any, 0, .min = (double)-INFINITY, .max = (double)INFINITY),
    CLF_BOOL(outer_config, truth, true),
    CLF_STRING(outer_config, label, "plain"),
    CLF_TENSOR(outer_config, given, CLF_DTYPE_NONE),
    CLF_TENSOR(outer_config, f32, CLF_F32),
    CLF_TENSOR(outer_config, f16, CLF_F16),
    CLF_TENSOR(outer_config, bf16, CLF_BF16),
    CLF_TENSOR(outer_config, f64, CLF_F64),
    CLF_TENSOR(outer_config, i8, CLF_I8),
    CLF_TENSOR(outer_config, i16, CLF_I16),
    CLF_TENSOR(outer_config, i32, CLF_I32),
    CLF_TENSOR(outer_config, i64, CLF_I64),
    CLF_TENSOR(outer_config, u8, CLF_U8),
    CLF_TENSOR(outer_config, truths, CLF_BOOL8),
    CLF_COMPONENT(outer_config, part, CLF_FEEDFORWARD),
    CLF_FIELDS_END,
};
static const clf_schema outer = CLF_SCHEMA(outer_config, outer_fields);

static bool known_elsewhere(int kind, const char *key, void *user)
{
    (void)user;
    return kind == 0 && strcmp(key, "elsewhere") == 0;
}

static float                 floats[] = { 1.5f, -INFINITY };
static int64_t               longs[] = { 3, -4, INT64_MAX, 6 };
static const clf_host_tensor float_tensor = { CLF_F32, 1, { 2 }, floats };
static const clf_host_tensor long_tensor = { CLF_I64, 2, { 2, 2 }, longs };

static const clf_host_tensor *find_tensor(const char *name, void *user)
{
    (void)user;
    return strcmp(name, "floats") == 0 ? &float_tensor : strcmp(name, "longs") == 0 ? &long_tensor : NULL;
}

static const clf_schema *find_schema(int kind, const char *name, void *user)
{
    (void)user;
    return (kind == CLF_FEEDFORWARD || kind == CLF_NORM) && strcmp(name, "mlp") == 0 ? &inner : NULL;
}

static const clf_config_lookup lookup = { known_elsewhere, find_tensor, find_schema, NULL };

static void check_config(const void *config)
{
    char *printed = clf_config_print(&outer, config), *again;
    void *copy = NULL, *parsed = NULL;

    EXPECT(printed);
    EXPECT(clf_config_copy(&outer, config, &copy) == CLF_SUCCESS);
    again = clf_config_print(&outer, copy);
    EXPECT(again && strcmp(printed, again) == 0);
    free(again);
    EXPECT(clf_config_parse(&outer, printed, &lookup, &parsed) == CLF_SUCCESS);
    again = clf_config_print(&outer, parsed);
    EXPECT(again && strcmp(printed, again) == 0);
    free(again);
    free(printed);
    clf_config_free(&outer, copy);
    clf_config_free(&outer, parsed);
}

/* The same text for the first part of the registry, whose hooks look at the values. */
static void check_component(const char *text)
{
    const clf_component *component = clf_component_next(NULL);
    void                *config = NULL;

    if (clf_component_config(component, text, NULL, NULL, &config) == CLF_SUCCESS)
        clf_config_free(&component->descriptor->config, config);
    else
        EXPECT(!config && clf_error_message()[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *name = NULL;
    void *config = NULL;

    if (clf_config_parse(&outer, text, &lookup, &config) == CLF_SUCCESS)
        check_config(config);
    else
        EXPECT(!config && clf_error_message()[0]);
    clf_config_free(&outer, config);
    check_component(text);
    EXPECT((clf__json_name(text, &name) == CLF_SUCCESS) == (name != NULL));
    free(name);
    free(text);
    return 0;
}
