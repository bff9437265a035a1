/* What kernels for the tensor cores of NVIDIA GPUs ask of a device. Answers of false come with the reason in `why`. */
#ifndef CLF_DEVICE_NVIDIA_H
#define CLF_DEVICE_NVIDIA_H

#include <clformers/device.h>

/* Does it run matrix instructions; those of warp groups and the copy engine? */
bool clf__nvidia_has_matrix(const clf_device *device, char *why, size_t size);
bool clf__nvidia_has_wgmma(const clf_device *device, char *why, size_t size);

/* Bytes of local memory that a work-group may use; are they enough for the tiles of a kernel? */
uint64_t clf__nvidia_local_memory(const clf_device *device);
bool     clf__nvidia_tiles_fit(const clf_device *device, uint64_t bytes, const char *kernel, char *why, size_t size);

#endif
