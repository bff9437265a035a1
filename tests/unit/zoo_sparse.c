/* Known answers of the mechanisms whose order is a pattern, on inputs from a linear congruential generator: the first
 * four values, the last two, the sum and the Euclidean length of the whole result. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 2, LENGTH = 16, WIDTH = 8, COUNT = ITEMS * LENGTH * WIDTH };

static void generate(uint32_t seed, int64_t count, double scale, float *to)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        state = 1664525u * state + 1013904223u;
        to[i] = (float)(((double)state / 4294967296.0 - 0.5) * scale);
    }
}

typedef struct row {
    const char *config;
    double      values[8];
} row;

static const row rows[] = {
    { "{\"name\": \"global\", \"attention_query_mask\": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "
      "\"semantics\": \"xformers\"}",
      { -0.292290382, 0.857188422, -0.216861491, -0.0949344622, -0.693280393, -1.69532861, 39.6483405, 16.4467477 } },
    { "{\"name\": \"blocksparse\", \"block_size\": 4, \"layout\": [[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]]}",
      { 0.205105806, 0.447283076, -1.00804786, -0.0760193714, 0.348421902, 0.483851965, 23.911833, 9.10410536 } },
    { "{\"name\": \"random\", \"pattern\": PATTERN, \"semantics\": \"xformers\"}",
      { -0.341877817, 0.79757897, -0.115837778, -0.136709534, 0.0622855711, 0.164288786, 14.3183308, 8.12323011 } },
    { "{\"name\": \"random\", \"r\": 1}", /* everybody sees everybody */
      { -0.292290382, 0.857188422, -0.216861491, -0.0949344622, 0.0671061982, 0.111672192, 22.9293483, 7.45813465 } },
};

/* The config, with the drawn pattern of the table where PATTERN stands. */
static void write_config(const row *expected, char *text, size_t size)
{
    const char *at = strstr(expected->config, "PATTERN");
    float       drawn[LENGTH * LENGTH];
    size_t      used = (size_t)snprintf(text, size, "%.*s", at ? (int)(at - expected->config) : 0, expected->config);

    if (!at) {
        (void)snprintf(text, size, "%s", expected->config);
        return;
    }
    generate(5001, LENGTH * LENGTH, 1, drawn);
    for (int i = 0; i < LENGTH * LENGTH; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%d%s", i == 0 ? "[[" : i % LENGTH == 0 ? "], [" : ", ",
                                 (double)drawn[i] > -0.2 || i / LENGTH == i % LENGTH, i == LENGTH * LENGTH - 1 ? "]]" : "");
    (void)snprintf(text + used, size - used, "%s", at + strlen("PATTERN"));
}

static void check_row(clf_device *device, const row *expected)
{
    static const struct { int slot; uint32_t seed; } inputs[] = { { CLF_QKV_Q, 1001 }, { CLF_QKV_K, 2002 }, { CLF_QKV_V, 3003 } };
    const int64_t shape[] = { 1, ITEMS, LENGTH, WIDTH };
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args };
    float         out[COUNT];
    char          config[2048];
    double        got[8] = { 0 };

    write_config(expected, config, sizeof config);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < 3; i++) {
        generate(inputs[i].seed, COUNT, 4, out);
        cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[inputs[i].slot]), CLF_SUCCESS);
        cr_assert_eq(clf_tensor_write_floats(device, &args.io[inputs[i].slot], out), CLF_SUCCESS);
    }
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_OUT]), CLF_SUCCESS);
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], out), CLF_SUCCESS);
    for (int i = 0; i < 6; i++)
        got[i] = (double)out[i < 4 ? i : COUNT - 6 + i];
    for (int i = 0; i < COUNT; i++) {
        got[6] += (double)out[i];
        got[7] += (double)out[i] * (double)out[i];
    }
    got[7] = sqrt(got[7]);
    for (int i = 0; i < 8; i++)
        cr_expect(fabs(got[i] - expected->values[i]) <= 1e-5 * fmax(1, expected->values[7]),
                  "%.60s: number %d is %.9g, expected %.9g", expected->config, i, got[i], expected->values[i]);
    for (int i = 0; i < CLF_MAX_IO; i++)
        clf_tensor_free(device, &args.io[i]);
    clf_instance_release(instance);
}

static void check_rows(clf_device *device)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(device, &rows[i]);
}

Test(zoo_sparse, known_answers)
{
    for_each_device(check_rows);
}

/* What a config asks for and a mechanism cannot do is refused, with the field in the reason: at once, or when planning
 * for sixteen positions in two heads. */
Test(zoo_sparse, refusals)
{
    static const struct { const char *config, *field; } wrong[] = {
        { "{\"name\": \"global\", \"attention_query_mask\": [[1, 0], [0, 1]]}", "attention_query_mask" },
        { "{\"name\": \"global\", \"attention_query_mask\": [1, 0, 1]}", "attention_query_mask" },
        { "{\"name\": \"random\", \"constant_masking\": false}", "constant_masking" },
        { "{\"name\": \"random\", \"r\": 1, \"semantics\": \"xformers\"}", "'r'" },
        { "{\"name\": \"random\", \"pattern\": [[1, 0]]}", "pattern" },
        { "{\"name\": \"random\", \"pattern\": [[1, 0], [1, 1]]}", "pattern" },
        { "{\"name\": \"blocksparse\", \"layout\": [1, 0]}", "layout" },
        { "{\"name\": \"blocksparse\", \"layout\": [[1, 0], [1, 1]]}", "layout" },
        { "{\"name\": \"blocksparse\", \"layout\": [[[1]], [[1]], [[1]]]}", "layout" },
        { "{\"name\": \"blocksparse\", \"block_size\": 8, \"semantics\": \"xformers\"}", "block_size" },
        { "{\"name\": \"blocksparse\", \"block_size\": 32, \"semantics\": \"xformers\"}", "block_size" },
    };
    const int64_t shape[] = { 1, ITEMS, LENGTH, WIDTH };
    clf_device   *device = NULL;
    clf_args      args = { .size = sizeof args };

    for (int slot = CLF_QKV_Q; slot <= CLF_QKV_V; slot++)
        args.io[slot] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    args.io[CLF_QKV_OUT] = args.io[CLF_QKV_Q];
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        clf_instance *instance = NULL;
        clf_plan     *plan = NULL;
        clf_status    status = clf_build(device, CLF_ATTENTION, wrong[i].config, &instance);
        if (status == CLF_SUCCESS)
            status = clf_plan_create(instance, &args, NULL, &plan);
        cr_expect(status == CLF_UNSUPPORTED || status == CLF_INVALID_SHAPE, "%s: %s", wrong[i].config,
                  clf_status_name(status));
        cr_expect(strstr(clf_error_message(), wrong[i].field), "%s: %s", wrong[i].config, clf_error_message());
        clf_plan_release(plan);
        clf_instance_release(instance);
    }
    clf_device_release(device);
}
