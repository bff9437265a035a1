/* Tuning: which row counts, what is wrong with a file, and what CLF_TUNING changes. */
#define _XOPEN_SOURCE 700
#include "tune/tune.h"
#include "core/os.h"

#include <clformers/clformers.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(tune, the_first_row_that_matches)
{
    static const clf__tuned table[] = {
        { "gemm.provider", "NVIDIA", "H100", "first" }, { "gemm.provider", "nvidia", NULL, "second" },
        { "other", NULL, NULL, "third" }, { 0 }
    };
    clf_device_info info = { .platform = "NVIDIA CUDA", .name = "NVIDIA H100 80GB" };

    cr_expect_str_eq(clf__tune_find(table, &info, "gemm.provider")->choice, "first");
    strcpy(info.name, "NVIDIA A100");
    cr_expect_str_eq(clf__tune_find(table, &info, "gemm.provider")->choice, "second");
    strcpy(info.platform, "rusticl");
    cr_expect_null(clf__tune_find(table, &info, "gemm.provider"));
    cr_expect_str_eq(clf__tune_find(table, &info, "other")->choice, "third");
}

Test(tune, own_rows)
{
    for (const clf__tuned *row = clf__tune_table; row->key; row++) {
        int known = 0;
        for (int i = 0; clf__tune_keys[i]; i++)
            known += strcmp(clf__tune_keys[i], row->key) == 0;
        cr_expect(known == 1 && row->choice, "'%s'", row->key);
    }
}

/* ---- texts ------------------------------------------------------------------------------------------- */

Test(tune, rows_of_a_text)
{
    clf__tune_file file;

    cr_assert_eq(clf__tune_parse("{\"rows\": [{\"key\": \"gemm.provider\", \"choice\": \"x\"},\n {\"device\": \"H100\","
                                 "\"platform\": null, \"choice\": \"\", \"key\": \"fused.family\"}]}", &file),
                 CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(file.count, 2);
    cr_expect_str_eq(file.rows[0].key, "gemm.provider");
    cr_expect(!file.rows[0].platform && !file.rows[0].device && !strcmp(file.rows[0].choice, "x"));
    cr_expect_str_eq(file.rows[1].key, "fused.family");
    cr_expect(!file.rows[1].platform && !strcmp(file.rows[1].device, "H100") && !strcmp(file.rows[1].choice, ""));
    cr_expect_null(file.rows[2].key);
    clf__tune_free(&file);
    cr_assert_eq(clf__tune_parse("{\"rows\": []}", &file), CLF_SUCCESS);
    cr_expect(file.count == 0 && file.rows && !file.rows[0].key);
    clf__tune_free(&file);
}

/* Row, field, value, and what is allowed. */
Test(tune, mistakes_in_a_text)
{
    static const struct { const char *rows, *message; } texts[] = {
        { "{\"key\": \"gemm.provider\", \"choice\": \"x\"}, 7", "row 2: it must be an object, not the number 7" },
        { "{\"choice\": \"x\"}", "row 1: 'key' is required" },
        { "{\"key\": \"fused.family\"}", "row 1: 'choice' is required" },
        { "{\"key\": \"gemm.providr\", \"choice\": \"x\"}",
          "row 1: 'key' is \"gemm.providr\", not one of gemm.provider, fused.family (did you mean 'gemm.provider'?)" },
        { "{\"key\": 3, \"choice\": \"x\"}", "row 1: 'key' must be one of its names, not the number 3" },
        { "{\"key\": \"fused.family\", \"choice\": [1]}", "row 1: 'choice' must be a string, not an array" },
        { "{\"key\": \"fused.family\", \"choice\": \"x\", \"devise\": \"y\"}",
          "row 1: unknown key 'devise' (did you mean 'device'?)" },
        { "{\"key\": \"fused.family\", \"choice\": \"x\", \"choice\": \"y\"}", "row 1: key 'choice' is given twice" },
        { "{\"key\": \"fused.family\",\n \"choice\" \"x\"}", "it is not JSON: line 2, column " },
    };
    static const struct { const char *text, *message; } wholes[] = {
        { "", "it is not JSON" }, { "[]", "it must be a JSON object, not an array" }, { "{}", "{\"rows\": [...]}" },
        { "{\"rows\": {}}", "{\"rows\": [...]}" }, { "{\"rows\": [], \"more\": 1}", "{\"rows\": [...]}" },
        { "{\"more\": 1, \"rows\": []}", "{\"rows\": [...]}" }, { "{\"rows\": []} x", "near 'x'" },
    };
    clf__tune_file file;
    char text[300];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        snprintf(text, sizeof text, "{\"rows\": [%s]}", texts[i].rows);
        cr_expect(clf__tune_parse(text, &file) != CLF_SUCCESS, "%s", text);
        cr_expect(strstr(clf_error_message(), texts[i].message), "%s: %s", text, clf_error_message());
        cr_expect(!file.rows && !file.count);
    }
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        cr_expect_eq(clf__tune_parse(wholes[i].text, &file), CLF_INVALID_CONFIG);
        cr_expect(strstr(clf_error_message(), wholes[i].message), "%s: %s", wholes[i].text, clf_error_message());
    }
}

/* ---- CLF_TUNING --------------------------------------------------------------------------------------- */

static char path[64] = "/tmp/clf_tuning_XXXXXX";

static void begin(void)
{
    close(mkstemp(path));
    setenv("CLF_TUNING", path, 1);
}

static void end(void)
{
    unlink(path);
}

TestSuite(tune_file, .init = begin, .fini = end);

static void write_rows(const char *rows)
{
    char text[400];

    snprintf(text, sizeof text, "{\"rows\": [%s]}", rows);
    const clf__piece piece = { text, strlen(text) };
    cr_assert_eq(clf__file_write(path, &piece, 1), CLF_SUCCESS, "%s", clf_error_message());
}

