/* Config descriptors: every type, every refusal with its message, round trips. */
#include "config/config.h"
#include <clformers/component.h>
#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inner_config {
    clf_config_header header;
    int   width;
    char *label;
} inner_config;

static const clf_field inner_fields[] = {
    CLF_INT(inner_config, width, 8, .min = 1, .doc = "width"),
    CLF_STRING(inner_config, label, NULL),
    CLF_FIELDS_END
};
static const clf_schema inner_schema = CLF_SCHEMA(inner_config, inner_fields);

typedef struct toy_config {
    clf_attention_config base;
    int    landmarks;
    int    shift;
    float  scale;
    bool   exact;
    int    mode;
    char  *label;
    clf_host_tensor   *layout;
    clf_host_tensor   *bias;
    clf_nested_config *part;
    int    extra;
} toy_config;

static const char *const modes[] = { "slow", "fast", NULL };
static const clf_field toy_fields[] = {
    CLF_ATTENTION_FIELDS(toy_config),
    CLF_INT(toy_config, landmarks, 64, .min = 1, .max = 1000, .doc = "landmarks"),
    CLF_INT(toy_config, shift, -1, .min = -5),
    CLF_FLOAT(toy_config, scale, 0.1, .min = 0.0),
    CLF_BOOL(toy_config, exact, true),
    CLF_ENUM(toy_config, mode, 1, modes),
    CLF_STRING(toy_config, label, "plain"),
    CLF_TENSOR(toy_config, layout, CLF_I32),
    CLF_TENSOR(toy_config, bias, CLF_DTYPE_NONE),
    CLF_COMPONENT(toy_config, part, CLF_FEEDFORWARD),
    CLF_INT(toy_config, extra, 0, .optional = true, .min = 2),
    CLF_FIELDS_END
};
static const clf_schema schema = CLF_SCHEMA(toy_config, toy_fields);

static bool known_elsewhere(int kind, const char *key, void *user)
{
    (void)user;
    return kind == 0 ? strcmp(key, "num_rules") == 0 : strcmp(key, "activation") == 0;
}

static float    floats[] = { 1.5f, -INFINITY };
static int64_t  longs[] = { 3, 4, 5, 6 };
static const clf_host_tensor float_tensor = { CLF_F32, 1, { 2 }, floats };
static const clf_host_tensor long_tensor = { CLF_I64, 2, { 2, 2 }, longs };
static int64_t  large[] = { 1, INT64_MAX };
static const clf_host_tensor large_tensor = { CLF_I64, 1, { 2 }, large };

static const clf_host_tensor *find_tensor(const char *name, void *user)
{
    (void)user;
    return strcmp(name, "floats") == 0  ? &float_tensor
           : strcmp(name, "longs") == 0 ? &long_tensor
           : strcmp(name, "large") == 0 ? &large_tensor
                                        : NULL;
}

static const clf_schema *find_schema(int kind, const char *name, void *user)
{
    (void)user;
    return kind == CLF_FEEDFORWARD && strcmp(name, "mlp") == 0 ? &inner_schema : NULL;
}

static const clf_config_lookup lookup = { known_elsewhere, find_tensor, find_schema, NULL };

static toy_config *parse(const char *json)
{
    void *config = NULL;
    clf_status status = clf_config_parse(&schema, json, &lookup, &config);
    cr_assert_eq(status, CLF_SUCCESS, "%s: %s", json, clf_error_message());
    return config;
}

/* The status and a piece of the message that `json` must give. */
static void refuse(clf_status wanted, const char *json, const char *message)
{
    void *config = &config;
    clf_status status = clf_config_parse(&schema, json, &lookup, &config);
    cr_expect_eq(status, wanted, "%s: %s, not %s", json, clf_status_name(status), clf_status_name(wanted));
    cr_expect_null(config);
    cr_expect(strstr(clf_error_message(), message) != NULL, "%s: '%s' lacks '%s'", json, clf_error_message(), message);
    if (status == CLF_SUCCESS)
        clf_config_free(&schema, config);
}

