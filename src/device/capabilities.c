/* What a device can do. Queries come first; what drivers are known to be wrong about is tried, once
 * for a device and driver: the outcome is kept in the cache on disk. */
#include "core/log.h"
#include "core/status.h"
#include "core/text.h"
#include "device/cache.h"
#include "device/device.h"
#include "device/probe.h"
#include "device/program.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUERY_SM_MAJOR_NV = 0x4000, QUERY_SM_MINOR_NV = 0x4001 };

/* Change it when a probe changes. */
#define PROBES "probes 4"

/* What the driver says; the words of probes correct it. */
typedef struct claims {
    bool fp16, fp64, fma, subgroups;
    int  nvidia_sm, nvidia_matrix, nvidia_wgmma, nvidia_local;
} claims;

static bool has_extension(const char *extensions, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strstr(extensions, name); at; at = strstr(at + length, name))
        if ((at == extensions || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* The size is not limited by any standard: ask first. */
static char *get_extensions(cl_device_id id)
{
    size_t size = 0;
    char *text;

    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &size) != CL_SUCCESS)
        size = 0;
    text = calloc(1, size + 1);
    if (text && size && clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, size, text, NULL) != CL_SUCCESS)
        text[0] = '\0';
    return text;
}

static clf_status ask_claims(cl_device_id id, claims *said)
{
    cl_device_fp_config single = 0, wide = 0;
    cl_uint major = 0, minor = 0;
    char *extensions = get_extensions(id);

    memset(said, 0, sizeof *said);
    if (!extensions)
        return clf__no_memory(1);
    if (clGetDeviceInfo(id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof single, &single, NULL) == CL_SUCCESS)
        said->fma = (single & CL_FP_FMA) != 0;
    if (clGetDeviceInfo(id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof wide, &wide, NULL) == CL_SUCCESS)
        said->fp64 = wide != 0;
    said->fp16 = has_extension(extensions, "cl_khr_fp16");
    said->subgroups = has_extension(extensions, "cl_khr_subgroups");
    if (has_extension(extensions, "cl_nv_device_attribute_query") &&
        clGetDeviceInfo(id, QUERY_SM_MAJOR_NV, sizeof major, &major, NULL) == CL_SUCCESS &&
        clGetDeviceInfo(id, QUERY_SM_MINOR_NV, sizeof minor, &minor, NULL) == CL_SUCCESS)
        said->nvidia_sm = (int)(10 * major + minor);
    free(extensions);
    return CLF_SUCCESS;
}

/* Tries every claim; true when each got a definite answer. */
static bool try_claims(clf_device *device, claims *said)
{
    clf__verdict fp16 = said->fp16 ? clf__probe_fp16(device) : CLF__NO;
    clf__verdict fma = said->fma ? clf__probe_fast_fma(device) : CLF__NO;
    clf__verdict subgroups = said->subgroups ? clf__probe_subgroups(device) : CLF__NO;
    clf__verdict ptx = said->nvidia_sm ? clf__probe_nvidia_ptx(device) : CLF__NO;

    clf__verdict matrix = ptx == CLF__YES && said->nvidia_sm >= 80 ? clf__probe_nvidia_matrix(device) : CLF__NO;
    clf__verdict wgmma = matrix == CLF__YES && said->nvidia_sm == 90 ? clf__probe_nvidia_wgmma(device) : CLF__NO;
    clf__verdict local = CLF__NO;

    said->nvidia_local = matrix == CLF__YES ? clf__probe_nvidia_local(device, &local) : 0;
    said->nvidia_matrix = matrix == CLF__YES;
    said->nvidia_wgmma = wgmma == CLF__YES;
    said->fp16 = fp16 == CLF__YES;
    said->fma = fma == CLF__YES;
    said->subgroups = subgroups == CLF__YES;
    said->nvidia_sm = ptx == CLF__YES ? said->nvidia_sm : 0;
    return fp16 != CLF__UNKNOWN && fma != CLF__UNKNOWN && subgroups != CLF__UNKNOWN && ptx != CLF__UNKNOWN &&
           matrix != CLF__UNKNOWN && wgmma != CLF__UNKNOWN && local != CLF__UNKNOWN;
}

