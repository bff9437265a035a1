/* Listening to Oclgrind, which goes on after an error and whose exit status does not tell. */
#define _POSIX_C_SOURCE 200809L
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void clf__kit_watch_begin(clf__kit_watch *watch, bool simulator)
{
    const char *folder = getenv("TMPDIR");
    int         file;
    watch->path[0] = '\0';
    if (!simulator || getenv("OCLGRIND_LOG"))
        return;
    if (!folder || !folder[0] || strlen(folder) > 32)
        folder = "/tmp";
    snprintf(watch->path, sizeof watch->path, "%s/clf_selftest_XXXXXX", folder);
    file = mkstemp(watch->path);
    if (file < 0) {
        watch->path[0] = '\0';
        return;
    }
    close(file);
    setenv("OCLGRIND_LOG", watch->path, 1);
    setenv("OCLGRIND_DATA_RACES", "1", 0);
    setenv("OCLGRIND_CHECK_API", "1", 0);
}

void clf__kit_watch_end(clf__kit_watch *watch, char *trouble, size_t size)
{
    FILE *file = watch->path[0] ? fopen(watch->path, "r") : NULL;
    char  line[512];
    bool  first = true;
    while (file && fgets(line, sizeof line, file)) {
        const size_t used = strlen(trouble);
        if (!line[strspn(line, " \t\n")] || used + 1 >= size)
            continue;
        snprintf(trouble + used, size - used, "%s%s", !first ? "" : used ? "; the simulator: " : "the simulator: ", line);
        first = false;
    }
    if (file)
        fclose(file);
    if (watch->path[0]) {
        remove(watch->path);
        unsetenv("OCLGRIND_LOG");
    }
    watch->path[0] = '\0';
}

bool clf__kit_seeks_unwritten(const clf_device *device)
{
    return clf_device_get_info(device)->simulator && getenv("OCLGRIND_UNINITIALIZED");
}
