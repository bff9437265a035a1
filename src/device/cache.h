/* The cache on disk: compiled programs and outcomes of probes, one file each, found by content. */
#ifndef CLF_DEVICE_CACHE_H
#define CLF_DEVICE_CACHE_H

#include <clformers/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct clf__disk_cache {
    char *directory; /* NULL = switched off or unusable */
    bool  writable;  /* false: a directory filled by somebody else */
    char *identity;  /* device, driver and platform in words; part of every key */
} clf__disk_cache;

typedef struct clf__disk_key {
    uint64_t low, high;
} clf__disk_key;

/* Finds the directory: CLF_CACHE_DIR, $XDG_CACHE_HOME/clformers, $HOME/.cache/clformers. One that cannot
 * be used is logged and leaves the cache off. Only lack of memory is an error. */
clf_status clf__disk_open(clf__disk_cache *cache, const char *identity);
void       clf__disk_close(clf__disk_cache *cache);
/* Nothing is loaded or stored any more. */
void       clf__disk_switch_off(clf__disk_cache *cache);

/* `kind` keeps different uses apart. */
clf__disk_key clf__disk_make_key(const clf__disk_cache *cache, const char *kind, const char *options, const char *text);

/* The stored bytes, or false when there are none or the file is damaged. free() the data. */
bool clf__disk_load(const clf__disk_cache *cache, clf__disk_key key, void **data, size_t *size);

/* Failures are logged, nothing more: the next process compiles again. Keeps the cache below its limit. */
void clf__disk_store(const clf__disk_cache *cache, clf__disk_key key, const void *data, size_t size);

/* ---- cache_limit.c ------------------------------------------------------------------------------- */

/* Removes the entries that were not used for the longest time until the rest is below CLF_CACHE_LIMIT, and what
 * a process that died left half written. */
void     clf__disk_trim(const clf__disk_cache *cache);
/* "500M" in bytes; the default for NULL, "" and what is no number, UINT64_MAX for "0". */
uint64_t clf__disk_limit(const char *text);

#endif
