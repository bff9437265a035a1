/* Which parts come from a loaded plugin, and how much that is alive needs them. */
#ifndef CLF_COMPONENT_MODULE_H
#define CLF_COMPONENT_MODULE_H

#include <clformers/component.h>

/* A plugin's parts; the registry owns it. */
typedef struct clf__module {
    const clf_component *const *components; /* ended by NULL */
    int                         uses;       /* guarded by CLF__LOCK_REGISTRY, like the list */
    struct clf__module         *next;
} clf__module;

void clf__module_add(clf__module *module);
/* Takes it off the list unless it is in use; returns how many uses there are. */
int  clf__module_remove(clf__module *module);

/* Something that needs `component` and the parts that its config nests begins (+1) or ceases (-1) to live.
 * `config` may be NULL. Parts of the library itself are not counted. */
void clf__module_use(const clf_component *component, const void *config, int change);

#endif
