/* The memory pool of a device: freed buffers wait, oldest first, until a request of their size comes
 * and the last command that uses them is done. */
#include "core/log.h"
#include "core/status.h"
#include "device/device.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct block {
    cl_mem        mem;
    uint64_t      bytes;
    cl_event      done;   /* of the last use; NULL = nothing uses it any more */
    uint64_t      marker; /* `done` is this one of the queue's markers; 0 = an event of the caller */
    struct block *next;
} block;

typedef struct pool {
    clf__mutex     mutex;
    block         *used;   /* handed out */
    block         *cached; /* oldest first */
    clf_pool_stats stats;
    uint64_t       markers, passed; /* enqueued; and those before a wait for the queue, see is_idle */
    uint64_t       device_memory;  /* 0 = unknown */
    uint64_t       max_allocation; /* 0 = unknown */
} pool;

static void free_block(block *b)
{
    if (b->done) {
        clReleaseEvent(b->done);
    }
    clReleaseMemObject(b->mem); /* OpenCL itself keeps the memory while commands use it */
    free(b);
}

/* Is the last use over? Waiting for a queue does not make rusticl say so of the markers before its end: their states
 * follow a moment later. */
static bool is_idle(const pool *p, block *b)
{
    cl_int state = CL_QUEUED;

    if (b->done && !(b->marker && b->marker <= p->passed)) {
        if (clGetEventInfo(b->done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) ||
            state > CL_COMPLETE) { /* negative: ended by an error */
            return false;
        }
    }
    if (b->done) {
        clReleaseEvent(b->done);
        b->done = NULL;
    }
    return true;
}

/* Frees cached buffers, oldest first, until at most `keep` bytes stay. */
static void trim(pool *p, uint64_t keep, bool idle_only)
{
    block **link = &p->cached;

    while (*link && p->stats.cached > keep) {
        block *b = *link;
        if (idle_only && !is_idle(p, b)) {
            link = &b->next;
            continue;
        }
        *link = b->next;
        p->stats.cached -= b->bytes;
        free_block(b);
    }
}

static void destroy_pool(clf_device *device, void *value)
{
    pool *p = value;

    (void)device;
    trim(p, 0, false);
    if (p->used) {
        clf__log(CLF_LOG_INFO, "pool: %" PRIu64 " bytes were never given back", p->stats.in_use);
    }
    while (p->used) {
        block *b = p->used;
        p->used = b->next;
        free_block(b);
    }
    clf__mutex_destroy(&p->mutex);
    free(p);
}

static clf_status make_pool(clf_device *device, void **value)
{
    pool *p = calloc(1, sizeof *p);

    if (!p) {
        return clf__no_memory(sizeof *p);
    }
    const clf_status status = clf__mutex_init(&p->mutex);
    if (status) {
        free(p);
        return status;
    }
    p->device_memory = device->info.global_memory;
    p->max_allocation = device->capabilities.max_allocation;
    *value = p;
    return CLF_SUCCESS;
}

static clf_status pool_of(clf_device *device, pool **p)
{
    static const char key = 0;
    void             *value = NULL;

    if (!device) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'device' is NULL");
    }
    const clf_status status = clf__device_attach(device, &key, make_pool, destroy_pool, &value);
    *p = value;
    return status;
}

/* Requests are rounded up by at most an eighth, so that nearly equal sizes serve each other. */
static uint64_t rounded(uint64_t bytes)
{
    uint64_t step = 256;

    while (step * 8 < bytes) {
        step *= 2;
    }
    return bytes == 0 ? step : (bytes + step - 1) / step * step;
}

/* What the pool may hold altogether. Some drivers hand out more than the device has and fail when a
 * kernel starts; the device's memory is therefore a limit, too. */
static uint64_t limit_of(const pool *p)
{
    const uint64_t limit = p->stats.limit ? p->stats.limit : UINT64_MAX;

    return p->device_memory && p->device_memory < limit ? p->device_memory : limit;
}

