/* Field tables: finding a row, and checking that a table is right before it is used. */
#include "config/config.h"
#include "core/status.h"
#include <string.h>

size_t clf__field_size(clf_field_type type)
{
    switch (type) {
    case CLF_FIELD_INT:
    case CLF_FIELD_ENUM:
        return sizeof(int);
    case CLF_FIELD_FLOAT:
        return sizeof(float);
    case CLF_FIELD_BOOL:
        return sizeof(bool);
    case CLF_FIELD_STRING:
        return sizeof(char *);
    case CLF_FIELD_TENSOR:
        return sizeof(clf_host_tensor *);
    case CLF_FIELD_COMPONENT:
        return sizeof(clf_nested_config *);
    }
    return 0;
}

int clf__schema_index(const clf_schema *schema, const char *field)
{
    for (int i = 0; field && schema->fields && schema->fields[i].name; i++)
        if (strcmp(schema->fields[i].name, field) == 0)
            return i;
    return -1;
}

const clf_field *clf_schema_find(const clf_schema *schema, const char *field)
{
    int index = schema ? clf__schema_index(schema, field) : -1;
    return index < 0 ? NULL : &schema->fields[index];
}

/* Numbers and enums must start inside their own range. */
static bool default_fits(const clf_field *field)
{
    double value = field->type == CLF_FIELD_FLOAT ? field->default_float : (double)field->default_int;
    int64_t choices = 0;

    if (field->optional || field->required)
        return true;
    switch (field->type) {
    case CLF_FIELD_INT:
    case CLF_FIELD_FLOAT:
        return value >= field->min && (field->max == 0 || value <= field->max);
    case CLF_FIELD_ENUM:
        while (field->choices[choices])
            choices++;
        return field->default_int >= 0 && field->default_int < choices;
    default:
        return true;
    }
}

static clf_status check_field(const clf_schema *schema, int index)
{
    const clf_field *field = &schema->fields[index];
    size_t size = clf__field_size(field->type);

    if (size == 0)
        return clf__fail(CLF_INVALID_VALUE, "schema: field '%s' has the unknown type %d", field->name,
                         (int)field->type);
    if (field->offset < sizeof(clf_config_header) || field->offset > schema->config_size ||
        size > schema->config_size - field->offset)
        return clf__fail(CLF_INVALID_VALUE, "schema: field '%s' at byte %zu lies outside its config of %zu bytes",
                         field->name, field->offset, schema->config_size);
    if (field->type == CLF_FIELD_ENUM && !(field->choices && field->choices[0]))
        return clf__fail(CLF_INVALID_VALUE, "schema: enum '%s' has no choices", field->name);
    if (!default_fits(field))
        return clf__fail(CLF_INVALID_VALUE, "schema: the default of '%s' is outside its range", field->name);
    if (clf__schema_index(schema, field->name) != index)
        return clf__fail(CLF_INVALID_VALUE, "schema: two fields are called '%s'", field->name);
    return CLF_SUCCESS;
}

clf_status clf__schema_check(const clf_schema *schema)
{
    if (!schema)
        return clf__fail(CLF_INVALID_VALUE, "argument 'schema' is NULL");
    if (schema->config_size < sizeof(clf_config_header))
        return clf__fail(CLF_INVALID_VALUE, "schema: a config of %zu bytes has no room for its header",
                         schema->config_size);
    for (int i = 0; schema->fields && schema->fields[i].name; i++) {
        if (i >= CLF__MAX_FIELDS)
            return clf__fail(CLF_INVALID_VALUE, "schema: more than %d fields", (int)CLF__MAX_FIELDS);
        clf_status status = check_field(schema, i);
        if (status)
            return status;
    }
    return CLF_SUCCESS;
}
