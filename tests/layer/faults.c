/* Which calls fail, and with which codes they may. */
#include "inside.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_CODES = 18 };

/* The codes end with CL_SUCCESS. clBuildProgram and its like list what OpenCL 1.2 lists. */
typedef struct call_row {
    const char *name;
    cl_int      codes[MOST_CODES];
} call_row;

#define SHORT_OF CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY
#define COPYING                                                                                               \
    CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT, CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE,                    \
        CL_INVALID_EVENT_WAIT_LIST, CL_MISALIGNED_SUB_BUFFER_OFFSET, CL_MEM_OBJECT_ALLOCATION_FAILURE, SHORT_OF

static const call_row rows[LAYER_CALLS] = {
    [LAYER_GET_PLATFORM_IDS] = { "clGetPlatformIDs", { CL_INVALID_VALUE, CL_OUT_OF_HOST_MEMORY } },
    [LAYER_GET_PLATFORM_INFO] = { "clGetPlatformInfo", { CL_INVALID_PLATFORM, CL_INVALID_VALUE, CL_OUT_OF_HOST_MEMORY } },
    [LAYER_GET_DEVICE_IDS] = { "clGetDeviceIDs", { CL_INVALID_PLATFORM, CL_INVALID_DEVICE_TYPE, CL_INVALID_VALUE,
                                                   CL_DEVICE_NOT_FOUND, SHORT_OF } },
    [LAYER_GET_DEVICE_INFO] = { "clGetDeviceInfo", { CL_INVALID_DEVICE, CL_INVALID_VALUE, SHORT_OF } },
    [LAYER_RETAIN_DEVICE] = { "clRetainDevice", { CL_INVALID_DEVICE, SHORT_OF } },
    [LAYER_RELEASE_DEVICE] = { "clReleaseDevice", { CL_INVALID_DEVICE, SHORT_OF } },
    [LAYER_CREATE_CONTEXT] = { "clCreateContext", { CL_INVALID_PLATFORM, CL_INVALID_PROPERTY, CL_INVALID_VALUE,
                                                    CL_INVALID_DEVICE, CL_DEVICE_NOT_AVAILABLE, SHORT_OF } },
    [LAYER_RETAIN_CONTEXT] = { "clRetainContext", { CL_INVALID_CONTEXT, SHORT_OF } },
    [LAYER_RELEASE_CONTEXT] = { "clReleaseContext", { CL_INVALID_CONTEXT, SHORT_OF } },
    [LAYER_GET_CONTEXT_INFO] = { "clGetContextInfo", { CL_INVALID_CONTEXT, CL_INVALID_VALUE, SHORT_OF } },
    [LAYER_CREATE_QUEUE] = { "clCreateCommandQueue", { CL_INVALID_CONTEXT, CL_INVALID_DEVICE, CL_INVALID_VALUE,
                                                       CL_INVALID_QUEUE_PROPERTIES, SHORT_OF } },
    [LAYER_RETAIN_QUEUE] = { "clRetainCommandQueue", { CL_INVALID_COMMAND_QUEUE, SHORT_OF } },
    [LAYER_RELEASE_QUEUE] = { "clReleaseCommandQueue", { CL_INVALID_COMMAND_QUEUE, SHORT_OF } },
    [LAYER_GET_QUEUE_INFO] = { "clGetCommandQueueInfo", { CL_INVALID_COMMAND_QUEUE, CL_INVALID_VALUE, SHORT_OF } },
    [LAYER_CREATE_BUFFER] = { "clCreateBuffer", { CL_INVALID_CONTEXT, CL_INVALID_VALUE, CL_INVALID_BUFFER_SIZE,
                                                  CL_INVALID_HOST_PTR, CL_MEM_OBJECT_ALLOCATION_FAILURE, SHORT_OF } },
    [LAYER_RELEASE_MEM] = { "clReleaseMemObject", { CL_INVALID_MEM_OBJECT, SHORT_OF } },
    [LAYER_GET_MEM_INFO] = { "clGetMemObjectInfo", { CL_INVALID_VALUE, CL_INVALID_MEM_OBJECT, SHORT_OF } },
    [LAYER_CREATE_PROGRAM_SOURCE] = { "clCreateProgramWithSource", { CL_INVALID_CONTEXT, CL_INVALID_VALUE, SHORT_OF } },
    [LAYER_CREATE_PROGRAM_BINARY] = { "clCreateProgramWithBinary", { CL_INVALID_CONTEXT, CL_INVALID_VALUE,
                                                                     CL_INVALID_DEVICE, CL_INVALID_BINARY, SHORT_OF } },
    [LAYER_RELEASE_PROGRAM] = { "clReleaseProgram", { CL_INVALID_PROGRAM, SHORT_OF } },
    [LAYER_BUILD_PROGRAM] = { "clBuildProgram", { CL_INVALID_PROGRAM, CL_INVALID_VALUE, CL_INVALID_DEVICE,
                                                  CL_INVALID_BINARY, CL_INVALID_BUILD_OPTIONS, CL_INVALID_OPERATION,
                                                  CL_COMPILER_NOT_AVAILABLE, CL_BUILD_PROGRAM_FAILURE, SHORT_OF } },
    [LAYER_GET_PROGRAM_INFO] = { "clGetProgramInfo", { CL_INVALID_VALUE, CL_INVALID_PROGRAM,
                                                       CL_INVALID_PROGRAM_EXECUTABLE, SHORT_OF } },
    [LAYER_GET_BUILD_INFO] = { "clGetProgramBuildInfo", { CL_INVALID_DEVICE, CL_INVALID_VALUE, CL_INVALID_PROGRAM,
                                                          SHORT_OF } },
    [LAYER_CREATE_KERNEL] = { "clCreateKernel", { CL_INVALID_PROGRAM, CL_INVALID_PROGRAM_EXECUTABLE,
                                                  CL_INVALID_KERNEL_NAME, CL_INVALID_KERNEL_DEFINITION,
                                                  CL_INVALID_VALUE, SHORT_OF } },
    [LAYER_RELEASE_KERNEL] = { "clReleaseKernel", { CL_INVALID_KERNEL, SHORT_OF } },
    [LAYER_SET_KERNEL_ARG] = { "clSetKernelArg", { CL_INVALID_KERNEL, CL_INVALID_ARG_INDEX, CL_INVALID_ARG_VALUE,
                                                   CL_INVALID_MEM_OBJECT, CL_INVALID_SAMPLER, CL_INVALID_ARG_SIZE,
                                                   SHORT_OF } },
    [LAYER_GET_KERNEL_INFO] = { "clGetKernelInfo", { CL_INVALID_VALUE, CL_INVALID_KERNEL, SHORT_OF } },
    [LAYER_WAIT_FOR_EVENTS] = { "clWaitForEvents", { CL_INVALID_VALUE, CL_INVALID_CONTEXT, CL_INVALID_EVENT,
                                                     CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, SHORT_OF } },
    [LAYER_GET_EVENT_INFO] = { "clGetEventInfo", { CL_INVALID_VALUE, CL_INVALID_EVENT, SHORT_OF } },
    [LAYER_RETAIN_EVENT] = { "clRetainEvent", { CL_INVALID_EVENT, SHORT_OF } },
    [LAYER_RELEASE_EVENT] = { "clReleaseEvent", { CL_INVALID_EVENT, SHORT_OF } },
    [LAYER_GET_PROFILING_INFO] = { "clGetEventProfilingInfo", { CL_PROFILING_INFO_NOT_AVAILABLE, CL_INVALID_VALUE,
                                                                CL_INVALID_EVENT, SHORT_OF } },
    [LAYER_FLUSH] = { "clFlush", { CL_INVALID_COMMAND_QUEUE, SHORT_OF } },
    [LAYER_FINISH] = { "clFinish", { CL_INVALID_COMMAND_QUEUE, SHORT_OF } },
    [LAYER_READ] = { "clEnqueueReadBuffer", { COPYING, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
                                              CL_INVALID_OPERATION } },
    [LAYER_READ_RECT] = { "clEnqueueReadBufferRect", { COPYING, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
                                                       CL_INVALID_OPERATION } },
    [LAYER_WRITE] = { "clEnqueueWriteBuffer", { COPYING, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
                                                CL_INVALID_OPERATION } },
    [LAYER_WRITE_RECT] = { "clEnqueueWriteBufferRect", { COPYING, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
                                                         CL_INVALID_OPERATION } },
    [LAYER_FILL] = { "clEnqueueFillBuffer", { COPYING } },
    [LAYER_LAUNCH] = { "clEnqueueNDRangeKernel",
                       { CL_INVALID_PROGRAM_EXECUTABLE, CL_INVALID_COMMAND_QUEUE, CL_INVALID_KERNEL, CL_INVALID_CONTEXT,
                         CL_INVALID_KERNEL_ARGS, CL_INVALID_WORK_DIMENSION, CL_INVALID_GLOBAL_WORK_SIZE,
                         CL_INVALID_GLOBAL_OFFSET, CL_INVALID_WORK_GROUP_SIZE, CL_INVALID_WORK_ITEM_SIZE,
                         CL_MISALIGNED_SUB_BUFFER_OFFSET, CL_INVALID_IMAGE_SIZE, CL_IMAGE_FORMAT_NOT_SUPPORTED,
                         CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_INVALID_EVENT_WAIT_LIST, SHORT_OF } },
    [LAYER_MARKER] = { "clEnqueueMarkerWithWaitList", { CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT,
                                                        CL_INVALID_EVENT_WAIT_LIST, SHORT_OF } },
    [LAYER_BARRIER] = { "clEnqueueBarrierWithWaitList", { CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT,
                                                          CL_INVALID_EVENT_WAIT_LIST, SHORT_OF } },
};

