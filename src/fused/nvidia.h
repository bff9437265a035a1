/* What the families for NVIDIA's tensor cores share: nvidia_wgmma has a forward kernel of its own and the backward
 * pass of nvidia_mma. */
#ifndef CLF_FUSED_NVIDIA_H
#define CLF_FUSED_NVIDIA_H

#include "fused/family.h"

/* 32, 64, 96, 128, 192 or 256: the width that tiles have in local memory. */
int clf__nvidia_padded(int64_t width);

/* Bytes that a work-group may use. */
uint64_t clf__nvidia_local_memory(const clf_device *device);

/* Kernels and saved memory of the backward pass; nothing when the plan has none. */
clf_status clf__nvidia_plan_backward(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

clf_status clf__nvidia_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__nvidia_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

#endif
