/* What the families for NVIDIA's tensor cores share. */
#ifndef CLF_FUSED_NVIDIA_H
#define CLF_FUSED_NVIDIA_H

#include "fused/family.h"

/* 32, 64, 96, 128, 192 or 256: the width that tiles have in local memory. */
int clf__nvidia_padded(int64_t width);

/* Bytes that a work-group may use; are they enough for the tiles of a kernel? */
uint64_t clf__nvidia_local_memory(const clf_device *device);
bool     clf__nvidia_tiles_fit(const clf_device *device, uint64_t bytes, const char *kernel, char *why, size_t size);

/* The kernel that adds up out * grad_out, and saved memory for what rounding took from out. */
clf_status clf__nvidia_plan_delta(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

/* That and the gradients' kernels of nvidia_mma. */
clf_status clf__nvidia_mma_plan_backward(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

clf_status clf__nvidia_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__nvidia_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

#endif
