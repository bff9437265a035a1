/* From kernel source to cl_kernel: include expansion, build options, the caches. */
#ifndef CLF_DEVICE_PROGRAM_H
#define CLF_DEVICE_PROGRAM_H

#include "device/source.h"
#include <clformers/device.h>

/* A new kernel `name` from the source `path` (e.g. "fused/vector_forward.cl") compiled with
 * `options`. Programs are kept per device by (sources, path, options) and on disk by content. `sources`:
 * a plugin's own, or NULL. The caller releases the kernel.
 * Errors: CLF_BUILD_FAILED with the log, real file names and lines; CLF_INVALID_VALUE for an
 * unknown path, include or kernel name. */
clf_status clf__program_kernel(clf_device *device, const clf_source *sources, const char *path, const char *options,
                               const char *name, cl_kernel *kernel);

/* Builds `text` and creates a kernel from it without any cache: for probes. Errors are returned like
 * any other; *rejected (may be NULL) tells whether the compiler refused the text. */
clf_status clf__program_probe(clf_device *device, const char *text, const char *options, const char *name,
                              cl_kernel *kernel, bool *rejected);

/* Writes to disk what is not there yet. Most drivers have their code ready when a kernel is created, and
 * clf__program_kernel stores it then. PoCL compiles for the work-group size at the first launch: its programs
 * are stored here, which clf_device_release and clf_prepare call. Asking PoCL for a binary makes it compile each
 * kernel once more, for any work-group size, whatever was launched: filling the cache takes as long as the first
 * run, once for a program. Not for hot paths. */
void clf__program_store(clf_device *device);

/* Life of the caches of one device: `programs` of clf_device. Close may be called with none. */
clf_status clf__programs_open(clf_device *device);
void       clf__programs_close(clf_device *device);
struct clf__disk_cache *clf__programs_disk(clf_device *device);

#endif
