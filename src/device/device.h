/* What a clf_device holds, for src/ only. */
#ifndef CLF_DEVICE_DEVICE_H
#define CLF_DEVICE_DEVICE_H

#include "core/os.h"
#include <clformers/device.h>
#include <stdatomic.h>

/* Something a higher layer keeps with a device (memory pool, ...): found by its key, destroyed
 * with the device, newest first. */
typedef struct clf__attachment {
    const void             *key;
    void                   *value;
    void                  (*destroy)(clf_device *device, void *value);
    struct clf__attachment *next;
} clf__attachment;

struct clf__program_cache;

struct clf_device {
    cl_context                 context;
    cl_device_id               id;
    cl_command_queue           queue;
    bool                       out_of_order; /* the queue's kind */
    clf_device_info            info;
    clf_capabilities           capabilities;
    char                       build_options[128];
    atomic_int                 references;
    clf__mutex                 mutex;        /* guards attachments */
    clf__attachment           *attachments;
    struct clf__program_cache *programs;
};

/* The value attached under `key`, made by `make` on the first call (once, under the device's lock,
 * which is recursive: `make` may attach what it needs itself). */
clf_status clf__device_attach(clf_device *device, const void *key,
                              clf_status (*make)(clf_device *device, void **value),
                              void (*destroy)(clf_device *device, void *value), void **value);

/* Prefix of the options of every build: language version, then CLF_HAS_FMA, CLF_HAS_FP16, CLF_HAS_SUBGROUPS (=1
 * where the device has them, else absent) and CLF_NVIDIA_SM (e.g. 90, else absent). */
const char *clf__device_build_options(const clf_device *device);

/* A device on context and queue, which it retains, with one reference. */
clf_status clf__device_make(cl_context context, cl_command_queue queue, const clf_device_info *info,
                            clf_device **result);

/* Waits for everything enqueued on a queue so far. clFinish is not enough: after clFlush, rusticl of Mesa 22 returns
 * from it at once; it is the way out when marker or event fail. */
cl_int clf__wait_for_queue(cl_command_queue queue);

/* Fills capabilities and build_options; needs context, id, info and programs. */
clf_status clf__find_capabilities(clf_device *device);

#endif
