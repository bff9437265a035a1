/* The table of all parts for the documentation. */
#include "core/os.h"
#include "core/text.h"
#include <clformers/registry.h>
#include <string.h>

static const struct { uint64_t trait; const char *text; } traits[] = {
    { CLF_TRAIT_CAUSAL, "causal" },
    { CLF_TRAIT_ATTENTION_MASK, "mask" },
    { CLF_TRAIT_SOME_MASKS, "mask in some configs" },
    { CLF_TRAIT_KEY_PADDING_MASK, "key padding" },
    { CLF_TRAIT_CROSS, "cross" },
    { CLF_TRAIT_VALUE_WIDTH, "value width" },
    { CLF_TRAIT_DROPOUT, "dropout" },
    { CLF_TRAIT_LSE, "lse" },
    { CLF_TRAIT_LOW_PRECISION, "f16, bf16" },
    { CLF_TRAIT_SQUARE_SEQUENCE, "images only" },
};

/* A cell: no column may be opened by its text. */
static void add_cell(clf__text *text, const char *string)
{
    for (const char *c = string ? string : ""; *c; c++) {
        if (*c == '|')
            clf__text_append(text, "\\", 1);
        clf__text_append(text, *c == '\n' ? " " : c, 1);
    }
}

static void add_row(clf__text *text, const clf_component *component)
{
    const clf_descriptor *descriptor = component->descriptor;
    const char *separator = "";

    clf__text_add(text, "| `%s` | ", component->name);
    add_cell(text, descriptor->summary);
    clf__text_add(text, " | ");
    add_cell(text, descriptor->paper);
    clf__text_add(text, " | ");
    for (size_t i = 0; i < sizeof traits / sizeof traits[0]; i++) {
        if (descriptor->traits & traits[i].trait) {
            clf__text_add(text, "%s%s", separator, traits[i].text);
            separator = ", ";
        }
    }
    clf__text_add(text, " | ");
    separator = "";
    for (const clf_field *field = descriptor->config.fields; field && field->name; field++) {
        if (field->field_class == CLF_OWN) {
            clf__text_add(text, "%s`%s`", separator, field->name);
            separator = ", ";
        }
    }
    clf__text_add(text, " |\n");
}

char *clf_component_table(void)
{
    clf__text text = {0};
    clf_kind kind = (clf_kind)0;

    clf__text_append(&text, "", 0); /* an empty registry gives "" */
    clf__process_lock(CLF__LOCK_REGISTRY); /* no part goes during the walk */
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        if (c->kind != kind)
            clf__text_add(&text, "%s| %s | summary | paper | honours | own fields |\n|---|---|---|---|---|\n",
                          text.length ? "\n" : "", clf_kind_name(c->kind));
        kind = c->kind;
        add_row(&text, c);
    }
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return clf__text_take(&text);
}
