/* What a device reaches at most: copying memory, and multiply-adds in registers. Both are small kernels over numbers of
 * one, four and sixteen lanes, because devices differ in which of them they like; the fastest of each counts. */
#include "bench.h"
#include "clocks.h"

#include <stdio.h>
#include <stdlib.h>

enum { WIDTHS = 3, SUMS = 12, MOST_STEPS = 1 << 20 };

static const double   LONG_ENOUGH = 4e-3; /* seconds of a sample */
static const uint64_t COPIED = 128u << 20; /* bytes: beyond most caches */

static const char text[] =
    "__kernel void copy(__global const real *from, __global real *to)\n"
    "{\n"
    "    to[get_global_id(0)] = from[get_global_id(0)];\n"
    "}\n"
    "__kernel void multiply_add(__global real *to, float a, float b, int steps)\n"
    "{\n"
    "    real sum[SUMS];\n"
    "    for (int i = 0; i < SUMS; i++)\n"
    "        sum[i] = (real)((float)(int)get_global_id(0) + i);\n"
    "    for (int n = 0; n < steps; n++) {\n"
    "#pragma unroll\n"
    "        for (int i = 0; i < SUMS; i++)\n"
    "            sum[i] = FUSED(sum[i], (real)(a), (real)(b));\n"
    "    }\n"
    "    for (int i = 1; i < SUMS; i++)\n"
    "        sum[0] += sum[i];\n"
    "    to[get_global_id(0)] = sum[0];\n"
    "}\n";

struct clf__bench_limits {
    clf_device *device;
    cl_mem      from, to;
    uint64_t    bytes; /* of each */
    size_t      items; /* that multiply and add */
    cl_program  programs[WIDTHS];
    cl_kernel   copies[WIDTHS], sums[WIDTHS];
    cl_int      steps[WIDTHS];
    int         copy, sum; /* which width is the fastest */
};

static const int widths[WIDTHS] = { 1, 4, 16 };

/* The end of a command in seconds of the device's clock, and the event given back; 0 when it has none. */
static double end_of(cl_event event)
{
    cl_ulong end = 0;
    cl_int   code = event ? clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) : -1;
    if (event) {
        clReleaseEvent(event);
    }
    return code == CL_SUCCESS ? 1e-9 * (double)end : 0;
}

/* Seconds that a kernel takes on the device's clock, from the end of a marker because some drivers have no true start,
 * or the wall's where it has none; negative when it fails. */
static double run(const clf__bench_limits *limits, cl_kernel kernel, size_t items)
{
    cl_command_queue queue = clf_device_queue(limits->device);
    cl_event         before = NULL, after = NULL;
    double           start = clf__bench_now();
    bool             done = clEnqueueMarkerWithWaitList(queue, 0, NULL, &before) == CL_SUCCESS &&
                clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, NULL, 0, NULL, &after) == CL_SUCCESS &&
                clWaitForEvents(1, &after) == CL_SUCCESS;
    double wall = clf__bench_now() - start, begin = end_of(before), end = end_of(after);
    return !done ? -1 : begin > 0 && end > begin ? end - begin : wall;
}

static double run_copy(const clf__bench_limits *limits, int i)
{
    return run(limits, limits->copies[i], limits->bytes / (sizeof(cl_float) * (size_t)widths[i]));
}

static double run_sums(const clf__bench_limits *limits, int i, cl_int steps)
{
    if (clSetKernelArg(limits->sums[i], 3, sizeof steps, &steps) != CL_SUCCESS) {
        return -1;
    }
    return run(limits, limits->sums[i], limits->items);
}

static double flops_of(const clf__bench_limits *limits, int i)
{
    return 2.0 * SUMS * widths[i] * (double)limits->items * limits->steps[i];
}

static bool build(clf__bench_limits *limits, int i)
{
    const char  *lines = text;
    const cl_float a = 0.9990234375f, b = 0.0009765625f;
    cl_device_id id = clf_device_id(limits->device);
    cl_int       code;
    char         options[160], type[16] = "float";
    if (widths[i] > 1) {
        snprintf(type, sizeof type, "float%d", widths[i]);
    }
    const bool fused = clf_device_get_capabilities(limits->device)->fma;
    snprintf(options, sizeof options, "-cl-std=CL1.2 -Dreal=%s -DSUMS=%d -D%s", type, SUMS,
             fused ? "FUSED(x,y,z)=fma(x,y,z)" : "FUSED(x,y,z)=((x)*(y)+(z))");
    limits->programs[i] = clCreateProgramWithSource(clf_device_context(limits->device), 1, &lines, NULL, &code);
    if (code != CL_SUCCESS || clBuildProgram(limits->programs[i], 1, &id, options, NULL, NULL) != CL_SUCCESS) {
        return false;
    }
    limits->copies[i] = clCreateKernel(limits->programs[i], "copy", &code);
    if (code != CL_SUCCESS) {
        return false;
    }
    limits->sums[i] = clCreateKernel(limits->programs[i], "multiply_add", &code);
    return code == CL_SUCCESS && clSetKernelArg(limits->copies[i], 0, sizeof(cl_mem), &limits->from) == CL_SUCCESS &&
           clSetKernelArg(limits->copies[i], 1, sizeof(cl_mem), &limits->to) == CL_SUCCESS &&
           clSetKernelArg(limits->sums[i], 0, sizeof(cl_mem), &limits->to) == CL_SUCCESS &&
           clSetKernelArg(limits->sums[i], 1, sizeof a, &a) == CL_SUCCESS &&
           clSetKernelArg(limits->sums[i], 2, sizeof b, &b) == CL_SUCCESS;
}

