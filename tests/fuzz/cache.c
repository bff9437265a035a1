/* Any bytes as a file of the binary cache: damaged ones are not there, sound ones come back as they were stored.
 * The first byte says what becomes of the rest: 0 the file as it is; 1 a file that was stored properly; else one
 * stored properly and then damaged at the place that the byte tells. */
#define _XOPEN_SOURCE 700
#include "device/cache.h"
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

static clf__disk_cache cache;
static clf__disk_key   key;
static char            name[512]; /* of the one file in the cache */

static void open_cache(void)
{
    DIR *folder;

    if (name[0])
        return;
    setenv("CLF_CACHE_DIR", fuzz_directory(), 1);
    EXPECT(clf__disk_open(&cache, "fuzz") == CLF_SUCCESS && cache.writable);
    key = clf__disk_make_key(&cache, "program", "-DX", "kernel");
    clf__disk_store(&cache, key, "", 0);
    folder = opendir(fuzz_directory());
    EXPECT(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strstr(entry->d_name, ".bin"))
            snprintf(name, sizeof name, "%s", fuzz_path(entry->d_name));
    closedir(folder);
    EXPECT(name[0]);
}

static void damage(size_t place)
{
    FILE *file = fopen(name, "r+b");
    long  length;
    int   byte;

    EXPECT(file && fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) > 0);
    EXPECT(fseek(file, (long)(place % (size_t)length), SEEK_SET) == 0 && (byte = fgetc(file)) != EOF);
    EXPECT(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 1, file) != EOF);
    EXPECT(fclose(file) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t mode = size ? data[0] : 0;
    void         *loaded = NULL;
    size_t        length = 0;
    bool          found;

    open_cache();
    data += size > 0;
    size -= size > 0;
    if (mode == 0)
        fuzz_write(name, data, size);
    else
        clf__disk_store(&cache, key, data, size);
    if (mode > 1)
        damage(mode - 2u);
    found = clf__disk_load(&cache, key, &loaded, &length);
    EXPECT(found == (loaded != NULL) && (found || length == 0));
    EXPECT(mode != 1 || (found && length == size && memcmp(loaded, data, size) == 0));
    EXPECT(mode <= 1 || !found);
    EXPECT(!found || ((char *)loaded)[length] == '\0'); /* as text it ends */
    free(loaded);
    return 0;
}
