/* The thread's error message, and the names of all codes. The message has a fixed size, so that
 * failing needs no memory and a thread that ends leaves nothing behind. */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 16 * 1024 };

static _Thread_local char message[MESSAGE_SIZE];

const char *clf_error_message(void)
{
    return message;
}

/* Copies a message that vsnprintf made; `length` is what it wanted to write. */
static void set_message(const char *text, int length)
{
    static const char cut[] = "\n... (cut)";
    size_t size = strlen(text) + 1;

    memcpy(message, text, size);
    if (length >= MESSAGE_SIZE)
        memcpy(message + MESSAGE_SIZE - sizeof cut, cut, sizeof cut);
}

clf_status clf__fail(clf_status status, const char *format, ...)
{
    char text[MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    set_message(text, length);
    return status;
}

clf_status clf__fail_opencl(int code, const char *format, ...)
{
    char text[MESSAGE_SIZE];
    const char *name = clf__opencl_name(code);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (name)
        return clf__fail((clf_status)code, "%s: %s", text, name);
    return clf__fail((clf_status)code, "%s: OpenCL code %d", text, code);
}

clf_status clf__no_memory(size_t bytes)
{
    return clf__fail(CLF_OUT_OF_HOST_MEMORY, "the host has no memory for %zu bytes", bytes);
}

clf_status clf__fail_prefix(clf_status status, const char *format, ...)
{
    char prefix[1024];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    return clf__fail(status, "%s: %s", prefix, message);
}

struct code_name {
    int         code;
    const char *name;
};

static const char *find_name(const struct code_name *names, size_t count, int code)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].code == code)
            return names[i].name;
    return NULL;
}

const char *clf_status_name(clf_status status)
{
#define OWN(name_) { name_, #name_ }
    static const struct code_name own[] = {
        OWN(CLF_SUCCESS), OWN(CLF_DEVICE_NOT_FOUND), OWN(CLF_OUT_OF_DEVICE_MEMORY), OWN(CLF_OUT_OF_RESOURCES),
        OWN(CLF_OUT_OF_HOST_MEMORY), OWN(CLF_BUILD_FAILED), OWN(CLF_INVALID_VALUE), OWN(CLF_NO_PLATFORM),
        OWN(CLF_UNKNOWN_COMPONENT), OWN(CLF_UNKNOWN_KEY), OWN(CLF_INVALID_CONFIG), OWN(CLF_OUT_OF_RANGE),
        OWN(CLF_MISSING_KEY), OWN(CLF_UNSUPPORTED), OWN(CLF_INVALID_RANK), OWN(CLF_INVALID_SHAPE),
        OWN(CLF_INVALID_DTYPE), OWN(CLF_INVALID_STRIDE), OWN(CLF_BUFFER_OVERLAP), OWN(CLF_BUFFER_TOO_SMALL),
        OWN(CLF_MISSING_TENSOR), OWN(CLF_UNKNOWN_TENSOR), OWN(CLF_INVALID_SELECTOR), OWN(CLF_IO_ERROR),
        OWN(CLF_INVALID_FILE), OWN(CLF_INVALID_PLUGIN), OWN(CLF_IN_USE), OWN(CLF_WRONG_RESULT), OWN(CLF_INTERNAL),
    };
#undef OWN
    const char *name = find_name(own, sizeof own / sizeof own[0], (int)status);

    if (!name)
        name = clf__opencl_name((int)status);
    return name ? name : "unknown status";
}

