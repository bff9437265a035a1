/* The cache on disk. A file is <key>.bin: header, then the data. Files are replaced by rename, so
 * readers see all of a file or nothing; whatever else happens to it, the checksum tells. */
#include "device/cache.h"

#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Change it when the meaning of a stored file changes. */
#define FORMAT 1

#define LARGEST_FILE ((uint64_t)1 << 30)

/* In the byte order of the machine: another order fails the version check. */
typedef struct file_header {
    char     magic[8];
    uint64_t version;
    uint64_t key_low, key_high;
    uint64_t length;
    uint64_t checksum;
} file_header;

static const char magic[8] = { 'c', 'l', 'f', 'c', 'a', 'c', 'h', 'e' };

/* "" when there is no place for a cache; NULL when memory is short. */
static char *find_directory(void)
{
    const char *own = getenv("CLF_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    clf__text path = { 0 };

    if (own)
        clf__text_add(&path, "%s", own);
    else if (xdg && xdg[0] == '/') /* a relative one is to be ignored, says its specification */
        clf__text_add(&path, "%s/clformers", xdg);
    else if (home && home[0] == '/')
        clf__text_add(&path, "%s/.cache/clformers", home);
    return clf__text_take(&path);
}

clf_status clf__disk_open(clf__disk_cache *cache, const char *identity)
{
    memset(cache, 0, sizeof *cache);
    cache->identity = clf__strdup(identity);
    cache->directory = find_directory();
    if (!cache->identity || !cache->directory) {
        clf__disk_close(cache);
        return clf__no_memory(strlen(identity) + 1);
    }
    cache->writable = cache->directory[0] && clf__make_directory(cache->directory);
    if (cache->writable)
        return CLF_SUCCESS;
    if (cache->directory[0] && clf__file_exists(cache->directory)) {
        clf__log(CLF_LOG_INFO, "cache directory '%s' cannot be written: nothing new is stored", cache->directory);
        return CLF_SUCCESS;
    }
    if (cache->directory[0])
        clf__log(CLF_LOG_INFO, "cache directory '%s' cannot be created: no cache", cache->directory);
    else
        clf__log(CLF_LOG_DEBUG, "no cache directory is set: no cache");
    clf__disk_switch_off(cache);
    return CLF_SUCCESS;
}

void clf__disk_switch_off(clf__disk_cache *cache)
{
    free(cache->directory);
    cache->directory = NULL;
}

void clf__disk_close(clf__disk_cache *cache)
{
    free(cache->directory);
    free(cache->identity);
    memset(cache, 0, sizeof *cache);
}

clf__disk_key clf__disk_make_key(const clf__disk_cache *cache, const char *kind, const char *options, const char *text)
{
    const char *parts[] = { kind, cache->identity, options, text };
    uint64_t format = FORMAT;
    XXH3_state_t state;
    XXH128_hash_t hash;

    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, &format, sizeof format);
    for (int i = 0; i < 4; i++)
        XXH3_128bits_update(&state, parts[i],
                            strlen(parts[i]) + 1); /* with the NUL, so that parts cannot run together */
    hash = XXH3_128bits_digest(&state);
    return (clf__disk_key){ .low = hash.low64, .high = hash.high64 };
}

static char *file_name(const clf__disk_cache *cache, clf__disk_key key)
{
    clf__text name = { 0 };

    clf__text_add(&name, "%s/%016llx%016llx.bin", cache->directory, (unsigned long long)key.high,
                  (unsigned long long)key.low);
    return clf__text_take(&name);
}

/* Takes the header off a file; false when the file is not what its name says. */
static bool unwrap(char *file, size_t *size, clf__disk_key key)
{
    file_header header;

    if (*size < sizeof header)
        return false;
    memcpy(&header, file, sizeof header);
    if (memcmp(header.magic, magic, sizeof magic) != 0 || header.version != FORMAT || header.key_low != key.low ||
        header.key_high != key.high || header.length != *size - sizeof header ||
        header.checksum != XXH3_64bits(file + sizeof header, header.length))
        return false;
    *size = header.length;
    memmove(file, file + sizeof header, *size + 1); /* with the NUL behind it */
    return true;
}

bool clf__disk_load(const clf__disk_cache *cache, clf__disk_key key, void **data, size_t *size)
{
    char *name;
    bool good = false;

    *data = NULL;
    *size = 0;
    if (!cache->directory)
        return false;
    name = file_name(cache, key);
    if (!name || !clf__file_exists(name))
        goto done;
    if (clf__file_read(name, LARGEST_FILE, data, size) != CLF_SUCCESS) {
        clf__log(CLF_LOG_INFO, "cache: %s", clf_error_message());
        goto done;
    }
    good = unwrap(*data, size, key);
    if (!good) {
        clf__log(CLF_LOG_INFO, "cache: '%s' is damaged and not used", name);
        free(*data);
        *data = NULL;
        *size = 0;
    } else if (cache->writable) {
        clf__file_touch(name); /* used just now: one of the last to go */
    }
done:
    free(name);
    return good;
}

void clf__disk_store(const clf__disk_cache *cache, clf__disk_key key, const void *data, size_t size)
{
    file_header header = { .version = FORMAT, .key_low = key.low, .key_high = key.high, .length = size };
    const clf__piece pieces[] = { { &header, sizeof header }, { data, size } };
    char *name;

    if (!cache->directory || !cache->writable)
        return;
    memcpy(header.magic, magic, sizeof magic);
    header.checksum = XXH3_64bits(data, size);
    name = file_name(cache, key);
    if (name && clf__file_write(name, pieces, 2) != CLF_SUCCESS)
        clf__log(CLF_LOG_INFO, "cache: %s", clf_error_message());
    else if (name)
        clf__disk_trim(cache);
    free(name);
}
