/* What kernels for the tensor cores of NVIDIA GPUs ask of a device. */
#include "device/nvidia.h"
#include <stdio.h>

bool clf__nvidia_has_matrix(const clf_device *device, char *why, size_t size)
{
    if (clf_device_get_capabilities(device)->nvidia_matrix)
        return true;
    (void)snprintf(why, size, "needs an NVIDIA GPU from sm_80 on whose driver takes matrix instructions");
    return false;
}

bool clf__nvidia_has_wgmma(const clf_device *device, char *why, size_t size)
{
    if (clf_device_get_capabilities(device)->nvidia_wgmma)
        return true;
    (void)snprintf(why, size, "needs an NVIDIA GPU of sm_90 whose driver takes programs for sm_90a");
    return false;
}

uint64_t clf__nvidia_local_memory(const clf_device *device)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    return has->nvidia_local_memory > has->local_memory ? has->nvidia_local_memory : has->local_memory;
}

bool clf__nvidia_tiles_fit(const clf_device *device, uint64_t bytes, const char *kernel, char *why, size_t size)
{
    const uint64_t limit = clf__nvidia_local_memory(device);

    if (bytes <= limit)
        return true;
    (void)snprintf(why, size, "the tiles of %s take %llu bytes, local memory has %llu", kernel,
                   (unsigned long long)bytes, (unsigned long long)limit);
    return false;
}
