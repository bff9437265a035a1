/* The memory pool: reuse, limit, trim, and a driver that has no memory. */
#define _GNU_SOURCE
#include "device/device.h"
#include "devices.h"
#include "tensor/tensor.h"

#include <dlfcn.h>
#include <string.h>

/* clCreateBuffer as the library sees it: fails while failures are left. */
static int failures, created;

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *code)
{
    cl_mem (*real)(cl_context, cl_mem_flags, size_t, void *, cl_int *) = NULL;
    void *symbol = dlsym(RTLD_NEXT, "clCreateBuffer");

    memcpy(&real, &symbol, sizeof real);
    created++;
    if (failures > 0) {
        failures--;
        *code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return NULL;
    }
    return real(context, flags, size, host, code);
}

/* clGetEventInfo as the library sees it: no command has ended yet, for a driver that is late in saying so. */
static bool late;

cl_int clGetEventInfo(cl_event event, cl_event_info info, size_t size, void *value, size_t *needed)
{
    cl_int (*real)(cl_event, cl_event_info, size_t, void *, size_t *) = NULL;
    void  *symbol = dlsym(RTLD_NEXT, "clGetEventInfo");

    memcpy(&real, &symbol, sizeof real);
    const cl_int code = real(event, info, size, value, needed);
    if (late && code == CL_SUCCESS && info == CL_EVENT_COMMAND_EXECUTION_STATUS) {
        *(cl_int *)value = CL_RUNNING;
    }
    return code;
}

