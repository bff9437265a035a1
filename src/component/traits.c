/* What is asked for against what a component honours, so that no part has to repeat it. */
#include "component/check.h"
#include "core/status.h"
#include <math.h>
#include <string.h>

static const void *member(const clf_component *component, const void *config, const char *name, clf_field_type type)
{
    const clf_field *field = clf_schema_find(&component->descriptor->config, name);
    return field && field->type == type ? (const char *)config + field->offset : NULL;
}

int clf__semantics(const clf_component *component, const void *config)
{
    const int *semantics = member(component, config, "semantics", CLF_FIELD_ENUM);
    return semantics ? *semantics : CLF_SEMANTICS_PAPER;
}

clf_status clf__resolve(const clf_component *component, void *config, const clf_args *args)
{
    const uint64_t traits = component->descriptor->traits;

    if (component->descriptor->resolve) {
        clf_status status = component->descriptor->resolve(config, args);
        if (status)
            return clf__fail_prefix(status, "%s", component->name);
    }
    if (component->kind != CLF_ATTENTION)
        return CLF_SUCCESS;
    if ((traits & CLF_TRAIT_XFORMERS_LENIENT) && clf__semantics(component, config) == CLF_SEMANTICS_XFORMERS)
        return CLF_SUCCESS;
    const bool *causal = member(component, config, "causal", CLF_FIELD_BOOL);
    const float *dropout = member(component, config, "dropout", CLF_FIELD_FLOAT);
    if (causal && *causal && !(traits & CLF_TRAIT_CAUSAL))
        return clf__fail(CLF_UNSUPPORTED, "%s cannot be causal: 'causal' is true", component->name);
    if (dropout && *dropout > 0 && !(traits & CLF_TRAIT_DROPOUT))
        return clf__fail(CLF_UNSUPPORTED, "%s has no dropout: 'dropout' is %g", component->name, (double)*dropout);
    return CLF_SUCCESS;
}

static bool is_square(int64_t n)
{
    const int64_t root = (int64_t)floor(sqrt((double)n) + 0.5);
    return root * root == n;
}

/* Tensors that only some mechanisms take. */
static clf_status check_tensors(const clf_component *component, const clf_args *args)
{
    static const struct { const char *name, *what; uint64_t trait; } rules[] = {
        { "att_mask", "an attention mask", CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_SOME_MASKS },
        { "key_padding_mask", "a key padding mask", CLF_TRAIT_KEY_PADDING_MASK },
        { "lse", "the log-sum-exp", CLF_TRAIT_LSE },
    };
    int count;
    const clf_io *io = clf__io(component, &count);

    for (int i = 0; i < count; i++) {
        if (args->io[i].rank == 0)
            continue;
        for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++)
            if (component->kind == CLF_ATTENTION && strcmp(io[i].name, rules[r].name) == 0 &&
                !(component->descriptor->traits & rules[r].trait))
                return clf__fail(CLF_UNSUPPORTED, "%s does not support %s: argument '%s' is given", component->name,
                                 rules[r].what, io[i].name);
        if (io[i].io_class == CLF_IO_FLOATING && args->io[i].dtype != CLF_F32 &&
            !(component->descriptor->traits & CLF_TRAIT_LOW_PRECISION))
            return clf__fail(CLF_UNSUPPORTED, "%s works in F32 only: argument '%s' is %s", component->name, io[i].name,
                             clf_dtype_name(args->io[i].dtype));
    }
    return CLF_SUCCESS;
}

clf_status clf__check_traits(const clf_component *component, const clf_args *args, const clf__extents *extents)
{
    const uint64_t traits = component->descriptor->traits;
    const long long queries = extents->of['Q'], keys = extents->of['K'];
    const long long width = extents->of['D'], value_width = extents->of['E'];

    clf_status status = check_tensors(component, args);
    if (status || component->kind != CLF_ATTENTION)
        return status;
    if (queries >= 0 && keys >= 0 && queries != keys && !(traits & CLF_TRAIT_CROSS))
        return clf__fail(CLF_UNSUPPORTED, "%s needs as many queries as keys: there are %lld queries and %lld keys",
                         component->name, queries, keys);
    if (width >= 0 && value_width >= 0 && width != value_width && !(traits & CLF_TRAIT_VALUE_WIDTH))
        return clf__fail(CLF_UNSUPPORTED, "%s needs values as wide as the keys: widths are %lld and %lld",
                         component->name, value_width, width);
    if ((traits & CLF_TRAIT_SQUARE_SEQUENCE) && queries >= 0 && !is_square(queries))
        return clf__fail(CLF_UNSUPPORTED, "%s needs a square image: the sequence has %lld entries", component->name,
                         queries);
    return CLF_SUCCESS;
}
