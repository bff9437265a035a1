/* Every file call of the library fails with every reason that it has in practice, once and from then on, while
 * outputs and cache entries are written and read; then real full disks, limits, and entries cut at every length. A
 * failed write leaves what was there before and no temporary file; a cache that fails is a cache that is not there. */
#define _XOPEN_SOURCE 700
#include "core/os.h"
#include "core/status.h"
#include "device/cache.h"
#include "interpose.h"
#include "job.h"
#include "layer.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[32], path[64], fault[80];
static int  injected, survived;

static void begin(void)
{
    strcpy(directory, "/tmp/clf_files_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    setenv("CLF_CACHE_DIR", directory, 1);
}

static void end(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(files, .init = begin, .fini = end);

static const struct { host_call call; int errors[5]; } reasons[] = {
    { HOST_OPEN, { EACCES, EROFS, ENOSPC, EMFILE } },
    { HOST_READ, { EIO, EINTR } },
    { HOST_WRITE, { ENOSPC, EDQUOT, EFBIG, EIO, EINTR } },
    { HOST_SHORT_WRITE, { EINTR } },
    { HOST_FSYNC, { EIO, ENOSPC } },
    { HOST_CLOSE, { EIO, ENOSPC } },
    { HOST_RENAME, { EROFS, ENOSPC, EACCES } },
    { HOST_MKDIR, { EROFS, ENOSPC } },
    { HOST_FSTAT, { EIO } },
    { HOST_REALPATH, { EACCES } },
};

/* Runs `task` under every fault; it says whether all was well. What is interrupted, or written in pieces, goes on:
 * forever, if every call were. */
static void inject_all(bool (*task)(int error))
{
    for (size_t r = 0; r < sizeof reasons / sizeof reasons[0]; r++)
        for (int e = 0; e < 5 && reasons[r].errors[e]; e++)
            for (int always = 0; always <= (reasons[r].errors[e] != EINTR); always++) {
                bool fired = true;
                for (int n = 1; fired; n++) {
                    const int error = reasons[r].errors[e];
                    snprintf(fault, sizeof fault, "%s number %d: %s%s", host_name(reasons[r].call), n, strerror(error),
                             always ? ", from then on" : "");
                    host_fail(reasons[r].call, n, error, always);
                    const bool good = task(error == EINTR ? 0 : error);
                    fired = host_failed() > 0;
                    host_calm();
                    if (!good)
                        fprintf(stderr, "not survived: %s (%s)\n", fault, clf_error_message());
                    injected += fired;
                    survived += fired && good;
                    cr_assert(fired || good, "without a fault");
                }
            }
    printf("faults: %d injected, %d survived\n", injected, survived);
    fflush(stdout);
    cr_assert_gt(injected, 10);
    cr_assert_eq(survived, injected);
}

static int count_files(void)
{
    DIR *folder = opendir(directory);
    struct dirent *entry;
    int count = 0;

    cr_assert_not_null(folder);
    while ((entry = readdir(folder)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* ---- outputs ------------------------------------------------------------------------------------------- */

static clf_status write_number(float number)
{
    const int64_t one = 1;
    clf_safetensors_writer *writer = NULL;
    clf_status status = clf_safetensors_create(path, &writer);

    if (status == CLF_SUCCESS)
        status = clf_safetensors_add(writer, "number", CLF_F32, 1, &one, &number);
    if (status == CLF_SUCCESS)
        return clf_safetensors_commit(writer);
    clf_safetensors_discard(writer);
    return status;
}

static clf_status read_number(float *number)
{
    clf_safetensors *file = NULL;
    const clf_status status = clf_safetensors_open(path, &file);

    if (status == CLF_SUCCESS)
        memcpy(number, clf_safetensors_at(file, 0)->data, sizeof *number);
    clf_safetensors_close(file);
    return status;
}

/* The message names file and reason. */
static bool told(clf_status status, int error)
{
    return status == CLF_IO_ERROR && error && strstr(clf_error_message(), strerror(error)) &&
           strstr(clf_error_message(), path);
}

static bool overwrite(int error)
{
    float number = 0;
    clf_status status;
    static float next = 1, now;

    status = write_number(++next);
    const bool good = status == CLF_SUCCESS ? !host_failed() || !error : told(status, error);
    host_calm();
    now = status == CLF_SUCCESS ? next : now;
    if (now == 0)
        return good && count_files() == 0;
    return good && read_number(&number) == CLF_SUCCESS && number == now && count_files() == 1;
}

Test(files, of_outputs_that_are_new)
{
    inject_all(overwrite);
}

Test(files, of_outputs_that_replace_others)
{
    cr_assert(overwrite(0));
    inject_all(overwrite);
}

static bool read_once(int error)
{
    float number = 0;
    const clf_status status = read_number(&number);

    if (status == CLF_SUCCESS)
        return number == 7 && (!error || !host_failed() || strstr(fault, "close"));
    return told(status, error);
}

Test(files, of_inputs)
{
    cr_assert_eq(write_number(7), CLF_SUCCESS);
    inject_all(read_once);
}

/* ---- the cache --------------------------------------------------------------------------------------------- */

/* Nothing wrong comes back, now or later. */
static bool use_cache(int error)
{
    static const char text[] = "something worth keeping";
    clf__disk_cache cache;
    void *data = NULL;
    size_t size = 0;
    bool good = true;

    (void)error;
    if (clf__disk_open(&cache, "any device") != CLF_SUCCESS)
        return false;
    const clf__disk_key key = clf__disk_make_key(&cache, "test", "", "");
    clf__disk_store(&cache, key, text, sizeof text);
    if (clf__disk_load(&cache, key, &data, &size))
        good = size == sizeof text && memcmp(data, text, size) == 0;
    free(data);
    host_calm();
    good = good && count_files() <= 1;
    clf__disk_close(&cache);
    if (clf__disk_open(&cache, "any device") != CLF_SUCCESS)
        return false;
    clf__disk_store(&cache, key, text, sizeof text);
    good = good && clf__disk_load(&cache, key, &data, &size);
    free(data);
    clf__disk_close(&cache);
    return good;
}

Test(files, of_a_cache_that_is_there)
{
    inject_all(use_cache);
}

static bool use_new_cache(int error)
{
    char inner[48], command[80];

    snprintf(inner, sizeof inner, "%s/a/b", directory);
    setenv("CLF_CACHE_DIR", inner, 1);
    const bool good = use_cache(error);
    snprintf(command, sizeof command, "rm -rf %s/a", directory);
    return system(command) == 0 && good;
}

Test(files, of_a_cache_that_is_created)
{
    inject_all(use_new_cache);
}

/* A device whose cache cannot be written or read computes all the same. */
Test(files, of_a_device_with_a_broken_cache)
{
    static const struct { host_call call; int error; } broken[] = {
        { HOST_WRITE, ENOSPC }, { HOST_OPEN, EACCES }, { HOST_RENAME, EROFS }, { HOST_READ, EIO }, { HOST_MKDIR, EROFS },
    };
    job_results expected = { .out = { 0 } };

    for (int i = 0; i < 6; i++) {
        job j = { .device = NULL };

        if (i > 0)
            host_fail(broken[i - 1].call, 1, broken[i - 1].error, true);
        for (const job_stage *stage = job_stages; stage->name; stage++)
            cr_assert_eq(stage->run(&j), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
        job_close(&j);
        host_calm();
        if (i == 0)
            expected = j.results;
        cr_assert(job_agree(&j.results, &expected));
    }
}

/* ---- real disks ---------------------------------------------------------------------------------------------- */

Test(files, a_full_disk)
{
    if (access("/dev/full", W_OK) != 0)
        cr_skip_test("there is no /dev/full");
    cr_assert_eq(symlink("/dev/full", path), 0);
    cr_assert(told(write_number(1), ENOSPC), "%s", clf_error_message());
    char target[32] = "";
    cr_assert_gt(readlink(path, target, sizeof target - 1), 0, "the link is still one");
}

Test(files, a_limit_on_the_size_of_files)
{
    clf__disk_cache cache;
    struct rlimit limit;
    void *data;
    size_t size;

    cr_assert_eq(write_number(5), CLF_SUCCESS);
    cr_assert_eq(clf__disk_open(&cache, "any device"), CLF_SUCCESS);
    const clf__disk_key key = clf__disk_make_key(&cache, "test", "", "");
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 10;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const clf_status status = write_number(6);
    const bool good = told(status, EFBIG);
    clf__disk_store(&cache, key, "too long for this disk", 22);
    const bool found = clf__disk_load(&cache, key, &data, &size);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    float number = 0;
    cr_assert(good && !found);
    cr_assert_eq(read_number(&number), CLF_SUCCESS);
    cr_assert_eq(number, 5);
    cr_assert_eq(count_files(), 1);
    clf__disk_close(&cache);
}

Test(files, a_directory_or_nothing_where_a_file_should_be)
{
    cr_assert_eq(mkdir(path, 0777), 0);
    cr_assert_eq(write_number(1), CLF_IO_ERROR);
    cr_assert(strstr(clf_error_message(), path));
    cr_assert_eq(count_files(), 1);
    snprintf(path, sizeof path, "%s/no/such/file", directory);
    cr_assert(told(write_number(1), ENOENT), "%s", clf_error_message());
    strcpy(path, "/proc/clformers"); /* a file system where nobody may write */
    cr_assert_eq(write_number(1), CLF_IO_ERROR);
    cr_assert(strstr(clf_error_message(), path));
}

/* ---- cut entries ------------------------------------------------------------------------------------------------ */

/* The smallest entry that is a program. */
static const char *find_program(off_t *size)
{
    static char name[320];
    DIR *folder = opendir(directory);
    struct dirent *entry;
    struct stat about;
    char one[320];

    *size = 0;
    while ((entry = readdir(folder)) != NULL) {
        snprintf(one, sizeof one, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' && stat(one, &about) == 0 && about.st_size > 1000 &&
            (*size == 0 || about.st_size < *size)) {
            *size = about.st_size;
            strcpy(name, one);
        }
    }
    closedir(folder);
    return name;
}

/* No beginning of a compiled program is taken for the whole. Now and then a device is opened on one. */
Test(files, entries_cut_at_every_length, .timeout = 300)
{
    unsigned long long high, low;
    clf__disk_cache cache;
    off_t size;
    void *data;
    size_t got;

    job first = { .device = NULL };
    for (const job_stage *stage = job_stages; stage->name; stage++)
        cr_assert_eq(stage->run(&first), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
    job_close(&first);
    const char *name = find_program(&size);
    cr_assert_gt(size, 1000);
    cr_assert_eq(sscanf(strrchr(name, '/'), "/%16llx%16llx.bin", &high, &low), 2);
    const clf__disk_key key = { .low = low, .high = high };
    cr_assert_eq(clf__disk_open(&cache, "any device"), CLF_SUCCESS);
    cr_assert(clf__disk_load(&cache, key, &data, &got));
    free(data);
    for (off_t length = size - 1; length >= 0; length--) {
        cr_assert_eq(truncate(name, length), 0);
        cr_assert_not(clf__disk_load(&cache, key, &data, &got), "cut to %ld bytes", (long)length);
    }
    for (int i = 0; i < 4; i++) { /* each job stores the whole again */
        const off_t lengths[] = { 0, 40, size / 2, size - 1 };
        job j = { .device = NULL };

        cr_assert_eq(truncate(name, lengths[i]), 0);
        for (const job_stage *stage = job_stages; stage->name; stage++)
            cr_assert_eq(stage->run(&j), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
        cr_assert_eq(clf_device_program_stats(j.device).built, 1);
        job_close(&j);
        cr_assert(job_agree(&j.results, &first.results));
    }
    printf("cut: %ld lengths of an entry, none was taken\n", (long)size);
    clf__disk_close(&cache);
}
