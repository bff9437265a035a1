/* A clf_device around what the caller already has. */
#include "core/status.h"
#include "device/device.h"
#include "device/list.h"
#include <stdlib.h>

static bool is_among(cl_device_id id, const cl_device_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* A sub-device may be named where the context lists its parent only. */
static bool is_among_with_parents(cl_device_id id, const cl_device_id *ids, size_t count)
{
    while (id && !is_among(id, ids, count))
        if (clGetDeviceInfo(id, CL_DEVICE_PARENT_DEVICE, sizeof(cl_device_id), &id, NULL) != CL_SUCCESS)
            return false;
    return id != NULL;
}

static clf_status check_context(cl_context context, cl_device_id id)
{
    clf_status status = CLF_SUCCESS;
    cl_device_id *ids = NULL;
    size_t size = 0;
    cl_int code = clGetContextInfo(context, CL_CONTEXT_DEVICES, 0, NULL, &size);

    if (code)
        return clf__fail_opencl(code, "argument 'context'");
    ids = malloc(size + 1);
    if (!ids)
        return clf__no_memory(size + 1);
    code = clGetContextInfo(context, CL_CONTEXT_DEVICES, size, ids, NULL);
    if (code)
        status = clf__fail_opencl(code, "argument 'context'");
    else if (!is_among_with_parents(id, ids, size / sizeof(cl_device_id)))
        status = clf__fail(CLF_INVALID_VALUE, "argument 'id': it is none of the %zu devices of the context",
                           size / sizeof(cl_device_id));
    free(ids);
    return status;
}

static clf_status check_queue(cl_context context, cl_device_id id, cl_command_queue queue)
{
    cl_context its_context = NULL;
    cl_device_id its_device = NULL;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof(cl_context), &its_context, NULL);

    if (!code)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof(cl_device_id), &its_device, NULL);
    if (code)
        return clf__fail_opencl(code, "argument 'queue'");
    if (its_context != context)
        return clf__fail(CLF_INVALID_VALUE, "argument 'queue' belongs to another context than argument 'context'");
    if (its_device != id)
        return clf__fail(CLF_INVALID_VALUE, "argument 'queue' belongs to another device than argument 'id'");
    return CLF_SUCCESS;
}

/* The entry of `id` in the list of all devices; a sub-device is in none and gets index -1. */
static clf_status describe_wrapped(cl_device_id id, clf_device_info *info)
{
    cl_platform_id platform = NULL;
    clf_device_info *infos = NULL;
    size_t count = 0;
    clf_status status = CLF_SUCCESS;
    bool found = false;
    cl_int code;

    if (clf__enumerate(&infos, &count) == CLF_SUCCESS)
        for (size_t i = 0; i < count && !found; i++)
            if (infos[i].device_id == id) {
                *info = infos[i];
                found = true;
            }
    if (!found) {
        code = clGetDeviceInfo(id, CL_DEVICE_PLATFORM, sizeof(cl_platform_id), &platform, NULL);
        status = code ? clf__fail_opencl(code, "argument 'id'") : clf__device_describe(platform, id, info);
        info->platform_index = -1;
        info->device_index = -1;
        for (size_t i = 0; i < count && !status; i++)
            if (infos[i].platform_id == platform)
                info->platform_index = infos[i].platform_index;
    }
    free(infos);
    return status;
}

clf_status clf_device_wrap(cl_context context, cl_device_id id, cl_command_queue queue, clf_device **device)
{
    clf_device_info info = { 0 };
    clf_status status;

    if (!device)
        return clf__fail(CLF_INVALID_VALUE, "argument 'device' is NULL");
    *device = NULL;
    if (!context || !id || !queue)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !context ? "context" : !id ? "id" : "queue");
    status = check_context(context, id);
    if (!status)
        status = check_queue(context, id, queue);
    if (!status)
        status = describe_wrapped(id, &info);
    return status ? status : clf__device_make(context, queue, &info, device);
}
