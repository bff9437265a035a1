/* What every public header needs: export, C++ linkage, printf checking, the OpenCL headers. */
#ifndef CLFORMERS_BASE_H
#define CLFORMERS_BASE_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif

#if defined(_WIN32)
#define CLF_API
#else
#define CLF_API __attribute__((visibility("default")))
#endif

#if defined(__GNUC__)
#define CLF_PRINTF(format_, first_) __attribute__((format(printf, format_, first_)))
#else
#define CLF_PRINTF(format_, first_)
#endif

#ifdef __cplusplus
#define CLF_BEGIN extern "C" {
#define CLF_END }
#else
#define CLF_BEGIN
#define CLF_END
#endif

#endif
