/* The calls of the library: each asks whether it shall fail, keeps the books, and goes on to the driver. */
#include "inside.h"
#include <stdlib.h>

/* What a creating call returns when it fails. */
static void *refuse(cl_int code, cl_int *result)
{
    if (result)
        *result = code;
    return NULL;
}

static void keep_event(cl_int code, const cl_event *event)
{
    if (code == CL_SUCCESS && event)
        layer__made(LAYER_EVENT, *event);
}

/* ---- platforms and devices ---------------------------------------------------------------------- */

static cl_int CL_API_CALL get_platform_ids(cl_uint entries, cl_platform_id *platforms, cl_uint *count)
{
    cl_int code;

    return layer__fails(LAYER_GET_PLATFORM_IDS, &code) ? code
                                                       : layer__next.clGetPlatformIDs(entries, platforms, count);
}

static cl_int CL_API_CALL get_platform_info(cl_platform_id platform, cl_platform_info what, size_t size, void *value,
                                            size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_PLATFORM_INFO, &code)
               ? code
               : layer__next.clGetPlatformInfo(platform, what, size, value, needed);
}

static cl_int CL_API_CALL get_device_ids(cl_platform_id platform, cl_device_type type, cl_uint entries,
                                         cl_device_id *devices, cl_uint *count)
{
    cl_int code;

    return layer__fails(LAYER_GET_DEVICE_IDS, &code)
               ? code
               : layer__next.clGetDeviceIDs(platform, type, entries, devices, count);
}

static cl_int CL_API_CALL get_device_info(cl_device_id device, cl_device_info what, size_t size, void *value,
                                          size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_DEVICE_INFO, &code)
               ? code
               : layer__next.clGetDeviceInfo(device, what, size, value, needed);
}

static cl_int CL_API_CALL create_sub_devices(cl_device_id device, const cl_device_partition_property *how,
                                             cl_uint entries, cl_device_id *parts, cl_uint *count)
{
    cl_uint made = 0;
    const cl_int code = layer__next.clCreateSubDevices(device, how, entries, parts, &made);

    if (code == CL_SUCCESS && parts)
        layer__device_retained((int)made);
    if (count)
        *count = made;
    return code;
}

static cl_int CL_API_CALL retain_device(cl_device_id device)
{
    cl_int code;

    if (layer__fails(LAYER_RETAIN_DEVICE, &code))
        return code;
    layer__device_retained(1);
    return layer__next.clRetainDevice(device);
}

static cl_int CL_API_CALL release_device(cl_device_id device)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_DEVICE, &code);

    layer__device_retained(-1);
    const cl_int real = layer__next.clReleaseDevice(device);
    return fails ? code : real;
}

/* ---- contexts and queues ---------------------------------------------------------------------------- */

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint count,
                                             const cl_device_id *devices,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
                                             void *user, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_CONTEXT, &code))
        return refuse(code, result);
    cl_context made = layer__next.clCreateContext(properties, count, devices, notify, user, result);
    layer__made(LAYER_CONTEXT, made);
    return made;
}

static cl_int CL_API_CALL retain_context(cl_context context)
{
    cl_int code;

    if (layer__fails(LAYER_RETAIN_CONTEXT, &code))
        return code;
    layer__retained(LAYER_CONTEXT, context);
    return layer__next.clRetainContext(context);
}

static cl_int CL_API_CALL release_context(cl_context context)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_CONTEXT, &code);

    layer__released(LAYER_CONTEXT, context);
    const cl_int real = layer__next.clReleaseContext(context);
    return fails ? code : real;
}

static cl_int CL_API_CALL get_context_info(cl_context context, cl_context_info what, size_t size, void *value,
                                           size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_CONTEXT_INFO, &code)
               ? code
               : layer__next.clGetContextInfo(context, what, size, value, needed);
}

static cl_command_queue CL_API_CALL create_queue(cl_context context, cl_device_id device,
                                                 cl_command_queue_properties properties, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_QUEUE, &code))
        return refuse(code, result);
    cl_command_queue made = layer__next.clCreateCommandQueue(context, device, properties, result);
    layer__made(LAYER_QUEUE, made);
    return made;
}

static cl_int CL_API_CALL retain_queue(cl_command_queue queue)
{
    cl_int code;

    if (layer__fails(LAYER_RETAIN_QUEUE, &code))
        return code;
    layer__retained(LAYER_QUEUE, queue);
    return layer__next.clRetainCommandQueue(queue);
}