/* Enough steps for a sample, and the best of three. */
static double best_sums(clf__bench_limits *limits, int i)
{
    double seconds = 0, best = 0;
    for (limits->steps[i] = 64; limits->steps[i] < MOST_STEPS; limits->steps[i] *= 2) {
        seconds = run_sums(limits, i, limits->steps[i]);
        if (seconds < 0 || seconds > LONG_ENOUGH) {
            break;
        }
    }
    for (int n = 0; n < 3 && seconds > 0; n++) {
        seconds = run_sums(limits, i, limits->steps[i]);
        best = n == 0 || seconds < best ? seconds : best;
    }
    return seconds > 0 ? flops_of(limits, i) / best : -1;
}

static double best_copy(const clf__bench_limits *limits, int i)
{
    double best = -1, seconds = run_copy(limits, i);
    for (int n = 0; n < 3 && seconds > 0; n++) {
        seconds = run_copy(limits, i);
        best = n == 0 || seconds < best ? seconds : best;
    }
    return seconds > 0 ? 2 * (double)limits->bytes / best : -1;
}

/* Memory that nobody wrote may be one page of zeros, read again and again. */
static bool touch(const clf__bench_limits *limits)
{
    cl_command_queue queue = clf_device_queue(limits->device);
    const cl_float   one = 1;
    return clEnqueueFillBuffer(queue, limits->from, &one, sizeof one, 0, limits->bytes, 0, NULL, NULL) == CL_SUCCESS &&
           clFinish(queue) == CL_SUCCESS;
}

static bool choose(clf__bench_limits *limits)
{
    double copied = 0, summed = 0;
    for (int i = 0; i < WIDTHS; i++) {
        if (!build(limits, i)) {
            return false;
        }
        double copy = best_copy(limits, i), sums = best_sums(limits, i);
        if (copy > copied) {
            copied = copy;
            limits->copy = i;
        }
        if (sums > summed) {
            summed = sums;
            limits->sum = i;
        }
    }
    return copied > 0 && summed > 0;
}

clf__bench_limits *clf__bench_limits_open(clf_device *device, clf__bench_limit_work *work)
{
    const clf_device_info *info = clf_device_get_info(device);
    const uint64_t         allowed = clf_device_get_capabilities(device)->max_allocation;
    clf__bench_limits     *limits = info->simulator ? NULL : calloc(1, sizeof *limits);
    cl_int                 code;
    if (!limits) {
        return NULL;
    }
    limits->device = device;
    limits->bytes = (allowed < COPIED ? allowed : COPIED) / 4096 * 4096;
    limits->items = (size_t)info->compute_units * (info->type & CL_DEVICE_TYPE_GPU && !info->software ? 2048 : 64);
    limits->from = clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE, limits->bytes, NULL, &code);
    limits->to = clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE, limits->bytes, NULL, &code);
    if (!limits->from || !limits->to || !touch(limits) || limits->items * 16 * sizeof(cl_float) > limits->bytes ||
        !choose(limits)) {
        clf__bench_limits_close(limits);
        return NULL;
    }
    *work = (clf__bench_limit_work){ .bytes = 2 * (double)limits->bytes, .flops = flops_of(limits, limits->sum),
                                    .copy_width = widths[limits->copy], .sum_width = widths[limits->sum] };
    return limits;
}

void clf__bench_limits_run(const clf__bench_limits *limits, clf__bench_samples *copies, clf__bench_samples *sums)
{
    double copy = run_copy(limits, limits->copy), sum = run_sums(limits, limits->sum, limits->steps[limits->sum]);
    if (copy > 0) {
        clf__bench_add(copies, copy);
    }
    if (sum > 0) {
        clf__bench_add(sums, sum);
    }
}

void clf__bench_limits_close(clf__bench_limits *limits)
{
    if (!limits) {
        return;
    }
    for (int i = 0; i < WIDTHS; i++) {
        if (limits->copies[i]) {
            clReleaseKernel(limits->copies[i]);
        }
        if (limits->sums[i]) {
            clReleaseKernel(limits->sums[i]);
        }
        if (limits->programs[i]) {
            clReleaseProgram(limits->programs[i]);
        }
    }
    if (limits->from) {
        clReleaseMemObject(limits->from);
    }
    if (limits->to) {
        clReleaseMemObject(limits->to);
    }
    free(limits);
}
