/* A case in words, as config, and what it asks of a part. */
#include "kit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool clf__kit_has_axis(const clf_io *io, char letter)
{
    return strchr(io->axes, letter);
}

bool clf__kit_is_query_mask(const clf_io *io)
{
    return io->io_class == CLF_IO_MASK && clf__kit_has_axis(io, 'Q') && (io->flags & CLF_IO_OPTIONAL);
}

bool clf__kit_is_key_padding(const clf_io *io)
{
    return (io->io_class == CLF_IO_MASK || io->io_class == CLF_IO_BOOLEAN) && !clf__kit_has_axis(io, 'Q') &&
           (io->flags & CLF_IO_OPTIONAL);
}

int clf__kit_io_count(const clf_component *component)
{
    int count = 0;
    while (count < CLF_MAX_IO && component->descriptor->io[count].name)
        count++;
    return count;
}

static void append(char *text, size_t size, const char *format, ...) CLF_PRINTF(3, 4);
static void append(char *text, size_t size, const char *format, ...)
{
    const size_t length = strlen(text);
    va_list      list;
    va_start(list, format);
    vsnprintf(text + length, size - length, format, list);
    va_end(list);
}

uint64_t clf__kit_needs(const clf_component *component, const clf__kit_case *c)
{
    uint64_t needs = 0;
    for (int i = 0; i < clf__kit_io_count(component); i++) {
        const clf_io *io = &component->descriptor->io[i];
        if (!(c->present & (1u << i)))
            continue;
        if (clf__kit_is_query_mask(io))
            needs |= CLF_TRAIT_ATTENTION_MASK;
        if (clf__kit_is_key_padding(io))
            needs |= CLF_TRAIT_KEY_PADDING_MASK;
        if (io->role == CLF_OUTPUT)
            needs |= CLF_TRAIT_LSE;
    }
    if (c->causal)
        needs |= CLF_TRAIT_CAUSAL;
    if (c->dropout > 0)
        needs |= CLF_TRAIT_DROPOUT;
    if (KIT_EXTENT(c, 'Q') != KIT_EXTENT(c, 'K'))
        needs |= CLF_TRAIT_CROSS;
    if (KIT_EXTENT(c, 'D') != KIT_EXTENT(c, 'E'))
        needs |= CLF_TRAIT_VALUE_WIDTH;
    if (c->dtype != CLF_F32)
        needs |= CLF_TRAIT_LOW_PRECISION;
    return needs;
}

static void describe_extents(const clf_component *component, const clf__kit_case *c, char *text, size_t size)
{
    bool seen[26] = { false };
    for (const clf_io *io = component->descriptor->io; io->name; io++)
        for (const char *axis = io->flags & CLF_IO_PRIVATE ? "" : io->axes; *axis; axis++) {
            if (*axis < 'A' || *axis > 'Z' || seen[*axis - 'A'])
                continue;
            seen[*axis - 'A'] = true;
            append(text, size, "%c%lld ", *axis, (long long)KIT_EXTENT(c, *axis));
        }
}

static void describe_presence(const clf_component *component, const clf__kit_case *c, char *text, size_t size)
{
    for (int i = 0; i < clf__kit_io_count(component); i++) {
        const clf_io *io = &component->descriptor->io[i];
        if (!(c->present & (1u << i)))
            continue;
        append(text, size, " %s", io->name);
        if (!clf__kit_is_query_mask(io))
            continue;
        append(text, size, "=%s[", clf_dtype_name(c->mask_dtype));
        for (int axis = 0; io->axes[axis]; axis++)
            if (axis >= c->mask_drop || (axis == 0 && c->mask_drop == 1)) /* of BHQK the heads go first */
                if (!(axis == 1 && c->mask_drop == 1))
                    append(text, size, "%c", c->mask_ones & (1u << axis) ? '1' : io->axes[axis]);
        append(text, size, "%s]", c->mask_items ? ", first axis times heads" : "");
    }
    for (int i = 0; i < clf__kit_io_count(component); i++)
        if (c->no_gradient & (1u << i))
            append(text, size, " no grad_%s", component->descriptor->io[i].name);
}

void clf__kit_describe(const clf_component *component, const clf__kit_case *c, char *text, size_t size)
{
    static const char *const names[] = { "", "gradients against finite differences", "config", "bad arguments",
                                         "convenience calls" };
    static const char *const layouts[] = { "", " transposed", " padded rows", " expanded" };
    static const char *const values[] = { "", " logits x10", " logits 1e4" };
    text[0] = '\0';
    append(text, size, "%s", names[c->what]);
    if (c->what != KIT_PROBLEM)
        return;
    describe_extents(component, c, text, size);
    append(text, size, "%s%s%s%s%s", clf_dtype_name(c->dtype), c->causal ? " causal" : "",
           c->xformers ? " semantics=xformers" : "", layouts[c->layout], values[c->values]);
    describe_presence(component, c, text, size);
    if (c->dropout > 0)
        append(text, size, " dropout=%g%s", (double)c->dropout, c->training ? "" : " (not training)");
    append(text, size, "%s", c->own);
}

/* A value for a required field: the part's own limits are all that is known. */
static void add_required(const clf_field *f, char *text, size_t size)
{
    switch (f->type) {
    case CLF_FIELD_INT:
        append(text, size, ", \"%s\": %lld", f->name,
               (long long)(f->min > 8 ? f->min : f->max > 0 && f->max < 8 ? f->max : 8));
        break;
    case CLF_FIELD_FLOAT:
        append(text, size, ", \"%s\": %g", f->name, f->max > f->min ? (f->min + f->max) / 2 : f->min + 1);
        break;
    case CLF_FIELD_BOOL:
        append(text, size, ", \"%s\": true", f->name);
        break;
    case CLF_FIELD_ENUM:
        append(text, size, ", \"%s\": \"%s\"", f->name, f->choices[0]);
        break;
    default:
        break;
    }
}

void clf__kit_config_json(const clf_component *component, const clf__kit_case *c, char *text, size_t size)
{
    const clf_schema *schema = &component->descriptor->config;
    const int64_t     longest = KIT_EXTENT(c, 'Q') > KIT_EXTENT(c, 'K') ? KIT_EXTENT(c, 'Q') : KIT_EXTENT(c, 'K');
    const bool        two_lengths = clf_schema_find(schema, "to_seq_len"); /* seq_len is the queries' then */
    const struct {
        const char *name;
        int64_t     value;
    } hints[] = { { "num_heads", KIT_EXTENT(c, 'H') },
                  { "dim_head", KIT_EXTENT(c, 'D') },
                  { "dim_model", KIT_EXTENT(c, 'H') * KIT_EXTENT(c, 'D') },
                  { "seq_len", two_lengths ? KIT_EXTENT(c, 'Q') : longest },
                  { "to_seq_len", KIT_EXTENT(c, 'K') } };
    snprintf(text, size, "{\"name\": \"%s\"", component->name);
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (clf_schema_find(schema, hints[i].name))
            append(text, size, ", \"%s\": %lld", hints[i].name, (long long)hints[i].value);
    if (c->causal)
        append(text, size, ", \"causal\": true");
    if (c->xformers)
        append(text, size, ", \"semantics\": \"xformers\"");
    if (c->dropout > 0)
        append(text, size, ", \"dropout\": %g", (double)c->dropout);
    for (const clf_field *f = schema->fields; f->name; f++)
        if (f->required && !strstr(text, f->name))
            add_required(f, text, size);
    append(text, size, "%s}", c->own);
}
