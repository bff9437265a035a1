/* Small programs that show whether a driver keeps its word. Each gets `io`, 64 numbers: it finds
 * io[i] = 2048 + i, in the last one a mode, and leaves an answer in io[0]. They run on a queue of their
 * own, because a wrapped queue may have work of its owner in it. */
#include "device/probe.h"

#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "device/device.h"
#include "device/program.h"
#include "device/retarget.h"
#include "device/source.h"
#include <stdio.h>

enum { ITEMS = 64 };

/* A buffer and a queue for the time of a probe. */
typedef struct bench {
    cl_command_queue queue;
    cl_mem           io;
} bench;

static cl_int open_bench(clf_device *device, bench *probe)
{
    cl_int code;

    probe->io = NULL;
    probe->queue = clCreateCommandQueue(device->context, device->id, 0, &code);
    if (code != CL_SUCCESS) {
        probe->queue = NULL;
        return code;
    }
    probe->io = clCreateBuffer(device->context, CL_MEM_READ_WRITE, ITEMS * sizeof(cl_int), NULL, &code);
    if (code != CL_SUCCESS)
        probe->io = NULL;
    return code;
}

static void close_bench(bench *probe)
{
    if (probe->io)
        clReleaseMemObject(probe->io);
    if (probe->queue)
        clReleaseCommandQueue(probe->queue);
}

/* Runs the kernel once in one work-group of `items`; *answer = io[0], *seconds = wall clock. */
static cl_int run(const bench *probe, cl_kernel kernel, size_t items, cl_int mode, cl_int *answer, double *seconds)
{
    cl_int io[ITEMS], code;
    double begin;

    for (int i = 0; i < ITEMS; i++)
        io[i] = 2048 + i;
    io[ITEMS - 1] = mode;
    code = clEnqueueWriteBuffer(probe->queue, probe->io, CL_TRUE, 0, sizeof io, io, 0, NULL, NULL);
    if (!code)
        code = clSetKernelArg(kernel, 0, sizeof(cl_mem), &probe->io);
    begin = clf__now();
    if (!code)
        code = clEnqueueNDRangeKernel(probe->queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL);
    if (!code)
        code = clf__wait_for_queue(probe->queue);
    *seconds = clf__now() - begin;
    if (!code)
        code = clEnqueueReadBuffer(probe->queue, probe->io, CL_TRUE, 0, sizeof io, io, 0, NULL, NULL);
    *answer = io[0];
    return code;
}

/* Does `text` compile, run and give `expected` in modes 0 .. modes-1? seconds[mode] = the best of three
 * runs after the first. */
static clf__verdict probe_kernel(clf_device *device, const char *what, const char *text, const char *options,
                                 const char *name, size_t items, cl_int expected, int modes, double *seconds)
{
    bench probe = { 0 };
    cl_kernel kernel = NULL;
    cl_int answer = expected, code;
    bool rejected;

    if (clf__program_probe(device, text, options, name, &kernel, &rejected) != CLF_SUCCESS) {
        clf__log(CLF_LOG_DEBUG, "probe %s: %s", what, clf_error_message());
        return rejected ? CLF__NO : CLF__UNKNOWN;
    }
    code = open_bench(device, &probe);
    for (int mode = 0; mode < modes; mode++)
        for (int i = 0; i < 4 && !code && answer == expected; i++) {
            double once;

            code = run(&probe, kernel, items, mode, &answer, &once);
            if (i <= 1 || once < seconds[mode])
                seconds[mode] = once;
        }
    close_bench(&probe);
    clReleaseKernel(kernel);
    clf__log(CLF_LOG_DEBUG, "probe %s: OpenCL code %d, answer %d of %d", what, code, answer, expected);
    if (code)
        return CLF__UNKNOWN;
    return answer == expected ? CLF__YES : CLF__NO;
}

static clf__verdict probe_text(clf_device *device, const char *what, const char *text, size_t items, cl_int expected,
                               int modes, double *seconds)
{
    return probe_kernel(device, what, text, "-cl-std=CL1.2", "probe", items, expected, modes, seconds);
}

clf__verdict clf__probe_fp16(clf_device *device)
{
    /* 2048 + 1 is 2048 in half precision, 2049 in any wider one */
    static const char text[] = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n"
                               "__kernel void probe(__global int *io)\n"
                               "{\n"
                               "    half x = (half)io[0];\n"
                               "    half sum = x + (half)1;\n"
                               "    io[0] = (int)sum;\n"
                               "}\n";
    double seconds;

    return probe_text(device, "fp16", text, 1, 2048, 1, &seconds);
}

clf__verdict clf__probe_subgroups(clf_device *device)
{
    static const char text[] = "#pragma OPENCL EXTENSION cl_khr_subgroups : enable\n"
                               "__kernel void probe(__global int *io)\n"
                               "{\n"
                               "    int mine = io[get_global_id(0)];\n"
                               "    int most = sub_group_reduce_max(mine);\n"
                               "    int same = sub_group_broadcast(mine, 0) == 2048;\n"
                               "    if (get_global_id(0) == 0)\n"
                               "        io[0] = same && most == 2047 + (int)get_sub_group_size();\n"
                               "}\n";
    double seconds;

    return probe_text(device, "subgroups", text, ITEMS - 1, 1, 1, &seconds);
}