static cl_mem acquired(clf_device *device, uint64_t bytes)
{
    cl_mem mem = NULL;

    cr_assert_eq(clf_pool_acquire(device, bytes, &mem), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_not_null(mem);
    return mem;
}

static void released(clf_device *device, cl_mem mem)
{
    cl_event done = NULL;

    cr_assert_eq(clEnqueueMarkerWithWaitList(clf_device_queue(device), 0, NULL, &done), CL_SUCCESS);
    clf_pool_release(device, mem, done);
    cr_expect_eq(clWaitForEvents(1, &done), CL_SUCCESS);
    clReleaseEvent(done);
}

static void reuse(clf_device *device)
{
    size_t size = 0;
    cl_mem a = acquired(device, 1000), b = acquired(device, 1000);

    cr_expect_neq(a, b);
    cr_expect_eq(clGetMemObjectInfo(a, CL_MEM_SIZE, sizeof size, &size, NULL), CL_SUCCESS);
    cr_expect(size >= 1000 && size <= 1280, "%zu", size);
    clf_pool_stats stats = clf_pool_get_stats(device);
    cr_expect_eq(stats.in_use, 2 * size);
    cr_expect_eq(stats.cached, 0);
    cr_expect_eq(stats.peak, 2 * size);

    released(device, a);
    stats = clf_pool_get_stats(device);
    cr_expect_eq(stats.in_use, size);
    cr_expect_eq(stats.cached, size);
    cr_expect_eq(acquired(device, 990), a);    /* nearly the same size */
    cl_mem c = acquired(device, 10000), d = acquired(device, 0);
    released(device, c);
    cr_expect_neq(acquired(device, 1000), c);  /* much too large for that */
    cr_expect_eq(acquired(device, 10000), c);
    clf_pool_release(device, d, NULL);
    clf_pool_release(device, d, NULL);         /* twice, and what never came from here */
    clf_pool_release(device, (cl_mem)(uintptr_t)64, NULL);
    clf_pool_release(device, NULL, NULL);

    stats = clf_pool_get_stats(device);
    cr_expect(stats.peak > stats.in_use && stats.peak == stats.in_use + stats.cached);
    clf_pool_reset_peak(device);
    cr_expect_eq(clf_pool_get_stats(device).peak, stats.in_use);
    clf_pool_trim(device, 0);
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    cr_expect_eq(clf_pool_acquire(device, 1, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_pool_acquire(NULL, 1, &a), CLF_INVALID_VALUE);
    cr_expect_eq(clf_pool_get_stats(NULL).in_use, 0);
    /* What is still handed out goes with the device. */
}

Test(pool, reuse)
{
    for_each_device(reuse);
}

/* A buffer comes back only after the event of its last use. */
static void waits_for_the_last_use(clf_device *device)
{
    cl_int   code = CL_SUCCESS;
    cl_event done = clCreateUserEvent(clf_device_context(device), &code);
    cl_mem   a = acquired(device, 5000);

    cr_assert_eq(code, CL_SUCCESS);
    clf_pool_release(device, a, done);
    cl_mem b = acquired(device, 5000);
    cr_expect_neq(a, b);
    cr_expect_eq(clSetUserEventStatus(done, CL_COMPLETE), CL_SUCCESS);
    cr_expect_eq(acquired(device, 5000), a);
    clReleaseEvent(done);

    /* An event that ended with an error is over, too. */
    done = clCreateUserEvent(clf_device_context(device), &code);
    clf_pool_release(device, a, done);
    cr_expect_eq(clSetUserEventStatus(done, -7), CL_SUCCESS);
    cr_expect_eq(acquired(device, 5000), a);
    clReleaseEvent(done);

    /* Trimming what still waits: OpenCL keeps the memory as long as it needs to. */
    done = clCreateUserEvent(clf_device_context(device), &code);
    clf_pool_release(device, a, done);
    clf_pool_trim(device, 0);
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    cr_expect_eq(clSetUserEventStatus(done, CL_COMPLETE), CL_SUCCESS);
    clReleaseEvent(done);
    released(device, b);
}

Test(pool, waits_for_the_last_use)
{
    for_each_device(waits_for_the_last_use);
}

static void limit(clf_device *device)
{
    cl_mem a, b, c = NULL;

    clf_pool_set_limit(device, 100000);
    cr_expect_eq(clf_pool_get_stats(device).limit, 100000);
    a = acquired(device, 60000);
    cr_expect_eq(clf_pool_acquire(device, 50000, &c), CLF_OUT_OF_DEVICE_MEMORY);
    cr_expect_null(c);
    cr_expect_not_null(strstr(clf_error_message(), "50000 bytes"), "%s", clf_error_message());
    cr_expect_not_null(strstr(clf_error_message(), "100000 bytes"), "%s", clf_error_message());
    b = acquired(device, 30000);
    clf_pool_release(device, a, NULL);
    a = acquired(device, 50000); /* the cached 60000 make room */
    cr_expect(clf_pool_get_stats(device).in_use + clf_pool_get_stats(device).cached <= 100000);
    clf_pool_release(device, a, NULL);
    clf_pool_release(device, b, NULL);
    a = acquired(device, 100000); /* exactly the limit, whatever rounding would like */
    cr_expect_eq(clf_pool_get_stats(device).in_use, 100000);
    clf_pool_set_limit(device, 1000);
    clf_pool_release(device, a, NULL); /* above the new limit: not kept */
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    clf_pool_set_limit(device, 0);
    a = acquired(device, 200000);
    released(device, a);
    clf_pool_set_limit(device, 1000);
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    clf_pool_set_limit(device, 0);
}

Test(pool, limit)
{
    for_each_device(limit);
}

/* Short of memory, the pool waits for the queue; what was freed before counts as done then, whatever the driver says.
 * What waits for an event of the caller does not. */
static void late_driver(clf_device *device)
{
    cl_int   code = CL_SUCCESS;
    cl_event done = clCreateUserEvent(clf_device_context(device), &code);
    cl_mem   a, b = acquired(device, 20000), c = NULL;

    cr_assert_eq(code, CL_SUCCESS);
    late = true;
    clf_pool_set_limit(device, 100000);
    a = acquired(device, 60000);
    clf_pool_release(device, a, NULL);
    a = acquired(device, 50000);
    clf_pool_release(device, a, NULL);
    a = acquired(device, 55000);
    clf_pool_release(device, a, done);
    cr_expect_eq(clf_pool_acquire(device, 50000, &c), CLF_OUT_OF_DEVICE_MEMORY);
    late = false;
    cr_expect_eq(clSetUserEventStatus(done, CL_COMPLETE), CL_SUCCESS);
    a = acquired(device, 50000);
    released(device, a);
    released(device, b);
    clReleaseEvent(done);
    clf_pool_set_limit(device, 0);
}

Test(pool, late_driver)
{
    for_each_device(late_driver);
}

static void trim(clf_device *device)
{
    cl_mem a = acquired(device, 1024), b = acquired(device, 2048), c = acquired(device, 4096);

    released(device, a);
    released(device, b);
    released(device, c);
    cr_expect_eq(clf_pool_get_stats(device).cached, 7168);
    clf_pool_trim(device, 7168);
    cr_expect_eq(clf_pool_get_stats(device).cached, 7168);
    clf_pool_trim(device, 5000); /* the oldest first */
    cr_expect_eq(clf_pool_get_stats(device).cached, 4096);
    cr_expect_eq(acquired(device, 4096), c);
    released(device, c);
    clf_pool_trim(device, 0);
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(pool, trim)
{
    for_each_device(trim);
}

static void no_memory(clf_device *device)
{
    cl_mem a = acquired(device, 4096), b = NULL;

    released(device, a);
    failures = 1; /* what is cached goes, and the second try succeeds */
    b = acquired(device, 100000);
    cr_expect_eq(failures, 0);
    cr_expect_eq(clf_pool_get_stats(device).cached, 0);
    failures = 2;
    created = 0;
    a = b;
    cr_expect_eq(clf_pool_acquire(device, 77777, &a), CLF_OUT_OF_DEVICE_MEMORY);
    cr_expect_eq(created, 2);
    cr_expect_null(a);
    cr_expect_not_null(strstr(clf_error_message(), "77777 bytes"), "%s", clf_error_message());
    cr_expect_not_null(strstr(clf_error_message(), "CL_MEM_OBJECT_ALLOCATION_FAILURE"), "%s", clf_error_message());
    failures = 2;
    clf_tensor t = { .rank = 1 };
    const int64_t shape[] = { 100 };
    cr_expect_eq(clf_tensor_alloc(device, CLF_F32, 1, shape, &t), CLF_OUT_OF_DEVICE_MEMORY);
    cr_expect(t.rank == 0 && t.mem == NULL);

    /* More than the device allows in one buffer is not even tried. */
    const uint64_t most = clf_device_get_capabilities(device)->max_allocation;
    created = 0;
    cr_expect_eq(clf_pool_acquire(device, most + 1, &a), CLF_OUT_OF_DEVICE_MEMORY);
    cr_expect_eq(created, 0);
    cr_expect_not_null(strstr(clf_error_message(), "in one buffer"), "%s", clf_error_message());
    cr_expect_eq(clf_pool_acquire(device, UINT64_MAX, &a), CLF_OUT_OF_DEVICE_MEMORY);

    /* And the device goes on. */
    released(device, b);
    cr_expect_eq(acquired(device, 100000), b);
    released(device, b);
}

Test(pool, no_memory)
{
    for_each_device(no_memory);
}