static cl_int CL_API_CALL release_queue(cl_command_queue queue)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_QUEUE, &code);

    layer__released(LAYER_QUEUE, queue);
    const cl_int real = layer__next.clReleaseCommandQueue(queue);
    return fails ? code : real;
}

static cl_int CL_API_CALL get_queue_info(cl_command_queue queue, cl_command_queue_info what, size_t size, void *value,
                                         size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_QUEUE_INFO, &code)
               ? code
               : layer__next.clGetCommandQueueInfo(queue, what, size, value, needed);
}

static cl_int CL_API_CALL flush(cl_command_queue queue)
{
    cl_int code;

    return layer__fails(LAYER_FLUSH, &code) ? code : layer__next.clFlush(queue);
}

static cl_int CL_API_CALL finish(cl_command_queue queue)
{
    cl_int code;

    layer__blocks();
    return layer__fails(LAYER_FINISH, &code) ? code : layer__next.clFinish(queue);
}

/* ---- buffers ---------------------------------------------------------------------------------------- */

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_BUFFER, &code))
        return refuse(code, result);
    cl_mem made = layer__next.clCreateBuffer(context, flags, size, host, result);
    layer__buffer_made(made, size);
    if (made && getenv("CLF_LAYER_KEEP"))
        layer__next.clRetainMemObject(made);
    return made;
}

static cl_mem CL_API_CALL create_sub_buffer(cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type,
                                            const void *about, cl_int *result)
{
    cl_mem made = layer__next.clCreateSubBuffer(buffer, flags, type, about, result);

    layer__made(LAYER_BUFFER, made);
    return made;
}

static cl_int CL_API_CALL retain_mem(cl_mem mem)
{
    layer__retained(LAYER_BUFFER, mem);
    return layer__next.clRetainMemObject(mem);
}

static cl_int CL_API_CALL release_mem(cl_mem mem)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_MEM, &code);

    layer__released(LAYER_BUFFER, mem);
    const cl_int real = layer__next.clReleaseMemObject(mem);
    return fails ? code : real;
}

static cl_int CL_API_CALL get_mem_info(cl_mem mem, cl_mem_info what, size_t size, void *value, size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_MEM_INFO, &code) ? code
                                                   : layer__next.clGetMemObjectInfo(mem, what, size, value, needed);
}

/* ---- programs and kernels ------------------------------------------------------------------------------ */

static cl_program CL_API_CALL create_program_source(cl_context context, cl_uint count, const char **strings,
                                                    const size_t *lengths, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_PROGRAM_SOURCE, &code))
        return refuse(code, result);
    cl_program made = layer__next.clCreateProgramWithSource(context, count, strings, lengths, result);
    layer__made(LAYER_PROGRAM, made);
    layer__program_from_source(made);
    return made;
}

static cl_program CL_API_CALL create_program_binary(cl_context context, cl_uint count, const cl_device_id *devices,
                                                    const size_t *lengths, const unsigned char **binaries,
                                                    cl_int *verdicts, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_PROGRAM_BINARY, &code))
        return refuse(code, result);
    cl_program made =
        layer__next.clCreateProgramWithBinary(context, count, devices, lengths, binaries, verdicts, result);
    layer__made(LAYER_PROGRAM, made);
    return made;
}

static cl_int CL_API_CALL retain_program(cl_program program)
{
    layer__retained(LAYER_PROGRAM, program);
    return layer__next.clRetainProgram(program);
}

static cl_int CL_API_CALL release_program(cl_program program)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_PROGRAM, &code);

    layer__released(LAYER_PROGRAM, program);
    const cl_int real = layer__next.clReleaseProgram(program);
    return fails ? code : real;
}

static cl_int CL_API_CALL build_program(cl_program program, cl_uint count, const cl_device_id *devices,
                                        const char *options, void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    cl_int code;

    if (layer__fails(LAYER_BUILD_PROGRAM, &code))
        return code;
    layer__program_built(program);
    return layer__next.clBuildProgram(program, count, devices, options, notify, user);
}

static cl_int CL_API_CALL get_program_info(cl_program program, cl_program_info what, size_t size, void *value,
                                           size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_PROGRAM_INFO, &code)
               ? code
               : layer__next.clGetProgramInfo(program, what, size, value, needed);
}