static struct {
    bool       armed, always;
    layer_call call;
    int        left; /* calls until it fails */
    cl_int     code;
} plan;

bool layer__fails(layer_call call, cl_int *code)
{
    layer_counts *counts = layer__lock();
    bool fails = false;

    counts->calls[call]++;
    if (plan.armed && plan.call == call && --plan.left <= 0) {
        fails = true;
        *code = plan.code;
        plan.armed = plan.always;
        counts->failed++;
    }
    layer__unlock();
    return fails;
}

void layer__blocks(void)
{
    layer__lock()->blocking++;
    layer__unlock();
}

static void fail(layer_call call, int n, cl_int code, bool always)
{
    (void)layer__lock();
    plan.armed = true;
    plan.always = always;
    plan.call = call;
    plan.left = n;
    plan.code = code;
    layer__unlock();
}

static void calm(void)
{
    (void)layer__lock();
    plan.armed = false;
    layer__unlock();
}

static layer_counts count(void)
{
    layer_counts now = *layer__lock();

    layer__unlock();
    return now;
}

static void reset(void)
{
    layer_counts *counts = layer__lock();

    memset(counts->calls, 0, sizeof counts->calls);
    counts->source_builds = counts->failed = counts->blocking = counts->strangers = 0;
    counts->peak = counts->bytes;
    layer__unlock();
}

static const char *name(layer_call call)
{
    return rows[call].name;
}

static const cl_int *codes(layer_call call, int *number)
{
    for (*number = 0; rows[call].codes[*number] != CL_SUCCESS; ++*number)
        ;
    return rows[call].codes;
}

const layer *layer__self(void)
{
    static const layer self = { fail, calm, count, reset, name, codes };

    return &self;
}
