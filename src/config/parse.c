/* From a JSON object to a config struct: defaults, known and unknown keys, presence bits. */
#include "config/config.h"
#include "core/log.h"
#include "core/status.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static clf_status set_default(const clf_field *field, void *member)
{
    int number = (int)field->default_int;
    float real = (float)field->default_float;
    bool truth = field->default_int != 0;
    char *string = NULL;

    if (field->optional || field->required)
        return CLF_SUCCESS;
    switch (field->type) {
    case CLF_FIELD_INT:
    case CLF_FIELD_ENUM:
        memcpy(member, &number, sizeof number);
        break;
    case CLF_FIELD_FLOAT:
        memcpy(member, &real, sizeof real);
        break;
    case CLF_FIELD_BOOL:
        memcpy(member, &truth, sizeof truth);
        break;
    case CLF_FIELD_STRING:
        if (field->default_string && !(string = clf__strdup(field->default_string)))
            return clf__no_memory(strlen(field->default_string) + 1);
        memcpy(member, &string, sizeof string);
        break;
    case CLF_FIELD_TENSOR:
    case CLF_FIELD_COMPONENT:
        break;
    }
    return CLF_SUCCESS;
}

static clf_status new_config(const clf_schema *schema, void **config)
{
    clf_config_header *header = calloc(1, schema->config_size);

    if (!header)
        return clf__no_memory(schema->config_size);
    header->size = schema->config_size;
    for (const clf_field *field = schema->fields; field && field->name; field++) {
        clf_status status = set_default(field, (char *)header + field->offset);
        if (status) {
            clf_config_free(schema, header);
            return status;
        }
    }
    *config = header;
    return CLF_SUCCESS;
}

static clf_status unknown_key(const clf_schema *schema, const char *key, int kind, const clf_config_lookup *lookup)
{
    if (lookup && lookup->known_elsewhere && lookup->known_elsewhere(kind, key, lookup->user)) {
        clf__log(CLF_LOG_INFO, "config: key '%s' belongs to other components and is ignored", key);
        return CLF_SUCCESS;
    }
    clf__nearest nearest = clf__nearest_to(key);
    for (const clf_field *field = schema->fields; field && field->name; field++)
        clf__nearest_feed(&nearest, field->name);
    if (nearest.best)
        return clf__fail(CLF_UNKNOWN_KEY, "unknown key '%.80s' (did you mean '%s'?)", key, nearest.best);
    return clf__fail(CLF_UNKNOWN_KEY, "unknown key '%.80s'", key);
}

static bool appears_before(const cJSON *object, const cJSON *item)
{
    for (const cJSON *other = object->child; other != item; other = other->next)
        if (strcmp(other->string, item->string) == 0)
            return true;
    return false;
}

static clf_status take_key(const clf_schema *schema, const cJSON *item, int kind, const clf_config_lookup *lookup,
                           clf_config_header *config)
{
    int index = clf__schema_index(schema, item->string);

    if (index < 0)
        return strcmp(item->string, "name") == 0 ? CLF_SUCCESS : unknown_key(schema, item->string, kind, lookup);
    if (cJSON_IsNull(item))
        return CLF_SUCCESS;
    const clf_field *field = &schema->fields[index];
    clf_status status = clf__value_parse(field, item, lookup, (char *)config + field->offset);
    if (status == CLF_SUCCESS)
        config->present |= (uint64_t)1 << index;
    return status;
}

static clf_status check_required(const clf_schema *schema, const clf_config_header *config)
{
    for (int i = 0; schema->fields && schema->fields[i].name; i++)
        if (schema->fields[i].required && !(config->present >> i & 1))
            return clf__fail(CLF_MISSING_KEY, "'%s' is required%s%s", schema->fields[i].name,
                             schema->fields[i].doc ? ": " : "", schema->fields[i].doc ? schema->fields[i].doc : "");
    return CLF_SUCCESS;
}

/* `object` NULL stands for an empty one. */
clf_status clf__config_from_object(const clf_schema *schema, const cJSON *object, int kind,
                                   const clf_config_lookup *lookup, void **config)
{
    void *made = NULL;
    clf_status status = clf__schema_check(schema);

    if (status || (status = new_config(schema, &made)))
        return status;
    for (const cJSON *item = object ? object->child : NULL; item; item = item->next) {
        if (appears_before(object, item))
            status = clf__fail(CLF_INVALID_CONFIG, "key '%.80s' is given twice", item->string);
        else
            status = take_key(schema, item, kind, lookup, made);
        if (status)
            goto fail;
    }
    if ((status = check_required(schema, made)))
        goto fail;
    *config = made;
    return CLF_SUCCESS;

fail:
    clf_config_free(schema, made);
    return status;
}

clf_status clf_config_parse(const clf_schema *schema, const char *json, const clf_config_lookup *lookup, void **config)
{
    cJSON *root = NULL;

    if (!config)
        return clf__fail(CLF_INVALID_VALUE, "argument 'config' is NULL");
    *config = NULL;
    if (json && *json) {
        clf_status status = clf__json_parse(json, "the config", &root);
        if (status)
            return status;
    }
    clf_status status = clf__config_from_object(schema, root, 0, lookup, config);
    cJSON_Delete(root);
    return status;
}
