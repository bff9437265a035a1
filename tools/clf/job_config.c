/* clf run, first half: which part with which config, and does every tensor of the file belong to it? */
#include "job.h"

#include <stdlib.h>
#include <string.h>

/* ---- the config ------------------------------------------------------------------------------- */

static cJSON *parse_object(const char *text, const char *where)
{
    const char *end = NULL;
    cJSON      *json = cJSON_ParseWithOpts(text, &end, true);
    if (json && cJSON_IsObject(json)) {
        return json;
    }
    if (json) {
        clf__tool_fail("%s is not a JSON object", where);
    } else {
        clf__tool_fail("%s is not JSON: error at byte %zu", where, end ? (size_t)(end - text) : 0);
    }
    cJSON_Delete(json);
    return NULL;
}

static cJSON *config_from_file(const char *path)
{
    char  *text = clf__tool_read_file(path);
    cJSON *json = text ? parse_object(text, path) : NULL;
    free(text);
    return json;
}

/* Files written by other programs tell what their config was given to: a build function took the
 * whole object, a direct constructor took its entries. Either way "name" finds the part. Anything else was no
 * part at all. */
static cJSON *config_from_metadata(const clf__job *job)
{
    const char *text = clf_safetensors_metadata(job->file, "config");
    const char *builder = clf_safetensors_metadata(job->file, "builder");
    if (!text) {
        return cJSON_CreateObject();
    }
    if (builder && strncmp(builder, "build_", 6) != 0 && strncmp(builder, "direct constructor", 18) != 0) {
        clf__tool_fail("'%s' was made by '%s', which is neither a build function nor a direct constructor: give "
                       "--config", job->options->input, builder);
        return NULL;
    }
    return parse_object(text, "the metadata entry 'config'");
}

static const char *config_name(const clf__job *job)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job->json, "name"));
    return name || job->options->config ? name : clf_safetensors_metadata(job->file, "name");
}

static const char *config_kind(const clf__job *job)
{
    const char *kind = clf_safetensors_metadata(job->file, "component");
    if (job->options->kind) {
        return job->options->kind;
    }
    return kind && strcmp(kind, "multihead") == 0 ? clf_kind_name(CLF_MULTI_HEAD) : kind;
}

static const clf_host_tensor *find_tensor(const char *name, void *user)
{
    clf__job                    *job = user;
    const clf_safetensors_entry *entry = clf_safetensors_find(job->file, name);
    if (!entry) {
        return NULL;
    }
    union { const void *from; void *to; } data = { .from = entry->data }; /* read only all the same */
    job->borrowed = (clf_host_tensor){ .dtype = entry->dtype, .rank = entry->rank, .data = data.to };
    memcpy(job->borrowed.shape, entry->shape, sizeof entry->shape);
    return &job->borrowed;
}

/* Tensors of the config that the file has and the config does not speak of: {"tensor": name}, name by name. */
static bool add_tensors(clf__job *job)
{
    for (const clf_field *f = job->component->descriptor->config.fields; f && f->name; f++) {
        cJSON *entry = NULL;
        if (f->type != CLF_FIELD_TENSOR || cJSON_HasObjectItem(job->json, f->name) ||
            !clf_safetensors_find(job->file, f->name)) {
            continue;
        }
        entry = cJSON_AddObjectToObject(job->json, f->name);
        if (!entry || !cJSON_AddStringToObject(entry, "tensor", f->name)) {
            return false;
        }
    }
    return true;
}

/* Parts that keep something as wide as a head want the width before they see a tensor: where the config does not tell,
 * the first input does. */
