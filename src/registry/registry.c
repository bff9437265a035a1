/* The list of all parts: walking, searching and changing it. */
#include "registry/registry.h"
#include "component/instance.h"
#include "component/module.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>

/* Under CLF__LOCK_REGISTRY. */
static const clf_component *const *replaced;
static const clf_component **merged; /* built-in parts and those of plugins; NULL = no plugin was ever loaded */

void clf__registry_use(const clf_component *const *components)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    replaced = components;
    clf__process_unlock(CLF__LOCK_REGISTRY);
}

/* The caller holds the lock. */
static const clf_component *const *list(void)
{
    clf__instance_set_gate(clf__check_gate); /* no part gets to an instance but through here */
    if (replaced)
        return replaced;
    (void)clf__environment_failure();
    return merged ? merged : clf__builtin_components;
}

static size_t count_of(const clf_component *const *components)
{
    size_t count = 0;
    while (components[count])
        count++;
    return count;
}

/* ---- changing it ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    const clf_component *x = *(const clf_component *const *)a, *y = *(const clf_component *const *)b;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->name, y->name);
}

/* The caller holds the lock. */
static clf_status merge(const clf_component *const *added)
{
    const clf_component *const *old = merged ? merged : clf__builtin_components;
    const size_t before = count_of(old), more = count_of(added);
    const clf_component **longer = malloc((before + more + 1) * sizeof *longer);

    if (!longer)
        return clf__no_memory((before + more + 1) * sizeof *longer);
    memcpy(longer, old, before * sizeof *longer);
    memcpy(longer + before, added, (more + 1) * sizeof *longer);
    qsort(longer, before + more, sizeof *longer, compare);
    for (size_t i = 0; i + 1 < before + more; i++) {
        if (compare(&longer[i], &longer[i + 1]) == 0) {
            clf_status status = clf__fail(CLF_INVALID_PLUGIN, "there is already a part %s '%s'",
                                          clf_kind_name(longer[i]->kind), longer[i]->name);
            free(longer);
            return status;
        }
    }
    free(merged);
    merged = longer;
    return CLF_SUCCESS;
}

clf_status clf__registry_add(const clf_component *const *components)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    const clf_status status = merge(components);
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return status;
}

static bool contains(const clf_component *const *components, const clf_component *one)
{
    while (*components && *components != one)
        components++;
    return *components != NULL;
}

void clf__registry_remove(const clf_component *const *components)
{
    size_t kept = 0;

    clf__process_lock(CLF__LOCK_REGISTRY);
    for (size_t i = 0; merged && merged[i]; i++)
        if (!contains(components, merged[i]))
            merged[kept++] = merged[i];
    if (merged)
        merged[kept] = NULL;
    clf__process_unlock(CLF__LOCK_REGISTRY);
}

/* ---- walking and finding ------------------------------------------------------------------------------ */

const clf_component *clf_component_next(const clf_component *component)
{
    const clf_component *next;

    clf__process_lock(CLF__LOCK_REGISTRY);
    const clf_component *const *at = list();
    while (component && *at && *at != component)
        at++;
    next = !component ? at[0] : *at ? at[1] : NULL;
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return next;
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
    const char *failure = replaced ? NULL : clf__environment_failure();
    clf_status status =
        clf__fail(CLF_UNKNOWN_COMPONENT, "there is no %s '%.80s'%s%s%s; there is: %s%s%s", clf_kind_name(kind), name,
                  nearest.best ? " (did you mean '" : "", nearest.best ? nearest.best : "",
                  nearest.best ? "'?)" : "", names.length ? names.data : "none", failure ? "; " : "",
                  failure ? failure : "");
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
    clf__process_lock(CLF__LOCK_REGISTRY);
    for (const clf_component *const *at = list(); *at && !*component; at++)
        if ((*at)->kind == kind && strcmp((*at)->name, name) == 0)
            *component = *at;
    const clf_status status = *component ? CLF_SUCCESS : unknown(kind, name);
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return status;
}

clf_status clf__registry_hold(clf_kind kind, const char *name, const clf_component **component)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    const clf_status status = clf_component_find(kind, name, component);
    if (status == CLF_SUCCESS)
        clf__module_use(*component, NULL, 1);
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return status;
}

void clf__registry_release(const clf_component *component)
{
    if (component)
        clf__module_use(component, NULL, -1);
}
