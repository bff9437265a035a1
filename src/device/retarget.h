/* Programs for an architecture-specific target of NVIDIA GPUs (sm_90a), which sources cannot ask for. */
#ifndef CLF_DEVICE_RETARGET_H
#define CLF_DEVICE_RETARGET_H

#include "core/text.h"
#include <clformers/device.h>

/* A program built with this option gets the target of the very architecture that it runs on, and instructions that
 * exist nowhere else: its sources write those as PTX comments, "//@wgmma..." on a line of their own in inline
 * assembly. The driver compiles the source for its usual target first; its binary, which is PTX text, then has the target
 * replaced and the "//@" taken away, and is built once more. What is cached on disk is the final binary. */
#define CLF__EXACT_TARGET "-DCLF_NVIDIA_EXACT_TARGET=1"

/* The second step, for a program that was built with `options`; nothing without the option. On failure the program is
 * released and NULL. Errors: CLF_UNSUPPORTED when the driver's binary is no PTX or its compiler refuses it. */
clf_status clf__retarget(clf_device *device, const char *path, const char *options, cl_program *program);

/* PTX rewritten; false when there is no `.target sm_<number>`. */
bool clf__retarget_text(const char *ptx, clf__text *text);

#endif
