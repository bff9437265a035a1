/* Tables with one mistake each, by MISTAKE; 0 is right. */
#include <clformers/plugin.h>

enum { RIGHT, ABI, SIZE, SIZES, LIBRARY, NAME, KIND, LONG, SHORT, PROGRAM, SCHEMA, NO_IO, EMPTY, TWICE, BUILT_IN };

typedef struct config {
    clf_attention_config base;
    int number;
} config;

static const clf_field fields[] = {
    CLF_ATTENTION_FIELDS(config),
    CLF_INT(config, number, 3, .max = MISTAKE == SCHEMA ? 2 : 4, .doc = "a number"),
    CLF_FIELDS_END
};

static const clf_descriptor descriptor = {
    .summary = "a part with a mistake",
    .config = CLF_SCHEMA(config, fields),
    .programs = { MISTAKE == PROGRAM ? "attention/nowhere.cl" : "attention/here.cl" },
    .io = MISTAKE == NO_IO ? NULL : clf_attention_io_qkv,
};

static const clf_source sources[] = { { "attention/here.cl", "__kernel void here(void) { }\n" }, { NULL, NULL } };

static const clf_component part = {
    MISTAKE == LONG ? sizeof descriptor + 8 : MISTAKE == SHORT ? 40 : sizeof descriptor,
    MISTAKE == KIND ? (clf_kind)99 : CLF_ATTENTION,
    MISTAKE == NAME ? "Not a name" : MISTAKE == BUILT_IN ? "scaled_dot_product" : "bad",
    &descriptor,
    sources,
};
static const clf_component *const parts[] = { MISTAKE == EMPTY ? NULL : &part, MISTAKE == TWICE ? &part : NULL, NULL };

static const char *another_library(void)
{
    return "0.0.0";
}

const clf_plugin_table clf_plugin_v1 = {
    .abi = MISTAKE == ABI ? CLF_PLUGIN_ABI + 1 : CLF_PLUGIN_ABI,
    .size = sizeof(clf_plugin_table) - (MISTAKE == SIZE ? 8 : 0),
    .components = parts,
    .sources = sources,
    .sizes = { sizeof(clf_component), sizeof(clf_field) + (MISTAKE == SIZES ? 8 : 0), sizeof(clf_io),
               sizeof(clf_parameter), sizeof(clf_tensor), sizeof(clf_args), sizeof(clf_attention_config),
               sizeof(clf_source) },
    .built_with = "0.0.1",
    .library = MISTAKE == LIBRARY ? another_library : clf_version,
};
