/* The list of all parts, and building one from its config. */
#ifndef CLFORMERS_REGISTRY_H
#define CLFORMERS_REGISTRY_H

#include <clformers/instance.h>

CLF_BEGIN

/* Iterates over all parts, sorted by kind and name: start with NULL, ends with NULL. Touches no
 * OpenCL. */
CLF_API const clf_component *clf_component_next(const clf_component *component);

/* A part by kind and name.
 * Errors: CLF_UNKNOWN_COMPONENT with the names that exist and the nearest one. */
CLF_API clf_status clf_component_find(clf_kind kind, const char *name, const clf_component **component);

/* A part's config from JSON, where keys of other parts of its kind are ignored with a log line.
 * `tensor` (may be NULL) resolves {"tensor": "name"}. Free with clf_config_free(&descriptor->config, ...).
 * Errors: those of clf_config_parse, and what the part's resolve hook refuses. */
typedef const clf_host_tensor *(*clf_tensor_lookup)(const char *name, void *user);
CLF_API clf_status clf_component_config(const clf_component *component, const char *json, clf_tensor_lookup tensor,
                                        void *user, void **config);

/* An instance from a JSON object that holds "name". Release with clf_instance_release.
 * Errors: those of clf_component_find, clf_component_config and clf_instance_create. */
CLF_API clf_status clf_build(clf_device *device, clf_kind kind, const char *json, clf_instance **instance);

/* The known-answer check: a small fixed problem, forward and backward with the part's default config, whose results
 * are summed up in one number a pass and compared with those of the part's `.reference`, else with its `.answer`;
 * a part that has neither must give numbers other than 0. With CLF_SELFTEST=1 in the environment it precedes the first
 * instance of each part on a device: clf_instance_create then returns CLF_WRONG_RESULT with the reason when it
 * fails. The verdict is remembered beside the compiled kernels, for the device, its driver, the version of clformers
 * and the part's kernel sources. This function checks anew and remembers the verdict, too.
 * Errors: CLF_WRONG_RESULT; CLF_UNSUPPORTED and others when the problem cannot be run, which says nothing. */
CLF_API clf_status clf_component_check(clf_device *device, const clf_component *component);

/* What `reference` makes of the problem. For the tests of parts without `.reference`.
 * Errors: those of clf_component_config; CLF_UNSUPPORTED; CLF_OUT_OF_HOST_MEMORY. */
struct clf_reference;
CLF_API clf_status clf_component_answer(const clf_component *component,
                                        clf_status (*reference)(const struct clf_reference *reference),
                                        clf_answer *answer);

/* The Markdown table of all parts that the documentation shows. Release with clf_free. */
CLF_API char *clf_component_table(void);

CLF_END
#endif