/* Numbers instead of macros: headers of OpenCL 1.2 lack the later ones. */
const char *clf__opencl_name(int code)
{
    static const struct code_name names[] = {
        { 0, "CL_SUCCESS" },
        { -1, "CL_DEVICE_NOT_FOUND" },
        { -2, "CL_DEVICE_NOT_AVAILABLE" },
        { -3, "CL_COMPILER_NOT_AVAILABLE" },
        { -4, "CL_MEM_OBJECT_ALLOCATION_FAILURE" },
        { -5, "CL_OUT_OF_RESOURCES" },
        { -6, "CL_OUT_OF_HOST_MEMORY" },
        { -7, "CL_PROFILING_INFO_NOT_AVAILABLE" },
        { -8, "CL_MEM_COPY_OVERLAP" },
        { -9, "CL_IMAGE_FORMAT_MISMATCH" },
        { -10, "CL_IMAGE_FORMAT_NOT_SUPPORTED" },
        { -11, "CL_BUILD_PROGRAM_FAILURE" },
        { -12, "CL_MAP_FAILURE" },
        { -13, "CL_MISALIGNED_SUB_BUFFER_OFFSET" },
        { -14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST" },
        { -15, "CL_COMPILE_PROGRAM_FAILURE" },
        { -16, "CL_LINKER_NOT_AVAILABLE" },
        { -17, "CL_LINK_PROGRAM_FAILURE" },
        { -18, "CL_DEVICE_PARTITION_FAILED" },
        { -19, "CL_KERNEL_ARG_INFO_NOT_AVAILABLE" },
        { -30, "CL_INVALID_VALUE" },
        { -31, "CL_INVALID_DEVICE_TYPE" },
        { -32, "CL_INVALID_PLATFORM" },
        { -33, "CL_INVALID_DEVICE" },
        { -34, "CL_INVALID_CONTEXT" },
        { -35, "CL_INVALID_QUEUE_PROPERTIES" },
        { -36, "CL_INVALID_COMMAND_QUEUE" },
        { -37, "CL_INVALID_HOST_PTR" },
        { -38, "CL_INVALID_MEM_OBJECT" },
        { -39, "CL_INVALID_IMAGE_FORMAT_DESCRIPTOR" },
        { -40, "CL_INVALID_IMAGE_SIZE" },
        { -41, "CL_INVALID_SAMPLER" },
        { -42, "CL_INVALID_BINARY" },
        { -43, "CL_INVALID_BUILD_OPTIONS" },
        { -44, "CL_INVALID_PROGRAM" },
        { -45, "CL_INVALID_PROGRAM_EXECUTABLE" },
        { -46, "CL_INVALID_KERNEL_NAME" },
        { -47, "CL_INVALID_KERNEL_DEFINITION" },
        { -48, "CL_INVALID_KERNEL" },
        { -49, "CL_INVALID_ARG_INDEX" },
        { -50, "CL_INVALID_ARG_VALUE" },
        { -51, "CL_INVALID_ARG_SIZE" },
        { -52, "CL_INVALID_KERNEL_ARGS" },
        { -53, "CL_INVALID_WORK_DIMENSION" },
        { -54, "CL_INVALID_WORK_GROUP_SIZE" },
        { -55, "CL_INVALID_WORK_ITEM_SIZE" },
        { -56, "CL_INVALID_GLOBAL_OFFSET" },
        { -57, "CL_INVALID_EVENT_WAIT_LIST" },
        { -58, "CL_INVALID_EVENT" },
        { -59, "CL_INVALID_OPERATION" },
        { -60, "CL_INVALID_GL_OBJECT" },
        { -61, "CL_INVALID_BUFFER_SIZE" },
        { -62, "CL_INVALID_MIP_LEVEL" },
        { -63, "CL_INVALID_GLOBAL_WORK_SIZE" },
        { -64, "CL_INVALID_PROPERTY" },
        { -65, "CL_INVALID_IMAGE_DESCRIPTOR" },
        { -66, "CL_INVALID_COMPILER_OPTIONS" },
        { -67, "CL_INVALID_LINKER_OPTIONS" },
        { -68, "CL_INVALID_DEVICE_PARTITION_COUNT" },
        { -69, "CL_INVALID_PIPE_SIZE" },
        { -70, "CL_INVALID_DEVICE_QUEUE" },
        { -71, "CL_INVALID_SPEC_ID" },
        { -72, "CL_MAX_SIZE_RESTRICTION_EXCEEDED" },
        { -1000, "CL_INVALID_GL_SHAREGROUP_REFERENCE_KHR" },
        { -1001, "CL_PLATFORM_NOT_FOUND_KHR" },
        { -1057, "CL_DEVICE_PARTITION_FAILED_EXT" },
        { -9999, "CL_NVIDIA_ILLEGAL_BUFFER_ACCESS" },
    };

    return find_name(names, sizeof names / sizeof names[0], code);
}
