/* Configs as values: deep copy, deep free, presence. */
#include "config/config.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

static void free_nested(clf_nested_config *nested)
{
    if (!nested)
        return;
    clf_config_free(nested->schema, nested->config);
    free(nested->name);
    free(nested);
}

void clf_config_free(const clf_schema *schema, void *config)
{
    if (!schema || !config)
        return;
    for (const clf_field *field = schema->fields; field && field->name; field++) {
        void *member = (char *)config + field->offset;
        if (field->type == CLF_FIELD_STRING)
            free(*(char **)member);
        else if (field->type == CLF_FIELD_TENSOR)
            clf__host_tensor_free(*(clf_host_tensor **)member);
        else if (field->type == CLF_FIELD_COMPONENT)
            free_nested(*(clf_nested_config **)member);
    }
    free(config);
}

static clf_status copy_nested(const clf_nested_config *from, clf_nested_config **to)
{
    clf_nested_config *made = calloc(1, sizeof *made);

    if (!made)
        return clf__no_memory(sizeof *made);
    made->schema = from->schema;
    made->name = clf__strdup(from->name);
    clf_status status = made->name ? clf_config_copy(from->schema, from->config, &made->config)
                                   : clf__no_memory(strlen(from->name) + 1);
    if (status) {
        free(made->name);
        free(made);
        return status;
    }
    *to = made;
    return CLF_SUCCESS;
}

/* Replaces the pointer that memcpy brought along by one of the copy's own; NULL if that fails. */
static clf_status copy_owned(const clf_field *field, const void *from, void *to)
{
    void *none = NULL;
    const char *string;

    if (field->type < CLF_FIELD_STRING)
        return CLF_SUCCESS;
    memcpy(to, &none, sizeof none);
    switch (field->type) {
    case CLF_FIELD_STRING:
        string = *(char *const *)from;
        return !string || (*(char **)to = clf__strdup(string)) ? CLF_SUCCESS : clf__no_memory(strlen(string) + 1);
    case CLF_FIELD_TENSOR:
        if (*(clf_host_tensor *const *)from)
            return clf__host_tensor_copy(*(clf_host_tensor *const *)from, to);
        return CLF_SUCCESS;
    case CLF_FIELD_COMPONENT:
        if (*(clf_nested_config *const *)from)
            return copy_nested(*(clf_nested_config *const *)from, to);
        return CLF_SUCCESS;
    default:
        return CLF_SUCCESS;
    }
}

clf_status clf_config_copy(const clf_schema *schema, const void *config, void **copy)
{
    clf_status status = CLF_SUCCESS;

    if (!schema || !config || !copy)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !schema ? "schema" : !config ? "config" : "copy");
    *copy = NULL;
    if (((const clf_config_header *)config)->size != schema->config_size)
        return clf__fail(CLF_INVALID_VALUE,
                         "argument 'config' has %zu bytes, its schema %zu: not a config of this part",
                         ((const clf_config_header *)config)->size, schema->config_size);
    char *made = malloc(schema->config_size);
    if (!made)
        return clf__no_memory(schema->config_size);
    memcpy(made, config, schema->config_size);
    for (const clf_field *field = schema->fields; field && field->name; field++) {
        /* After a failure the rest is only cleared, so that clf_config_free meets no foreign pointer. */
        clf_status result = CLF_SUCCESS;
        if (status && field->type >= CLF_FIELD_STRING)
            memset(made + field->offset, 0, clf__field_size(field->type));
        else
            result = copy_owned(field, (const char *)config + field->offset, made + field->offset);
        status = status ? status : result;
    }
    if (status) {
        clf_config_free(schema, made);
        return status;
    }
    *copy = made;
    return CLF_SUCCESS;
}

bool clf_config_has(const clf_schema *schema, const void *config, const char *field)
{
    int index = schema && config ? clf__schema_index(schema, field) : -1;
    return index >= 0 && (((const clf_config_header *)config)->present >> index & 1);
}
