/* Plugins: shared objects to load, look over and take away again; those of CLF_PLUGINS. */
#include "component/module.h"
#include "config/config.h"
#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include "registry/registry.h"
#include <clformers/plugin.h>
#include <stdlib.h>
#include <string.h>

/* The descriptor of ABI 1 ends here; members behind it are zero in plugins that were built before they came. */
#define FIRST_DESCRIPTOR (offsetof(clf_descriptor, reference) + sizeof(void (*)(void)))

struct clf_plugin {
    clf__module            module;      /* with the list of `rows` */
    char                  *path;
    void                  *library;
    clf_component         *rows;        /* ours: descriptors at their full length, sources filled in */
    clf_descriptor        *descriptors;
    const clf_component  **list;
    clf_plugin            *next;
};

static clf_plugin *plugins; /* in the order of loading; under CLF__LOCK_REGISTRY */

/* ---- looking one over --------------------------------------------------------------------------- */

static clf_status check_table(const clf_plugin_table *table)
{
    static const size_t sizes[CLF_PLUGIN_SIZE_COUNT] = CLF_PLUGIN_SIZES;

    if (table->abi != CLF_PLUGIN_ABI)
        return clf__fail(CLF_INVALID_PLUGIN, "it follows ABI %llu, clformers %s has ABI %d: build it again",
                         (unsigned long long)table->abi, clf_version(), CLF_PLUGIN_ABI);
    if (table->size != sizeof *table || memcmp(table->sizes, sizes, sizeof sizes) != 0)
        return clf__fail(CLF_INVALID_PLUGIN, "it was built with clformers %s, whose structs differ from those of "
                         "clformers %s: build it again",
                         table->size == sizeof *table && table->built_with ? table->built_with : "of another version",
                         clf_version());
    if (table->library != clf_version)
        return clf__fail(CLF_INVALID_PLUGIN, "it is bound to another copy of clformers than the one that loads it: "
                         "link the program to the shared library");
    if (!table->components || !table->sources || !table->components[0])
        return clf__fail(CLF_INVALID_PLUGIN, "it has no part");
    return CLF_SUCCESS;
}

