/* The cache on disk: what is stored comes back, what is damaged does not, and programs use it. */
#define _XOPEN_SOURCE 700
#include "core/os.h"
#include "device/cache.h"
#include "device/device.h"
#include "device/program.h"
#include "devices.h"
#include <clformers/log.h>
#include "toy.h"
#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 400 };

static char directory[64];

static void enter_directory(void)
{
    strcpy(directory, "/tmp/clf_cache_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    setenv("CLF_CACHE_DIR", directory, 1);
}

static void remove_directory(void)
{
    char command[256];

    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", directory, directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(cache, .init = enter_directory, .fini = remove_directory);

static clf__disk_cache open_cache(const char *identity)
{
    clf__disk_cache cache;

    cr_assert_eq(clf__disk_open(&cache, identity), CLF_SUCCESS, "%s", clf_error_message());
    return cache;
}

/* Names of the files in the cache, at most `room` of them. */
static int list_files(char names[][PATH_SIZE], int room)
{
    DIR *folder = opendir(directory);
    struct dirent *entry;
    int count = 0;

    cr_assert_not_null(folder);
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && count < room)
            snprintf(names[count++], PATH_SIZE, "%s/%s", directory, entry->d_name);
    closedir(folder);
    return count;
}

static bool loads(const clf__disk_cache *cache, clf__disk_key key)
{
    void *data;
    size_t size;
    bool good = clf__disk_load(cache, key, &data, &size);

    cr_assert_eq(good, data != NULL);
    free(data);
    return good;
}

Test(cache, stores_and_loads)
{
    clf__disk_cache cache = open_cache("device A");
    clf__disk_key key = clf__disk_make_key(&cache, "test", "-DX=1", "text");
    void *data;
    size_t size;

    cr_assert_not(loads(&cache, key));
    clf__disk_store(&cache, key, "some\0bytes", 10);
    cr_assert(clf__disk_load(&cache, key, &data, &size));
    cr_assert_eq(size, 10);
    cr_assert_arr_eq(data, "some\0bytes", 11, "with a NUL behind them");
    free(data);
    clf__disk_store(&cache, key, "", 0);
    cr_assert(clf__disk_load(&cache, key, &data, &size));
    cr_assert_eq(size, 0);
    free(data);
    clf__disk_close(&cache);
}

Test(cache, everything_is_part_of_the_key)
{
    clf__disk_cache cache = open_cache("device A"), other = open_cache("device B");
    clf__disk_key keys[] = {
        clf__disk_make_key(&cache, "test", "-DX=1", "text"),  clf__disk_make_key(&other, "test", "-DX=1", "text"),
        clf__disk_make_key(&cache, "other", "-DX=1", "text"), clf__disk_make_key(&cache, "test", "-DX=2", "text"),
        clf__disk_make_key(&cache, "test", "-DX=1", "texT"),  clf__disk_make_key(&cache, "test", "-DX=", "1text"),
    };

    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++)
            cr_assert(keys[i].low != keys[j].low && keys[i].high != keys[j].high, "%d and %d", i, j);
    clf__disk_close(&cache);
    clf__disk_close(&other);
}

/* Every way in which a file can be wrong. */
Test(cache, damaged_files_are_not_used)
{
    clf__disk_cache cache = open_cache("device A");
    clf__disk_key key = clf__disk_make_key(&cache, "test", "", ""), other = clf__disk_make_key(&cache, "test", "", "x");
    char names[2][PATH_SIZE], name[PATH_SIZE];
    unsigned char *file;
    void *data;
    size_t size;

    clf__disk_store(&cache, key, "0123456789", 10);
    cr_assert_eq(list_files(names, 2), 1);
    strcpy(name, names[0]);
    cr_assert_eq(clf__file_read(name, 1000, &data, &size), CLF_SUCCESS);
    file = data;
    for (size_t length = 0; length < size; length++) {
        const clf__piece piece = { file, length };

        cr_assert_eq(clf__file_write(name, &piece, 1), CLF_SUCCESS);
        cr_assert_not(loads(&cache, key), "cut to %zu bytes", length);
    }
    for (size_t at = 0; at < size; at++) {
        const clf__piece piece = { file, size };

        file[at] ^= 0x40;
        cr_assert_eq(clf__file_write(name, &piece, 1), CLF_SUCCESS);
        cr_assert_not(loads(&cache, key), "byte %zu changed", at);
        file[at] ^= 0x40;
    }
    {
        const clf__piece longer[] = { { file, size }, { "x", 1 } }, whole = { file, size };

        cr_assert_eq(clf__file_write(name, longer, 2), CLF_SUCCESS);
        cr_assert_not(loads(&cache, key), "one byte too many");
        cr_assert_eq(clf__file_write(name, &whole, 1), CLF_SUCCESS);
        cr_assert(loads(&cache, key));
    }
    /* a good file under another's name */
    clf__disk_store(&cache, other, "x", 1);
    cr_assert_eq(list_files(names, 2), 2);
    cr_assert_eq(rename(name, strcmp(name, names[0]) ? names[0] : names[1]), 0);
    cr_assert_not(loads(&cache, other));
    cr_assert_eq(mkdir(name, 0777), 0);
    cr_assert_not(loads(&cache, key), "a directory in its place");
    free(data);
    clf__disk_close(&cache);
}

