/* status, log, text, files: what knows no OpenCL. */
#define _XOPEN_SOURCE 700
#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include <clformers/version.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Test(version, number_and_text_agree)
{
    char text[32];
    int number = clf_version_number();

    snprintf(text, sizeof text, "%d.%d.%d", number / 10000, number / 100 % 100, number % 100);
    cr_assert_str_eq(text, clf_version());
}

/* ---- status ---------------------------------------------------------------------------------- */

Test(status, every_code_has_a_name)
{
    cr_assert_str_eq(clf_status_name(CLF_SUCCESS), "CLF_SUCCESS");
    cr_assert_str_eq(clf_status_name(CLF_UNKNOWN_KEY), "CLF_UNKNOWN_KEY");
    cr_assert_str_eq(clf_status_name(CLF_INTERNAL), "CLF_INTERNAL");
    cr_assert_str_eq(clf_status_name(CLF_BUILD_FAILED), "CLF_BUILD_FAILED");
    cr_assert_str_eq(clf_status_name((clf_status)-48), "CL_INVALID_KERNEL");
    cr_assert_str_eq(clf_status_name((clf_status)-77777), "unknown status");
    cr_assert_str_eq(clf__opencl_name(-11), "CL_BUILD_PROGRAM_FAILURE");
    cr_assert_null(clf__opencl_name(-3001));
}

Test(status, messages)
{
    cr_assert_str_eq(clf_error_message(), "");
    cr_assert_eq(clf__fail(CLF_OUT_OF_RANGE, "argument '%s' is %d", "k", 7), CLF_OUT_OF_RANGE);
    cr_assert_str_eq(clf_error_message(), "argument 'k' is 7");
    cr_assert_eq(clf__fail_prefix(CLF_OUT_OF_RANGE, "layer %d", 3), CLF_OUT_OF_RANGE);
    cr_assert_str_eq(clf_error_message(), "layer 3: argument 'k' is 7");
    cr_assert_eq(clf__fail(CLF_INTERNAL, "(%s)", clf_error_message()), CLF_INTERNAL);
    cr_assert_str_eq(clf_error_message(), "(layer 3: argument 'k' is 7)");
    cr_assert_eq((int)clf__fail_opencl(-5, "clFinish"), -5);
    cr_assert_str_eq(clf_error_message(), "clFinish: CL_OUT_OF_RESOURCES");
    clf__fail_opencl(-4321, "clFinish");
    cr_assert_str_eq(clf_error_message(), "clFinish: OpenCL code -4321");
    cr_assert_eq(clf__no_memory(12), CLF_OUT_OF_HOST_MEMORY);
    cr_assert(strstr(clf_error_message(), "12 bytes"));
}

Test(status, a_long_message_keeps_its_beginning)
{
    size_t size = 1 << 20;
    char *text = malloc(size);

    memset(text, 'x', size - 1);
    text[size - 1] = '\0';
    clf__fail(CLF_BUILD_FAILED, "begin %s", text);
    cr_assert(strstr(clf_error_message(), "begin xxx"));
    cr_assert(strstr(clf_error_message(), "... (cut)"));
    clf__fail_prefix(CLF_BUILD_FAILED, "file.cl");
    cr_assert(strstr(clf_error_message(), "file.cl: begin xxx"));
    free(text);
}

static void *fail_elsewhere(void *unused)
{
    (void)unused;
    clf__fail(CLF_INTERNAL, "another thread's");
    return NULL;
}

Test(status, a_message_belongs_to_its_thread)
{
    pthread_t thread;

    clf__fail(CLF_INTERNAL, "mine");
    cr_assert_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_str_eq(clf_error_message(), "mine");
}

/* ---- log --------------------------------------------------------------------------------------- */

typedef struct heard {
    int  count;
    char last[256];
} heard;

static void listen(clf_log_level level, const char *message, void *user)
{
    heard *ear = user;

    ear->count++;
    snprintf(ear->last, sizeof ear->last, "%d %s", (int)level, message);
}

