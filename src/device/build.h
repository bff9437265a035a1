/* Compiling for one device, without any cache. */
#ifndef CLF_DEVICE_BUILD_H
#define CLF_DEVICE_BUILD_H

#include <clformers/device.h>

/* `text` is the expanded source that messages call `path`. Errors: CLF_BUILD_FAILED with the log; OpenCL's own. */
clf_status clf__build_source(clf_device *device, const char *path, const char *text, const char *options,
                             cl_program *program);

/* NULL when the driver does not take the binary. */
cl_program clf__build_binary(clf_device *device, const void *data, size_t size, const char *options);

/* The device's binary of a program, to be freed. NULL when there is none or it has just the *size that
 * was given. May compile: PoCL makes a variant for any work-group size now. */
void *clf__build_take_binary(clf_device *device, cl_program program, size_t *size);

#endif
