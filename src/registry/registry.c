/* The list of all parts: walking and searching it. */
#include "registry/registry.h"
#include "core/status.h"
#include "core/text.h"
#include <string.h>

static const clf_component *const *replaced;

void clf__registry_use(const clf_component *const *components)
{
    replaced = components;
}

const clf_component *const *clf__registry_list(void)
{
    return replaced ? replaced : clf__builtin_components;
}

const clf_component *clf_component_next(const clf_component *component)
{
    const clf_component *const *list = clf__registry_list();

    if (!component)
        return list[0];
    while (*list && *list != component)
        list++;
    return *list ? list[1] : NULL;
}

static clf_status unknown(clf_kind kind, const char *name)
{
    clf__nearest nearest = clf__nearest_to(name);
    clf__text names = {0};

    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        if (c->kind != kind)
            continue;
        clf__nearest_feed(&nearest, c->name);
        clf__text_add(&names, "%s%s", names.length ? ", " : "", c->name);
    }
    clf_status status =
        clf__fail(CLF_UNKNOWN_COMPONENT, "there is no %s '%.80s'%s%s%s; there is: %s", clf_kind_name(kind), name,
                  nearest.best ? " (did you mean '" : "", nearest.best ? nearest.best : "",
                  nearest.best ? "'?)" : "", names.length ? names.data : "none");
    clf__text_free(&names);
    return status;
}

clf_status clf_component_find(clf_kind kind, const char *name, const clf_component **component)
{
    if (!name || !component)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !name ? "name" : "component");
    *component = NULL;
    if (!clf_kind_name(kind))
        return clf__fail(CLF_UNKNOWN_COMPONENT, "%d is no kind of component", (int)kind);
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        if (c->kind == kind && strcmp(c->name, name) == 0) {
            *component = c;
            return CLF_SUCCESS;
        }
    }
    return unknown(kind, name);
}