Test(config, defaults)
{
    const char *const empty[] = { NULL, "", "{}", " {\"name\": \"toy\", \"landmarks\": null, \"extra\": null} " };
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        toy_config *config = parse(empty[i]);
        cr_expect_eq(config->base.header.size, sizeof *config);
        cr_expect_eq(config->base.header.present, 0);
        cr_expect_eq(config->landmarks, 64);
        cr_expect_eq(config->shift, -1);
        cr_expect_eq(config->scale, 0.1f);
        cr_expect(config->exact);
        cr_expect_eq(config->mode, 1);
        cr_expect_str_eq(config->label, "plain");
        cr_expect_eq(config->base.seq_len, 0);
        cr_expect_null(config->layout);
        clf_config_free(&schema, config);
    }
}

Test(config, values_and_presence)
{
    toy_config *config = parse("{\"landmarks\": 16.0, \"scale\": 2, \"exact\": false, \"mode\": \"slow\","
                               "\"label\": \"a \\\"b\\\"\", \"seq_len\": 1e3, \"num_rules\": 4, \"shift\": -5}");
    cr_expect_eq(config->landmarks, 16);
    cr_expect_eq(config->scale, 2.0f);
    cr_expect_not(config->exact);
    cr_expect_eq(config->mode, 0);
    cr_expect_str_eq(config->label, "a \"b\"");
    cr_expect_eq(config->base.seq_len, 1000);
    cr_expect(clf_config_has(&schema, config, "seq_len"));
    cr_expect_not(clf_config_has(&schema, config, "dim_head"));
    cr_expect_not(clf_config_has(&schema, config, "nonsense"));
    clf_config_free(&schema, config);
}

Test(config, keys)
{
    refuse(CLF_UNKNOWN_KEY, "{\"casual\": true}", "unknown key 'casual' (did you mean 'causal'?)");
    refuse(CLF_UNKNOWN_KEY, "{\"zzzzzzzz\": true}", "unknown key 'zzzzzzzz'");
    refuse(CLF_UNKNOWN_KEY, "{\"Causal\": true}", "did you mean 'causal'");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": 1, \"scale\": 1}", "key 'scale' is given twice");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": null, \"scale\": 1}", "key 'scale' is given twice");
    refuse(CLF_INVALID_CONFIG, "{\"num_rules\": 1, \"num_rules\": 1}", "key 'num_rules' is given twice");
    refuse(CLF_INVALID_CONFIG, "{\"name\": \"a\", \"name\": \"b\"}", "key 'name' is given twice");
}

Test(config, numbers)
{
    refuse(CLF_OUT_OF_RANGE, "{\"dropout\": 1.5}", "'dropout' is 1.5, above the maximum 1");
    refuse(CLF_OUT_OF_RANGE, "{\"dropout\": -0.1}", "'dropout' is -0.1, below the minimum 0");
    refuse(CLF_OUT_OF_RANGE, "{\"landmarks\": 0}", "'landmarks' is 0, below the minimum 1");
    refuse(CLF_OUT_OF_RANGE, "{\"shift\": -6}", "'shift' is -6, below the minimum -5");
    refuse(CLF_OUT_OF_RANGE, "{\"seq_len\": 2147483648}", "beyond what an int holds");
    refuse(CLF_OUT_OF_RANGE, "{\"seq_len\": 1e300}", "beyond what an int holds");
    refuse(CLF_OUT_OF_RANGE, "{\"scale\": 1e300}", "beyond what a float holds");
    refuse(CLF_INVALID_CONFIG, "{\"landmarks\": 16.5}", "'landmarks' is 16.5, not an integer");
    refuse(CLF_INVALID_CONFIG, "{\"landmarks\": 1e999}", "'landmarks' is not a finite number");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": -1e999}", "'scale' is not a finite number");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": NaN}", "not JSON");
    toy_config *config = parse("{\"seq_len\": 2147483647}");
    cr_expect_eq(config->base.seq_len, INT_MAX);
    clf_config_free(&schema, config);
}

Test(config, types)
{
    refuse(CLF_INVALID_CONFIG, "{\"causal\": 1}", "'causal' must be true or false, not the number 1");
    refuse(CLF_INVALID_CONFIG, "{\"causal\": \"yes\"}", "not the string \"yes\"");
    refuse(CLF_INVALID_CONFIG, "{\"landmarks\": true}", "'landmarks' must be an integer, not true");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": []}", "'scale' must be a number, not an array");
    refuse(CLF_INVALID_CONFIG, "{\"label\": {}}", "'label' must be a string, not an object");
    refuse(CLF_INVALID_CONFIG, "{\"mode\": 1}", "'mode' must be one of its names, not the number 1");
    refuse(CLF_OUT_OF_RANGE, "{\"mode\": \"fats\"}",
           "'mode' is \"fats\", not one of slow, fast (did you mean 'fast'?)");
    refuse(CLF_INVALID_CONFIG, "{\"part\": \"mlp\"}", "'part' must be an object with \"name\"");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": 3}", "'layout' must be nested arrays");
}

