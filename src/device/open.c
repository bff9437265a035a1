/* The life of a clf_device: opened, shared, released; and what others attach to it. */
#include "core/log.h"
#include "core/status.h"
#include "device/device.h"
#include "device/list.h"
#include "device/program.h"
#include <stdlib.h>
#include <string.h>

/* ---- making one ----------------------------------------------------------------------------- */

static void destroy(clf_device *device)
{
    while (device->attachments) {
        clf__attachment *newest = device->attachments;

        device->attachments = newest->next;
        newest->destroy(device, newest->value);
        free(newest);
    }
    clf__programs_close(device);
    clf__mutex_destroy(&device->mutex);
    if (device->queue)
        clReleaseCommandQueue(device->queue);
    if (device->context)
        clReleaseContext(device->context);
    if (device->id)
        clReleaseDevice(device->id);
    free(device);
}

static void log_device(const clf_device *device)
{
    const clf_device_info *info = &device->info;
    const clf_capabilities *can = &device->capabilities;
    char type[64];

    clf__type_text(info->type, type);
    clf__log(CLF_LOG_INFO, "device %d:%d '%s' (%s, %s, driver %s): %s%s%s%s", info->platform_index, info->device_index,
             info->name, info->platform, type, info->driver,
             can->style == CLF_STYLE_VECTORS ? "vectors" : "work-items", can->fma ? ", fma" : "",
             can->fp16 ? ", fp16" : "", can->subgroups ? ", subgroups" : "");
}

clf_status clf__device_make(cl_context context, cl_command_queue queue, const clf_device_info *info,
                            clf_device **result)
{
    clf_device *device = calloc(1, sizeof *device);
    cl_command_queue_properties properties = 0;
    clf_status status;
    cl_int code;

    if (!device)
        return clf__no_memory(sizeof *device);
    device->info = *info;
    atomic_init(&device->references, 1);
    code = clRetainDevice(info->device_id);
    if (!code) {
        device->id = info->device_id;
        code = clRetainContext(context);
    }
    if (!code) {
        device->context = context;
        code = clRetainCommandQueue(queue);
    }
    if (!code) {
        device->queue = queue;
        code = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    }
    if (code) {
        status = clf__fail_opencl(code, "opening '%s'", info->name);
        goto fail;
    }
    device->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    status = clf__mutex_init(&device->mutex);
    if (!status)
        status = clf__programs_open(device);
    if (!status)
        status = clf__find_capabilities(device);
    if (status)
        goto fail;
    log_device(device);
    *result = device;
    return CLF_SUCCESS;
fail:
    destroy(device);
    return status;
}

/* The entry that a selector means; NULL or "" asks the environment, then the automatic order. */
static clf_status choose(const char *selector, clf_device_info *chosen)
{
    const char *from = "argument 'selector'";
    clf_device_info *infos = NULL;
    size_t count = 0, first = 0, found = 0, *indices = NULL;
    clf_status status;

    if (!selector || !selector[0]) {
        selector = getenv("CLF_DEVICE");
        from = "CLF_DEVICE";
    }
    status = clf__enumerate(&infos, &count);
    if (status)
        return status;
    if (selector && selector[strspn(selector, " \t\n")]) {
        indices = calloc(count, sizeof *indices);
        status = indices ? clf__select(infos, count, selector, indices, &found)
                         : clf__no_memory(count * sizeof *indices);
        if (status && indices)
            clf__fail_prefix(status, "%s", from);
        if (!status)
            first = indices[0];
    } else {
        status = clf__select_best(infos, count, &first);
    }
    if (!status)
        *chosen = infos[first];
    free(indices);
    free(infos);
    return status;
}

clf_status clf_device_open(const char *selector, clf_device **device)
{
    cl_context_properties properties[] = { CL_CONTEXT_PLATFORM, 0, 0 };
    cl_command_queue queue = NULL;
    cl_context context = NULL;
    clf_device_info info;
    clf_status status;
    cl_int code;

    if (!device)
        return clf__fail(CLF_INVALID_VALUE, "argument 'device' is NULL");
    *device = NULL;
    status = choose(selector, &info);
    if (status)
        return status;
    properties[1] = (cl_context_properties)info.platform_id;
    context = clCreateContext(properties, 1, &info.device_id, NULL, NULL, &code);
    if (code != CL_SUCCESS)
        return clf__fail_opencl(code, "clCreateContext for '%s'", info.name);
    queue = clCreateCommandQueue(context, info.device_id, CL_QUEUE_PROFILING_ENABLE, &code);
    if (code != CL_SUCCESS) {
        status = clf__fail_opencl(code, "clCreateCommandQueue for '%s'", info.name);
        goto done;
    }
    status = clf__device_make(context, queue, &info, device);
    clReleaseCommandQueue(queue);
done:
    clReleaseContext(context);
    return status;
}

/* ---- sharing and releasing ------------------------------------------------------------------ */

void clf_device_retain(clf_device *device)
{
    if (device)
        atomic_fetch_add(&device->references, 1);
}

void clf_device_release(clf_device *device)
{
    cl_int code;

    if (!device || atomic_fetch_sub(&device->references, 1) != 1)
        return;
    code = clf__wait_for_queue(device->queue);
    if (code) /* nobody is left to return it to */
        clf__log(CLF_LOG_INFO, "waiting for '%s' at its release: OpenCL code %d", device->info.name, code);
    clf__program_store(device);
    destroy(device);
}

clf_status clf__device_attach(clf_device *device, const void *key,
                              clf_status (*make)(clf_device *device, void **value),
                              void (*destroy_value)(clf_device *device, void *value), void **value)
{
    clf_status status = CLF_SUCCESS;
    clf__attachment *one;

    clf__mutex_lock(&device->mutex);
    for (one = device->attachments; one && one->key != key; one = one->next)
        ;
    if (!one) {
        one = calloc(1, sizeof *one);
        if (!one) {
            status = clf__no_memory(sizeof *one);
            goto done;
        }
        status = make(device, &one->value);
        if (status) {
            free(one);
            goto done;
        }
        one->key = key;
        one->destroy = destroy_value;
        one->next = device->attachments;
        device->attachments = one;
    }
    *value = one->value;
done:
    clf__mutex_unlock(&device->mutex);
    return status;
}

cl_context clf_device_context(const clf_device *device)
{
    return device->context;
}

cl_device_id clf_device_id(const clf_device *device)
{
    return device->id;
}

cl_command_queue clf_device_queue(const clf_device *device)
{
    return device->queue;
}

const clf_device_info *clf_device_get_info(const clf_device *device)
{
    return &device->info;
}
