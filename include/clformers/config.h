/* Config descriptors: a table of fields describes a C struct; JSON, defaults, ranges, error
 * messages and documentation follow from the table.
 *
 * A config struct starts with a clf_config_header. A field has one of three classes: the
 * component's *own* fields; *hints* such as seq_len that a component may ignore; *semantic* fields
 * such as causal that a component honours or refuses with a reason. JSON null means absent.
 */
#ifndef CLFORMERS_CONFIG_H
#define CLFORMERS_CONFIG_H

#include <clformers/tensor.h>

CLF_BEGIN

typedef enum clf_field_type {
    CLF_FIELD_INT       = 1, /* int */
    CLF_FIELD_FLOAT     = 2, /* float */
    CLF_FIELD_BOOL      = 3, /* bool */
    CLF_FIELD_ENUM      = 4, /* int, an index into choices; JSON: the choice's name */
    CLF_FIELD_STRING    = 5, /* char *, owned by the config */
    CLF_FIELD_TENSOR    = 6, /* clf_host_tensor *, owned; JSON: nested arrays (of numbers, booleans, "inf", "-inf",
                                "nan") or {"tensor": "name"}; i64 between -2^53 and 2^53 */
    CLF_FIELD_COMPONENT = 7  /* clf_nested_config *, owned; JSON: an object with "name" */
} clf_field_type;

typedef enum clf_field_class {
    CLF_OWN      = 0,
    CLF_HINT     = 1,
    CLF_SEMANTIC = 2
} clf_field_class;

/* The first member of every config struct. */
typedef struct clf_config_header {
    size_t   size;    /* bytes of the whole struct */
    uint64_t present; /* bit i: field i of the schema was given and is not null */
} clf_config_header;

/* A tensor in host memory, contiguous and row-major. */
typedef struct clf_host_tensor {
    clf_dtype dtype;
    int32_t   rank;
    int64_t   shape[CLF_MAX_RANK];
    void     *data;
} clf_host_tensor;

struct clf_schema;

/* The config of a part inside another part's config. */
typedef struct clf_nested_config {
    char                    *name;
    const struct clf_schema *schema;
    void                    *config;
} clf_nested_config;

/* One row of a schema. Ranges are inclusive; without `.min` a number is not negative and without
 * `.max` it has no upper limit. An optional field has no default: absent until given. */
typedef struct clf_field {
    const char        *name;
    clf_field_type     type;
    clf_field_class    field_class;
    size_t             offset;         /* of the member in the config struct */
    const char        *doc;            /* one line, with the unit */
    bool               optional;
    bool               required;
    double             min, max;
    int64_t            default_int;    /* int, bool, enum */
    double             default_float;
    const char        *default_string;
    const char *const *choices;        /* enum: NULL-terminated names */
    clf_dtype          dtype;          /* tensor: element type after parsing; NONE = as given (arrays: bool or f32) */
    int                kind;           /* component: a clf_kind */
} clf_field;

#define CLF_INT(type_, member_, default_, ...) \
    { .name = #member_, .type = CLF_FIELD_INT, .offset = offsetof(type_, member_), .default_int = (default_), __VA_ARGS__ }
#define CLF_FLOAT(type_, member_, default_, ...) \
    { .name = #member_, .type = CLF_FIELD_FLOAT, .offset = offsetof(type_, member_), .default_float = (default_), __VA_ARGS__ }
#define CLF_BOOL(type_, member_, default_, ...) \
    { .name = #member_, .type = CLF_FIELD_BOOL, .offset = offsetof(type_, member_), .default_int = (default_), __VA_ARGS__ }
#define CLF_ENUM(type_, member_, default_, choices_, ...) \
    { .name = #member_, .type = CLF_FIELD_ENUM, .offset = offsetof(type_, member_), .default_int = (default_), .choices = (choices_), __VA_ARGS__ }
#define CLF_STRING(type_, member_, default_, ...) \
    { .name = #member_, .type = CLF_FIELD_STRING, .offset = offsetof(type_, member_), .default_string = (default_), __VA_ARGS__ }
#define CLF_TENSOR(type_, member_, dtype_, ...) \
    { .name = #member_, .type = CLF_FIELD_TENSOR, .offset = offsetof(type_, member_), .dtype = (dtype_), __VA_ARGS__ }
#define CLF_COMPONENT(type_, member_, kind_, ...) \
    { .name = #member_, .type = CLF_FIELD_COMPONENT, .offset = offsetof(type_, member_), .kind = (kind_), __VA_ARGS__ }
#define CLF_FIELDS_END { .name = NULL }

typedef struct clf_schema {
    size_t           config_size;
    const clf_field *fields; /* at most 64, ended by CLF_FIELDS_END */
} clf_schema;

#define CLF_SCHEMA(type_, fields_) { .config_size = sizeof(type_), .fields = (fields_) }

/* What parsing needs to know from outside; every member may be NULL. */
typedef struct clf_config_lookup {
    /* Is `key` a field of another component of the same kind? Then it is ignored with a log line,
     * so that one config can serve many components. `kind` is that of a nested component, 0 at the top. */
    bool (*known_elsewhere)(int kind, const char *key, void *user);
    /* The tensor that {"tensor": name} stands for; NULL when there is none. Copied. */
    const clf_host_tensor *(*tensor)(const char *name, void *user);
    /* The schema of the component `name` of `kind`; NULL when there is none. */
    const clf_schema *(*schema)(int kind, const char *name, void *user);
    void *user;
} clf_config_lookup;

/* A config from a JSON object, with defaults for what is absent; NULL or "" means all defaults. The
 * key "name" is accepted and ignored. Free with clf_config_free.
 * Errors: CLF_INVALID_CONFIG, CLF_UNKNOWN_KEY (with the nearest name), CLF_OUT_OF_RANGE, CLF_MISSING_KEY,
 * CLF_UNKNOWN_TENSOR, CLF_UNKNOWN_COMPONENT. */
CLF_API clf_status clf_config_parse(const clf_schema *schema, const char *json, const clf_config_lookup *lookup,
                                    void **config);

/* Deep copy and deep free; NULL configs are allowed in free. */
CLF_API clf_status clf_config_copy(const clf_schema *schema, const void *config, void **copy);
CLF_API void       clf_config_free(const clf_schema *schema, void *config);

/* The config as a JSON object with every field that has a value, in the order of the schema;
 * parsing it gives the same values (all of them then count as given). Release with clf_free; NULL when
 * memory is short. */
CLF_API char *clf_config_print(const clf_schema *schema, const void *config);

/* Was the field given? */
CLF_API bool clf_config_has(const clf_schema *schema, const void *config, const char *field);

/* The row of a field, or NULL. */
CLF_API const clf_field *clf_schema_find(const clf_schema *schema, const char *field);

CLF_END
#endif
