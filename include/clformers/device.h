/* Choosing, opening and describing OpenCL devices.
 *
 * Selectors: `<platform>[:<device>]`. Each part is a number (in the order of clinfo), a type word
 * (cpu, gpu, accelerator, any) or a case-insensitive substring of name or vendor. A lone number is
 * a platform (its best device); a lone type word or substring is matched against platforms and
 * devices. `;` separates several selectors, each of which must match something, and `all` means
 * every device, where several devices make sense (tests, benchmarks). NULL or "" means the
 * environment variable CLF_DEVICE and, when that is unset, the best device: discrete GPU, integrated
 * GPU, accelerator, native CPU, software rasteriser, in this order. Simulators and devices of
 * several types at once are only chosen by name.
 */
#ifndef CLFORMERS_DEVICE_H
#define CLFORMERS_DEVICE_H

#include <clformers/base.h>

#include <CL/cl.h>
#include <clformers/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

CLF_BEGIN

/* An opened device: context, queue, capabilities, compiled programs, memory pool. Thread-safe and
 * reference counted. */
typedef struct clf_device clf_device;

/* How kernels should be written for a device. */
typedef enum clf_style {
    CLF_STYLE_WORK_ITEMS = 0, /* one scalar per work-item, many work-items: GPUs, llvmpipe */
    CLF_STYLE_VECTORS    = 1  /* explicit vectors, one work-item a group: PoCL and other CPUs */
} clf_style;

/* What is known about a device without opening it. */
typedef struct clf_device_info {
    size_t           size;           /* sizeof(clf_device_info), set by the library */
    cl_platform_id   platform_id;
    cl_device_id     device_id;
    int              platform_index; /* as in clinfo; platforms without devices keep their number */
    int              device_index;
    char             platform[128];
    char             name[128];
    char             vendor[128];
    char             driver[64];     /* driver version */
    cl_device_type   type;           /* bit mask */
    uint64_t         global_memory;  /* bytes */
    int              compute_units;
    bool             integrated;     /* shares memory with the host */
    bool             software;       /* a rasteriser that runs on the CPU */
    bool             simulator;      /* an interpreter: correct and very slow */
    bool             duplicate;      /* the same card is preferred through another platform */
    int              rank;           /* place in the automatic order, 0 = first; -1 = by name only */
    char             platform_vendor[64]; /* e.g. "The pocl project" */
} clf_device_info;

/* What an opened device can do: queried and, where drivers are known to lie, tried by compiling
 * and running a small program. */
typedef struct clf_capabilities {
    size_t    size;                  /* sizeof(clf_capabilities), set by the library */
    clf_style style;                 /* measured preference */
    uint64_t  max_allocation;        /* bytes of the largest buffer */
    uint64_t  local_memory;          /* bytes a work-group may use */
    bool      local_memory_is_local; /* false: plain memory, tiles in it do not pay */
    size_t    max_work_group;        /* work-items */
    bool      fp16;                  /* half arithmetic compiles and runs */
    bool      fp64;
    bool      fma;                   /* fma() is one fast instruction */
    bool      subgroups;             /* cl_khr_subgroups compiles and runs */
    int       nvidia_sm;             /* compute capability, e.g. 90; 0 when inline PTX does not run */
    bool      nvidia_matrix;         /* mma.sync, ldmatrix and cp.async run in f16, bf16 and tf32 (from sm_80 on) */
    bool      nvidia_wgmma;          /* products of warp groups and the copy engine run, for the exact target sm_90a */
    uint64_t  nvidia_local_memory;   /* bytes a work-group may use where that is more than the driver reports, else 0 */
} clf_capabilities;

/* Lists the devices that `selector` matches, best first; NULL, "" or "all" lists every device.
 * *infos is an array of *count entries that clf_free releases.
 * Errors: CLF_NO_PLATFORM, CLF_DEVICE_NOT_FOUND, CLF_INVALID_SELECTOR, CLF_OUT_OF_HOST_MEMORY. */
CLF_API clf_status clf_devices(const char *selector, clf_device_info **infos, size_t *count);

/* Opens the first device that `selector` matches (see the head of this file) with a context and an
 * in-order queue with profiling of its own. Release with clf_device_release.
 * Errors: those of clf_devices and those of clCreateContext / clCreateCommandQueue. */
CLF_API clf_status clf_device_open(const char *selector, clf_device **device);

/* Wraps a context, a device of it and a queue on it that the caller already has. All three are
 * retained until clf_device_release. The queue may be of any kind; an out-of-order queue is
 * used through events only.
 * Errors: CLF_INVALID_VALUE when the three do not belong together. */
CLF_API clf_status clf_device_wrap(cl_context context, cl_device_id id, cl_command_queue queue,
                                   clf_device **device);

CLF_API void clf_device_retain(clf_device *device);

/* Gives one reference back; NULL is allowed. The last one waits for the device's queue and frees
 * everything the device owns. */
CLF_API void clf_device_release(clf_device *device);

/* The OpenCL objects behind a device; not retained for the caller. */
CLF_API cl_context       clf_device_context(const clf_device *device);
CLF_API cl_device_id     clf_device_id(const clf_device *device);
CLF_API cl_command_queue clf_device_queue(const clf_device *device);

/* What was found when the device was opened; valid as long as the device. */
CLF_API const clf_device_info  *clf_device_get_info(const clf_device *device);
CLF_API const clf_capabilities *clf_device_get_capabilities(const clf_device *device);

/* Programs built from source and programs taken from the on-disk cache since the device was
 * opened. The cache lives in CLF_CACHE_DIR, else $XDG_CACHE_HOME/clformers, else
 * ~/.cache/clformers; CLF_CACHE_DIR="" turns it off. Above CLF_CACHE_LIMIT (bytes, or such as 500M; 1G unless set,
 * 0 = no limit) the entries that were not used for the longest time are removed. */
typedef struct clf_program_stats {
    uint64_t built;
    uint64_t loaded;
    double   build_seconds;
} clf_program_stats;
CLF_API clf_program_stats clf_device_program_stats(const clf_device *device);

/* Releases memory that the library handed out as a caller-owned pointer; NULL is allowed. */
CLF_API void clf_free(void *pointer);

CLF_END
#endif
