/* An OpenCL layer for tests: it stands between the library and the driver (OPENCL_LAYERS=<its file>), makes chosen
 * calls fail, and counts what the program holds. Tests reach it through layer_find(); for other programs:
 *
 *   CLF_LAYER_REPORT=<file>  appends a line of counts when the process ends
 *   CLF_LAYER_STRICT=1       says "layer: ... alive at exit" on stderr when objects are left
 *   CLF_LAYER_KEEP=1         buffers are never freed, so that no other gets the place of one
 *   CLF_LAYER_FAIL=<call>:<n>:<code>[:always]   e.g. clCreateBuffer:2:-4
 */
#ifndef CLF_TESTS_LAYER_H
#define CLF_TESTS_LAYER_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum layer_call {
    LAYER_GET_PLATFORM_IDS,
    LAYER_GET_PLATFORM_INFO,
    LAYER_GET_DEVICE_IDS,
    LAYER_GET_DEVICE_INFO,
    LAYER_RETAIN_DEVICE,
    LAYER_RELEASE_DEVICE,
    LAYER_CREATE_CONTEXT,
    LAYER_RETAIN_CONTEXT,
    LAYER_RELEASE_CONTEXT,
    LAYER_GET_CONTEXT_INFO,
    LAYER_CREATE_QUEUE,
    LAYER_RETAIN_QUEUE,
    LAYER_RELEASE_QUEUE,
    LAYER_GET_QUEUE_INFO,
    LAYER_CREATE_BUFFER,
    LAYER_RELEASE_MEM,
    LAYER_GET_MEM_INFO,
    LAYER_CREATE_PROGRAM_SOURCE,
    LAYER_CREATE_PROGRAM_BINARY,
    LAYER_RELEASE_PROGRAM,
    LAYER_BUILD_PROGRAM,
    LAYER_GET_PROGRAM_INFO,
    LAYER_GET_BUILD_INFO,
    LAYER_CREATE_KERNEL,
    LAYER_RELEASE_KERNEL,
    LAYER_SET_KERNEL_ARG,
    LAYER_GET_KERNEL_INFO,
    LAYER_WAIT_FOR_EVENTS,
    LAYER_GET_EVENT_INFO,
    LAYER_RETAIN_EVENT,
    LAYER_RELEASE_EVENT,
    LAYER_GET_PROFILING_INFO,
    LAYER_FLUSH,
    LAYER_FINISH,
    LAYER_READ,
    LAYER_READ_RECT,
    LAYER_WRITE,
    LAYER_WRITE_RECT,
    LAYER_FILL,
    LAYER_LAUNCH,
    LAYER_MARKER,
    LAYER_BARRIER,
    LAYER_CALLS
} layer_call;

typedef enum layer_object {
    LAYER_CONTEXT,
    LAYER_QUEUE,
    LAYER_BUFFER,
    LAYER_PROGRAM,
    LAYER_KERNEL,
    LAYER_EVENT,
    LAYER_OBJECTS
} layer_object;

typedef struct layer_counts {
    int      alive[LAYER_OBJECTS]; /* objects to which the program holds references */
    int      device_references;    /* retained, not yet released */
    int      strangers;            /* releases of what was released before, or never made */
    uint64_t bytes, peak;          /* device memory that the driver has not freed yet, and its maximum */
    int      source_builds;        /* clBuildProgram of programs made from source */
    int      calls[LAYER_CALLS];
    int      failed;               /* calls that were made to fail */
    int      blocking;             /* calls that wait for the device: clFinish, clWaitForEvents, blocking copies */
} layer_counts;

typedef struct layer {
    /* Call number n (from 1, counted from now) of this kind gives `code` instead of doing its work, and with
     * `always` every one after it. A release does its work all the same. */
    void (*fail)(layer_call call, int n, cl_int code, bool always);
    void (*calm)(void);          /* no call fails any more */
    layer_counts (*count)(void);
    void (*reset)(void);         /* counts of calls, builds and failures begin anew, peak is bytes */
    const char *(*name)(layer_call call);           /* "clCreateBuffer" */
    const cl_int *(*codes)(layer_call call, int *count); /* what OpenCL 1.2 lets it return */
} layer;

/* The loaded layer; NULL when OPENCL_LAYERS names none or the ICD loader knows no layers. */
const layer *layer_find(void);

/* What the program says when a signal ends it: `text`, as it then is. */
void layer_last_words(const char *text);

/* Objects alive of all kinds. */
static inline int layer_alive(const layer_counts *counts)
{
    int alive = 0;

    for (int kind = 0; kind < LAYER_OBJECTS; kind++)
        alive += counts->alive[kind];
    return alive;
}

#endif