static cl_int CL_API_CALL get_build_info(cl_program program, cl_device_id device, cl_program_build_info what,
                                         size_t size, void *value, size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_BUILD_INFO, &code)
               ? code
               : layer__next.clGetProgramBuildInfo(program, device, what, size, value, needed);
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *result)
{
    cl_int code;

    if (layer__fails(LAYER_CREATE_KERNEL, &code))
        return refuse(code, result);
    cl_kernel made = layer__next.clCreateKernel(program, name, result);
    layer__made(LAYER_KERNEL, made);
    return made;
}

static cl_int CL_API_CALL retain_kernel(cl_kernel kernel)
{
    layer__retained(LAYER_KERNEL, kernel);
    return layer__next.clRetainKernel(kernel);
}

static cl_int CL_API_CALL release_kernel(cl_kernel kernel)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_KERNEL, &code);

    layer__released(LAYER_KERNEL, kernel);
    const cl_int real = layer__next.clReleaseKernel(kernel);
    return fails ? code : real;
}

static cl_int CL_API_CALL set_kernel_arg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    cl_int code;

    return layer__fails(LAYER_SET_KERNEL_ARG, &code) ? code : layer__next.clSetKernelArg(kernel, index, size, value);
}

static cl_int CL_API_CALL get_kernel_info(cl_kernel kernel, cl_kernel_info what, size_t size, void *value,
                                          size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_KERNEL_INFO, &code)
               ? code
               : layer__next.clGetKernelInfo(kernel, what, size, value, needed);
}

/* ---- events --------------------------------------------------------------------------------------------- */

static cl_event CL_API_CALL create_user_event(cl_context context, cl_int *result)
{
    cl_event made = layer__next.clCreateUserEvent(context, result);

    layer__made(LAYER_EVENT, made);
    return made;
}

static cl_int CL_API_CALL wait_for_events(cl_uint count, const cl_event *events)
{
    cl_int code;

    layer__blocks();
    return layer__fails(LAYER_WAIT_FOR_EVENTS, &code) ? code : layer__next.clWaitForEvents(count, events);
}

static cl_int CL_API_CALL get_event_info(cl_event event, cl_event_info what, size_t size, void *value, size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_EVENT_INFO, &code) ? code
                                                     : layer__next.clGetEventInfo(event, what, size, value, needed);
}

static cl_int CL_API_CALL retain_event(cl_event event)
{
    cl_int code;

    if (layer__fails(LAYER_RETAIN_EVENT, &code))
        return code;
    layer__retained(LAYER_EVENT, event);
    return layer__next.clRetainEvent(event);
}

static cl_int CL_API_CALL release_event(cl_event event)
{
    cl_int code = CL_SUCCESS;
    const bool fails = layer__fails(LAYER_RELEASE_EVENT, &code);

    layer__released(LAYER_EVENT, event);
    const cl_int real = layer__next.clReleaseEvent(event);
    return fails ? code : real;
}

static cl_int CL_API_CALL get_profiling_info(cl_event event, cl_profiling_info what, size_t size, void *value,
                                             size_t *needed)
{
    cl_int code;

    return layer__fails(LAYER_GET_PROFILING_INFO, &code)
               ? code
               : layer__next.clGetEventProfilingInfo(event, what, size, value, needed);
}

/* ---- commands --------------------------------------------------------------------------------------------- */

