/* As much of Criterion as our unit tests need, for ThreadSanitizer alone: Criterion keeps an arena at an address where
 * the sanitizer keeps its shadow, and cannot start. Here, too, each test is a process of its own. One source file a
 * program; the arguments are not looked at. */
#ifndef CLF_TSAN_CRITERION_H
#define CLF_TSAN_CRITERION_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHIM_TESTS = 256, SHIM_SKIPPED = 77 };

typedef struct shim_options {
    void (*init)(void);
    void (*fini)(void);
    double timeout;
} shim_options;

typedef struct shim_test {
    const char  *suite, *name;
    void       (*body)(void); /* NULL = a suite */
    shim_options options;
} shim_test;

static shim_test shim_tests[SHIM_TESTS];
static int       shim_count, shim_failures;

static inline void shim_add(shim_test test)
{
    if (shim_count < SHIM_TESTS)
        shim_tests[shim_count++] = test;
}

static inline void shim_check(bool good, bool fatal, const char *file, int line, const char *what, const char *format,
                              ...)
{
    va_list arguments;

    if (good)
        return;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: %s: ", file, line, what);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    __atomic_fetch_add(&shim_failures, 1, __ATOMIC_RELAXED);
    if (fatal)
        exit(EXIT_FAILURE);
}

static inline void shim_run(const shim_test *test)
{
    static const shim_options none;
    const shim_options *suite = &none;

    for (int i = 0; i < shim_count; i++)
        if (!shim_tests[i].body && !strcmp(shim_tests[i].suite, test->suite))
            suite = &shim_tests[i].options;
    alarm(600);
    if (suite->init)
        suite->init();
    test->body();
    if (suite->fini)
        suite->fini();
    exit(shim_failures ? EXIT_FAILURE : EXIT_SUCCESS);
}

int main(void)
{
    int passed = 0, failed = 0, skipped = 0;

    for (int i = 0; i < shim_count; i++) {
        int state = 0;

        if (!shim_tests[i].body)
            continue;
        const pid_t child = fork();
        if (child == 0)
            shim_run(&shim_tests[i]);
        if (child < 0 || waitpid(child, &state, 0) != child)
            return EXIT_FAILURE;
        const int code = WIFEXITED(state) ? WEXITSTATUS(state) : EXIT_FAILURE;
        passed += code == 0;
        skipped += code == SHIM_SKIPPED;
        failed += code != 0 && code != SHIM_SKIPPED;
        if (code != 0 && code != SHIM_SKIPPED)
            fprintf(stderr, "FAILED: %s.%s\n", shim_tests[i].suite, shim_tests[i].name);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed || passed + skipped == 0 ? EXIT_FAILURE : passed ? EXIT_SUCCESS : SHIM_SKIPPED;
}

#define Test(suite_, name_, ...)                                                                              \
    static void suite_##_##name_##_body(void);                                                                \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                                     \
    {                                                                                                         \
        shim_add((shim_test){ #suite_, #name_, suite_##_##name_##_body, { NULL, NULL, 0 } });                 \
    }                                                                                                         \
    static void suite_##_##name_##_body(void)

#define TestSuite(suite_, ...)                                                                                \
    __attribute__((constructor)) static void suite_##_suite_add(void)                                         \
    {                                                                                                         \
        shim_add((shim_test){ #suite_, NULL, NULL, { __VA_ARGS__ } });                                        \
    }                                                                                                         \
    struct suite_##_suite

#define SHIM_CHECK(fatal_, condition_, ...) \
    shim_check((condition_), fatal_, __FILE__, __LINE__, #condition_, "" __VA_ARGS__)

#define cr_assert(condition_, ...)          SHIM_CHECK(true, condition_, __VA_ARGS__)
#define cr_assert_not(condition_, ...)      SHIM_CHECK(true, !(condition_), __VA_ARGS__)
#define cr_assert_eq(a_, b_, ...)           SHIM_CHECK(true, (a_) == (b_), __VA_ARGS__)
#define cr_assert_neq(a_, b_, ...)          SHIM_CHECK(true, (a_) != (b_), __VA_ARGS__)
#define cr_assert_gt(a_, b_, ...)           SHIM_CHECK(true, (a_) > (b_), __VA_ARGS__)
#define cr_assert_geq(a_, b_, ...)          SHIM_CHECK(true, (a_) >= (b_), __VA_ARGS__)
#define cr_assert_null(a_, ...)             SHIM_CHECK(true, (a_) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a_, ...)         SHIM_CHECK(true, (a_) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a_, b_, ...)       SHIM_CHECK(true, !strcmp(a_, b_), __VA_ARGS__)
#define cr_assert_arr_eq(a_, b_, size_, ...) SHIM_CHECK(true, !memcmp(a_, b_, size_), __VA_ARGS__)
#define cr_expect(condition_, ...)          SHIM_CHECK(false, condition_, __VA_ARGS__)
#define cr_expect_eq(a_, b_, ...)           SHIM_CHECK(false, (a_) == (b_), __VA_ARGS__)
#define cr_expect_neq(a_, b_, ...)          SHIM_CHECK(false, (a_) != (b_), __VA_ARGS__)
#define cr_expect_gt(a_, b_, ...)           SHIM_CHECK(false, (a_) > (b_), __VA_ARGS__)
#define cr_expect_null(a_, ...)             SHIM_CHECK(false, (a_) == NULL, __VA_ARGS__)
#define cr_expect_not_null(a_, ...)         SHIM_CHECK(false, (a_) != NULL, __VA_ARGS__)
#define cr_skip_test(...)                   exit(SHIM_SKIPPED)

#endif
