/* Any text as a device selector, on a made-up machine: it is refused with a message or chooses existing devices,
 * each at most once. The first byte is the number of devices. */
#include "device/list.h"
#include "fuzz.h"

#include <string.h>

static const clf_device_info machine[] = {
    { .platform_index = 1, .platform = "Oclgrind", .name = "Oclgrind Simulator", .vendor = "Oclgrind",
      .type = CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU, .simulator = true },
    { .platform_index = 2, .platform = "Portable Computing Language", .platform_vendor = "The pocl project",
      .name = "pthread-Some Xeon", .vendor = "GenuineIntel", .type = CL_DEVICE_TYPE_CPU },
    { .platform_index = 3, .platform = "rusticl", .name = "llvmpipe (LLVM)", .vendor = "Mesa/X.org",
      .type = CL_DEVICE_TYPE_CPU, .software = true },
    { .platform_index = 4, .platform = "Intel(R) OpenCL", .name = "UHD 770", .vendor = "Intel",
      .type = CL_DEVICE_TYPE_GPU, .integrated = true },
    { .platform_index = 4, .device_index = 1, .platform = "Intel(R) OpenCL", .name = "FPGA", .vendor = "Intel",
      .type = CL_DEVICE_TYPE_ACCELERATOR },
    { .platform_index = 5, .platform = "NVIDIA CUDA", .name = "RTX A", .vendor = "NVIDIA", .type = CL_DEVICE_TYPE_GPU },
    { .platform_index = 5, .device_index = 1, .platform = "NVIDIA CUDA", .name = "RTX B", .vendor = "NVIDIA",
      .type = CL_DEVICE_TYPE_GPU },
};
enum { COUNT = sizeof machine / sizeof machine[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t     devices = size ? data[0] % (COUNT + 1) : COUNT;
    char            *text = fuzz_text(data + (size > 0), size - (size > 0));
    clf_device_info *infos = malloc(devices * sizeof *infos + 1);
    size_t          *chosen = malloc(devices * sizeof *chosen + 1), count = 0, best = 0;
    bool             seen[COUNT] = { false };

    EXPECT(infos && chosen);
    memcpy(infos, machine, devices * sizeof *infos);
    clf__rank(infos, NULL, devices);
    const clf_status status = clf__select(infos, devices, text, chosen, &count);
    if (status == CLF_SUCCESS)
        EXPECT(count > 0 && count <= devices);
    else
        EXPECT((status == CLF_DEVICE_NOT_FOUND || status == CLF_INVALID_SELECTOR) && clf_error_message()[0]);
    for (size_t i = 0; i < count && i < devices; i++) {
        EXPECT(chosen[i] < devices && !seen[chosen[i]]);
        seen[chosen[i]] = true;
    }
    EXPECT(clf__select_best(infos, devices, &best) != CLF_SUCCESS || best < devices);
    free(chosen);
    free(infos);
    free(text);
    return 0;
}
