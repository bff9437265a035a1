/* Everything that is not ISO C: threads, files, time. The only file that knows POSIX is os.c. */
#ifndef CLF_CORE_OS_H
#define CLF_CORE_OS_H

#include <clformers/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Recursive: a thread that holds it may lock it again. */
typedef struct clf__mutex { void *handle; } clf__mutex;
clf_status clf__mutex_init(clf__mutex *mutex);
void       clf__mutex_destroy(clf__mutex *mutex); /* zeroed ones are allowed */
void       clf__mutex_lock(clf__mutex *mutex);
void       clf__mutex_unlock(clf__mutex *mutex);

/* Locks for what a process has once; they need no set-up and are recursive. Take them in the order of the list. */
typedef enum clf__process_lock_id {
    CLF__LOCK_REGISTRY = 0,
    CLF__LOCK_DRIVERS  = 1, /* drivers that are met for the first time */
    CLF__LOCK_LOG      = 2,
    CLF__LOCK_COUNT    = 3
} clf__process_lock_id;
void clf__process_lock(clf__process_lock_id id);
void clf__process_unlock(clf__process_lock_id id);

double clf__now(void); /* seconds, monotonic */

/* A shared object of code; a path without a slash is searched for by the system.
 * Errors: CLF_IO_ERROR with the system's reason. */
clf_status clf__library_open(const char *path, void **library);
void      *clf__library_symbol(void *library, const char *name); /* NULL = it has none */
void       clf__library_close(void *library);

/* A whole file in memory (one NUL byte behind it); free() it.
 * Errors: CLF_IO_ERROR with path and reason; files above `limit` bytes are refused. */
clf_status clf__file_read(const char *path, uint64_t limit, void **data, size_t *size);
bool       clf__file_exists(const char *path);

/* Pieces of a file written in one go: temporary file in the same directory, fsync, rename; a failure
 * leaves what was there before. A link is followed, a device or pipe is written in place. */
typedef struct clf__piece { const void *data; size_t size; } clf__piece;
clf_status clf__file_write(const char *path, const clf__piece *pieces, size_t count);

/* The plain files of a directory; free() *files, one block with the names in it. */
typedef struct clf__file_entry { const char *name; uint64_t bytes; double age; /* seconds since its last change */ } clf__file_entry;
clf_status clf__directory_list(const char *path, clf__file_entry **files, size_t *count);
void       clf__file_touch(const char *path);  /* as if it were changed now; failures do not matter */
void       clf__file_remove(const char *path); /* the same */

/* Creates a directory and its parents; true when it exists and can be written afterwards. */
bool clf__make_directory(const char *path);

#endif
