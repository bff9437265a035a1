/* Setting the thread's error message. Functions return clf__fail(...) at the place of the mistake;
 * callers pass the status on. */
#ifndef CLF_CORE_STATUS_H
#define CLF_CORE_STATUS_H

#include <clformers/status.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the message and returns `status`. Arguments may point into the current message. A message
 * that is too long (a build log) keeps its beginning. */
clf_status clf__fail(clf_status status, const char *format, ...) CLF_PRINTF(2, 3);

/* Sets "<text>: <name of code>" and returns the OpenCL code as a status. */
clf_status clf__fail_opencl(int code, const char *format, ...) CLF_PRINTF(2, 3);

/* CLF_OUT_OF_HOST_MEMORY for `bytes`. */
clf_status clf__no_memory(size_t bytes);

/* Puts "<prefix>: " before the current message; returns `status`. */
clf_status clf__fail_prefix(clf_status status, const char *format, ...) CLF_PRINTF(2, 3);

/* The name OpenCL gives to a code ("CL_INVALID_KERNEL"), also where clf_status_name has its own; NULL if unknown. */
const char *clf__opencl_name(int code);

#endif
