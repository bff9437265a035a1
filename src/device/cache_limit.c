/* The cache on disk stays below CLF_CACHE_LIMIT: what was not used for the longest time goes first. */
#include "core/log.h"
#include "core/os.h"
#include "core/text.h"
#include "device/cache.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LIMIT ((uint64_t)1 << 30)

/* What a process leaves that dies while it writes; seconds. */
enum { ABANDONED = 3600 };

uint64_t clf__disk_limit(const char *text)
{
    static const char units[] = "KMG";
    const char *unit;
    char *end;
    unsigned long long number;
    int shift = 0;

    if (!text || !text[0])
        return DEFAULT_LIMIT;
    errno = 0;
    number = strtoull(text, &end, 10);
    unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        shift = 10 * (int)(unit - units + 1);
        end++;
    }
    if (errno || text[0] < '0' || text[0] > '9' || *end || number > UINT64_MAX >> shift) {
        clf__log(CLF_LOG_INFO, "CLF_CACHE_LIMIT is '%s', not a number of bytes such as 500M: 1G is taken", text);
        return DEFAULT_LIMIT;
    }
    return number ? (uint64_t)number << shift : UINT64_MAX;
}

static bool has_end(const char *name, const char *end)
{
    size_t length = strlen(name), more = strlen(end);

    return length >= more && !strcmp(name + length - more, end);
}

static void drop(const clf__disk_cache *cache, const clf__file_entry *file)
{
    clf__text path = { 0 };
    char *name;

    clf__text_add(&path, "%s/%s", cache->directory, file->name);
    name = clf__text_take(&path);
    if (name)
        clf__file_remove(name);
    free(name);
}

static int by_age(const void *a, const void *b)
{
    const clf__file_entry *x = a, *y = b;

    return (x->age < y->age) - (x->age > y->age); /* oldest first */
}

void clf__disk_trim(const clf__disk_cache *cache)
{
    const uint64_t limit = clf__disk_limit(getenv("CLF_CACHE_LIMIT"));
    clf__file_entry *files = NULL;
    uint64_t total = 0;
    size_t count = 0, dropped = 0;

    if (limit == UINT64_MAX || clf__directory_list(cache->directory, &files, &count) != CLF_SUCCESS)
        return;
    for (size_t i = 0; i < count; i++) {
        if (has_end(files[i].name, ".bin"))
            total += files[i].bytes;
        else if (has_end(files[i].name, ".tmp") && strstr(files[i].name, ".bin.") && files[i].age > ABANDONED)
            drop(cache, &files[i]);
    }
    if (total > limit)
        qsort(files, count, sizeof *files, by_age);
    for (size_t i = 0; i < count && total > limit; i++) {
        if (!has_end(files[i].name, ".bin"))
            continue;
        drop(cache, &files[i]);
        total -= files[i].bytes;
        dropped++;
    }
    if (dropped)
        clf__log(CLF_LOG_INFO, "cache: %d entries removed, %llu bytes stay", (int)dropped, (unsigned long long)total);
    free(files);
}