static bool is_name(const char *name)
{
    return name && name[0] >= 'a' && name[0] <= 'z' &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool has_source(const clf_source *sources, const char *path)
{
    for (; sources->path; sources++)
        if (strcmp(sources->path, path) == 0)
            return true;
    return false;
}

static clf_status check_io(const clf_component *c)
{
    int count = 0;

    while (c->descriptor->io && count <= CLF_MAX_IO && c->descriptor->io[count].name) {
        const clf_io *io = &c->descriptor->io[count++];
        if (!io->axes || !io->axes[0] || strlen(io->axes) > CLF_MAX_RANK)
            return clf__fail(CLF_INVALID_PLUGIN, "%s: tensor '%s' has no axes or more than %d", c->name, io->name,
                             CLF_MAX_RANK);
    }
    if (count == 0 || count > CLF_MAX_IO)
        return clf__fail(CLF_INVALID_PLUGIN, "%s has %s%d tensors, 1 to %d are possible", c->name,
                         count ? "more than " : "", count ? CLF_MAX_IO : 0, CLF_MAX_IO);
    return CLF_SUCCESS;
}

static clf_status check_component(const clf_component *c, const clf_source *sources)
{
    if (!is_name(c->name) || !clf_kind_name(c->kind) || !c->descriptor)
        return clf__fail(CLF_INVALID_PLUGIN, "part '%.80s' of kind %d: the name is not of lower-case letters, digits "
                         "and _, there is no such kind, or no descriptor", c->name ? c->name : "(NULL)", (int)c->kind);
    if (c->size < FIRST_DESCRIPTOR || c->size > sizeof(clf_descriptor))
        return clf__fail(CLF_INVALID_PLUGIN, "%s: its descriptor has %zu bytes, clformers %s knows %zu to %zu", c->name,
                         c->size, clf_version(), (size_t)FIRST_DESCRIPTOR, sizeof(clf_descriptor));
    clf_status status = clf__schema_check(&c->descriptor->config);
    if (status)
        return clf__fail_prefix(CLF_INVALID_PLUGIN, "%s", c->name);
    if ((status = check_io(c)))
        return status;
    for (int i = 0; i < CLF_MAX_PROGRAMS && c->descriptor->programs[i]; i++)
        if (!has_source(sources, c->descriptor->programs[i]))
            return clf__fail(CLF_INVALID_PLUGIN, "%s: kernel source '%s' is not in the plugin", c->name,
                             c->descriptor->programs[i]);
    return CLF_SUCCESS;
}

/* ---- loading --------------------------------------------------------------------------------------- */

static void destroy(clf_plugin *plugin)
{
    if (!plugin)
        return;
    free(plugin->rows);
    free(plugin->descriptors);
    free(plugin->list);
    free(plugin->path);
    clf__library_close(plugin->library);
    free(plugin);
}

/* Our own rows, so that a shorter descriptor of an older plugin can be filled up. */
static clf_status make_rows(clf_plugin *plugin, const clf_plugin_table *table)
{
    size_t count = 0;
    clf_status status = CLF_SUCCESS;

    while (table->components[count])
        count++;
    plugin->rows = calloc(count, sizeof *plugin->rows);
    plugin->descriptors = calloc(count, sizeof *plugin->descriptors);
    plugin->list = calloc(count + 1, sizeof *plugin->list);
    if (!plugin->rows || !plugin->descriptors || !plugin->list)
        return clf__no_memory(count * (sizeof *plugin->rows + sizeof *plugin->descriptors));
    for (size_t i = 0; i < count && !status; i++) {
        const clf_component *given = table->components[i];
        if ((status = check_component(given, table->sources)))
            break;
        memcpy(&plugin->descriptors[i], given->descriptor, given->size);
        plugin->rows[i] = (clf_component){ .size = sizeof(clf_descriptor), .kind = given->kind, .name = given->name,
                                           .descriptor = &plugin->descriptors[i], .sources = table->sources };
        plugin->list[i] = &plugin->rows[i];
    }
    plugin->module.components = plugin->list;
    return status;
}

/* Everything but the registry. */
static clf_status open_plugin(const char *path, clf_plugin **result)
{
    clf_plugin *plugin = calloc(1, sizeof *plugin);
    const clf_plugin_table *table;
    clf_status status;

    if (!plugin)
        return clf__no_memory(sizeof *plugin);
    if (!(plugin->path = clf__strdup(path)))
        status = clf__no_memory(strlen(path) + 1);
    else
        status = clf__library_open(path, &plugin->library);
    if (status)
        goto fail;
    table = clf__library_symbol(plugin->library, "clf_plugin_v1");
    status = table ? check_table(table)
                   : clf__fail(CLF_INVALID_PLUGIN, "it is no plugin: it has no symbol 'clf_plugin_v1'");
    if (!status)
        status = make_rows(plugin, table);
    if (status) {
        clf__fail_prefix(status, "plugin '%s'", path);
        goto fail;
    }
    *result = plugin;
    return CLF_SUCCESS;
fail:
    destroy(plugin);
    return status;
}

static clf_status add_plugin(clf_plugin *plugin)
{
    clf_status status;

    clf__process_lock(CLF__LOCK_REGISTRY);
    status = clf__registry_add(plugin->list);
    if (!status) {
        clf_plugin **last = &plugins;
        while (*last)
            last = &(*last)->next;
        *last = plugin;
        clf__module_add(&plugin->module);
    }
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return status ? clf__fail_prefix(status, "plugin '%s'", plugin->path) : CLF_SUCCESS;
}

/* The code of the plugin, which may call us, starts without our lock. */
static clf_status load(const char *path, clf_plugin **plugin)
{
    clf_plugin *made = NULL;
    clf_status status = open_plugin(path, &made);

    if (status)
        return status;
    if ((status = add_plugin(made))) {
        destroy(made);
        return status;
    }
    clf__log(CLF_LOG_INFO, "plugin '%s' loaded", path);
    if (plugin)
        *plugin = made;
    return CLF_SUCCESS;
}

clf_status clf_plugin_load(const char *path, clf_plugin **plugin)
{
    if (plugin)
        *plugin = NULL;
    if (!path || !path[0])
        return clf__fail(CLF_INVALID_VALUE, "argument 'path' is %s", path ? "empty" : "NULL");
    (void)clf__environment_failure(); /* those come first */
    return load(path, plugin);
}

clf_status clf_plugin_unload(clf_plugin *plugin)
{
    clf_plugin **at = &plugins;
    clf_status status = CLF_SUCCESS;
    int uses;

    if (!plugin)
        return CLF_SUCCESS;
    clf__process_lock(CLF__LOCK_REGISTRY);
    while (*at && *at != plugin)
        at = &(*at)->next;
    if (!*at)
        status = clf__fail(CLF_INVALID_VALUE, "argument 'plugin' is not loaded");
    else if ((uses = clf__module_remove(&plugin->module)) > 0)
        status = clf__fail(CLF_IN_USE, "plugin '%s' cannot be unloaded: %d instances of its parts are alive",
                           plugin->path, uses);
    if (!status) {
        *at = plugin->next;
        clf__registry_remove(plugin->list);
    }
    clf__process_unlock(CLF__LOCK_REGISTRY);
    if (status)
        return status;
    clf__log(CLF_LOG_INFO, "plugin '%s' unloaded", plugin->path);
    destroy(plugin);
    return CLF_SUCCESS;
}

const clf_plugin *clf_plugin_next(const clf_plugin *plugin)
{
    const clf_plugin *at;

    (void)clf__environment_failure();
    clf__process_lock(CLF__LOCK_REGISTRY);
    for (at = plugins; plugin && at && at != plugin; at = at->next)
        ;
    at = plugin && at ? at->next : at; /* one that is gone ends the walk */
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return at;
}

const char *clf_plugin_path(const clf_plugin *plugin)
{
    return plugin ? plugin->path : NULL;
}

/* ---- CLF_PLUGINS ---------------------------------------------------------------------------------- */

static bool       environment_read;
static clf_status environment_status;
static char      *environment_message; /* of the first failure */

/* The caller holds the lock. */
static void load_list(const char *list)
{
    for (const char *end; *list; list = *end ? end + 1 : end) {
        clf__text path = { 0 };
        clf_status status;

        end = list + strcspn(list, ":");
        if (end == list)
            continue;
        clf__text_append(&path, list, (size_t)(end - list));
        status = path.failed ? clf__no_memory((size_t)(end - list)) : load(path.data, NULL);
        clf__text_free(&path);
        if (!status)
            continue;
        clf__log(CLF_LOG_INFO, "CLF_PLUGINS: %s", clf_error_message());
        if (environment_status)
            continue;
        environment_status = clf__fail_prefix(status, "CLF_PLUGINS");
        environment_message = clf__strdup(clf_error_message());
    }
}

const char *clf__environment_failure(void)
{
    clf__process_lock(CLF__LOCK_REGISTRY);
    if (!environment_read) {
        const char *list = getenv("CLF_PLUGINS");

        environment_read = true; /* a plugin that asks for parts while it is loaded finds those before it */
        if (list)
            load_list(list);
    }
    const clf_status status = environment_status;
    const char *message = environment_message;
    clf__process_unlock(CLF__LOCK_REGISTRY);
    return status ? message ? message : "CLF_PLUGINS: the host has no memory" : NULL;
}

clf_status clf_plugin_load_environment(void)
{
    const char *failure = clf__environment_failure();
    return failure ? clf__fail(environment_status, "%s", failure) : CLF_SUCCESS;
}
