/* Programs: in memory by (sources, path, options), on disk by content, else from source. */
#include "device/program.h"

#include "core/log.h"
#include "core/status.h"
#include "device/build.h"
#include "device/cache.h"
#include "device/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One compiled program. */
typedef struct entry {
    struct entry     *next;
    const clf_source *sources;        /* as given last: a plugin may come and go */
    uint64_t          sources_hash;
    char             *path, *options; /* the caller's options, without the device's prefix */
    cl_program        program;
    clf__disk_key     key;
    size_t            stored;         /* bytes of the binary on disk, 0 = none */
    bool              loaded;         /* from disk, and no kernel was made from it yet */
} entry;

struct clf__program_cache {
    clf__mutex        mutex;      /* held while compiling: one program at a time for a device */
    clf__disk_cache   disk;
    bool              store_late; /* the driver goes on compiling at launches: see clf__program_store */
    entry            *entries;
    clf_program_stats stats;
};

/* ---- opening and closing --------------------------------------------------------------------- */

/* Everything about device and driver that compiled code may depend on. *known: the driver answered every question. */
static clf_status identity_of(const clf_device *device, clf__text *identity, bool *known)
{
    char version[512] = "", platform[512] = "", standard[512] = "";

    *known = device->info.name[0] && device->info.driver[0] &&
             !clGetDeviceInfo(device->id, CL_DEVICE_VERSION, sizeof version - 1, version, NULL) &&
             !clGetDeviceInfo(device->id, CL_DEVICE_OPENCL_C_VERSION, sizeof standard - 1, standard, NULL) &&
             !clGetPlatformInfo(device->info.platform_id, CL_PLATFORM_VERSION, sizeof platform - 1, platform, NULL);
    clf__text_add(identity, "%s|%s|%s|%s|%s|%s|%s", device->info.platform, platform, device->info.vendor,
                  device->info.name, device->info.driver, version, standard);
    return identity->failed ? clf__no_memory(1024) : CLF_SUCCESS;
}

clf_status clf__programs_open(clf_device *device)
{
    struct clf__program_cache *cache = calloc(1, sizeof *cache);
    clf__text identity = { 0 };
    bool known = false;
    clf_status status;

    if (!cache)
        return clf__no_memory(sizeof *cache);
    device->programs = cache;
    cache->store_late = clf__contains_ignore_case(device->info.platform, "Portable Computing Language");
    status = clf__mutex_init(&cache->mutex);
    if (!status)
        status = identity_of(device, &identity, &known);
    if (!status)
        status = clf__disk_open(&cache->disk, identity.data);
    if (!status && !known) {
        clf__log(CLF_LOG_INFO, "'%s' does not tell its versions: no cache", device->info.name);
        clf__disk_switch_off(&cache->disk);
    }
    clf__text_free(&identity);
    if (status)
        clf__programs_close(device);
    return status;
}

static void free_entry(entry *one)
{
    if (one->program)
        clReleaseProgram(one->program);
    free(one->path);
    free(one->options);
    free(one);
}

void clf__programs_close(clf_device *device)
{
    struct clf__program_cache *cache = device->programs;

    if (!cache)
        return;
    while (cache->entries) {
        entry *first = cache->entries;

        cache->entries = first->next;
        free_entry(first);
    }
    clf__disk_close(&cache->disk);
    clf__mutex_destroy(&cache->mutex);
    free(cache);
    device->programs = NULL;
}

clf__disk_cache *clf__programs_disk(clf_device *device)
{
    return &device->programs->disk;
}

clf_program_stats clf_device_program_stats(const clf_device *device)
{
    clf_program_stats stats;

    clf__mutex_lock(&device->programs->mutex);
    stats = device->programs->stats;
    clf__mutex_unlock(&device->programs->mutex);
    return stats;
}

/* ---- building ------------------------------------------------------------------------------ */

/* The device's options, then the caller's. */
static clf_status all_options(const clf_device *device, const char *options, clf__text *text)
{
    clf__text_add(text, "%s%s%s", clf__device_build_options(device), options[0] ? " " : "", options);
    return text->failed ? clf__no_memory(strlen(options)) : CLF_SUCCESS;
}

static bool load(clf_device *device, entry *one, const char *options)
{
    double begin = clf__now();
    void *data = NULL;
    size_t size = 0;

    if (!clf__disk_load(&device->programs->disk, one->key, &data, &size))
        return false;
    one->program = clf__build_binary(device, data, size, options);
    free(data);
    if (!one->program) {
        clf__log(CLF_LOG_INFO, "cache: the driver rejects its binary of %s", one->path);
        return false;
    }
    one->loaded = true;
    one->stored = size;
    device->programs->stats.loaded++;
    clf__log(CLF_LOG_DEBUG, "program %s '%s' from the cache in %.1f ms", one->path, one->options,
             1e3 * (clf__now() - begin));
    return true;
}

static clf_status build(clf_device *device, entry *one, const char *text, const char *options)
{
    double begin = clf__now(), seconds;
    clf_status status = clf__build_source(device, one->path, text, options, &one->program);

    seconds = clf__now() - begin;
    if (status)
        return status;
    one->loaded = false;
    one->stored = 0;
    device->programs->stats.built++;
    device->programs->stats.build_seconds += seconds;
    clf__log(CLF_LOG_INFO, "program %s '%s' compiled in %.0f ms", one->path, one->options, 1e3 * seconds);
    return CLF_SUCCESS;
}

