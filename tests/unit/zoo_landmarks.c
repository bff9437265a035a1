/* Mechanisms that go through landmarks: known answers on inputs from a linear congruential generator (the first four
 * values, the last two, the sum and the Euclidean length of the result), padding, seeds, refusals. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <string.h>

typedef struct row {
    const char *config;
    bool        xformers, both; /* which semantics: one of the two, or both */
    int         heads;
    bool        padded;         /* the last three keys */
    double      values[8];      /* first four, last two, sum, length */
} row;

enum { ITEMS = 2, LENGTH = 16, WIDTH = 8, COUNT = ITEMS * LENGTH * WIDTH };

static const row rows[] = {
    { "\"name\": \"nystrom\", \"num_landmarks\": 4",
      false,
      true,
      1,
      false,
      { 0.355040896, 1.72895002, -1.66000665, 0.662788818, 0.429589316, -0.282983552, 21.0487898, 7.32699329 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 4, \"pinverse_original_init\": true",
      true,
      false,
      1,
      false,
      { 0.355040896, 1.72895002, -1.66000665, 0.662788818, 0.428450976, -0.28182185, 21.0397187, 7.32482649 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 4, \"use_razavi_pinverse\": false",
      false,
      true,
      1,
      false,
      { -5.30562353, 3.69604345, -4.2979549, -8.19944468, 0.975014339, -0.85536776, 29.9459986, 54.5412488 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 5",
      false,
      true,
      1,
      false,
      { -0.290019042, 1.21923701, -0.537438113, 0.23493611, -0.43117675, -0.142042371, 21.9143106, 7.64001708 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 16",
      false,
      true,
      1,
      false,
      { -0.292290382, 0.857188422, -0.216861491, -0.0949344622, 0.0671061982, 0.111672192, 22.9293483, 7.45813465 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 4",
      true,
      false,
      1,
      true,
      { 0.177581353, 0.674781919, -0.481422468, 0.147033838, -0.0269394692, 0.291487005, 40.4858518, 6.17089683 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 4, \"num_heads\": 2, \"conv_kernel_size\": 3",
      false,
      true,
      2,
      false,
      { 0.690105735, 1.78494457, -2.18195865, 0.425264897, 0.247288112, -0.503878161, 27.4425943, 12.7104773 } },
    { "\"name\": \"nystrom\", \"num_landmarks\": 4, \"causal\": true",
      true,
      false,
      1,
      false,
      { 0.882312099, 2.15826676, 2.46497834, 2.17020597, 2.67151566, -2.86201561, 83.345575, 19.4445771 } },
    { "\"name\": \"orthoformer\", \"num_landmarks\": 4, \"rng.randint.0\": [0, 0]",
      true,
      false,
      1,
      false,
      { -0.241755674, 0.806230088, -0.177001017, -0.123854752, 0.0695709178, 0.114371688, 41.9211229, 6.87351948 } },
    { "\"name\": \"orthoformer\", \"num_landmarks\": 4, \"landmark_selection\": \"kmeans\", \"rng.randperm.0\": [0, 1, "
      "2, 3]",
      true,
      false,
      1,
      false,
      { 0.20654387, 0.326071336, -0.225252419, -0.243728232, -0.0579157948, 0.193740086, 21.2897675, 5.42297777 } },
    { "\"name\": \"orthoformer\", \"num_landmarks\": 4, \"landmark_selection\": \"kmeans_spherical\", "
      "\"rng.randperm.0\": [0, 1, 2, 3]",
      true,
      false,
      1,
      false,
      { 0.271865895, 0.252551257, -0.201039924, -0.259551474, -0.0411717657, 0.203835976, 22.4376852, 4.65736755 } },
    { "\"name\": \"orthoformer\", \"num_landmarks\": 16",
      false,
      true,
      1,
      false,
      { -0.292290382, 0.857188422, -0.216861491, -0.0949344622, 0.0671061982, 0.111672192, 22.9293483, 7.45813465 } },
};

static void generate(uint32_t seed, int64_t count, double scale, float *to)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        state = 1664525u * state + 1013904223u;
        to[i] = (float)(((double)state / 4294967296.0 - 0.5) * scale);
    }
}

/* The first `length` positions of both items, the last `padding` of them padding. */
static clf_status run(clf_device *device, const char *config, int64_t heads, int64_t length, int64_t padding,
                      uint64_t seed, float *out)
{
    const int64_t shape[] = { ITEMS / heads, heads, length, WIDTH }, mask_shape[] = { ITEMS / heads, length };
    const int     slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V, CLF_QKV_OUT };
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args, .seed = seed };
    clf_tensor    weight;
    float         values[COUNT], part[COUNT];
    uint8_t       keep[ITEMS * LENGTH];
    clf_status    status = clf_build(device, CLF_ATTENTION, config, &instance);

    for (int i = 0; i < 4 && !status; i++) {
        generate(1001 * (uint32_t)(i + 1), COUNT, 4, values);
        for (int64_t n = 0; n < ITEMS * length * WIDTH; n++)
            part[n] = values[n / (length * WIDTH) * LENGTH * WIDTH + n % (length * WIDTH)];
        if (!(status = clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[slots[i]])))
            status = clf_tensor_write_floats(device, &args.io[slots[i]], part);
    }
    for (int64_t i = 0; i < mask_shape[0] * length; i++)
        keep[i] = i % length < length - padding;
    if (!status && padding > 0 &&
        !(status = clf_tensor_alloc(device, CLF_BOOL8, 2, mask_shape, &args.io[CLF_QKV_KEY_PADDING_MASK])))
        status = clf_tensor_write(device, &args.io[CLF_QKV_KEY_PADDING_MASK], keep);
    if (!status && clf_instance_parameter(instance, "skip_connection.weight", &weight) == CLF_SUCCESS) {
        generate(4001, clf_tensor_elements(&weight), 1, part);
        status = clf_tensor_write_floats(device, &weight, part);
    }
    if (!status)
        status = clf_apply(instance, &args);
    if (!status)
        status = clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], out);
    for (int i = 0; i < CLF_MAX_IO; i++)
        clf_tensor_free(device, &args.io[i]);
    clf_instance_release(instance);
    return status;
}

