/* Compiling: from source with a log that names real files and lines, from a binary, and back to one. */
#include "device/build.h"

#include "core/status.h"
#include "device/build_log.h"
#include "device/device.h"
#include "device/program.h"
#include "device/retarget.h"
#include <stdlib.h>

enum { MOST_DEVICES = 64 };

/* What the compiler said; NULL when it said nothing. */
static char *get_build_log(const clf_device *device, cl_program program, const char *text)
{
    clf__text clean = { 0 };
    size_t size = 0;
    char *log;

    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size == 0)
        return NULL;
    log = calloc(1, size + 1);
    if (log && clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) == CL_SUCCESS)
        clf__clean_build_log(log, text, &clean);
    free(log);
    if (clean.length == 0)
        clf__text_free(&clean);
    return clean.data;
}

static clf_status build_error(const clf_device *device, cl_program program, const char *path, const char *text,
                              const char *options, cl_int code)
{
    char *log = get_build_log(device, program, text);
    clf_status status;

    if (log)
        status = clf__fail((clf_status)code, "%s does not compile for '%s' with '%s':\n%s", path, device->info.name,
                           options, log);
    else
        status = clf__fail_opencl(code, "%s does not compile for '%s' with '%s', and the driver gives no log", path,
                                  device->info.name, options);
    free(log);
    return status;
}

clf_status clf__build_source(clf_device *device, const char *path, const char *text, const char *options,
                             cl_program *program)
{
    clf_status status;
    cl_int code;

    *program = clCreateProgramWithSource(device->context, 1, &text, NULL, &code);
    if (code != CL_SUCCESS) {
        *program = NULL;
        return clf__fail_opencl(code, "clCreateProgramWithSource for %s", path);
    }
    code = clBuildProgram(*program, 1, &device->id, options, NULL, NULL);
    if (code == CL_SUCCESS)
        return clf__retarget(device, path, options, program);
    status = build_error(device, *program, path, text, options, code);
    clReleaseProgram(*program);
    *program = NULL;
    return status;
}

cl_program clf__build_binary(clf_device *device, const void *data, size_t size, const char *options)
{
    const unsigned char *binary = data;
    cl_int code, verdict = CL_SUCCESS;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &size, &binary, &verdict, &code);

    if (code != CL_SUCCESS || verdict != CL_SUCCESS || clBuildProgram(program, 1, &device->id, options, NULL, NULL)) {
        if (code == CL_SUCCESS)
            clReleaseProgram(program);
        return NULL;
    }
    return program;
}

/* The place of our device among the devices of a program; -1 when it cannot be found. */
static int place_in_program(const clf_device *device, cl_program program, cl_uint *count)
{
    cl_device_id ids[MOST_DEVICES];
    size_t size = 0;

    if (clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof ids, ids, &size) != CL_SUCCESS)
        return -1;
    *count = (cl_uint)(size / sizeof ids[0]);
    for (cl_uint i = 0; i < *count; i++)
        if (ids[i] == device->id)
            return (int)i;
    return -1;
}

void *clf__build_take_binary(clf_device *device, cl_program program, size_t *size)
{
    size_t sizes[MOST_DEVICES] = { 0 };
    unsigned char *binaries[MOST_DEVICES] = { NULL };
    cl_uint count = 0;
    int at = place_in_program(device, program, &count);

    if (at < 0 || clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, count * sizeof sizes[0], sizes, NULL) ||
        sizes[at] == 0 || sizes[at] == *size)
        return NULL;
    binaries[at] = malloc(sizes[at]);
    if (binaries[at] && clGetProgramInfo(program, CL_PROGRAM_BINARIES, count * sizeof binaries[0], binaries, NULL)) {
        free(binaries[at]);
        binaries[at] = NULL;
    }
    *size = sizes[at];
    return binaries[at];
}

clf_status clf__program_probe(clf_device *device, const char *text, const char *options, const char *name,
                              cl_kernel *kernel, bool *rejected)
{
    cl_build_status verdict = CL_BUILD_NONE;
    clf_status status;
    cl_program program;
    cl_int code;

    *kernel = NULL;
    if (rejected)
        *rejected = false;
    options = options ? options : "";
    program = clCreateProgramWithSource(device->context, 1, &text, NULL, &code);
    if (code != CL_SUCCESS)
        return clf__fail_opencl(code, "clCreateProgramWithSource for a probe");
    code = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (code == CL_SUCCESS) {
        status = clf__retarget(device, "a probe", options, &program);
        if (status) {
            if (rejected)
                *rejected = status == CLF_UNSUPPORTED;
            return status;
        }
        *kernel = clCreateKernel(program, name, &code);
        status = code ? clf__fail_opencl(code, "clCreateKernel '%s' of a probe", name) : CLF_SUCCESS;
        if (code)
            *kernel = NULL;
    } else {
        status = build_error(device, program, "a probe", text, options, code);
        (void)clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_STATUS, sizeof verdict, &verdict, NULL);
        if (rejected)
            *rejected = verdict == CL_BUILD_ERROR;
    }
    clReleaseProgram(program); /* the kernel keeps it alive */
    return status;
}
