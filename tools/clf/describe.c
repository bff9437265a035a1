/* clf describe: what the descriptor of a part says: tensors, config fields, traits, parameters. */
#include "family_table.h"

#include <stdio.h>
#include <string.h>

typedef struct describe_options {
    const char *name;
    const char *kind;
    const char *device; /* selector; NULL = none is opened */
    bool        json;
} describe_options;

static error_t parse(int key, char *argument, struct argp_state *state)
{
    describe_options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case 'k':
        options->kind = argument;
        return 0;
    case 'd':
        options->device = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->name) {
            clf__tool_usage("describe takes one name, but got '%s' as well", argument);
        }
        options->name = argument;
        return 0;
    case ARGP_KEY_END:
        if (!options->name) {
            clf__tool_usage("describe needs the name of a part");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_table[] = {
    { "json", 'j', NULL, 0, "Print JSON", 0 },
    { "kind", 'k', "KIND", 0, "attention, feedforward, ...: only for names that several kinds have", 0 },
    { "device", 'd', "SELECTOR", 0, "Also tell which features the kernel families have on these devices", 0 },
    { 0 },
};
static const struct argp argp = { .options = option_table, .parser = parse, .args_doc = "NAME",
                                  .doc = "Show the tensors, config fields, traits, parameters and features of a part." };

/* ---- names of the descriptor's enums ---------------------------------------------------------- */

static const char *const class_names[] = { "?", "floating", "single", "mask", "boolean", "index", "number" };
static const char *const type_names[] = { "?", "int", "float", "bool", "enum", "string", "tensor", "component" };
static const char *const field_classes[] = { "own", "hint", "semantic" };
static const char *const trait_names[] = { "causal", "attention_mask", "key_padding_mask", "cross", "value_width",
                                           "dropout", "lse", "low_precision", "square_sequence",
                                           "xformers_lenient" };
static const char *const init_names[] = { "zero", "one", "uniform", "normal", "own" };

#define NAME_OF(names_, value_) \
    ((size_t)(value_) < sizeof(names_) / sizeof *(names_) ? (names_)[(size_t)(value_)] : "?")

/* Ranges as config.h has them: no .min = not negative, no .max = no limit. */
static bool is_number(const clf_field *field)
{
    return field->type == CLF_FIELD_INT || field->type == CLF_FIELD_FLOAT;
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void add_default(cJSON *json, const clf_field *field)
{
    if (field->optional || field->required) {
        return;
    }
    switch (field->type) {
    case CLF_FIELD_INT:
        cJSON_AddNumberToObject(json, "default", (double)field->default_int);
        break;
    case CLF_FIELD_FLOAT:
        cJSON_AddNumberToObject(json, "default", field->default_float);
        break;
    case CLF_FIELD_BOOL:
        cJSON_AddBoolToObject(json, "default", field->default_int != 0);
        break;
    case CLF_FIELD_ENUM:
        cJSON_AddStringToObject(json, "default", field->choices[field->default_int]);
        break;
    case CLF_FIELD_STRING:
        if (field->default_string) {
            cJSON_AddStringToObject(json, "default", field->default_string);
        }
        break;
    case CLF_FIELD_TENSOR:
    case CLF_FIELD_COMPONENT:
        break;
    }
}

static cJSON *field_json(const clf_field *field)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", field->name);
    cJSON_AddStringToObject(json, "type", NAME_OF(type_names, field->type));
    cJSON_AddStringToObject(json, "class", NAME_OF(field_classes, field->field_class));
    if (field->required) {
        cJSON_AddBoolToObject(json, "required", true);
    }
    add_default(json, field);
    if (is_number(field)) {
        cJSON_AddNumberToObject(json, "min", field->min);
        if (field->max > 0) {
            cJSON_AddNumberToObject(json, "max", field->max);
        }
    }
    if (field->choices) {
        cJSON *choices = cJSON_AddArrayToObject(json, "choices");
        for (const char *const *choice = field->choices; *choice; choice++) {
            cJSON_AddItemToArray(choices, cJSON_CreateString(*choice));
        }
    }
    if (field->type == CLF_FIELD_TENSOR && field->dtype) {
        cJSON_AddStringToObject(json, "dtype", clf_dtype_name(field->dtype));
    }
    if (field->type == CLF_FIELD_COMPONENT) {
        cJSON_AddStringToObject(json, "kind", clf_kind_name((clf_kind)field->kind));
    }
    cJSON_AddStringToObject(json, "doc", field->doc ? field->doc : "");
    return json;
}

static cJSON *io_json(const clf_io *io)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", io->name);
    cJSON_AddStringToObject(json, "role", io->role == CLF_OUTPUT ? "output" : "input");
    cJSON_AddStringToObject(json, "axes", io->axes);
    cJSON_AddStringToObject(json, "class", NAME_OF(class_names, io->io_class));
    cJSON_AddBoolToObject(json, "optional", (io->flags & CLF_IO_OPTIONAL) != 0);
    cJSON_AddBoolToObject(json, "differentiable", (io->flags & CLF_IO_DIFFERENTIABLE) != 0);
    cJSON_AddBoolToObject(json, "broadcast", (io->flags & CLF_IO_BROADCAST) != 0);
    cJSON_AddStringToObject(json, "doc", io->doc ? io->doc : "");
    return json;
}

