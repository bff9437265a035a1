/* The one file that knows POSIX. */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE   700
#include "core/os.h"

#include "core/status.h"
#include "core/text.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- threads --------------------------------------------------------------------------------- */

clf_status clf__mutex_init(clf__mutex *mutex)
{
    pthread_mutex_t *handle = malloc(sizeof *handle);
    pthread_mutexattr_t attributes;
    int error;

    mutex->handle = NULL;
    if (!handle)
        return clf__no_memory(sizeof *handle);
    error = pthread_mutexattr_init(&attributes);
    if (!error) {
        error = pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
        if (!error)
            error = pthread_mutex_init(handle, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }
    if (error) {
        free(handle);
        return clf__fail(CLF_OUT_OF_HOST_MEMORY, "cannot create a lock: %s", strerror(error));
    }
    mutex->handle = handle;
    return CLF_SUCCESS;
}

void clf__mutex_destroy(clf__mutex *mutex)
{
    if (mutex->handle)
        pthread_mutex_destroy(mutex->handle);
    free(mutex->handle);
    mutex->handle = NULL;
}

void clf__mutex_lock(clf__mutex *mutex)
{
    pthread_mutex_lock(mutex->handle);
}

void clf__mutex_unlock(clf__mutex *mutex)
{
    pthread_mutex_unlock(mutex->handle);
}

static pthread_mutex_t process_locks[CLF__LOCK_COUNT];
static pthread_once_t process_locks_made = PTHREAD_ONCE_INIT;

/* Without attributes, for which memory may be short, they are not recursive; they lock all the same. */
static void make_process_locks(void)
{
    pthread_mutexattr_t attributes;
    const bool good = pthread_mutexattr_init(&attributes) == 0 &&
                      pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE) == 0;

    for (int i = 0; i < CLF__LOCK_COUNT; i++)
        pthread_mutex_init(&process_locks[i], good ? &attributes : NULL);
    if (good)
        pthread_mutexattr_destroy(&attributes);
}

void clf__process_lock(clf__process_lock_id id)
{
    pthread_once(&process_locks_made, make_process_locks);
    pthread_mutex_lock(&process_locks[id]);
}

void clf__process_unlock(clf__process_lock_id id)
{
    pthread_mutex_unlock(&process_locks[id]);
}

double clf__now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- code ---------------------------------------------------------------------------------------- */

clf_status clf__library_open(const char *path, void **library)
{
    const char *reason;

    *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (*library)
        return CLF_SUCCESS;
    reason = dlerror();
    return clf__fail(CLF_IO_ERROR, "cannot load '%s': %s", path, reason ? reason : "no reason is given");
}

void *clf__library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

void clf__library_close(void *library)
{
    if (library)
        dlclose(library);
}

/* ---- files --------------------------------------------------------------------------------------- */

static clf_status file_error(const char *what, const char *path)
{
    return clf__fail(CLF_IO_ERROR, "cannot %s '%s': %s", what, path, strerror(errno));
}

bool clf__file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Reads until the end of the file; `*size` bytes fit into `*data` beside the NUL at first. */
static clf_status read_all(int file, const char *path, uint64_t limit, char **data, size_t *size)
{
    size_t capacity = *size, used = 0;

    for (;;) {
        ssize_t got = read(file, *data + used, capacity + 1 - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_error("read", path);
        used += (size_t)got;
        if (used > limit)
            return clf__fail(CLF_IO_ERROR, "'%s' is larger than the limit of %llu bytes", path,
                             (unsigned long long)limit);
        if (got == 0)
            break;
        if (used > capacity) { /* it grew, or it is a pipe that told no size */
            char *larger = capacity < SIZE_MAX / 4 ? realloc(*data, 2 * capacity + 4096) : NULL;

            if (!larger)
                return clf__no_memory(capacity);
            *data = larger;
            capacity = 2 * capacity + 4095;
        }
    }
    (*data)[used] = '\0';
    *size = used;
    return CLF_SUCCESS;
}

clf_status clf__file_read(const char *path, uint64_t limit, void **data, size_t *size)
{
    char *bytes = NULL;
    struct stat about;
    clf_status status;
    int file;

    *data = NULL;
    *size = 0;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return file_error("open", path);
    if (fstat(file, &about) != 0) {
        status = file_error("read", path);
        goto fail;
    }
    if (about.st_size > 0 && (uint64_t)about.st_size > limit) {
        status = clf__fail(CLF_IO_ERROR, "'%s' has %lld bytes, more than the limit of %llu", path,
                           (long long)about.st_size, (unsigned long long)limit);
        goto fail;
    }
    *size = S_ISREG(about.st_mode) ? (size_t)about.st_size : 0;
    bytes = malloc(*size + 1);
    if (!bytes) {
        status = clf__no_memory(*size);
        goto fail;
    }
    status = read_all(file, path, limit, &bytes, size);
    if (status)
        goto fail;
    close(file);
    *data = bytes;
    return CLF_SUCCESS;
fail:
    free(bytes);
    close(file);
    *size = 0;
    return status;
}

static clf_status write_pieces(int file, const char *path, const clf__piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *data = pieces[i].data;
        size_t left = pieces[i].size;

        while (left) {
            ssize_t done = write(file, data, left);

            if (done < 0 && errno == EINTR)
                continue;
            if (done < 0)
                return file_error("write", path);
            data += done;
            left -= (size_t)done;
        }
    }
    return CLF_SUCCESS;
}