Test(config, texts)
{
    refuse(CLF_INVALID_CONFIG, "[1]", "must be a JSON object, not an array");
    refuse(CLF_INVALID_CONFIG, "3", "must be a JSON object, not the number 3");
    refuse(CLF_INVALID_CONFIG, "null", "must be a JSON object, not null");
    refuse(CLF_INVALID_CONFIG, "{} x", "not JSON: line 1, column 4, near 'x'");
    refuse(CLF_INVALID_CONFIG, "{\n\"scale\": oops}", "line 2, column 10");
    refuse(CLF_INVALID_CONFIG, "{\"scale\": 1", "ends too early");
    refuse(CLF_INVALID_CONFIG, "   ", "not JSON");
    refuse(CLF_INVALID_CONFIG, "{\"label\": \"a\\u0000b\"}", "NUL character");
    refuse(CLF_INVALID_CONFIG, "{\"label\": \"\\", "not JSON");
    toy_config *config = parse("{\"label\": \"a\\\\u0000[[[\"}");
    cr_expect_str_eq(config->label, "a\\u0000[[[");
    clf_config_free(&schema, config);

    char deep[200] = "{\"layout\": ";
    for (int i = 0; i < 40; i++)
        strcat(deep, "[");
    refuse(CLF_INVALID_CONFIG, deep, "nested deeper than 32 levels");
}

Test(config, tensors)
{
    toy_config *config = parse("{\"layout\": [[1, 2, true], [4, 5, 6.0]], \"bias\": [true, false]}");
    cr_expect_eq(config->layout->dtype, CLF_I32);
    cr_expect_eq(config->layout->rank, 2);
    cr_expect_eq(config->layout->shape[1], 3);
    cr_expect_eq(((int32_t *)config->layout->data)[2], 1);
    cr_expect_eq(((int32_t *)config->layout->data)[5], 6);
    cr_expect_eq(config->bias->dtype, CLF_BOOL8);
    clf_config_free(&schema, config);

    config = parse("{\"layout\": {\"tensor\": \"longs\"}, \"bias\": {\"tensor\": \"floats\"}}");
    cr_expect_eq(config->layout->dtype, CLF_I32);
    cr_expect_eq(((int32_t *)config->layout->data)[3], 6);
    cr_expect_eq(config->bias->dtype, CLF_F32);
    cr_expect(isinf(((float *)config->bias->data)[1]));
    clf_config_free(&schema, config);

    config = parse("{\"layout\": [[], []], \"bias\": [0.5, \"-inf\"]}");
    cr_expect_eq(config->layout->rank, 2);
    cr_expect_eq(config->layout->shape[1], 0);
    cr_expect_eq(((float *)config->bias->data)[1], -INFINITY);
    clf_config_free(&schema, config);

    refuse(CLF_INVALID_CONFIG, "{\"layout\": [[1, 2], [3]]}", "'layout' is ragged");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [[1, 2], 3]}", "'layout' is ragged");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [1, [2]]}", "element 1 must be a finite number");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [1, \"x\"]}", "not the string \"x\"");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [1, 1e999]}", "must be a finite number");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [\"inf\"]}", "must be a finite number");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": [[[[[[1]]]]]]}", "more than 5 dimensions");
    refuse(CLF_OUT_OF_RANGE, "{\"layout\": [1.5]}", "element 0 is 1.5, which is no I32");
    refuse(CLF_OUT_OF_RANGE, "{\"layout\": {\"tensor\": \"floats\"}}", "element 0 is 1.5, which is no I32");
    /* would not survive being printed and parsed */
    refuse(CLF_OUT_OF_RANGE, "{\"bias\": {\"tensor\": \"large\"}}", "which is no I64 between -2^53 and 2^53");
    refuse(CLF_UNKNOWN_TENSOR, "{\"layout\": {\"tensor\": \"nobody\"}}", "there is no tensor 'nobody'");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": {\"tensor\": 3}}", "{\"tensor\": \"name\"}");
    refuse(CLF_INVALID_CONFIG, "{\"layout\": {\"tensor\": \"floats\", \"x\": 1}}", "{\"tensor\": \"name\"}");
}

