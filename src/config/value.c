/* One JSON value into one member, with messages that name the field, the value and the limit. */
#include "config/config.h"
#include "core/status.h"
#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static clf_status wrong_type(const clf_field *field, const char *wanted, const cJSON *value)
{
    char buffer[80];
    return clf__fail(CLF_INVALID_CONFIG, "'%s' must be %s, not %s", field->name, wanted,
                     clf__json_describe(value, buffer, sizeof buffer));
}

static clf_status check_range(const clf_field *field, double value)
{
    char given[40], limit[40];

    if (value < field->min)
        return clf__fail(CLF_OUT_OF_RANGE, "'%s' is %s, below the minimum %s", field->name,
                         clf__json_number(given, value, false), clf__json_number(limit, field->min, false));
    if (field->max != 0 && value > field->max)
        return clf__fail(CLF_OUT_OF_RANGE, "'%s' is %s, above the maximum %s", field->name,
                         clf__json_number(given, value, false), clf__json_number(limit, field->max, false));
    return CLF_SUCCESS;
}

static clf_status parse_int(const clf_field *field, const cJSON *value, int *member)
{
    double number = value->valuedouble;
    char given[40];

    if (!cJSON_IsNumber(value))
        return wrong_type(field, "an integer", value);
    if (!isfinite(number))
        return clf__fail(CLF_INVALID_CONFIG, "'%s' is not a finite number", field->name);
    if (number != floor(number))
        return clf__fail(CLF_INVALID_CONFIG, "'%s' is %s, not an integer", field->name,
                         clf__json_number(given, number, false));
    clf_status status = check_range(field, number);
    if (status)
        return status;
    if (number < INT_MIN || number > INT_MAX)
        return clf__fail(CLF_OUT_OF_RANGE, "'%s' is %s, beyond what an int holds (%d to %d)", field->name,
                         clf__json_number(given, number, false), INT_MIN, INT_MAX);
    *member = (int)number;
    return CLF_SUCCESS;
}

static clf_status parse_float(const clf_field *field, const cJSON *value, float *member)
{
    if (!cJSON_IsNumber(value))
        return wrong_type(field, "a number", value);
    if (!isfinite(value->valuedouble))
        return clf__fail(CLF_INVALID_CONFIG, "'%s' is not a finite number", field->name);
    clf_status status = check_range(field, value->valuedouble);
    if (status)
        return status;
    *member = (float)value->valuedouble;
    if (!isfinite(*member))
        return clf__fail(CLF_OUT_OF_RANGE, "'%s' is beyond what a float holds", field->name);
    return CLF_SUCCESS;
}

static clf_status parse_bool(const clf_field *field, const cJSON *value, bool *member)
{
    if (!cJSON_IsBool(value))
        return wrong_type(field, "true or false", value);
    *member = cJSON_IsTrue(value) != 0;
    return CLF_SUCCESS;
}

clf_status clf__config_choose(const char *field, const char *const *choices, const char *given, int *index)
{
    clf__text names = { 0 };
    clf__nearest nearest = clf__nearest_to(given);

    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], given) == 0) {
            *index = i;
            clf__text_free(&names);
            return CLF_SUCCESS;
        }
        clf__nearest_feed(&nearest, choices[i]);
        clf__text_add(&names, "%s%s", i ? ", " : "", choices[i]);
    }
    const clf_status status =
        clf__fail(CLF_OUT_OF_RANGE, "'%s' is \"%.80s\", not one of %s%s%s%s", field, given,
                  names.data ? names.data : "", nearest.best ? " (did you mean '" : "",
                  nearest.best ? nearest.best : "", nearest.best ? "'?)" : "");
    clf__text_free(&names);
    return status;
}

static clf_status parse_enum(const clf_field *field, const cJSON *value, int *member)
{
    if (!cJSON_IsString(value))
        return wrong_type(field, "one of its names", value);
    return clf__config_choose(field->name, field->choices, value->valuestring, member);
}

static clf_status parse_string(const clf_field *field, const cJSON *value, char **member)
{
    if (!cJSON_IsString(value))
        return wrong_type(field, "a string", value);
    char *copy = clf__strdup(value->valuestring);
    if (!copy)
        return clf__no_memory(strlen(value->valuestring) + 1);
    free(*member); /* the default */
    *member = copy;
    return CLF_SUCCESS;
}

static clf_status parse_component(const clf_field *field, const cJSON *value, const clf_config_lookup *lookup,
                                  clf_nested_config **member)
{
    if (!cJSON_IsObject(value))
        return wrong_type(field, "an object with \"name\"", value);
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(value, "name");
    if (!cJSON_IsString(name))
        return clf__fail(CLF_MISSING_KEY, "'%s' needs a \"name\": which component is it?", field->name);
    const clf_schema *schema =
        lookup && lookup->schema ? lookup->schema(field->kind, name->valuestring, lookup->user) : NULL;
    if (!schema)
        return clf__fail(CLF_UNKNOWN_COMPONENT, "'%s': there is no component '%.80s' of that kind", field->name,
                         name->valuestring);

    clf_nested_config *nested = calloc(1, sizeof *nested);
    if (!nested || !(nested->name = clf__strdup(name->valuestring))) {
        free(nested);
        return clf__no_memory(sizeof *nested);
    }
    nested->schema = schema;
    clf_status status = clf__config_from_object(schema, value, field->kind, lookup, &nested->config);
    if (status) {
        free(nested->name);
        free(nested);
        return clf__fail_prefix(status, "in '%s'", field->name);
    }
    *member = nested;
    return CLF_SUCCESS;
}

clf_status clf__value_parse(const clf_field *field, const cJSON *value, const clf_config_lookup *lookup, void *member)
{
    switch (field->type) {
    case CLF_FIELD_INT:
        return parse_int(field, value, member);
    case CLF_FIELD_FLOAT:
        return parse_float(field, value, member);
    case CLF_FIELD_BOOL:
        return parse_bool(field, value, member);
    case CLF_FIELD_ENUM:
        return parse_enum(field, value, member);
    case CLF_FIELD_STRING:
        return parse_string(field, value, member);
    case CLF_FIELD_TENSOR:
        return clf__host_tensor_parse(field, value, lookup, member);
    case CLF_FIELD_COMPONENT:
        return parse_component(field, value, lookup, member);
    }
    return clf__fail(CLF_INTERNAL, "field '%s' has the unknown type %d", field->name, (int)field->type);
}