static clf_status write_in_place(const char *path, const clf__piece *pieces, size_t count)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    clf_status status;

    if (file < 0)
        return file_error("open", path);
    status = write_pieces(file, path, pieces, count);
    if (close(file) != 0 && !status)
        status = file_error("write", path);
    return status;
}

/* A new file beside `path`; its name goes to `name`. */
static int open_temporary(const char *path, mode_t mode, char *name, size_t size)
{
    static atomic_uint number;

    for (int attempt = 0; attempt < 100; attempt++) {
        int length = snprintf(name, size, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&number, 1));
        int file;

        if (length < 0 || (size_t)length >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (file >= 0 || errno != EEXIST)
            return file;
    }
    return -1;
}

static clf_status replace_file(const char *path, mode_t mode, const clf__piece *pieces, size_t count)
{
    char temporary[PATH_MAX];
    int file = open_temporary(path, mode, temporary, sizeof temporary);
    clf_status status;

    if (file < 0)
        return file_error("create a file beside", path);
    status = write_pieces(file, path, pieces, count);
    if (!status && fsync(file) != 0)
        status = file_error("write", path);
    if (close(file) != 0 && !status)
        status = file_error("write", path);
    if (!status && rename(temporary, path) != 0)
        status = file_error("replace", path);
    if (status)
        unlink(temporary);
    return status;
}

clf_status clf__file_write(const char *path, const clf__piece *pieces, size_t count)
{
    struct stat about;
    clf_status status;
    char *real;

    if (stat(path, &about) != 0)
        return replace_file(path, 0666, pieces, count);
    if (!S_ISREG(about.st_mode)) /* never put a file in the place of /dev/null */
        return write_in_place(path, pieces, count);
    real = realpath(path, NULL);
    if (!real)
        return file_error("find", path);
    status = replace_file(real, about.st_mode & 0777, pieces, count);
    free(real);
    return status;
}

/* Adds a file to the list, its name to `names`; until the end, the place of a name stands for its address. */
static bool add_file(DIR *directory, const char *name, const struct timespec *now, clf__text *entries, clf__text *names)
{
    clf__file_entry entry = { .name = NULL };
    struct stat about;

    if (fstatat(dirfd(directory), name, &about, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(about.st_mode))
        return true; /* gone meanwhile, or nothing of ours */
    entry.bytes = (uint64_t)about.st_size;
    entry.age = (double)(now->tv_sec - about.st_mtim.tv_sec) + 1e-9 * (double)(now->tv_nsec - about.st_mtim.tv_nsec);
    clf__text_append(entries, (const char *)&entry, sizeof entry);
    clf__text_append(names, name, strlen(name) + 1);
    return !entries->failed && !names->failed;
}

clf_status clf__directory_list(const char *path, clf__file_entry **files, size_t *count)
{
    clf__text entries = { 0 }, names = { 0 };
    DIR *directory = opendir(path);
    const struct dirent *entry;
    struct timespec now;
    bool good = true;
    char *name;

    *files = NULL;
    *count = 0;
    if (!directory)
        return file_error("open", path);
    clock_gettime(CLOCK_REALTIME, &now);
    while (good && (entry = readdir(directory)) != NULL)
        good = add_file(directory, entry->d_name, &now, &entries, &names);
    closedir(directory);
    *count = entries.length / sizeof **files;
    clf__text_append(&entries, names.data, names.length);
    if (entries.failed || names.failed) {
        clf__text_free(&entries);
        clf__text_free(&names);
        *count = 0;
        return clf__no_memory(names.length);
    }
    clf__text_free(&names);
    *files = (clf__file_entry *)(void *)clf__text_take(&entries);
    name = (char *)(*files + *count);
    for (size_t i = 0; i < *count; i++, name += strlen(name) + 1)
        (*files)[i].name = name;
    return CLF_SUCCESS;
}

void clf__file_touch(const char *path)
{
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

void clf__file_remove(const char *path)
{
    (void)unlink(path);
}

bool clf__make_directory(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof part)
        return false;
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST && i == length)
            return false;
        part[i] = path[i];
    }
    return access(path, W_OK | X_OK) == 0 && access(path, R_OK) == 0;
}