/* 2 KiB that claim 10^11 elements by the first entry of every level. */
Test(config, huge_claims)
{
    char json[4096] = "{\"layout\": ";

    for (int level = 0; level < 5; level++)
        strcat(json, "[");
    strcat(json, "0");
    for (int level = 0; level < 5; level++) {
        for (int i = 1; i < 160; i++)
            strcat(json, ",0");
        strcat(json, "]");
    }
    strcat(json, "}");
    refuse(CLF_INVALID_CONFIG, json, "'layout' is ragged");
}

Test(config, nested)
{
    toy_config *config = parse("{\"part\": {\"name\": \"mlp\", \"width\": 3, \"activation\": \"relu\"}}");
    cr_expect_str_eq(config->part->name, "mlp");
    cr_expect_eq(((inner_config *)config->part->config)->width, 3);
    clf_config_free(&schema, config);

    refuse(CLF_UNKNOWN_COMPONENT, "{\"part\": {\"name\": \"mlpp\"}}", "'part': there is no component 'mlpp'");
    refuse(CLF_MISSING_KEY, "{\"part\": {\"width\": 3}}", "'part' needs a \"name\"");
    refuse(CLF_MISSING_KEY, "{\"part\": {\"name\": 3}}", "'part' needs a \"name\"");
    refuse(CLF_OUT_OF_RANGE, "{\"part\": {\"name\": \"mlp\", \"width\": 0}}", "in 'part': 'width' is 0, below");
    refuse(CLF_UNKNOWN_KEY, "{\"part\": {\"name\": \"mlp\", \"num_rules\": 0}}", "in 'part': unknown key");
    refuse(CLF_INVALID_CONFIG, "{\"part\": {\"name\": \"mlp\", \"width\": 1, \"width\": 1}}", "given twice");
}

/* print -> parse -> print */
static void round_trip(const char *json, const char *piece)
{
    toy_config *config = parse(json), *again;
    char *first = clf_config_print(&schema, config), *second;
    cr_assert_not_null(first);
    again = parse(first);
    second = clf_config_print(&schema, again);
    cr_expect_str_eq(first, second);
    cr_expect(strstr(first, piece) != NULL, "%s lacks %s", first, piece);
    clf_free(first);
    clf_free(second);
    clf_config_free(&schema, config);
    clf_config_free(&schema, again);
}

Test(config, round_trips)
{
    round_trip("{}", "{\"semantics\": \"paper\", \"causal\": false, \"dropout\": 0, \"landmarks\": 64, \"shift\": -1, "
                     "\"scale\": 0.1, \"exact\": true, \"mode\": \"fast\", \"label\": \"plain\"}");
    round_trip("{\"scale\": 0.333333333, \"dropout\": 1e-20}", "\"scale\": 0.33333334");
    round_trip("{\"label\": \"q\\\"b\\\\s\\n\\u0001\\u00e9\"}", "\"label\": \"q\\\"b\\\\s\\u000a\\u0001\xc3\xa9\"");
    round_trip("{\"layout\": [[1, 2], [3, -4]], \"bias\": [true, false]}",
               "[[1, 2], [3, -4]], \"bias\": [true, false]");
    round_trip("{\"layout\": [[], []], \"bias\": {\"tensor\": \"floats\"}}", "[[], []], \"bias\": [1.5, \"-inf\"]");
    round_trip("{\"part\": {\"name\": \"mlp\", \"label\": \"x\"}}",
               "\"part\": {\"name\": \"mlp\", \"width\": 8, \"label\": \"x\"}");
    round_trip("{\"extra\": 2, \"seq_len\": 7}", "\"extra\": 2");
}

Test(config, copies_are_deep)
{
    toy_config *config = parse(
        "{\"label\": \"x\", \"layout\": [1, 2], \"part\": {\"name\": \"mlp\", \"label\": \"y\"}}");
    void *copied = NULL;
    cr_assert_eq(clf_config_copy(&schema, config, &copied), CLF_SUCCESS);
    char *before = clf_config_print(&schema, config);
    clf_config_free(&schema, config);
    char *after = clf_config_print(&schema, copied);
    cr_expect_str_eq(before, after);
    ((clf_config_header *)copied)->size--;
    void *none = copied;
    cr_expect_eq(clf_config_copy(&schema, copied, &none), CLF_INVALID_VALUE);
    cr_expect_null(none);
    clf_config_free(&schema, copied);
    clf_config_free(&schema, NULL);
    cr_expect_eq(clf_config_copy(&schema, NULL, &none), CLF_INVALID_VALUE);
    clf_free(before);
    clf_free(after);
}

