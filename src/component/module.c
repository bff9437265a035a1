/* Counting what needs a plugin. */
#include "component/module.h"
#include "core/os.h"
#include <string.h>

static clf__module *modules;

void clf__module_add(clf__module *module)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    module->uses = 0;
    module->next = modules;
    modules = module;
    clf__process_unlock(CLF__LOCK_REGISTRY);
}

int clf__module_remove(clf__module *module)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    const int uses = module->uses;
    for (clf__module **at = &modules; *at && uses == 0; at = &(*at)->next) {
        if (*at == module) {
            *at = module->next;
            break;
        }
    }
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return uses;
}

/* A nested config knows its part by the schema. */
static void use_schema(const clf_schema *schema, int change)
{
    for (clf__module *module = modules; module; module = module->next)
        for (const clf_component *const *c = module->components; *c; c++)
            if (&(*c)->descriptor->config == schema)
                module->uses += change;
}

static void use_config(const clf_schema *schema, const void *config, int change)
{
    use_schema(schema, change);
    for (const clf_field *field = schema->fields; config && field && field->name; field++) {
        const clf_nested_config *nested = NULL;
        if (field->type != CLF_FIELD_COMPONENT)
            continue;
        memcpy(&nested, (const char *)config + field->offset, sizeof nested);
        if (nested && nested->schema)
            use_config(nested->schema, nested->config, change);
    }
}

void clf__module_use(const clf_component *component, const void *config, int change)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    if (modules)
        use_config(&component->descriptor->config, config, change);
    clf__process_unlock(CLF__LOCK_REGISTRY);
}