static cl_int CL_API_CALL read(cl_command_queue queue, cl_mem mem, cl_bool block, size_t offset, size_t size,
                               void *host, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (block)
        layer__blocks();
    if (layer__fails(LAYER_READ, &code))
        return code;
    code = layer__next.clEnqueueReadBuffer(queue, mem, block, offset, size, host, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL read_rect(cl_command_queue queue, cl_mem mem, cl_bool block, const size_t *from,
                                    const size_t *to, const size_t *region, size_t row, size_t slice, size_t host_row,
                                    size_t host_slice, void *host, cl_uint n_wait, const cl_event *wait,
                                    cl_event *event)
{
    cl_int code;

    if (block)
        layer__blocks();
    if (layer__fails(LAYER_READ_RECT, &code))
        return code;
    code = layer__next.clEnqueueReadBufferRect(queue, mem, block, from, to, region, row, slice, host_row, host_slice,
                                               host, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL write(cl_command_queue queue, cl_mem mem, cl_bool block, size_t offset, size_t size,
                                const void *host, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (block)
        layer__blocks();
    if (layer__fails(LAYER_WRITE, &code))
        return code;
    code = layer__next.clEnqueueWriteBuffer(queue, mem, block, offset, size, host, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL write_rect(cl_command_queue queue, cl_mem mem, cl_bool block, const size_t *to,
                                     const size_t *from, const size_t *region, size_t row, size_t slice,
                                     size_t host_row, size_t host_slice, const void *host, cl_uint n_wait,
                                     const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (block)
        layer__blocks();
    if (layer__fails(LAYER_WRITE_RECT, &code))
        return code;
    code = layer__next.clEnqueueWriteBufferRect(queue, mem, block, to, from, region, row, slice, host_row, host_slice,
                                                host, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL fill(cl_command_queue queue, cl_mem mem, const void *pattern, size_t pattern_size,
                               size_t offset, size_t size, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (layer__fails(LAYER_FILL, &code))
        return code;
    code = layer__next.clEnqueueFillBuffer(queue, mem, pattern, pattern_size, offset, size, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL launch(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                                 const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
                                 cl_event *event)
{
    cl_int code;

    if (layer__fails(LAYER_LAUNCH, &code))
        return code;
    code = layer__next.clEnqueueNDRangeKernel(queue, kernel, dimensions, offset, global, local, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL marker(cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (layer__fails(LAYER_MARKER, &code))
        return code;
    code = layer__next.clEnqueueMarkerWithWaitList(queue, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

static cl_int CL_API_CALL barrier(cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int code;

    if (layer__fails(LAYER_BARRIER, &code))
        return code;
    code = layer__next.clEnqueueBarrierWithWaitList(queue, n_wait, wait, event);
    keep_event(code, event);
    return code;
}

void layer__fill(void)
{
    cl_icd_dispatch *d = &layer__ours;

    d->clGetPlatformIDs = get_platform_ids;
    d->clGetPlatformInfo = get_platform_info;
    d->clGetDeviceIDs = get_device_ids;
    d->clGetDeviceInfo = get_device_info;
    d->clCreateSubDevices = create_sub_devices;
    d->clRetainDevice = retain_device;
    d->clReleaseDevice = release_device;
    d->clCreateContext = create_context;
    d->clRetainContext = retain_context;
    d->clReleaseContext = release_context;
    d->clGetContextInfo = get_context_info;
    d->clCreateCommandQueue = create_queue;
    d->clRetainCommandQueue = retain_queue;
    d->clReleaseCommandQueue = release_queue;
    d->clGetCommandQueueInfo = get_queue_info;
    d->clFlush = flush;
    d->clFinish = finish;
    d->clCreateBuffer = create_buffer;
    d->clCreateSubBuffer = create_sub_buffer;
    d->clRetainMemObject = retain_mem;
    d->clReleaseMemObject = release_mem;
    d->clGetMemObjectInfo = get_mem_info;
    d->clCreateProgramWithSource = create_program_source;
    d->clCreateProgramWithBinary = create_program_binary;
    d->clRetainProgram = retain_program;
    d->clReleaseProgram = release_program;
    d->clBuildProgram = build_program;
    d->clGetProgramInfo = get_program_info;
    d->clGetProgramBuildInfo = get_build_info;
    d->clCreateKernel = create_kernel;
    d->clRetainKernel = retain_kernel;
    d->clReleaseKernel = release_kernel;
    d->clSetKernelArg = set_kernel_arg;
    d->clGetKernelInfo = get_kernel_info;
    d->clCreateUserEvent = create_user_event;
    d->clWaitForEvents = wait_for_events;
    d->clGetEventInfo = get_event_info;
    d->clRetainEvent = retain_event;
    d->clReleaseEvent = release_event;
    d->clGetEventProfilingInfo = get_profiling_info;
    d->clEnqueueReadBuffer = read;
    d->clEnqueueReadBufferRect = read_rect;
    d->clEnqueueWriteBuffer = write;
    d->clEnqueueWriteBufferRect = write_rect;
    d->clEnqueueFillBuffer = fill;
    d->clEnqueueNDRangeKernel = launch;
    d->clEnqueueMarkerWithWaitList = marker;
    d->clEnqueueBarrierWithWaitList = barrier;
}
