/* The objects that the program holds: a table of handles with the references taken and not yet given back. */
#include "inside.h"
#include <pthread.h>
#include <stdlib.h>

enum { SLOTS = 1 << 16 };

typedef struct object {
    void        *handle; /* NULL = a free slot that ends a search */
    layer_object kind;
    int          references; /* 0 = a free slot inside a chain */
    bool         from_source;
} object;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static layer_counts    counts;
static object          table[SLOTS];

layer_counts *layer__lock(void)
{
    pthread_mutex_lock(&lock);
    return &counts;
}

void layer__unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* The object of a handle, or NULL. */
static object *find(layer_object kind, const void *handle)
{
    size_t at = (uintptr_t)handle / 16 * 2654435761u % SLOTS;

    for (; table[at].handle; at = (at + 1) % SLOTS)
        if (table[at].handle == handle && table[at].kind == kind && table[at].references)
            return &table[at];
    return NULL;
}

/* A used-up slot on the way, or the end of the chain. Tests never hold as many objects as there are slots. */
static object *slot_for(const void *handle)
{
    size_t at = (uintptr_t)handle / 16 * 2654435761u % SLOTS;

    while (table[at].handle && table[at].references)
        at = (at + 1) % SLOTS;
    return &table[at];
}

void layer__made(layer_object kind, void *handle)
{
    if (!handle)
        return;
    (void)layer__lock();
    *slot_for(handle) = (object){ .handle = handle, .kind = kind, .references = 1 };
    counts.alive[kind]++;
    layer__unlock();
}

void layer__retained(layer_object kind, void *handle)
{
    (void)layer__lock();
    object *one = find(kind, handle);
    if (one)
        one->references++;
    else
        counts.strangers++;
    layer__unlock();
}

/* Call it before the driver is called: afterwards another object may have the same handle. */
void layer__released(layer_object kind, void *handle)
{
    (void)layer__lock();
    object *one = find(kind, handle);
    if (!one)
        counts.strangers++;
    else if (--one->references == 0)
        counts.alive[kind]--;
    layer__unlock();
}

void layer__device_retained(int difference)
{
    layer__lock()->device_references += difference;
    layer__unlock();
}

static void CL_CALLBACK buffer_freed(cl_mem buffer, void *bytes)
{
    (void)buffer;
    layer__lock()->bytes -= (uintptr_t)bytes;
    layer__unlock();
}

/* The driver may keep memory for running commands after its release: it tells when it frees it. */
void layer__buffer_made(cl_mem buffer, size_t bytes)
{
    if (!buffer)
        return;
    layer__made(LAYER_BUFFER, buffer);
    if (layer__next.clSetMemObjectDestructorCallback(buffer, buffer_freed, (void *)(uintptr_t)bytes) != CL_SUCCESS)
        return;
    (void)layer__lock();
    counts.bytes += bytes;
    if (counts.bytes > counts.peak)
        counts.peak = counts.bytes;
    layer__unlock();
}

void layer__program_from_source(cl_program program)
{
    (void)layer__lock();
    object *one = find(LAYER_PROGRAM, program);
    if (one)
        one->from_source = true;
    layer__unlock();
}

void layer__program_built(cl_program program)
{
    (void)layer__lock();
    const object *one = find(LAYER_PROGRAM, program);
    counts.source_builds += one && one->from_source;
    layer__unlock();
}
