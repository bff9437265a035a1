/* clf list: the registry by kind. Asks OpenCL nothing. */
#include "tool.h"

#include <stdio.h>

enum { TEXT = 0, JSON, MARKDOWN };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    int *form = state->input;
    switch (key) {
    case 'j':
        *form = JSON;
        return 0;
    case 'm':
        *form = MARKDOWN;
        return 0;
    case ARGP_KEY_ARG:
        clf__tool_usage("list takes no argument, but got '%s'", argument);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    { "json", 'j', NULL, 0, "Print JSON", 0 },
    { "markdown", 'm', NULL, 0, "Print the table that the documentation shows", 0 },
    { 0 },
};
static const struct argp argp = { .options = options, .parser = parse,
                                  .doc = "List the mechanisms and other parts by kind. Uses no device." };

static int print_json(void)
{
    cJSON *parts = cJSON_CreateArray();
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        cJSON *part = cJSON_CreateObject();
        cJSON_AddStringToObject(part, "kind", clf_kind_name(c->kind));
        cJSON_AddStringToObject(part, "name", c->name);
        cJSON_AddStringToObject(part, "summary", c->descriptor->summary ? c->descriptor->summary : "");
        if (c->descriptor->paper) {
            cJSON_AddStringToObject(part, "paper", c->descriptor->paper);
        }
        cJSON_AddItemToArray(parts, part);
    }
    return clf__tool_print_json(parts);
}

static int print_markdown(void)
{
    char *table = clf_component_table();
    if (!table) {
        return clf__tool_fail("out of memory");
    }
    fputs(table, stdout);
    clf_free(table);
    return CLF__TOOL_OK;
}

int clf__tool_list(int argc, char **argv)
{
    int form = TEXT;
    clf__tool_parse(&argp, argc, argv, &form);
    if (clf__tool_plugins() != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    if (form == JSON) {
        return print_json();
    }
    if (form == MARKDOWN) {
        return print_markdown();
    }
    clf_kind kind = 0;
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        if (c->kind != kind) {
            printf("%s%s\n", kind ? "\n" : "", clf_kind_name(c->kind));
            kind = c->kind;
        }
        printf("  %-22s %s\n", c->name, c->descriptor->summary ? c->descriptor->summary : "");
    }
    return CLF__TOOL_OK;
}
