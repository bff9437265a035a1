/* Status codes and the message that goes with the last failure of the calling thread. */
#ifndef CLFORMERS_STATUS_H
#define CLFORMERS_STATUS_H

#include <clformers/base.h>

CLF_BEGIN

/* One code for each kind of mistake. A failure that OpenCL has a code for keeps that code (any
 * negative code down to -1999 is OpenCL's own); the rest starts at -3001. Values never change. */
typedef enum clf_status {
    CLF_SUCCESS = 0,

    /* OpenCL's codes that the library itself also returns */
    CLF_DEVICE_NOT_FOUND      = -1,    /* the selector matches no device; the message lists what exists */
    CLF_OUT_OF_DEVICE_MEMORY  = -4,    /* the device or the pool's limit; the message gives the bytes asked for */
    CLF_OUT_OF_RESOURCES      = -5,
    CLF_OUT_OF_HOST_MEMORY    = -6,
    CLF_BUILD_FAILED          = -11,   /* a kernel does not compile; the message holds the build log */
    CLF_INVALID_VALUE         = -30,   /* NULL or senseless argument */
    CLF_NO_PLATFORM           = -1001, /* the ICD loader finds no OpenCL platform */

    /* configuration */
    CLF_UNKNOWN_COMPONENT     = -3001, /* no component of that kind and name */
    CLF_UNKNOWN_KEY           = -3002, /* a key that no component of the kind knows */
    CLF_INVALID_CONFIG        = -3003, /* not JSON, or a value of the wrong type */
    CLF_OUT_OF_RANGE          = -3004, /* a value outside the field's range or choices */
    CLF_MISSING_KEY           = -3005, /* a required field is absent */
    CLF_UNSUPPORTED           = -3006, /* well formed, but cannot be honoured here; the message says why */

    /* tensors and buffers */
    CLF_INVALID_RANK          = -3011,
    CLF_INVALID_SHAPE         = -3012,
    CLF_INVALID_DTYPE         = -3013,
    CLF_INVALID_STRIDE        = -3014,
    CLF_BUFFER_OVERLAP        = -3015, /* an output shares memory with another tensor */
    CLF_BUFFER_TOO_SMALL      = -3016, /* a view, a workspace or a saved buffer ends behind its cl_mem */
    CLF_MISSING_TENSOR        = -3017, /* a tensor that the component needs is absent */
    CLF_UNKNOWN_TENSOR        = -3018, /* a name that is not in the component's tables */

    /* devices, files, the rest */
    CLF_INVALID_SELECTOR      = -3021, /* the device selector does not follow the grammar */
    CLF_IO_ERROR              = -3031, /* the operating system refused; the message holds its reason */
    CLF_INVALID_FILE          = -3032, /* a file that does not follow its format */
    CLF_INVALID_PLUGIN        = -3041, /* no plugin, one for another version, or one whose parts cannot be added */
    CLF_IN_USE                = -3042, /* cannot go yet: something alive still needs it */
    CLF_WRONG_RESULT          = -3051, /* a part fails its known-answer check on this device: see CLF_SELFTEST */
    CLF_INTERNAL              = -3099  /* a defect of clformers itself: please report it */
} clf_status;

/* Name of a status, e.g. "CLF_UNKNOWN_KEY" or, for codes of OpenCL, "CL_INVALID_KERNEL"; a static
 * string, never NULL. */
CLF_API const char *clf_status_name(clf_status status);

/* What went wrong in the last call of this thread that failed: the argument, its value and the
 * limit it met; after CLF_BUILD_FAILED also the compiler's log with file names and lines. Valid
 * until the next failing call of the same thread; "" when nothing failed yet. */
CLF_API const char *clf_error_message(void);

CLF_END
#endif
