/* Trying what a device claims: compile, run, compare. */
#ifndef CLF_DEVICE_PROBE_H
#define CLF_DEVICE_PROBE_H

#include <clformers/device.h>

typedef enum clf__verdict {
    CLF__NO      = 0,
    CLF__YES     = 1,
    CLF__UNKNOWN = 2 /* something else went wrong: treat as no, and ask again next time */
} clf__verdict;

clf__verdict clf__probe_fp16(clf_device *device);
clf__verdict clf__probe_subgroups(clf_device *device);
clf__verdict clf__probe_nvidia_ptx(clf_device *device);
clf__verdict clf__probe_fast_fma(clf_device *device);

#endif