static clf_device *open_device(void)
{
    clf_device *device = NULL;

    if (clf_device_open("pocl", &device))
        cr_skip_test("PoCL is not here");
    return device;
}

static const char *const providers[] = { "vector", "portable", NULL };

static const char *choose(clf_device *device, const char *key, const char *const *choices)
{
    const char *choice = NULL;

    cr_assert_eq(clf__tune_choice(device, key, choices, &choice), CLF_SUCCESS, "%s", clf_error_message());
    return choice ? choice : "none";
}

Test(tune_file, comes_before_our_rows)
{
    clf_device *device;

    write_rows("{\"key\": \"gemm.provider\", \"platform\": \"nvidia\", \"choice\": \"third\"},"
               "{\"key\": \"gemm.provider\", \"device\": \"PTHREAD\", \"choice\": \"portable\"}");
    device = open_device();
    cr_expect_str_eq(choose(device, "gemm.provider", providers), "portable");
    cr_expect_str_eq(choose(device, "fused.family", providers), "none");
    write_rows(""); /* an open device has read it */
    cr_expect_str_eq(choose(device, "gemm.provider", providers), "portable");
    clf_device_release(device);
    device = open_device();
    cr_expect_str_eq(choose(device, "gemm.provider", providers), "vector", "ours");
    clf_device_release(device);
    setenv("CLF_TUNING", "", 1);
    device = open_device();
    cr_expect_str_eq(choose(device, "gemm.provider", providers), "vector", "ours");
    clf_device_release(device);
}

static void expect_failure(clf_device *device, clf_status expected, const char *message)
{
    const char *choice = "something";
    const clf_status status = clf__tune_choice(device, "gemm.provider", providers, &choice);

    cr_expect_eq(status, expected, "%s: %s", message, clf_status_name(status));
    cr_expect_null(choice);
    cr_expect(strstr(clf_error_message(), "CLF_TUNING") && strstr(clf_error_message(), path) &&
              strstr(clf_error_message(), message), "%s", clf_error_message());
}

Test(tune_file, what_cannot_be_used)
{
    clf_device *device = open_device();
    const clf__piece nul = { "{\"rows\": []}\0", 13 };

    write_rows("{\"key\": \"gemm.provider\", \"choice\": \"vektor\"}");
    expect_failure(device, CLF_OUT_OF_RANGE,
                   "row 1: 'choice' is \"vektor\", not one of vector, portable (did you mean 'vector'?)");
    clf_device_release(device);
    device = open_device();
    write_rows("{\"key\": \"gemm.provider\"}");
    expect_failure(device, CLF_MISSING_KEY, "row 1: 'choice' is required");
    cr_assert_eq(clf__file_write(path, &nul, 1), CLF_SUCCESS);
    expect_failure(device, CLF_INVALID_CONFIG, "NUL");
    unlink(path);
    expect_failure(device, CLF_IO_ERROR, "No such file");
    write_rows(""); /* a device that failed reads again */
    cr_expect_str_eq(choose(device, "gemm.provider", providers), "vector");
    clf_device_release(device);
}

/* ---- what it changes ----------------------------------------------------------------------------------- */

/* Plans attention on a device that is opened anew; NULL when that fails. The caller gives both back. */
static clf_plan *plan_attention(clf_device **device, const char *family)
{
    const clf_plan_options options = { .size = sizeof options, .allow_reference = true, .family = family };
    const int64_t shape[] = { 1, 2, 9, 8 };
    const int slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V, CLF_QKV_OUT };
    clf_args args = { .size = sizeof args };
    clf_instance *attention = NULL;
    clf_plan *plan = NULL;

    if (clf_device_open("oclgrind", device)) /* which hardly compiles */
        *device = open_device();
    cr_assert_eq(clf_build(*device, CLF_ATTENTION, "{\"name\": \"scaled_dot_product\"}", &attention), CLF_SUCCESS);
    for (int i = 0; i < 4; i++)
        args.io[slots[i]] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    (void)clf_plan_create(attention, &args, &options, &plan);
    clf_instance_release(attention);
    return plan;
}

Test(tune_file, chooses_the_family)
{
    clf_device *device;

    write_rows("{\"key\": \"fused.family\", \"choice\": \"reference\"}");
    clf_plan *plan = plan_attention(&device, NULL);
    cr_assert_not_null(plan, "%s", clf_error_message());
    cr_expect_str_eq(clf_plan_get_info(plan).family, "reference");
    clf_plan_release(plan);
    clf_device_release(device);

    /* What cannot run says why, and another one does. */
    write_rows("{\"key\": \"fused.family\", \"choice\": \"nvidia_mma\"}");
    plan = plan_attention(&device, NULL);
    cr_assert_not_null(plan, "%s", clf_error_message());
    cr_expect(strncmp(clf_plan_get_info(plan).reasons, "nvidia_mma: ", 12) == 0, "%s", clf_plan_get_info(plan).reasons);
    cr_expect_str_neq(clf_plan_get_info(plan).family, "nvidia_mma");
    clf_plan_release(plan);
    clf_device_release(device);

    /* The caller's word counts more. */
    plan = plan_attention(&device, "reference");
    cr_assert_not_null(plan, "%s", clf_error_message());
    cr_expect_str_eq(clf_plan_get_info(plan).family, "reference");
    clf_plan_release(plan);
    clf_device_release(device);

    write_rows("{\"key\": \"fused.family\", \"choice\": \"vectors\"}");
    cr_expect_null(plan_attention(&device, NULL));
    cr_expect(strstr(clf_error_message(), "row 1: 'choice' is \"vectors\", not one of vector, "), "%s",
              clf_error_message());
    clf_device_release(device);
}