clf__verdict clf__probe_nvidia_ptx(clf_device *device)
{
    static const char text[] = "__kernel void probe(__global int *io)\n"
                               "{\n"
                               "    int sum;\n"
                               "    asm volatile(\"mad.lo.s32 %0, %1, 2, 1;\" : \"=r\"(sum) : \"r\"(io[0]));\n"
                               "    io[0] = sum;\n"
                               "}\n";
    double seconds;

    return probe_text(device, "inline PTX", text, 1, 4097, 1, &seconds);
}

/* A kernel of cl/device in the storage types `first` to `last` of f32, f16 and bf16. */
static clf__verdict probe_storages(clf_device *device, const char *path, int first, int last, const char *more,
                                   const char *name, size_t items)
{
    clf__verdict verdict = CLF__YES;
    clf__text text = { 0 };
    double seconds;

    if (clf__source_expand(NULL, path, &text) != CLF_SUCCESS)
        verdict = CLF__UNKNOWN;
    for (int storage = first; storage <= last && verdict == CLF__YES; storage++) {
        char options[128];

        (void)snprintf(options, sizeof options, "-cl-std=CL1.2 -DCLF_STORAGE=%d %s", storage, more);
        verdict = probe_kernel(device, name, text.data, options, name, items, 1, 1, &seconds);
    }
    clf__text_free(&text);
    return verdict;
}

clf__verdict clf__probe_nvidia_matrix(clf_device *device)
{
    return probe_storages(device, "device/probe_nvidia.cl", 0, 2, "", "clf_probe_nvidia_matrix", 32);
}

clf__verdict clf__probe_nvidia_wgmma(clf_device *device)
{
    const clf__verdict products = probe_storages(device, "device/probe_nvidia_wgmma.cl", 1, 2, CLF__EXACT_TARGET,
                                                 "clf_probe_nvidia_wgmma", 128);

    return products == CLF__YES ? probe_storages(device, "device/probe_nvidia_bulk.cl", 1, 1, CLF__EXACT_TARGET,
                                                 "clf_probe_nvidia_bulk", 32)
                                : products;
}

int clf__probe_nvidia_local(clf_device *device, clf__verdict *verdict)
{
    /* what sm_90, sm_80 and sm_86 have for a group, and sizes between, because the driver may keep some */
    static const int kibibytes[] = { 227, 224, 208, 192, 163, 99 };
    static const char text[] = "__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void probe(__global int *io)\n"
                               "{\n"
                               "    __local uint all[KIB * 256];\n"
                               "    const uint start = (uint)io[0];\n"
                               "    int wrong = 0;\n"
                               "    for (uint i = get_local_id(0); i < KIB * 256; i += 64)\n"
                               "        all[i] = (i + start) * 2654435761u;\n"
                               "    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);\n"
                               "    if (get_local_id(0) == 0)\n"
                               "        io[0] = 1;\n"
                               "    barrier(CLK_GLOBAL_MEM_FENCE);\n"
                               "    for (uint i = get_local_id(0); i < KIB * 256; i += 64)\n"
                               "        wrong |= all[KIB * 256 - 1 - i] != (KIB * 256 - 1 - i + start) * 2654435761u;\n"
                               "    if (wrong)\n"
                               "        io[0] = 0;\n"
                               "}\n";
    double seconds;

    for (size_t i = 0; i < sizeof kibibytes / sizeof kibibytes[0]; i++) {
        char options[48];

        (void)snprintf(options, sizeof options, "-cl-std=CL1.2 -DKIB=%d", kibibytes[i]);
        *verdict = probe_kernel(device, "large local memory", text, options, "probe", ITEMS, 1, 1, &seconds);
        if (*verdict == CLF__YES)
            return kibibytes[i] * 1024;
    }
    return 0;
}

clf__verdict clf__probe_fast_fma(clf_device *device)
{
    /* chains of 8192; emulation is hundreds of times slower, a real instruction never more than a few */
    static const char text[] = "__kernel void probe(__global int *io)\n"
                               "{\n"
                               "    float a = (float)io[0] * 0x1p-11f, x = (float)io[1];\n"
                               "    if (io[63])\n"
                               "        for (int i = 0; i < 8192; i++)\n"
                               "            x = fma(x, a, -1.0f);\n"
                               "    else\n"
                               "        for (int i = 0; i < 8192; i++)\n"
                               "            x = x * a - 1.0f;\n"
                               "    io[0] = (int)x;\n"
                               "}\n";
    const double slow = 8;
    double seconds[2] = { 0, 0 };
    clf__verdict verdict = probe_text(device, "fma", text, 1, -6143, 2, seconds);

    if (verdict != CLF__YES)
        return verdict;
    clf__log(CLF_LOG_DEBUG, "fma takes %.1f us where a*b+c takes %.1f us", 1e6 * seconds[1], 1e6 * seconds[0]);
    return seconds[1] < slow * seconds[0] ? CLF__YES : CLF__NO;
}