static void check_row(clf_device *device, const row *expected, bool xformers)
{
    const double near = 1e-5 * fmax(1, expected->values[7]); /* length of the result */
    double       got[8] = { 0 };
    float        out[COUNT];
    char         config[256];

    (void)snprintf(config, sizeof config, "{%s, \"semantics\": \"%s\"}", expected->config,
                   xformers ? "xformers" : "paper");
    cr_assert_eq(run(device, config, expected->heads, LENGTH, expected->padded ? 3 : 0, 0, out), CLF_SUCCESS, "%s: %s",
                 config, clf_error_message());
    for (int i = 0; i < COUNT; i++) {
        got[6] += (double)out[i];
        got[7] += (double)out[i] * (double)out[i];
    }
    got[7] = sqrt(got[7]);
    for (int i = 0; i < 6; i++)
        got[i] = (double)out[i < 4 ? i : COUNT - 6 + i];
    for (int i = 0; i < 8; i++)
        cr_expect(fabs(got[i] - expected->values[i]) <= near * (i < 6 ? 1 : 4),
                  "%s: %s: number %d is %.9g, expected %.9g", clf_device_get_info(device)->name, config, i, got[i],
                  expected->values[i]);
}

static void check_rows(clf_device *device)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].xformers || rows[i].both)
            check_row(device, &rows[i], false);
        if (rows[i].xformers || (rows[i].both && !clf_device_get_info(device)->simulator))
            check_row(device, &rows[i], true);
    }
}

Test(zoo_landmarks, known_answers)
{
    for_each_device(check_rows);
}

/* Where whole segments are padding, the rest is what a shorter sequence with fewer landmarks gives; and where rows are
 * chosen, padding is not. */
static void check_padding(clf_device *device)
{
    static const struct { const char *padded, *shorter; } pairs[] = {
        { "{\"name\": \"nystrom\", \"num_landmarks\": 4}", "{\"name\": \"nystrom\", \"num_landmarks\": 2}" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3}", "{\"name\": \"orthoformer\", \"num_landmarks\": 3}" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"landmark_selection\": \"kmeans\"}",
          "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"landmark_selection\": \"kmeans\"}" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"landmark_selection\": \"random\"}",
          "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"landmark_selection\": \"random\"}" },
    };
    float padded[COUNT], shorter[COUNT];

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        double worst = 0;
        cr_assert_eq(run(device, pairs[i].padded, 2, LENGTH, LENGTH / 2, 7, padded), CLF_SUCCESS, "%s",
                     clf_error_message());
        cr_assert_eq(run(device, pairs[i].shorter, 2, LENGTH / 2, 0, 7, shorter), CLF_SUCCESS, "%s",
                     clf_error_message());
        for (int n = 0; n < COUNT / 2; n++)
            worst = fmax(worst, fabs((double)(shorter[n] - padded[n / (COUNT / 4) * (COUNT / 2) + n % (COUNT / 4)])));
        cr_expect(worst <= 1e-5, "%s: %s: %g", clf_device_get_info(device)->name, pairs[i].padded, worst);
    }
}