static cJSON *parameters_json(const clf_parameter *parameters)
{
    cJSON *all = cJSON_CreateArray();
    for (const clf_parameter *p = parameters; p && p->name; p++) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "name", p->name);
        cJSON_AddStringToObject(json, "init", NAME_OF(init_names, p->init));
        if (p->dtype) {
            cJSON_AddStringToObject(json, "dtype", clf_dtype_name(p->dtype));
        }
        cJSON_AddStringToObject(json, "doc", p->doc ? p->doc : "");
        cJSON_AddItemToArray(all, json);
    }
    return all;
}

static int print_json(const clf_component *component, const char *selector)
{
    const clf_descriptor *d = component->descriptor;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "kind", clf_kind_name(component->kind));
    cJSON_AddStringToObject(json, "name", component->name);
    cJSON_AddStringToObject(json, "summary", d->summary ? d->summary : "");
    cJSON_AddStringToObject(json, "paper", d->paper ? d->paper : "");
    cJSON *tensors = cJSON_AddArrayToObject(json, "tensors");
    for (const clf_io *io = d->io; io && io->name; io++) {
        cJSON_AddItemToArray(tensors, io_json(io));
    }
    cJSON *fields = cJSON_AddArrayToObject(json, "config");
    for (const clf_field *field = d->config.fields; field && field->name; field++) {
        cJSON_AddItemToArray(fields, field_json(field));
    }
    cJSON *traits = cJSON_AddArrayToObject(json, "traits");
    for (size_t i = 0; i < sizeof trait_names / sizeof *trait_names; i++) {
        if (d->traits >> i & 1) {
            cJSON_AddItemToArray(traits, cJSON_CreateString(trait_names[i]));
        }
    }
    cJSON_AddBoolToObject(json, "backward", d->backward != NULL);
    if (d->knob) {
        cJSON_AddStringToObject(json, "knob", d->knob);
    }
    cJSON_AddItemToObject(json, "parameters", parameters_json(d->parameters));
    cJSON_AddItemToObject(json, "buffers", parameters_json(d->buffers));
    if (clf__features_json(component, selector, json) != CLF__TOOL_OK) {
        cJSON_Delete(json);
        return CLF__TOOL_FAILED;
    }
    return clf__tool_print_json(json);
}

/* ---- text ------------------------------------------------------------------------------------- */

static void print_tensors(const clf_io *io)
{
    puts("\nTensors (a letter is the same extent everywhere)");
    for (; io && io->name; io++) {
        printf("  %-6s %-18s %-6s %-9s %s%s%s\n", io->role == CLF_OUTPUT ? "output" : "input", io->name, io->axes,
               NAME_OF(class_names, io->io_class), io->flags & CLF_IO_OPTIONAL ? "[optional] " : "",
               io->flags & CLF_IO_BROADCAST ? "[broadcast] " : "", io->doc ? io->doc : "");
    }
}

static void default_text(const clf_field *field, char *text, size_t size)
{
    cJSON *json = cJSON_CreateObject();
    add_default(json, field);
    char *value = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(json, "default"));
    snprintf(text, size, "%s", field->required ? "required" : value ? value : "none");
    cJSON_free(value);
    cJSON_Delete(json);
}

static void range_text(const clf_field *field, char *text, size_t size)
{
    text[0] = 0;
    if (is_number(field) && field->max > 0) {
        snprintf(text, size, "%g .. %g", field->min, field->max);
    } else if (is_number(field)) {
        snprintf(text, size, ">= %g", field->min);
    }
    for (const char *const *choice = field->choices; choice && *choice; choice++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", used ? "|" : "", *choice);
    }
}

static void print_fields(const clf_field *field)
{
    puts("\nConfig");
    printf("  %-22s %-9s %-8s %-10s %-16s\n", "field", "type", "class", "default", "range");
    for (; field && field->name; field++) {
        char value[64], range[128];
        default_text(field, value, sizeof value);
        range_text(field, range, sizeof range);
        printf("  %-22s %-9s %-8s %-10s %-16s %s\n", field->name, NAME_OF(type_names, field->type),
               NAME_OF(field_classes, field->field_class), value, range, field->doc ? field->doc : "");
    }
}

static void print_parameters(const char *title, const clf_parameter *parameters)
{
    if (!parameters || !parameters->name) {
        return;
    }
    printf("\n%s\n", title);
    for (const clf_parameter *p = parameters; p->name; p++) {
        printf("  %-28s init %-8s %s\n", p->name, NAME_OF(init_names, p->init), p->doc ? p->doc : "");
    }
}

static int print_text(const clf_component *component, const char *selector)
{
    const clf_descriptor *d = component->descriptor;
    printf("%s (%s)\n  %s\n", component->name, clf_kind_name(component->kind), d->summary ? d->summary : "");
    if (d->paper) {
        printf("  %s\n", d->paper);
    }
    print_tensors(d->io);
    print_fields(d->config.fields);
    printf("\nHonours:");
    for (size_t i = 0; i < sizeof trait_names / sizeof *trait_names; i++) {
        if (d->traits >> i & 1) {
            printf(" %s", trait_names[i]);
        }
    }
    printf("%s%s\n", d->traits ? "" : " no optional feature", d->backward ? "" : "; forward only");
    if (d->knob) {
        printf("More exact with larger: %s\n", d->knob);
    }
    print_parameters("Parameters", d->parameters);
    print_parameters("Buffers", d->buffers);
    return clf__features_print(component, selector);
}

int clf__tool_describe(int argc, char **argv)
{
    describe_options     options = { 0 };
    const clf_component *component = NULL;
    clf__tool_parse(&argp, argc, argv, &options);
    int code = clf__tool_find_component(options.name, options.kind, &component);
    if (code != CLF__TOOL_OK) {
        return code;
    }
    return options.json ? print_json(component, options.device) : print_text(component, options.device);
}
