/* What a plugin exports; clformers_add_plugin() compiles this file into it. */
#include <clformers/plugin.h>

#define TEXT_OF(x_) #x_
#define TEXT(x_)    TEXT_OF(x_)

extern const clf_component *const clf__plugin_components[];
extern const clf_source clf__plugin_sources[];

const clf_plugin_table clf_plugin_v1 = {
    .abi = CLF_PLUGIN_ABI,
    .size = sizeof(clf_plugin_table),
    .components = clf__plugin_components,
    .sources = clf__plugin_sources,
    .sizes = CLF_PLUGIN_SIZES,
    .built_with = TEXT(CLF_VERSION_MAJOR) "." TEXT(CLF_VERSION_MINOR) "." TEXT(CLF_VERSION_PATCH),
    .library = clf_version,
};