/* ---- which directory ------------------------------------------------------------------------- */

static void expect_directory(const char *own, const char *xdg, const char *home, const char *expected)
{
    const char *names[] = { "CLF_CACHE_DIR", "XDG_CACHE_HOME", "HOME" }, *values[] = { own, xdg, home };
    clf__disk_cache cache;

    for (int i = 0; i < 3; i++) {
        char path[PATH_SIZE];

        if (!values[i]) {
            unsetenv(names[i]);
        } else {
            snprintf(path, sizeof path, "%s%s", values[i][0] == '+' ? directory : "",
                     values[i] + (values[i][0] == '+'));
            setenv(names[i], path, 1);
        }
    }
    cache = open_cache("any");
    if (expected)
        cr_assert_str_eq(cache.directory + strlen(directory), expected);
    else
        cr_assert_null(cache.directory);
    clf__disk_close(&cache);
}

Test(cache, directory)
{
    const clf__piece nothing = { "", 0 };
    char path[PATH_SIZE];

    expect_directory("+/own/deep", "+/xdg", "+/home", "/own/deep");
    expect_directory(NULL, "+/xdg", "+/home", "/xdg/clformers");
    expect_directory(NULL, "relative", "+/home", "/home/.cache/clformers");
    expect_directory(NULL, NULL, "+/home", "/home/.cache/clformers");
    expect_directory(NULL, NULL, NULL, NULL);
    expect_directory(NULL, "", "", NULL);
    expect_directory("", "+/xdg", "+/home", NULL);
    snprintf(path, sizeof path, "%s/file", directory);
    cr_assert_eq(clf__file_write(path, &nothing, 1), CLF_SUCCESS);
    expect_directory("+/file/sub", NULL, NULL, NULL);
    expect_directory("/proc/clformers", NULL, NULL, NULL);
}

Test(cache, a_directory_that_can_only_be_read)
{
    clf__disk_cache cache = open_cache("device A");
    clf__disk_key key = clf__disk_make_key(&cache, "test", "", "1"),
                  other = clf__disk_make_key(&cache, "test", "", "2");

    clf__disk_store(&cache, key, "kept", 4);
    cache.writable = false; /* what clf__disk_open finds there; root may write anywhere, so it cannot be tried here */
    clf__disk_store(&cache, other, "new", 3);
    cr_assert(loads(&cache, key));
    cr_assert_not(loads(&cache, other));
    clf__disk_close(&cache);
    if (geteuid() != 0) {
        cr_assert_eq(chmod(directory, 0500), 0);
        cache = open_cache("device A");
        cr_assert_not(cache.writable);
        cr_assert(loads(&cache, key));
        clf__disk_close(&cache);
    }
}

static void *store_and_load(void *user)
{
    clf__disk_cache cache = open_cache("shared");
    clf__disk_key key = clf__disk_make_key(&cache, "test", "", "shared");
    char *bytes = malloc(100000);
    bool *good = user;

    memset(bytes, 7, 100000);
    *good = true;
    for (int i = 0; i < 20; i++) {
        void *data = NULL;
        size_t size = 0;

        clf__disk_store(&cache, key, bytes, 100000);
        *good = *good && clf__disk_load(&cache, key, &data, &size) && size == 100000;
        free(data);
    }
    free(bytes);
    clf__disk_close(&cache);
    return NULL;
}