Test(zoo_landmarks, padding)
{
    for_each_device(check_padding);
}

/* A seed says which rows are chosen. */
static void check_seeds(clf_device *device)
{
    static const char *const configs[] = {
        "{\"name\": \"orthoformer\", \"num_landmarks\": 2}",
        "{\"name\": \"orthoformer\", \"num_landmarks\": 2, \"landmark_selection\": \"random\"}",
    };
    float first[COUNT], again[COUNT];

    if (clf_device_get_info(device)->simulator)
        return;
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        int others = 0;
        cr_assert_eq(run(device, configs[i], 1, LENGTH, 0, 1, first), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(run(device, configs[i], 1, LENGTH, 0, 1, again), CLF_SUCCESS);
        cr_expect_eq(memcmp(first, again, sizeof first), 0, "%s: the same seed", configs[i]);
        for (uint64_t seed = 2; seed < 8; seed++) {
            cr_assert_eq(run(device, configs[i], 1, LENGTH, 0, seed, again), CLF_SUCCESS);
            others += memcmp(first, again, sizeof first) != 0;
        }
        cr_expect_geq(others, 4, "%s: %d of 6 seeds choose otherwise", configs[i], others);
    }
}

Test(zoo_landmarks, seeds)
{
    for_each_device(check_seeds);
}

/* What cannot be done is refused, with the field or argument in the reason. */
Test(zoo_landmarks, refusals)
{
    static const struct { const char *config, *field; } wrong[] = {
        { "{\"name\": \"nystrom\", \"causal\": true}", "causal" },
        { "{\"name\": \"nystrom\", \"pinverse_original_init\": true}", "pinverse_original_init" },
        { "{\"name\": \"nystrom\", \"landmark_pooling\": \"max\"}", "landmark_pooling" },
        { "{\"name\": \"nystrom\", \"v_skip_connection\": \"mine\"}", "v_skip_connection" },
        { "{\"name\": \"nystrom\", \"num_heads\": 1, \"conv_kernel_size\": 4}", "conv_kernel_size" },
        { "{\"name\": \"nystrom\", \"conv_kernel_size\": 3}", "num_heads" },
        { "{\"name\": \"nystrom\", \"num_heads\": 4, \"conv_kernel_size\": 3}", "num_heads" },
        { "{\"name\": \"orthoformer\", \"causal\": true}", "causal" },
        { "{\"name\": \"orthoformer\", \"subsample_fraction\": 0}", "subsample_fraction" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"rng.randint.0\": [0, 1]}", "rng.randint.0" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"semantics\": \"xformers\", \"rng.randint.0\": [0, 16]}",
          "rng.randint.0" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"semantics\": \"xformers\", \"rng.randint.0\": [0]}",
          "rng.randint.0" },
        { "{\"name\": \"orthoformer\", \"num_landmarks\": 1, \"landmark_selection\": \"random\", "
          "\"semantics\": \"xformers\"}", "num_landmarks" },
    };
    clf_device *device = NULL;
    float       out[COUNT];

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(run(device, wrong[i].config, 1, LENGTH, 0, 0, out), CLF_UNSUPPORTED, "%s", wrong[i].config);
        cr_expect(strstr(clf_error_message(), wrong[i].field), "%s: %s", wrong[i].config, clf_error_message());
    }
    cr_expect_eq(run(device, "{\"name\": \"orthoformer\", \"num_landmarks\": 3, \"semantics\": \"xformers\"}", 1,
                     LENGTH, 3, 0, out),
                 CLF_UNSUPPORTED);
    cr_expect(strstr(clf_error_message(), "key_padding_mask"), "%s", clf_error_message());
    clf_device_release(device);
}
