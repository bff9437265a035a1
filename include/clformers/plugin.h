/* Plugins: shared objects that bring parts of their own.
 *
 * A plugin exports one symbol, clf_plugin_v1, which the CMake function clformers_add_plugin() of the installed
 * package generates from the same CLF_REGISTER_ lines and kernel sources that a part inside the library has
 * (docs/extending.md). Plugins are loaded by clf_plugin_load, and those that the environment variable CLF_PLUGINS
 * names, `:` between them, when the registry is used for the first time. A loaded part is like any other.
 *
 * A plugin's kernels include the plugin's own sources and prelude/, nothing else of the library. A plugin is code
 * of the process: load only what you trust.
 */
#ifndef CLFORMERS_PLUGIN_H
#define CLFORMERS_PLUGIN_H

#include <clformers/author.h>
#include <clformers/registry.h>
#include <clformers/source.h>
#include <clformers/version.h>

CLF_BEGIN

/* A loaded plugin. */
typedef struct clf_plugin clf_plugin;

/* Loads a shared object and adds its parts to the registry: all of them or, on failure, none. A `path` without a
 * slash is looked for where the system looks for libraries. The parts stay until clf_plugin_unload or the end of
 * the process; *plugin (`plugin` may be NULL) belongs to the library. Loading the same file twice is a name clash.
 * Thread-safe.
 * Errors: CLF_IO_ERROR when the system cannot load the file, with its reason; CLF_INVALID_PLUGIN when it is no
 * plugin, was built for an incompatible clformers, is bound to another copy of the library than this one, has
 * a part that is not well formed, or a part whose kind and name exist already; CLF_OUT_OF_HOST_MEMORY. */
CLF_API clf_status clf_plugin_load(const char *path, clf_plugin **plugin);

/* Removes the parts of a plugin from the registry and unloads its code. Its clf_component pointers, and configs
 * that were parsed for its parts, end with it: free configs before, and let no thread be about to use one of the
 * parts. What is compiled stays in the caches of the devices. Thread-safe. NULL is allowed.
 * Errors: CLF_IN_USE while an instance of one of its parts, or one whose config nests such a part, is alive, or a
 * plan of one: the plugin then stays as it is. CLF_INVALID_VALUE when `plugin` is not loaded. */
CLF_API clf_status clf_plugin_unload(clf_plugin *plugin);

/* Loads what CLF_PLUGINS names unless that has happened; the registry does so by itself when it is first used.
 * A plugin that fails is left out, and the others are loaded all the same.
 * Errors: those of the first plugin that failed, the same at every call. */
CLF_API clf_status clf_plugin_load_environment(void);

/* Walks the loaded plugins in the order of loading: start with NULL, ends with NULL. The path lives as long as the
 * plugin. */
CLF_API const clf_plugin *clf_plugin_next(const clf_plugin *plugin);
CLF_API const char       *clf_plugin_path(const clf_plugin *plugin);

/* ---- what a plugin exports ------------------------------------------------------------------------ */

/* Changes when a plugin built before would misread the library or the other way round. */
#define CLF_PLUGIN_ABI 1

/* Sizes of the structs that lie in arrays or are passed by value, so that none of them can grow unnoticed. */
#define CLF_PLUGIN_SIZES                                                                                       \
    {                                                                                                          \
        sizeof(clf_component), sizeof(clf_field), sizeof(clf_io), sizeof(clf_parameter), sizeof(clf_tensor),   \
            sizeof(clf_args), sizeof(clf_attention_config), sizeof(clf_source)                                 \
    }
#define CLF_PLUGIN_SIZE_COUNT 8

typedef struct clf_plugin_table {
    uint64_t                    abi;        /* CLF_PLUGIN_ABI; first in every version */
    size_t                      size;       /* sizeof(clf_plugin_table) */
    const clf_component *const *components; /* ended by NULL; a descriptor may be shorter than the library's */
    const clf_source           *sources;    /* the kernels, ended by a NULL path */
    size_t                      sizes[CLF_PLUGIN_SIZE_COUNT];
    const char                 *built_with; /* version of clformers, for messages */
    const char               *(*library)(void); /* clf_version as the plugin is linked to it */
} clf_plugin_table;

/* The symbol. The library reads `abi` and `size` before anything else. */
extern CLF_API const clf_plugin_table clf_plugin_v1;

CLF_END
#endif
