/* From JSON to configs and instances, with the whole registry in view. */
#include "component/check.h"
#include "config/config.h"
#include "core/os.h"
#include "core/status.h"
#include "registry/registry.h"
#include <stdlib.h>
#include <string.h>

typedef struct view {
    const clf_component *component;
    clf_tensor_lookup    tensor;
    void                *user;
} view;

/* Nested components bring their own kind, 0 is the outermost. */
static bool known_elsewhere(int kind, const char *key, void *user)
{
    const view *v = user;
    const int wanted = kind ? kind : (int)v->component->kind;

    bool known = false;

    clf__process_lock(CLF__LOCK_REGISTRY); /* no part goes during the walk */
    for (const clf_component *c = clf_component_next(NULL); c && !known; c = clf_component_next(c))
        known = (int)c->kind == wanted && clf_schema_find(&c->descriptor->config, key);
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return known;
}

static const clf_host_tensor *find_tensor(const char *name, void *user)
{
    const view *v = user;
    return v->tensor ? v->tensor(name, v->user) : NULL;
}

static const clf_schema *find_schema(int kind, const char *name, void *user)
{
    const clf_schema *schema = NULL;

    (void)user;
    clf__process_lock(CLF__LOCK_REGISTRY);
    for (const clf_component *c = clf_component_next(NULL); c && !schema; c = clf_component_next(c))
        if ((int)c->kind == kind && strcmp(c->name, name) == 0)
            schema = &c->descriptor->config;
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return schema;
}

/* The result stays unresolved: every plan resolves a copy with its own problem. */
clf_status clf_component_config(const clf_component *component, const char *json, clf_tensor_lookup tensor,
                                void *user, void **config)
{
    view v = { .component = component, .tensor = tensor, .user = user };
    const clf_config_lookup lookup = { .known_elsewhere = known_elsewhere, .tensor = find_tensor,
                                       .schema = find_schema, .user = &v };
    void *made = NULL, *trial = NULL;

    if (!component || !config)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !component ? "component" : "config");
    *config = NULL;
    const clf_schema *schema = &component->descriptor->config;
    clf_status status = clf_config_parse(schema, json, &lookup, &made);
    if (status)
        return clf__fail_prefix(status, "%s", component->name);
    if ((status = clf_config_copy(schema, made, &trial)) || (status = clf__resolve(component, trial, NULL))) {
        clf_config_free(schema, trial);
        clf_config_free(schema, made);
        return status;
    }
    clf_config_free(schema, trial);
    *config = made;
    return CLF_SUCCESS;
}

clf_status clf_build(clf_device *device, clf_kind kind, const char *json, clf_instance **instance)
{
    const clf_component *component = NULL;
    char *name = NULL;
    void *config = NULL;

    if (!instance)
        return clf__fail(CLF_INVALID_VALUE, "argument 'instance' is NULL");
    *instance = NULL;
    clf_status status = clf__json_name(json, &name);
    if (status == CLF_SUCCESS)
        status = clf__registry_hold(kind, name, &component); /* no other thread unloads its plugin meanwhile */
    free(name);
    if (status == CLF_SUCCESS)
        status = clf_component_config(component, json, NULL, NULL, &config);
    if (status == CLF_SUCCESS)
        status = clf_instance_create(device, component, config, NULL, instance);
    if (component)
        clf_config_free(&component->descriptor->config, config);
    clf__registry_release(component);
    return status;
}
