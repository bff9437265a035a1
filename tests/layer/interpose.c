#define _XOPEN_SOURCE 700
#include "interpose.h"

#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    atomic_bool armed;
    bool        always;
    host_call   call;
    int         left, error;
    atomic_int  failed;
} plan;

static atomic_int allocations;

void host_fail(host_call call, int n, int error, bool always)
{
    plan.always = always;
    plan.call = call;
    plan.left = n;
    plan.error = error;
    plan.failed = 0;
    plan.armed = true;
}

void host_calm(void)
{
    plan.armed = false;
}

int host_failed(void)
{
    return plan.failed;
}

int host_allocations(void)
{
    return allocations;
}

const char *host_name(host_call call)
{
    static const char *const names[] = { "allocation", "open",  "read",  "write", "short write", "fsync",
                                         "close",      "rename", "mkdir", "fstat", "realpath" };
    return names[call];
}

static bool fails(host_call call)
{
    if (!plan.armed || plan.call != call || --plan.left > 0)
        return false;
    plan.armed = plan.always;
    plan.failed++;
    errno = plan.error;
    return true;
}

/* The linker's names: __wrap_x is what our objects call, __real_x the C library's. */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wreserved-identifier"
void   *__real_malloc(size_t size);
void   *__real_calloc(size_t count, size_t size);
void   *__real_realloc(void *old, size_t size);
void    __real_free(void *memory);
int     __real_open(const char *path, int flags, ...);
ssize_t __real_read(int file, void *data, size_t size);
ssize_t __real_write(int file, const void *data, size_t size);
int     __real_fsync(int file);
int     __real_close(int file);
int     __real_rename(const char *from, const char *to);
int     __real_mkdir(const char *path, mode_t mode);
int     __real_fstat(int file, struct stat *about);
char   *__real_realpath(const char *path, char *resolved);
void   *__wrap_malloc(size_t size);
void   *__wrap_calloc(size_t count, size_t size);
void   *__wrap_realloc(void *old, size_t size);
void    __wrap_free(void *memory);
int     __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int file, void *data, size_t size);
ssize_t __wrap_write(int file, const void *data, size_t size);
int     __wrap_fsync(int file);
int     __wrap_close(int file);
int     __wrap_rename(const char *from, const char *to);
int     __wrap_mkdir(const char *path, mode_t mode);
int     __wrap_fstat(int file, struct stat *about);
char   *__wrap_realpath(const char *path, char *resolved);

static void *count_new(void *memory)
{
    allocations += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return fails(HOST_ALLOCATE) ? NULL : count_new(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(HOST_ALLOCATE) ? NULL : count_new(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (fails(HOST_ALLOCATE))
        return NULL;
    return old ? __real_realloc(old, size) : count_new(__real_realloc(NULL, size));
}

void __wrap_free(void *memory)
{
    allocations -= memory != NULL;
    __real_free(memory);
}

void host_catch_cjson(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = __wrap_malloc, .free_fn = __wrap_free });
}

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_list arguments;

        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return fails(HOST_OPEN) ? -1 : __real_open(path, flags, mode);
}

ssize_t __wrap_read(int file, void *data, size_t size)
{
    return fails(HOST_READ) ? -1 : __real_read(file, data, size);
}

ssize_t __wrap_write(int file, const void *data, size_t size)
{
    if (fails(HOST_WRITE))
        return -1;
    return __real_write(file, data, fails(HOST_SHORT_WRITE) ? (size + 1) / 2 : size);
}

int __wrap_fsync(int file)
{
    return fails(HOST_FSYNC) ? -1 : __real_fsync(file);
}

/* A close that fails has closed the file all the same. */
int __wrap_close(int file)
{
    const bool fail = fails(HOST_CLOSE);
    const int  error = errno, real = __real_close(file);

    if (fail)
        errno = error;
    return fail ? -1 : real;
}

int __wrap_rename(const char *from, const char *to)
{
    return fails(HOST_RENAME) ? -1 : __real_rename(from, to);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return fails(HOST_MKDIR) ? -1 : __real_mkdir(path, mode);
}

int __wrap_fstat(int file, struct stat *about)
{
    return fails(HOST_FSTAT) ? -1 : __real_fstat(file, about);
}

char *__wrap_realpath(const char *path, char *resolved)
{
    return fails(HOST_REALPATH) ? NULL : resolved ? __real_realpath(path, resolved)
                                                  : count_new(__real_realpath(path, NULL));
}
