/* What the files of config/ share, and what the registry needs besides the public interface. */
#ifndef CLF_CONFIG_CONFIG_H
#define CLF_CONFIG_CONFIG_H

#include "core/text.h"
#include <clformers/config.h>

struct cJSON;

enum {
    CLF__MAX_FIELDS = 64, /* bits of clf_config_header.present */
    CLF__MAX_DEPTH  = 32  /* brackets of a JSON text */
};

/* ---- schema.c: tables ---------------------------------------------------------------------------- */

/* Is the table itself right: number of fields, offsets, choices, defaults within their ranges? */
clf_status clf__schema_check(const clf_schema *schema);
int        clf__schema_index(const clf_schema *schema, const char *field); /* -1 = none */
/* Bytes of the member of a field. */
size_t     clf__field_size(clf_field_type type);

/* ---- tree.c ---------------------------------------------------------------------------------------- */

/* Parses `length` characters, the NUL counted where there is one; *end is where the value ends, or the mistake, for which *tree is NULL and the status
 * CLF_SUCCESS. Release the tree with cJSON_Delete.
 * Errors: CLF_OUT_OF_HOST_MEMORY. */
clf_status clf__json_tree(const char *text, size_t length, const char **end, struct cJSON **tree);

/* ---- json.c: texts ------------------------------------------------------------------------------- */

/* A JSON text as a tree that cJSON_Delete frees. Refuses what is not one object, deep nesting and NUL characters;
 * `what` it is, for messages: "the config". */
clf_status  clf__json_parse(const char *text, const char *what, struct cJSON **root);
/* "the number 3", "the string \"x\"", "an array", ... for messages. */
const char *clf__json_describe(const struct cJSON *value, char *buffer, size_t size);
/* The shortest text that reads back as the same double (or float), whatever the locale. */
const char *clf__json_number(char buffer[40], double value, bool single);
void        clf__json_add_string(clf__text *text, const char *string);
/* The string under "name" of a JSON object; free() it.
 * Errors: CLF_INVALID_CONFIG, CLF_MISSING_KEY. */
clf_status  clf__json_name(const char *text, char **name);

/* ---- parse.c, value.c, tensor.c, copy.c ---------------------------------------------------------- */

/* A config from an object; `kind` is the kind of the nested component, 0 at the top. */
clf_status clf__config_from_object(const clf_schema *schema, const struct cJSON *object, int kind,
                                   const clf_config_lookup *lookup, void **config);
/* Sets one member from a value that is not null. */
clf_status clf__value_parse(const clf_field *field, const struct cJSON *value, const clf_config_lookup *lookup,
                            void *member);

/* Which of the names (NULL at the end) is `given` as the value of `field`?
 * Errors: CLF_OUT_OF_RANGE with all of them. */
clf_status clf__config_choose(const char *field, const char *const *choices, const char *given, int *index);

clf_status clf__host_tensor_parse(const clf_field *field, const struct cJSON *value, const clf_config_lookup *lookup,
                                  clf_host_tensor **tensor);
clf_status clf__host_tensor_copy(const clf_host_tensor *tensor, clf_host_tensor **copy);
void       clf__host_tensor_free(clf_host_tensor *tensor);
void       clf__host_tensor_print(const clf_host_tensor *tensor, clf__text *text);

#endif