Test(log, levels_and_callback)
{
    heard ear = { 0 };

    unsetenv("CLF_LOG");
    cr_assert_not(clf__log_wanted(CLF_LOG_INFO));
    clf_log_set(CLF_LOG_INFO, listen, &ear);
    cr_assert(clf__log_wanted(CLF_LOG_INFO));
    cr_assert_not(clf__log_wanted(CLF_LOG_DEBUG));
    clf__log(CLF_LOG_DEBUG, "not wanted");
    clf__log(CLF_LOG_INFO, "two\nlines %d", 2);
    cr_assert_eq(ear.count, 1);
    cr_assert_str_eq(ear.last, "1 two lines 2");
    clf_log_set(CLF_LOG_DEBUG, listen, &ear);
    clf__log(CLF_LOG_DEBUG, "%0500d", 1);
    cr_assert_eq(ear.count, 2);
    clf_log_set(CLF_LOG_OFF, NULL, NULL);
    clf__log(CLF_LOG_INFO, "nobody hears this");
    cr_assert_eq(ear.count, 2);
}

Test(log, environment_asks_for_a_level)
{
    setenv("CLF_LOG", "INFO", 1);
    cr_assert(clf__log_wanted(CLF_LOG_INFO));
    cr_assert_not(clf__log_wanted(CLF_LOG_DEBUG));
    setenv("CLF_LOG", "debug", 1);
    clf_log_set(CLF_LOG_OFF, NULL, NULL);
    cr_assert(clf__log_wanted(CLF_LOG_DEBUG));
    setenv("CLF_LOG", "nonsense", 1);
    clf_log_set(CLF_LOG_OFF, NULL, NULL);
    cr_assert_not(clf__log_wanted(CLF_LOG_INFO));
}

/* ---- text ---------------------------------------------------------------------------------------- */

Test(text, grows_and_hands_over)
{
    clf__text text = { 0 };
    char *taken;

    for (int i = 0; i < 1000; i++)
        clf__text_add(&text, "%d,", i % 10);
    clf__text_append(&text, "end\0not", 3);
    cr_assert_eq(text.length, 2003);
    taken = clf__text_take(&text);
    cr_assert_eq(strlen(taken), 2003);
    cr_assert_null(text.data);
    free(taken);
    taken = clf__text_take(&text);
    cr_assert_str_eq(taken, "", "an empty text is an empty string");
    free(taken);
}

Test(text, an_impossible_length_is_remembered)
{
    clf__text text = { 0 };

    clf__text_add(&text, "a");
    clf__text_append(&text, "b", SIZE_MAX - 1);
    cr_assert(text.failed);
    clf__text_add(&text, "c");
    cr_assert_str_eq(text.data, "a");
    cr_assert_null(clf__text_take(&text));
}

Test(text, ignoring_case)
{
    cr_assert(clf__equal_ignore_case("CPU", "cpu"));
    cr_assert_not(clf__equal_ignore_case("cp", "cpu"));
    cr_assert_not(clf__equal_ignore_case("cpu", "cp"));
    cr_assert(clf__contains_ignore_case("NVIDIA H100", "h10"));
    cr_assert(clf__contains_ignore_case("x", ""));
    cr_assert_not(clf__contains_ignore_case("", "x"));
    cr_assert_not(clf__contains_ignore_case("abab", "abb"));
}

static const char *nearest(const char *word)
{
    static const char *const words[] = { "causal", "dropout", "num_heads", "dim_head", NULL };
    clf__nearest search = clf__nearest_to(word);

    for (int i = 0; words[i]; i++)
        clf__nearest_feed(&search, words[i]);
    return search.best;
}

Test(text, nearest_word)
{
    cr_assert_str_eq(nearest("casual"), "causal");
    cr_assert_str_eq(nearest("Dropuot"), "dropout");
    cr_assert_str_eq(nearest("num_head"), "num_heads");
    cr_assert_null(nearest("banana"));
    cr_assert_null(nearest(""));
    cr_assert_null(nearest("a_word_that_is_much_longer_than_the_longest_word_that_is_compared_at_all"));
}

/* ---- files ----------------------------------------------------------------------------------- */

static char directory[64];

static void enter_directory(void)
{
    strcpy(directory, "/tmp/clf_core_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
}

static void remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = enter_directory, .fini = remove_directory);

static void write_text(const char *path, const char *text)
{
    const clf__piece pieces[] = { { text, strlen(text) }, { NULL, 0 } };

    cr_assert_eq(clf__file_write(path, pieces, 2), CLF_SUCCESS, "%s", clf_error_message());
}