static void hand_out(pool *p, block *b, cl_mem *mem)
{
    b->next = p->used;
    p->used = b;
    p->stats.in_use += b->bytes;
    if (p->stats.in_use > p->stats.peak) {
        p->stats.peak = p->stats.in_use;
    }
    *mem = b->mem;
}

/* Hands out the oldest idle cached buffer of `bytes` to `most` bytes. */
static bool reuse(pool *p, uint64_t bytes, uint64_t most, cl_mem *mem)
{
    for (block **link = &p->cached; *link; link = &(*link)->next) {
        block *b = *link;
        if (b->bytes >= bytes && b->bytes <= most && is_idle(p, b)) {
            *link = b->next;
            p->stats.cached -= b->bytes;
            hand_out(p, b, mem);
            return true;
        }
    }
    return false;
}

static clf_status no_room(const pool *p, uint64_t bytes, const char *why, uint64_t number)
{
    return clf__fail(CLF_OUT_OF_DEVICE_MEMORY,
                     "a buffer of %" PRIu64 " bytes was asked for: %s %" PRIu64 " bytes, %" PRIu64
                     " are in use and %" PRIu64 " are kept for commands that still run",
                     bytes, why, number, p->stats.in_use, p->stats.cached);
}

static clf_status create(clf_device *device, pool *p, uint64_t bytes, cl_mem *mem)
{
    const uint64_t limit = limit_of(p);
    uint64_t       size = rounded(bytes);
    cl_int         code = CL_SUCCESS;

    if (p->max_allocation && size > p->max_allocation) {
        size = bytes > 0 ? bytes : 1;
    }
    if (size > limit) {
        size = bytes;
    }
    if (size > limit || p->stats.in_use > limit - size) {
        return no_room(p, bytes, p->stats.limit == limit ? "the pool's limit is" : "the device has", limit);
    }
    trim(p, limit - size - p->stats.in_use, true);
    if (p->stats.cached > limit - size - p->stats.in_use) {
        return no_room(p, bytes, p->stats.limit == limit ? "the pool's limit is" : "the device has", limit);
    }

    block *b = calloc(1, sizeof *b);
    if (!b) {
        return clf__no_memory(sizeof *b);
    }
    b->bytes = size;
    b->mem = clCreateBuffer(device->context, CL_MEM_READ_WRITE, (size_t)size, NULL, &code);
    if (!b->mem || code) {
        free(b);
        if (code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES || code == CL_OUT_OF_HOST_MEMORY) {
            return clf__fail(CLF_OUT_OF_DEVICE_MEMORY,
                             "a buffer of %" PRIu64 " bytes was asked for: the driver answers %s, %" PRIu64
                             " bytes are in use in the pool",
                             bytes, clf__opencl_name(code), p->stats.in_use);
        }
        return clf__fail_opencl(code ? code : CL_OUT_OF_RESOURCES, "a buffer of %" PRIu64 " bytes", bytes);
    }
    hand_out(p, b, mem);
    return CLF_SUCCESS;
}