/* Gives an entry its program, from disk if `may_load`. */
static clf_status make_program(clf_device *device, entry *one, bool may_load)
{
    clf__text text = { 0 }, options = { 0 };
    clf_status status = clf__source_expand(one->sources, one->path, &text);

    if (!status)
        status = all_options(device, one->options, &options);
    if (!status) {
        one->key = clf__disk_make_key(&device->programs->disk, "program", options.data, text.data);
        if (!may_load || !load(device, one, options.data))
            status = build(device, one, text.data, options.data);
    }
    clf__text_free(&options);
    clf__text_free(&text);
    return status;
}

/* ---- storing ------------------------------------------------------------------------------ */

/* Stores the binary if it is not the one on disk already: a size that has not changed is the same. */
static bool store(clf_device *device, entry *one)
{
    size_t size = one->stored;
    void *binary = clf__build_take_binary(device, one->program, &size);

    if (!binary)
        return false;
    clf__disk_store(&device->programs->disk, one->key, binary, size);
    free(binary);
    one->stored = size;
    return true;
}

void clf__program_store(clf_device *device)
{
    struct clf__program_cache *cache = device->programs;
    double begin = clf__now();
    int count = 0;

    if (!cache->disk.directory || !cache->disk.writable)
        return;
    clf__mutex_lock(&cache->mutex);
    for (entry *one = cache->entries; one; one = one->next)
        if (!one->stored || cache->store_late)
            count += store(device, one);
    clf__mutex_unlock(&cache->mutex);
    if (count)
        clf__log(CLF_LOG_INFO, "cache: %d programs stored in %.0f ms", count, 1e3 * (clf__now() - begin));
}

/* ---- kernels -------------------------------------------------------------------------------- */

static entry *find_entry(struct clf__program_cache *cache, const clf_source *sources, const char *path,
                         const char *options)
{
    const uint64_t hash = clf__source_hash(sources);

    for (entry *one = cache->entries; one; one = one->next)
        if (one->sources_hash == hash && !strcmp(one->path, path) && !strcmp(one->options, options))
            return one;
    return NULL;
}

static clf_status add_entry(clf_device *device, const clf_source *sources, const char *path, const char *options,
                            entry **result)
{
    entry *one = calloc(1, sizeof *one);
    clf_status status;

    if (!one)
        return clf__no_memory(sizeof *one);
    one->sources = sources;
    one->sources_hash = clf__source_hash(sources);
    one->path = clf__strdup(path);
    one->options = clf__strdup(options);
    status = one->path && one->options ? make_program(device, one, true)
                                       : clf__no_memory(strlen(path) + strlen(options));
    if (status) {
        free_entry(one);
        return status;
    }
    one->next = device->programs->entries;
    device->programs->entries = one;
    *result = one;
    return CLF_SUCCESS;
}

static clf_status kernel_error(const entry *one, const char *name, cl_int code)
{
    char names[1024] = "";

    if (code != CL_INVALID_KERNEL_NAME)
        return clf__fail_opencl(code, "clCreateKernel '%s' of %s", name, one->path);
    (void)clGetProgramInfo(one->program, CL_PROGRAM_KERNEL_NAMES, sizeof names, names, NULL);
    return clf__fail(CLF_INVALID_VALUE, "%s with '%s' has no kernel '%s'; it has: %s", one->path, one->options, name,
                     names);
}

/* A binary that gives no kernel is as good as none: compile again. */
static clf_status replace_program(clf_device *device, entry *one)
{
    cl_program old = one->program;
    clf_status status;

    clf__log(CLF_LOG_INFO, "cache: the binary of %s gives no kernel and is replaced", one->path);
    one->program = NULL;
    status = make_program(device, one, false);
    if (status)
        one->program = old;
    else
        clReleaseProgram(old);
    return status;
}

static clf_status make_kernel(clf_device *device, entry *one, const char *name, cl_kernel *kernel)
{
    struct clf__program_cache *cache = device->programs;
    cl_int code;

    *kernel = clCreateKernel(one->program, name, &code);
    if (code != CL_SUCCESS && one->loaded) {
        clf_status status = replace_program(device, one);

        if (status)
            return status;
        *kernel = clCreateKernel(one->program, name, &code);
    }
    if (code != CL_SUCCESS) {
        *kernel = NULL;
        return kernel_error(one, name, code);
    }
    one->loaded = false;
    if (!one->stored && !cache->store_late && cache->disk.directory && cache->disk.writable)
        store(device, one);
    return CLF_SUCCESS;
}

/* The caller's options, then those of the environment: they name a program too, because they may change. */
static clf_status add_environment(const char *options, clf__text *text)
{
    const char *more = getenv("CLF_BUILD_OPTIONS");

    clf__text_add(text, "%s%s%s", options ? options : "", more && more[0] ? " " : "", more ? more : "");
    return text->failed ? clf__no_memory(256) : CLF_SUCCESS;
}

clf_status clf__program_kernel(clf_device *device, const clf_source *sources, const char *path, const char *options,
                               const char *name, cl_kernel *kernel)
{
    clf__text text = { 0 };
    clf_status status = add_environment(options, &text);
    entry *one = NULL;

    *kernel = NULL;
    if (status)
        goto end;
    clf__mutex_lock(&device->programs->mutex);
    one = find_entry(device->programs, sources, path, text.data);
    if (one)
        one->sources = sources;
    else
        status = add_entry(device, sources, path, text.data, &one);
    if (!status)
        status = make_kernel(device, one, name, kernel);
    clf__mutex_unlock(&device->programs->mutex);
end:
    clf__text_free(&text);
    return status;
}
