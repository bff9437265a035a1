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
/* Matrix instructions, asynchronous copies and the rest of cl/prelude/nvidia.cl, in f16, bf16 and, for f32, tf32. */
clf__verdict clf__probe_nvidia_matrix(clf_device *device);
/* Products of warp groups (cl/prelude/nvidia_wgmma.cl) and the copy engine (nvidia_bulk.cl), in programs for the exact
 * target. */
clf__verdict clf__probe_nvidia_wgmma(clf_device *device);
/* Bytes of static local memory that compile and run although the driver reports less; 0 = none of the sizes does.
 * The verdict is that of the last size tried. */
int clf__probe_nvidia_local(clf_device *device, clf__verdict *verdict);
clf__verdict clf__probe_fast_fma(clf_device *device);

#endif