/* The claims that hold, from the cache on disk or by trying. */
static void check_claims(clf_device *device, claims *said)
{
    clf__disk_cache *disk = clf__programs_disk(device);
    int fp16, fma, subgroups, sm, matrix, wgmma, local;
    char text[64];
    clf__disk_key key;
    void *stored = NULL;
    size_t size = 0;

    if (!said->fp16 && !said->fma && !said->subgroups && !said->nvidia_sm)
        return;
    (void)snprintf(text, sizeof text, "%d %d %d %d", said->fp16, said->fma, said->subgroups, said->nvidia_sm);
    key = clf__disk_make_key(disk, PROBES, "", text);
    if (clf__disk_load(disk, key, &stored, &size) &&
        sscanf(stored, "%d %d %d %d %d %d %d", &fp16, &fma, &subgroups, &sm, &matrix, &wgmma, &local) == 7) {
        said->fp16 = said->fp16 && fp16;
        said->fma = said->fma && fma;
        said->subgroups = said->subgroups && subgroups;
        said->nvidia_sm = sm == said->nvidia_sm ? sm : 0;
        said->nvidia_matrix = said->nvidia_sm && matrix;
        said->nvidia_wgmma = said->nvidia_matrix && wgmma;
        said->nvidia_local = said->nvidia_matrix ? local : 0;
    } else if (try_claims(device, said)) {
        (void)snprintf(text, sizeof text, "%d %d %d %d %d %d %d", said->fp16, said->fma, said->subgroups,
                       said->nvidia_sm, said->nvidia_matrix, said->nvidia_wgmma, said->nvidia_local);
        clf__disk_store(disk, key, text, strlen(text));
    }
    free(stored);
}

static clf_status check_version(const clf_device *device)
{
    char version[256] = "";
    int major = 0, minor = 0;
    cl_int code = clGetDeviceInfo(device->id, CL_DEVICE_VERSION, sizeof version - 1, version, NULL);

    if (code)
        return clf__fail_opencl(code, "clGetDeviceInfo of '%s'", device->info.name);
    if (sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && (major > 1 || (major == 1 && minor >= 2)))
        return CLF_SUCCESS;
    return clf__fail(CLF_UNSUPPORTED, "device '%s' offers '%s'; OpenCL 1.2 or later is needed", device->info.name,
                     version);
}

static void write_build_options(clf_device *device)
{
    const clf_capabilities *can = &device->capabilities;
    char sm[32] = "";

    if (can->nvidia_sm)
        (void)snprintf(sm, sizeof sm, " -DCLF_NVIDIA_SM=%d", can->nvidia_sm);
    (void)snprintf(device->build_options, sizeof device->build_options, "-cl-std=CL1.2%s%s%s%s",
                   can->fma ? " -DCLF_HAS_FMA=1" : "", can->fp16 ? " -DCLF_HAS_FP16=1" : "",
                   can->subgroups ? " -DCLF_HAS_SUBGROUPS=1" : "", sm);
}

clf_status clf__find_capabilities(clf_device *device)
{
    const clf_device_info *info = &device->info;
    clf_capabilities *can = &device->capabilities;
    cl_device_local_mem_type local_type = CL_GLOBAL;
    cl_ulong allocation = 0, local = 0;
    bool own_silicon = !info->software && !info->simulator, cpu = (info->type & CL_DEVICE_TYPE_CPU) != 0;
    clf_status status = check_version(device);
    claims said;
    cl_int code;

    if (status)
        return status;
    can->size = sizeof *can;
    code = clGetDeviceInfo(device->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof allocation, &allocation, NULL);
    if (!code)
        code = clGetDeviceInfo(device->id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    if (!code)
        code = clGetDeviceInfo(device->id, CL_DEVICE_LOCAL_MEM_TYPE, sizeof local_type, &local_type, NULL);
    if (!code)
        code = clGetDeviceInfo(device->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof can->max_work_group,
                               &can->max_work_group, NULL);
    if (code)
        return clf__fail_opencl(code, "clGetDeviceInfo of '%s'", info->name);
    can->max_allocation = allocation;
    can->local_memory = local;
    can->local_memory_is_local = local_type == CL_LOCAL && own_silicon && !cpu;
    /* rasterisers and interpreters make vectors of work-items themselves and lose by explicit ones */
    can->style = cpu && own_silicon ? CLF_STYLE_VECTORS : CLF_STYLE_WORK_ITEMS;

    status = ask_claims(device->id, &said);
    if (status)
        return status;
    check_claims(device, &said);
    can->fp16 = said.fp16;
    can->fp64 = said.fp64;
    can->fma = said.fma;
    can->subgroups = said.subgroups;
    can->nvidia_sm = said.nvidia_sm;
    can->nvidia_matrix = said.nvidia_matrix;
    can->nvidia_wgmma = said.nvidia_wgmma;
    can->nvidia_local_memory = (uint64_t)said.nvidia_local > local ? (uint64_t)said.nvidia_local : 0;
    write_build_options(device);
    return CLF_SUCCESS;
}

const char *clf__device_build_options(const clf_device *device)
{
    return device->build_options;
}

const clf_capabilities *clf_device_get_capabilities(const clf_device *device)
{
    return &device->capabilities;
}
