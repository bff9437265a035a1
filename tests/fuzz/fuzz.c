#define _XOPEN_SOURCE 700
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    EXPECT(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static char  directory[64];
static pid_t owner;

static void remove_directory(void)
{
    DIR *opened = getpid() == owner ? opendir(directory) : NULL;

    if (!opened)
        return;
    for (struct dirent *entry; (entry = readdir(opened));)
        unlink(fuzz_path(entry->d_name));
    closedir(opened);
    rmdir(directory);
}

const char *fuzz_directory(void)
{
    if (!directory[0]) {
        snprintf(directory, sizeof directory, "%s/clf-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        EXPECT(mkdtemp(directory));
        owner = getpid();
        atexit(remove_directory);
    }
    return directory;
}

const char *fuzz_path(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    return path;
}

void fuzz_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    EXPECT(file);
    EXPECT(fwrite(data, 1, size, file) == size);
    EXPECT(fclose(file) == 0);
}
