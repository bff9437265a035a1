/* One case on the device: config, instance, random tensors, plan, workspace. */
#include "bench.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- config ------------------------------------------------------------------------------------- */

static void set_number(cJSON *json, const clf_schema *schema, const char *key, int64_t value)
{
    if (clf_schema_find(schema, key)) {
        cJSON_AddNumberToObject(json, key, (double)value);
    }
}

/* The shape for those parts that want it in their config, causal, and the user's entries. */
static char *config_text(const clf__bench_options *options, const clf__bench_case *what)
{
    const clf_schema *schema = &what->component->descriptor->config;
    cJSON            *json = cJSON_CreateObject();
    set_number(json, schema, "num_heads", what->heads);
    set_number(json, schema, "dim_head", what->head_dim);
    set_number(json, schema, "dim_model", what->heads * what->head_dim);
    set_number(json, schema, "seq_len", what->length);
    if (what->knob) {
        set_number(json, schema, what->component->descriptor->knob, what->knob);
    }
    if (what->causal) {
        cJSON_AddBoolToObject(json, "causal", true);
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, options->config) {
        cJSON_DeleteItemFromObjectCaseSensitive(json, entry->string);
        cJSON_AddItemToObject(json, entry->string, cJSON_Duplicate(entry, true));
    }
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

static clf_status make_instance(const clf__bench_options *options, const clf__bench_case *what,
                                clf__bench_fixture *fixture)
{
    char *text = config_text(options, what);
    if (!text) {
        return CLF_OUT_OF_HOST_MEMORY;
    }
    void      *config = NULL;
    clf_status status = clf_component_config(what->component, text, NULL, NULL, &config);
    cJSON_free(text);
    if (status != CLF_SUCCESS) {
        return status;
    }
    clf_instance_options instance_options = { .size = sizeof instance_options, .dtype = what->dtype, .seed = 1 };
    status = clf_instance_create(fixture->device, what->component, config, &instance_options, &fixture->instance);
    clf_config_free(&what->component->descriptor->config, config);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------------ */

static bool has_heads(const clf_io *io)
{
    for (; io->name; io++) {
        if (io->role == CLF_INPUT && !(io->flags & CLF_IO_OPTIONAL) && strchr(io->axes, 'H')) {
            return true;
        }
    }
    return false;
}

/* B batch, H heads (h those of keys), Q queries, D and E widths; every other letter runs along the sequence. Parts
 * without a heads axis see all heads side by side. */
static int64_t extent(const clf__bench_case *what, char axis)
{
    const int letter = toupper((unsigned char)axis); /* of its own, as long as the upper-case one */
    if (axis == 'h' && what->key_heads) {
        return what->key_heads;
    }
    if (axis == 'Q' && what->queries) {
        return what->queries;
    }
    int64_t width = has_heads(what->component->descriptor->io) ? what->head_dim : what->heads * what->head_dim;
    return letter == 'B' ? what->batch : letter == 'H' ? what->heads
         : letter == 'D' || letter == 'E' ? width : what->length;
}

static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Of a tensor's numbers: those of one name are the same in all parts. */
static uint64_t seed_of(const char *name)
{
    uint64_t seed = 0;
    for (; *name; name++) {
        seed += (unsigned char)*name;
        seed = random_bits(&seed);
    }
    return seed | 1;
}

static double normal(uint64_t *state)
{
    double uniform[2];
    for (int i = 0; i < 2; i++) {
        uniform[i] = ((double)(random_bits(state) >> 11) + 0.5) * 0x1p-53;
    }
    return sqrt(-2 * log(uniform[0])) * cos(6.283185307179586 * uniform[1]);
}

/* Normal numbers, drawn from so many of them: logarithms for each element of a large case would take longer than
 * the measurement. */
enum { NORMALS = 1 << 14 };

static clf_status fill(clf_device *device, const clf_tensor *tensor, uint64_t seed)
{
    size_t count = (size_t)clf_tensor_elements(tensor);
    bool   floating = tensor->dtype == CLF_F32 || tensor->dtype == CLF_F16 || tensor->dtype == CLF_BF16;
    void  *data = calloc(count ? count : 1, floating ? sizeof(float) : clf_dtype_size(tensor->dtype));
    if (!data) {
        return CLF_OUT_OF_HOST_MEMORY;
    }
    float normals[NORMALS];
    for (int i = 0; i < NORMALS; i++) {
        normals[i] = (float)normal(&seed);
    }
    for (size_t i = 0; floating && i < count; i++) {
        ((float *)data)[i] = normals[random_bits(&seed) % NORMALS];
    }
    for (size_t i = 0; tensor->dtype == CLF_U8 && i < count; i++) {
        ((uint8_t *)data)[i] = (uint8_t)random_bits(&seed);
    }
    clf_status status = (floating ? clf_tensor_write_floats(device, tensor, data)
                                  : clf_tensor_write(device, tensor, data));
    free(data);
    return status;
}

static int shape_of(const clf__bench_case *what, const clf_io *io, int64_t shape[CLF_MAX_RANK])
{
    int rank = 0;
    for (; rank < CLF_MAX_RANK && io->axes[rank]; rank++) {
        shape[rank] = extent(what, io->axes[rank]);
    }
    return rank;
}

static clf_status make_tensor(clf_device *device, const clf__bench_case *what, const clf_io *io, uint64_t seed,
                              clf_tensor *tensor)
{
    int64_t   shape[CLF_MAX_RANK];
    int       rank = shape_of(what, io, shape);
    clf_dtype dtype = io->io_class == CLF_IO_FLOATING ? what->dtype
                    : io->io_class == CLF_IO_SINGLE   ? CLF_F32
                    : io->io_class == CLF_IO_INDEX    ? CLF_I32 : CLF_U8;
    clf_status status = clf_tensor_alloc(device, dtype, rank, shape, tensor);
    return status == CLF_SUCCESS && seed ? fill(device, tensor, seed) : status;
}

/* A tensor that may be quantised, and its scales: by convention those of `x` are the tensor `x_scales`. Any numbers are
 * as fast as any others. */
static clf_status make_quantised(const clf__bench_case *what, const clf_io *table, int i, int bits,
                                 clf__bench_fixture *fixture)
{
    enum { GROUP = 32 };
    char wanted[64];
    int  scales = 0;
    snprintf(wanted, sizeof wanted, "%s_scales", table[i].name);
    while (table[scales].name && strcmp(table[scales].name, wanted) != 0) {
        scales++;
    }
    int64_t    shape[CLF_MAX_RANK];
    const int  rank = shape_of(what, &table[i], shape);
    if (rank == 0) {
        return CLF_INVALID_VALUE; /* no descriptor has one: nothing would share a scale */
    }
    int64_t   *last = &shape[rank - 1];
    const int64_t width = *last;
    *last = width * bits / 8;
    clf_status status = clf_tensor_alloc(fixture->device, CLF_U8, rank, shape, &fixture->args.io[i]);
    *last = width % GROUP == 0 ? 2 * width / GROUP : 2;
    if (status == CLF_SUCCESS && table[scales].name) {
        status = clf_tensor_alloc(fixture->device, CLF_F16, rank, shape, &fixture->args.io[scales]);
    }
    if (status == CLF_SUCCESS) {
        status = fill(fixture->device, &fixture->args.io[i], seed_of(table[i].name));
    }
    if (status == CLF_SUCCESS && table[scales].name) {
        status = fill(fixture->device, &fixture->args.io[scales], seed_of(table[scales].name));
    }
    return status;
}

/* Required inputs and outputs; for the backward pass the gradients of those that have one. */
static clf_status make_tensors(const clf__bench_options *options, const clf__bench_case *what,
                               clf__bench_fixture *fixture)
{
    const clf_io *table = what->component->descriptor->io;
    for (int i = 0; table[i].name; i++) {
        bool       input = table[i].role == CLF_INPUT;
        uint64_t   seed = seed_of(table[i].name);
        clf_status status;
        if (table[i].flags & CLF_IO_OPTIONAL) {
            continue;
        }
        status = options->kv_bits && (table[i].flags & CLF_IO_QUANTISED)
               ? make_quantised(what, table, i, options->kv_bits, fixture)
               : make_tensor(fixture->device, what, &table[i], input ? seed : 0, &fixture->args.io[i]);
        if (status == CLF_SUCCESS && what->pass == CLF_BACKWARD && (table[i].flags & CLF_IO_DIFFERENTIABLE)) {
            status = make_tensor(fixture->device, what, &table[i], input ? 0 : seed + 1, &fixture->args.grad[i]);
        }
        if (status != CLF_SUCCESS) {
            return status;
        }
    }
    return CLF_SUCCESS;
}

/* ---- plan --------------------------------------------------------------------------------------- */

static clf_status make_plan(const clf__bench_options *options, const clf__bench_case *what,
                            clf__bench_fixture *fixture)
{
    clf_plan_options how = { .size = sizeof how, .passes = CLF_FORWARD | what->pass, .family = options->family,
                             .allow_reference = options->family != NULL };
    clf_status status = clf_plan_create(fixture->instance, &fixture->args, &how, &fixture->plan);
    if (status != CLF_SUCCESS) {
        return status;
    }
    fixture->info = clf_plan_get_info(fixture->plan);
    fixture->workspace.bytes = fixture->info.workspace_bytes;
    fixture->saved.bytes = fixture->info.saved_bytes;
    if (fixture->workspace.bytes) {
        status = clf_pool_acquire(fixture->device, fixture->workspace.bytes, &fixture->workspace.mem);
    }
    if (status == CLF_SUCCESS && fixture->saved.bytes) {
        status = clf_pool_acquire(fixture->device, fixture->saved.bytes, &fixture->saved.mem);
    }
    return status;
}

clf_status clf__bench_setup(clf_device *device, const clf__bench_options *options, const clf__bench_case *what,
                            clf__bench_fixture *fixture)
{
    *fixture = (clf__bench_fixture){ .device = device, .args = { .size = sizeof(clf_args) }, .pass = what->pass };
    clf_status status = make_instance(options, what, fixture);
    if (status == CLF_SUCCESS) {
        status = make_tensors(options, what, fixture);
    }
    if (status == CLF_SUCCESS) {
        status = make_plan(options, what, fixture);
    }
    if (status == CLF_SUCCESS && what->pass == CLF_BACKWARD) {
        status = clf_forward(fixture->plan, &fixture->args, fixture->workspace, fixture->saved, NULL, 0, NULL, NULL);
    }
    if (status != CLF_SUCCESS) {
        clf__bench_teardown(fixture);
    }
    return status;
}

clf_status clf__bench_enqueue(clf__bench_fixture *fixture, cl_event *event)
{
    return (fixture->pass == CLF_BACKWARD ? clf_backward : clf_forward)(
        fixture->plan, &fixture->args, fixture->workspace, fixture->saved, NULL, 0, NULL, event);
}

void clf__bench_teardown(clf__bench_fixture *fixture)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf_tensor_free(fixture->device, &fixture->args.io[i]);
        clf_tensor_free(fixture->device, &fixture->args.grad[i]);
    }
    if (fixture->workspace.mem) {
        clf_pool_release(fixture->device, fixture->workspace.mem, NULL);
    }
    if (fixture->saved.mem) {
        clf_pool_release(fixture->device, fixture->saved.mem, NULL);
    }
    clf_plan_release(fixture->plan);
    clf_instance_release(fixture->instance);
    *fixture = (clf__bench_fixture){ 0 };
}