static void expect_text(const char *path, const char *text)
{
    void *data;
    size_t size;

    cr_assert_eq(clf__file_read(path, 1 << 20, &data, &size), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(size, strlen(text));
    cr_assert_str_eq(data, text);
    free(data);
}

Test(file, write_and_read)
{
    write_text("a", "first");
    expect_text("a", "first");
    write_text("a", "second, longer");
    expect_text("a", "second, longer");
    write_text("empty", "");
    expect_text("empty", "");
    cr_assert(clf__file_exists("a"));
    cr_assert_not(clf__file_exists("b"));
    cr_assert_eq(system("test $(ls | wc -l) = 2"), 0, "no temporary file is left");
}

Test(file, reading_what_is_not_there_or_too_large)
{
    void *data;
    size_t size;

    cr_assert_eq(clf__file_read("missing", 10, &data, &size), CLF_IO_ERROR);
    cr_assert(strstr(clf_error_message(), "'missing': No such file"));
    cr_assert_null(data);
    cr_assert_eq(clf__file_read(".", 10, &data, &size), CLF_IO_ERROR);
    write_text("a", "0123456789");
    cr_assert_eq(clf__file_read("a", 10, &data, &size), CLF_SUCCESS);
    free(data);
    cr_assert_eq(clf__file_read("a", 9, &data, &size), CLF_IO_ERROR);
    cr_assert(strstr(clf_error_message(), "limit of 9"));
    cr_assert_eq(clf__file_read("/dev/zero", 100000, &data, &size), CLF_IO_ERROR);
    cr_assert_null(data);
}

Test(file, writing_keeps_links_devices_and_modes)
{
    struct stat about;

    write_text("target", "old");
    cr_assert_eq(chmod("target", 0640), 0);
    cr_assert_eq(symlink("target", "link"), 0);
    write_text("link", "new");
    expect_text("target", "new");
    cr_assert_eq(lstat("link", &about), 0);
    cr_assert(S_ISLNK(about.st_mode));
    cr_assert_eq(stat("target", &about), 0);
    cr_assert_eq(about.st_mode & 0777, 0640);

    write_text("/dev/null", "gone");
    cr_assert_eq(stat("/dev/null", &about), 0);
    cr_assert(S_ISCHR(about.st_mode));
}

Test(file, a_failing_write_leaves_what_was_there)
{
    const clf__piece piece = { "x", 1 };

    cr_assert_eq(clf__file_write("no/such/directory", &piece, 1), CLF_IO_ERROR);
    cr_assert(strstr(clf_error_message(), "no/such/directory"));
    cr_assert_eq(clf__file_write(".", &piece, 1), CLF_IO_ERROR);
    cr_assert_eq(clf__file_write("/dev/full", &piece, 1), CLF_IO_ERROR);
}

Test(file, directories)
{
    cr_assert(clf__make_directory("a/b/c"));
    cr_assert(clf__make_directory("a/b/c"));
    cr_assert(clf__make_directory("a/b/d/"));
    write_text("plain", "x");
    cr_assert_not(clf__make_directory("plain/sub"));
    cr_assert_not(clf__make_directory("plain"));
    cr_assert_not(clf__make_directory(""));
}

/* ---- threads ----------------------------------------------------------------------------------- */

typedef struct counter {
    clf__mutex lock;
    int        value;
} counter;

static void *count_up(void *user)
{
    counter *shared = user;

    for (int i = 0; i < 10000; i++) {
        clf__mutex_lock(&shared->lock);
        clf__mutex_lock(&shared->lock); /* recursive */
        shared->value++;
        clf__mutex_unlock(&shared->lock);
        clf__mutex_unlock(&shared->lock);
    }
    return NULL;
}

Test(os, mutex)
{
    counter shared = { .value = 0 };
    pthread_t threads[4];

    clf__mutex_destroy(&shared.lock); /* zeroed is fine */
    cr_assert_eq(clf__mutex_init(&shared.lock), CLF_SUCCESS);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count_up, &shared), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(shared.value, 40000);
    clf__mutex_destroy(&shared.lock);
}

Test(os, time_goes_forward)
{
    const struct timespec millisecond = { 0, 1000000 };
    double begin = clf__now();

    nanosleep(&millisecond, NULL);
    cr_assert_geq(clf__now(), begin + 0.001);
}
