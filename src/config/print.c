/* A config as JSON text, in the order of its schema. */
#include "config/config.h"
#include <string.h>

static void begin_key(clf__text *text, const char *name, bool *first)
{
    clf__text_add(text, *first ? "\"%s\": " : ", \"%s\": ", name);
    *first = false;
}

static void print_fields(const clf_schema *schema, const clf_config_header *config, bool first, clf__text *text);

/* An optional number without a value is 0 and not present; a resolve hook may have given it one. */
static bool has_value(const clf_field *field, bool present, const void *member)
{
    static const char zero[sizeof(void *)] = {0};
    bool pointer = field->type >= CLF_FIELD_STRING;
    return (present && !pointer) || (!field->optional && !pointer) ||
           memcmp(member, zero, clf__field_size(field->type)) != 0;
}

static void print_value(const clf_field *field, const void *member, clf__text *text)
{
    char number[40];
    const clf_nested_config *nested;
    int choice;

    switch (field->type) {
    case CLF_FIELD_INT:
        clf__text_add(text, "%d", *(const int *)member);
        break;
    case CLF_FIELD_FLOAT:
        clf__text_add(text, "%s", clf__json_number(number, (double)*(const float *)member, true));
        break;
    case CLF_FIELD_BOOL:
        clf__text_add(text, "%s", *(const bool *)member ? "true" : "false");
        break;
    case CLF_FIELD_ENUM:
        choice = *(const int *)member;
        for (int i = 0; field->choices[i]; i++)
            if (i == choice)
                clf__json_add_string(text, field->choices[i]);
        break;
    case CLF_FIELD_STRING:
        clf__json_add_string(text, *(char *const *)member);
        break;
    case CLF_FIELD_TENSOR:
        clf__host_tensor_print(*(clf_host_tensor *const *)member, text);
        break;
    case CLF_FIELD_COMPONENT:
        nested = *(clf_nested_config *const *)member;
        clf__text_append(text, "{\"name\": ", 9);
        clf__json_add_string(text, nested->name);
        print_fields(nested->schema, nested->config, false, text);
        clf__text_append(text, "}", 1);
        break;
    }
}

static void print_fields(const clf_schema *schema, const clf_config_header *config, bool first, clf__text *text)
{
    for (int i = 0; schema->fields && schema->fields[i].name; i++) {
        const clf_field *field = &schema->fields[i];
        const void *member = (const char *)config + field->offset;
        if (!has_value(field, config->present >> i & 1, member))
            continue;
        begin_key(text, field->name, &first);
        print_value(field, member, text);
    }
}

char *clf_config_print(const clf_schema *schema, const void *config)
{
    clf__text text = {0};

    if (!schema || !config)
        return NULL;
    clf__text_append(&text, "{", 1);
    print_fields(schema, config, true, &text);
    clf__text_append(&text, "}", 1);
    return clf__text_take(&text);
}
