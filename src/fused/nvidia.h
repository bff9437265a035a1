/* What the families for NVIDIA's tensor cores share. */
#ifndef CLF_FUSED_NVIDIA_H
#define CLF_FUSED_NVIDIA_H

#include "device/nvidia.h"
#include "fused/family.h"

/* 32, 64, 96, 128, 192 or 256: the width that tiles have in local memory. */
int clf__nvidia_padded(int64_t width);

/* The kernel that adds up out * grad_out, and saved memory for what rounding took from out. */
clf_status clf__nvidia_plan_delta(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

/* That and the gradients' kernels of nvidia_mma. */
clf_status clf__nvidia_mma_plan_backward(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

clf_status clf__nvidia_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
/* Its last step: a group for each tile of queries, or as many as stay. */
clf_status clf__nvidia_launch_forward(clf_run *run, const clf_binder *binder, const clf__fused *fused,
                                      const clf__fused_problem *problem);
/* Backward, whose first step adds up out * grad_out. */
clf_status clf__nvidia_delta(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__nvidia_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

#endif