Test(cache, writers_share_a_directory)
{
    pthread_t threads[4];
    char names[10][PATH_SIZE];
    bool good[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, store_and_load, &good[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(good[i], "thread %d", i);
    }
    cr_assert_eq(list_files(names, 10), 1, "no temporary file is left");
}

/* ---- its size ---------------------------------------------------------------------------------- */

Test(cache, limit)
{
    static const struct { const char *text; uint64_t bytes; } limits[] = {
        { NULL, 1 << 30 }, { "", 1 << 30 },   { "0", UINT64_MAX },     { "100", 100 },     { "7K", 7 << 10 },
        { "3M", 3 << 20 }, { "2G", 2ull << 30 }, { "much", 1 << 30 }, { "-1", 1 << 30 }, { "5 M", 1 << 30 },
        { "5MB", 1 << 30 }, { "99999999999999999999", 1 << 30 }, { "99999999999G", 1 << 30 },
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        cr_assert_eq(clf__disk_limit(limits[i].text), limits[i].bytes, "'%s'", limits[i].text);
}

/* Entries of 1000 bytes and their header, the first the oldest by an hour, and so on. */
Test(cache, what_was_not_used_for_the_longest_time_goes)
{
    clf__disk_cache cache = open_cache("device A");
    clf__disk_key keys[6];
    char bytes[1000] = "", names[10][PATH_SIZE], command[PATH_SIZE + 100];

    for (int i = 0; i < 6; i++) {
        snprintf(bytes, sizeof bytes, "%d", i);
        keys[i] = clf__disk_make_key(&cache, "test", "", bytes);
        if (i == 5) {
            cr_assert(loads(&cache, keys[0]), "used, and so the youngest but one");
            setenv("CLF_CACHE_LIMIT", "4K", 1);
            snprintf(command, sizeof command, "touch -d '2 hours ago' %s/dead.bin.1-1.tmp; touch %s/busy.bin.2-1.tmp; "
                                              "touch -d '2 days ago' %s/else", directory, directory, directory);
            cr_assert_eq(system(command), 0);
        }
        clf__disk_store(&cache, keys[i], bytes, sizeof bytes);
        snprintf(command, sizeof command, "touch -d '%d hours ago' %s/%016llx%016llx.bin", 10 - i, directory,
                 (unsigned long long)keys[i].high, (unsigned long long)keys[i].low);
        cr_assert_eq(system(command), 0);
    }
    cr_assert(loads(&cache, keys[0]));
    for (int i = 1; i < 4; i++)
        cr_assert_not(loads(&cache, keys[i]), "entry %d", i);
    cr_assert(loads(&cache, keys[4]));
    cr_assert(loads(&cache, keys[5]));
    cr_assert_eq(list_files(names, 10), 5, "and what is not an entry, or still being written");

    setenv("CLF_CACHE_LIMIT", "500", 1);
    clf__disk_store(&cache, keys[1], bytes, sizeof bytes);
    cr_assert_not(loads(&cache, keys[1]), "more than the whole limit");
    cr_assert_eq(list_files(names, 10), 2);
    setenv("CLF_CACHE_LIMIT", "0", 1);
    for (int i = 0; i < 6; i++)
        clf__disk_store(&cache, keys[i], bytes, sizeof bytes);
    cr_assert_eq(list_files(names, 10), 8);
    clf__disk_close(&cache);
}

/* ---- programs ----------------------------------------------------------------------------------- */

static const clf_source sources[] = {
    { "add.cl", "__kernel void clf_add(__global int *x)\n{\n    x[get_global_id(0)] += ADDEND;\n}\n" },
    { NULL, NULL },
};

/* Opens the same device anew, adds 3 to 4 by a kernel, and reports where the program came from. */
static clf_program_stats add_once(const clf_device_info *info)
{
    cl_int code, value = 4;
    size_t one = 1;
    clf_program_stats stats;
    clf_device *device;
    cl_kernel kernel;
    char name[32];
    cl_mem memory;

    snprintf(name, sizeof name, "%d:%d", info->platform_index, info->device_index);
    cr_assert_eq(clf_device_open(name, &device), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf__program_kernel(device, sources, "add.cl", "-DADDEND=3", "clf_add", &kernel), CLF_SUCCESS, "%s",
                 clf_error_message());
    memory = clCreateBuffer(clf_device_context(device), CL_MEM_COPY_HOST_PTR, sizeof value, &value, &code);
    cr_assert_eq(code, CL_SUCCESS);
    cr_assert_eq(clSetKernelArg(kernel, 0, sizeof(cl_mem), &memory), CL_SUCCESS);
    cr_assert_eq(clEnqueueNDRangeKernel(clf_device_queue(device), kernel, 1, NULL, &one, &one, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_assert_eq(clEnqueueReadBuffer(clf_device_queue(device), memory, CL_TRUE, 0, sizeof value, &value, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_assert_eq(value, 7);
    clReleaseMemObject(memory);
    clReleaseKernel(kernel);
    stats = clf_device_program_stats(device);
    clf_device_release(device);
    return stats;
}

static void expect(const clf_device_info *info, uint64_t built, uint64_t loaded, const char *when)
{
    clf_program_stats stats = add_once(info);

    cr_assert(stats.built == built && stats.loaded == loaded, "%s, %s: built %d, loaded %d", info->name, when,
              (int)stats.built, (int)stats.loaded);
    cr_assert(stats.built ? stats.build_seconds > 0 : stats.build_seconds == 0);
}

/* Puts `text` into every file, with a header that fits when `valid`. */
static void spoil(const char *text, bool valid)
{
    clf__disk_cache cache = { .directory = directory, .writable = true };
    const clf__piece piece = { text, strlen(text) };
    char names[10][PATH_SIZE];
    int count = list_files(names, 10);

    cr_assert_gt(count, 0);
    for (int i = 0; i < count; i++) {
        unsigned long long high, low;

        cr_assert_eq(sscanf(strrchr(names[i], '/'), "/%16llx%16llx.bin", &high, &low), 2);
        if (valid)
            clf__disk_store(&cache, (clf__disk_key){ .low = low, .high = high }, text, strlen(text));
        else
            cr_assert_eq(clf__file_write(names[i], &piece, 1), CLF_SUCCESS);
    }
}

static void use_programs(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    char command[128];

    snprintf(command, sizeof command, "rm -f %s/*", directory);
    cr_assert_eq(system(command), 0);
    expect(info, 1, 0, "first time");
    expect(info, 0, 1, "second time");
    spoil("not a cache file", false);
    expect(info, 1, 0, "after damage");
    expect(info, 0, 1, "repaired");
    if (!strstr(info->platform, "rusticl")) { /* it aborts the process over a binary of an unknown version */
        spoil("a binary that no driver takes", true);
        expect(info, 1, 0, "after a rejected binary");
        expect(info, 0, 1, "replaced");
    }
    setenv("CLF_CACHE_DIR", "", 1);
    expect(info, 1, 0, "switched off");
    setenv("CLF_CACHE_DIR", directory, 1);
}

Test(cache, programs_come_from_the_cache, .timeout = 300)
{
    for_each_device(use_programs);
}

/* ---- warming up --------------------------------------------------------------------------------- */

static void count_stored(clf_log_level level, const char *line, void *user)
{
    (void)level;
    *(int *)user += strstr(line, "programs stored") != NULL;
}

static clf_program_stats prepare_toy(clf_device *device)
{
    const clf_args args = toy_args(1, 2, 3, 4, 5, 6);
    clf_instance *instance = NULL;

    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &instance), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_prepare(instance, &args, NULL), CLF_SUCCESS, "%s", clf_error_message());
    clf_instance_release(instance);
    return clf_device_program_stats(device);
}

/* While the first device is still open, a second finds everything; nothing is written twice. */
static void prepare_twice(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    clf_device *first, *second;
    clf_program_stats stats;
    char name[32], command[128];
    int stored = 0;

    snprintf(command, sizeof command, "rm -f %s/*", directory);
    cr_assert_eq(system(command), 0);
    snprintf(name, sizeof name, "%d:%d", info->platform_index, info->device_index);
    clf_log_set(CLF_LOG_INFO, count_stored, &stored);
    cr_assert_eq(clf_device_open(name, &first), CLF_SUCCESS, "%s", clf_error_message());
    stats = prepare_toy(first);
    cr_assert(stats.built == 1 && stats.loaded == 0);
    const int once = stored;
    (void)prepare_toy(first);
    cr_assert_eq(clf_device_open(name, &second), CLF_SUCCESS, "%s", clf_error_message());
    stats = prepare_toy(second);
    cr_expect(stats.built == 0 && stats.loaded == 1, "%s: built %d, loaded %d", info->name, (int)stats.built,
              (int)stats.loaded);
    clf_device_release(first);
    clf_device_release(second);
    clf_log_set(CLF_LOG_OFF, NULL, NULL);
    cr_expect(once <= 1 && stored == once, "%s: stored %d times, then %d times", info->name, once, stored - once);
}

Test(cache, preparing_stores, .timeout = 300)
{
    for_each_device(prepare_twice);
}