static bool add_width(clf__job *job)
{
    const clf_field *field = clf_schema_find(&job->component->descriptor->config, "dim_head");
    const cJSON     *given = cJSON_GetObjectItemCaseSensitive(job->json, "dim_head");
    const clf_io    *io = job->component->descriptor->io;
    if (!field || field->field_class != CLF_HINT || (given && !cJSON_IsNull(given))) {
        return true;
    }
    const clf_safetensors_entry *entry = clf_safetensors_find(job->file, io->name);
    if (!entry || entry->rank == 0 || io->axes[strlen(io->axes) - 1] != 'D' || entry->shape[entry->rank - 1] < 1) {
        return true;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(job->json, "dim_head");
    return cJSON_AddNumberToObject(job->json, "dim_head", (double)entry->shape[entry->rank - 1]) != NULL;
}

int clf__job_configure(clf__job *job)
{
    const clf__job_options *options = job->options;
    job->json = options->config ? config_from_file(options->config) : config_from_metadata(job);
    if (!job->json) {
        return CLF__TOOL_FAILED;
    }
    for (int i = 0; i < options->set_count; i++) {
        if (!clf__tool_set(job->json, options->sets[i])) {
            return clf__tool_fail("out of memory");
        }
    }
    const char *name = config_name(job);
    if (!name) {
        return clf__tool_fail("no name of a part: neither the config nor the input's metadata has \"name\"");
    }
    int code = clf__tool_find_component(name, config_kind(job), &job->component);
    if (code != CLF__TOOL_OK) {
        return code;
    }
    char *text = add_tensors(job) && add_width(job) ? cJSON_PrintUnformatted(job->json) : NULL;
    if (!text) {
        return clf__tool_fail("out of memory");
    }
    clf_status status = clf_component_config(job->component, text, find_tensor, job, &job->config);
    cJSON_free(text);
    return status == CLF_SUCCESS ? clf__job_check_names(job) : clf__tool_fail_status();
}

/* ---- the names in the file -------------------------------------------------------------------- */

static bool in_parameters(const clf_parameter *table, const char *name)
{
    for (; table && table->name; table++) {
        if (strcmp(table->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool in_io(const clf_io *io, clf_io_role role, const char *name)
{
    for (; io->name; io++) {
        if (io->role == role && strcmp(io->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Is {"tensor": name} somewhere in the config? */
static bool in_config(const cJSON *json, const char *name)
{
    const char *tensor = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "tensor"));
    if (tensor && strcmp(tensor, name) == 0) {
        return true;
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, json) {
        if (in_config(child, name)) {
            return true;
        }
    }
    return false;
}

static bool keeps_draws(const clf_parameter *table)
{
    for (; table->name; table++) {
        if (starts_with(table->name, "rng.")) {
            return true;
        }
    }
    return false;
}

/* Does the file hold what another implementation kept? Its draws then explain that. */
static bool has_buffers(const clf_safetensors *file)
{
    for (size_t i = 0; i < clf_safetensors_count(file); i++) {
        if (starts_with(clf_safetensors_at(file, i)->name, "buf.")) {
            return true;
        }
    }
    return false;
}

static bool belongs(const clf__job *job, const char *name)
{
    const clf_descriptor *d = job->component->descriptor;
    if (in_io(d->io, CLF_INPUT, name) || in_io(d->io, CLF_OUTPUT, name)) {
        return true;
    }
    if (starts_with(name, "grad_")) {
        return in_io(d->io, CLF_OUTPUT, name + 5);
    }
    if (starts_with(name, "param.")) {
        return in_parameters(d->parameters, name + 6);
    }
    if (starts_with(name, "buf.")) {
        /* What another implementation kept, a pattern say, a part without buffers works out itself. */
        return !d->buffers || in_parameters(d->buffers, name + 4);
    }
    if (starts_with(name, "rng.")) {
        /* What another implementation drew: kept, given by the config, or it explains a buffer and is not needed. */
        return in_parameters(d->buffers, name) || in_config(job->json, name) ||
               (d->buffers ? !keeps_draws(d->buffers) : has_buffers(job->file));
    }
    return starts_with(name, "grad.") || starts_with(name, "aux.") || in_config(job->json, name);
}

int clf__job_check_names(const clf__job *job)
{
    for (size_t i = 0; i < clf_safetensors_count(job->file); i++) {
        const char *name = clf_safetensors_at(job->file, i)->name;
        if (!belongs(job, name)) {
            return clf__tool_fail("'%s': tensor '%s' is no input, parameter or buffer of %s ('clf describe %s' lists "
                                  "them)", job->options->input, name, job->component->name, job->component->name);
        }
    }
    return CLF__TOOL_OK;
}
