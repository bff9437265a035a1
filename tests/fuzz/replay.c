/* Runs a fuzz target on every file of the folders named on the command line. */
#define _XOPEN_SOURCE 700
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static void replay(const char *path)
{
    struct stat about;
    FILE       *file = fopen(path, "rb");

    EXPECT(file && fstat(fileno(file), &about) == 0);
    uint8_t *data = malloc((size_t)about.st_size + 1);
    EXPECT(data && fread(data, 1, (size_t)about.st_size, file) == (size_t)about.st_size);
    fclose(file);
    /* of exactly the input's size, so that a read behind it is noticed */
    uint8_t *exact = realloc(data, about.st_size ? (size_t)about.st_size : 1);
    EXPECT(exact);
    LLVMFuzzerTestOneInput(exact, (size_t)about.st_size);
    free(exact);
}

int main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        EXPECT(folder);
        for (struct dirent *entry; (entry = readdir(folder));) {
            char path[1024];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            printf("%s\n", path); /* the last line names the input that broke something */
            fflush(stdout);
            replay(path);
            count++;
        }
        closedir(folder);
    }
    printf("%d inputs\n", count);
    return count == 0;
}