typedef struct strict_config { clf_config_header header; int length; int other; } strict_config;

static clf_status parse_with(const clf_field *fields, size_t size, const char *json)
{
    const clf_schema s = { .config_size = size, .fields = fields };
    void *config = NULL;
    clf_status status = clf_config_parse(&s, json, NULL, &config);
    clf_config_free(&s, config);
    return status;
}

Test(config, required_fields)
{
    static const clf_field fields[] = { CLF_INT(strict_config, length, 0, .required = true, .min = 1, .doc = "entries"),
                                        CLF_FIELDS_END };
    cr_expect_eq(parse_with(fields, sizeof(strict_config), "{}"), CLF_MISSING_KEY);
    cr_expect_str_eq(clf_error_message(), "'length' is required: entries");
    cr_expect_eq(parse_with(fields, sizeof(strict_config), NULL), CLF_MISSING_KEY);
    cr_expect_eq(parse_with(fields, sizeof(strict_config), "{\"length\": null}"), CLF_MISSING_KEY);
    cr_expect_eq(parse_with(fields, sizeof(strict_config), "{\"length\": 3}"), CLF_SUCCESS);
}

Test(config, wrong_schemas)
{
    static const char *const no_choice[] = { NULL };
    static const clf_field twice[] = { CLF_INT(strict_config, length, 0), CLF_INT(strict_config, length, 0),
                                       CLF_FIELDS_END };
    static const clf_field outside[] = { CLF_INT(toy_config, extra, 0), CLF_FIELDS_END };
    static const clf_field range[] = { CLF_INT(strict_config, length, 0, .min = 1), CLF_FIELDS_END };
    static const clf_field choice[] = { CLF_ENUM(strict_config, length, 0, no_choice), CLF_FIELDS_END };
    static const clf_field beyond[] = { CLF_ENUM(strict_config, length, 2, modes), CLF_FIELDS_END };
    static const clf_field header[] = { { .name = "size", .type = CLF_FIELD_INT, .offset = 0 }, CLF_FIELDS_END };
    static const clf_field type[] = { { .name = "x", .type = (clf_field_type)99, .offset = 16 }, CLF_FIELDS_END };
    const clf_field *const wrong[] = { twice, outside, range, choice, beyond, header, type };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_eq(parse_with(wrong[i], sizeof(strict_config), "{}"), CLF_INVALID_VALUE, "schema %zu", i);
    cr_expect_eq(parse_with(NULL, 3, "{}"), CLF_INVALID_VALUE);
    cr_expect_eq(parse_with(NULL, sizeof(strict_config), "{}"), CLF_SUCCESS);

    clf_field many[66] = { { .name = NULL } };
    char names[65][16];
    for (int i = 0; i < 65; i++) {
        snprintf(names[i], sizeof names[i], "f%d", i);
        many[i] = (clf_field){ .name = names[i], .type = CLF_FIELD_INT, .offset = offsetof(strict_config, length) };
    }
    cr_expect_eq(parse_with(many, sizeof(strict_config), "{}"), CLF_INVALID_VALUE);
    many[64].name = NULL;
    cr_expect_eq(parse_with(many, sizeof(strict_config), "{\"f63\": 1}"), CLF_SUCCESS);
    void *config = NULL;
    cr_expect_eq(clf_config_parse(NULL, "{}", NULL, &config), CLF_INVALID_VALUE);
    cr_expect_eq(clf_config_parse(&schema, "{}", NULL, NULL), CLF_INVALID_VALUE);
}

/* Every prefix of a good text is refused or parsed, and never read beyond its end. */
Test(config, truncated_texts)
{
    static const char whole[] = "{\"layout\": [[1, 2], [3, -4e0]], \"label\": \"\\u00e9\\\\\", \"causal\": true}";
    for (size_t length = 1; length < sizeof whole - 1; length++) {
        char *text = malloc(length + 1);
        void *config = NULL;
        memcpy(text, whole, length);
        text[length] = '\0';
        cr_expect_eq(clf_config_parse(&schema, text, &lookup, &config), CLF_INVALID_CONFIG);
        free(text);
    }
}