clf_status clf_pool_acquire(clf_device *device, uint64_t bytes, cl_mem *mem)
{
    pool      *p = NULL;
    clf_status status = pool_of(device, &p);

    if (status) {
        return status;
    }
    if (!mem) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'mem' is NULL");
    }
    *mem = NULL;
    if (bytes > SIZE_MAX / 2 || (p->max_allocation && bytes > p->max_allocation)) {
        return clf__fail(CLF_OUT_OF_DEVICE_MEMORY,
                         "a buffer of %" PRIu64 " bytes was asked for: the device allows %" PRIu64
                         " bytes in one buffer",
                         bytes, p->max_allocation ? p->max_allocation : (uint64_t)(SIZE_MAX / 2));
    }
    clf__mutex_lock(&p->mutex);
    status = reuse(p, bytes, rounded(bytes), mem) ? CLF_SUCCESS : create(device, p, bytes, mem);
    const uint64_t markers = p->markers;
    clf__mutex_unlock(&p->mutex);
    if (status != CLF_OUT_OF_DEVICE_MEMORY) {
        return status;
    }
    /* Short of memory: what was freed may still wait for its commands. Not under the lock, so that
     * other threads can go on. */
    clf__log(CLF_LOG_INFO, "pool: short of memory for %" PRIu64 " bytes, waiting and trimming", bytes);
    const bool waited = clf__wait_for_queue(device->queue) == CL_SUCCESS; /* what is not done is not reused either */
    clf__mutex_lock(&p->mutex);
    if (waited && markers > p->passed) {
        p->passed = markers;
    }
    if (reuse(p, bytes, rounded(bytes), mem)) {
        status = CLF_SUCCESS;
    } else {
        trim(p, 0, true);
        status = create(device, p, bytes, mem);
    }
    clf__mutex_unlock(&p->mutex);
    return status;
}

/* Keeps the event behind the last use of a buffer; none where the driver gives none. */
static void keep_last_use(clf_device *device, pool *p, block *b, cl_event done)
{
    b->marker = 0;
    b->done = NULL;
    if (done) {
        b->done = clRetainEvent(done) == CL_SUCCESS ? done : NULL;
    } else if (clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &b->done) == CL_SUCCESS) {
        b->marker = ++p->markers;
    } else {
        b->done = NULL;
    }
}

void clf_pool_release(clf_device *device, cl_mem mem, cl_event done)
{
    pool *p = NULL;

    if (!mem || pool_of(device, &p)) {
        return;
    }
    clf__mutex_lock(&p->mutex);
    block **link = &p->used;
    while (*link && (*link)->mem != mem) {
        link = &(*link)->next;
    }
    block *b = *link;
    if (b) {
        *link = b->next;
        b->next = NULL;
        p->stats.in_use -= b->bytes;
        keep_last_use(device, p, b, done);
        if (!b->done || p->stats.in_use + p->stats.cached + b->bytes > limit_of(p)) {
            free_block(b);
        } else {
            for (link = &p->cached; *link; link = &(*link)->next) {
            }
            *link = b;
            p->stats.cached += b->bytes;
        }
    } else {
        clf__log(CLF_LOG_INFO, "pool: a buffer was given back that is not handed out");
    }
    clf__mutex_unlock(&p->mutex);
}

clf_pool_stats clf_pool_get_stats(clf_device *device)
{
    clf_pool_stats stats = { 0 };
    pool          *p = NULL;

    if (!pool_of(device, &p)) {
        clf__mutex_lock(&p->mutex);
        stats = p->stats;
        clf__mutex_unlock(&p->mutex);
    }
    return stats;
}

void clf_pool_reset_peak(clf_device *device)
{
    pool *p = NULL;

    if (!pool_of(device, &p)) {
        clf__mutex_lock(&p->mutex);
        p->stats.peak = p->stats.in_use;
        clf__mutex_unlock(&p->mutex);
    }
}

void clf_pool_set_limit(clf_device *device, uint64_t bytes)
{
    pool *p = NULL;

    if (!pool_of(device, &p)) {
        clf__mutex_lock(&p->mutex);
        p->stats.limit = bytes;
        if (bytes) {
            trim(p, bytes > p->stats.in_use ? bytes - p->stats.in_use : 0, false);
        }
        clf__mutex_unlock(&p->mutex);
    }
}

void clf_pool_trim(clf_device *device, uint64_t keep)
{
    pool *p = NULL;

    if (!pool_of(device, &p)) {
        clf__mutex_lock(&p->mutex);
        trim(p, keep, true); /* those that still wait go last */
        trim(p, keep, false);
        clf__mutex_unlock(&p->mutex);
    }
}
