/* Known answers of the mechanisms that mix the positions of q alone, on inputs from a linear congruential generator:
 * the first four values, the last two, the sum and the Euclidean length of the whole result. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>

typedef struct row {
    const char *config;
    double      values[8]; /* first four, last two, sum, length */
} row;

enum { BATCH = 2, LENGTH = 16, WIDTH = 8, COUNT = BATCH * LENGTH * WIDTH };

static const row rows[] = {
    { "{\"name\": \"fourier_mix\"}",
      { -9.19497913, -11.8510471, -11.7298375, 9.12502471, -13.3054729, 2.51486421, 309.177335, 147.185079 } },
    { "{\"name\": \"pooling\", \"pool_size\": 3}",
      { -0.0346976779, 0.847626705, 1.84067846, -0.691077899, 0.510276254, -1.41786705, 1.01187303, 16.3053825 } },
    { "{\"name\": \"pooling\", \"pool_size\": 5}",
      { -0.691781202, 1.33897862, 1.60836483, -0.979232718, 0.927923632, -0.805059782, 1.01187303, 17.2668158 } },
    { "{\"name\": \"visual\", \"dim_model\": 8}",
      { 1.16966041, -1.45138946, -0.88429975, 0.856517215, -0.528441338, 1.08211419, 34.841349, 19.5780305 } },
};

static void generate(uint32_t seed, int64_t count, double scale, float *to)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        state = 1664525u * state + 1013904223u;
        to[i] = (float)(((double)state / 4294967296.0 - 0.5) * scale);
    }
}

/* Parameters in the order of the table, from the seeds 4001, 4002, ... */
static void fill_parameters(clf_device *device, clf_instance *instance)
{
    const clf_parameter *what = clf_instance_component(instance)->descriptor->parameters;
    static float         values[WIDTH * 64];

    for (uint32_t i = 0; what && what[i].name; i++) {
        clf_tensor tensor;
        cr_assert_eq(clf_instance_parameter(instance, what[i].name, &tensor), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_leq(clf_tensor_elements(&tensor), WIDTH * 64);
        generate(4001 + i, clf_tensor_elements(&tensor), 1, values);
        cr_assert_eq(clf_tensor_write_floats(device, &tensor, values), CLF_SUCCESS, "%s", clf_error_message());
    }
}

static void expect_row(const char *device, const row *expected, const float *out)
{
    const double length = expected->values[7], near = 1e-5 * (length > 1 ? length : 1);
    double       got[8] = { (double)out[0], (double)out[1], (double)out[2], (double)out[3],
                            (double)out[COUNT - 2], (double)out[COUNT - 1], 0, 0 };

    for (int i = 0; i < COUNT; i++) {
        got[6] += (double)out[i];
        got[7] += (double)out[i] * (double)out[i];
    }
    got[7] = sqrt(got[7]);
    for (int i = 0; i < 8; i++)
        cr_expect(fabs(got[i] - expected->values[i]) <= near, "%s: %s: number %d is %.9g, expected %.9g", device,
                  expected->config, i, got[i], expected->values[i]);
}

static void check_row(clf_device *device, const row *expected, const char *semantics)
{
    const int64_t shape[] = { BATCH, 1, LENGTH, WIDTH };
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args };
    float         values[COUNT];
    char          config[256];

    (void)snprintf(config, sizeof config, "{\"semantics\": \"%s\", %s", semantics, expected->config + 1);
    generate(1001, COUNT, 4, values);
    cr_assert_float_eq(values[1], -1.70785665233, 1e-6);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    fill_parameters(device, instance);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_Q]), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_OUT]), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write_floats(device, &args.io[CLF_QKV_Q], values), CLF_SUCCESS);
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], values), CLF_SUCCESS);
    expect_row(clf_device_get_info(device)->name, expected, values);
    clf_tensor_free(device, &args.io[CLF_QKV_Q]);
    clf_tensor_free(device, &args.io[CLF_QKV_OUT]);
    clf_instance_release(instance);
}

static void check_rows(clf_device *device)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_row(device, &rows[i], "paper");
        check_row(device, &rows[i], "xformers");
    }
}

Test(zoo_mixing, known_answers)
{
    for_each_device(check_rows);
}

/* What a config asks for and a mechanism cannot do is refused, with the field in the reason. */
Test(zoo_mixing, refusals)
{
    static const struct { const char *config, *field; } wrong[] = {
        { "{\"name\": \"fourier_mix\", \"causal\": true}", "causal" },
        { "{\"name\": \"fourier_mix\", \"causal\": true, \"semantics\": \"xformers\"}", "causal" },
        { "{\"name\": \"pooling\", \"pool_size\": 4}", "pool_size" },
        { "{\"name\": \"pooling\", \"stride\": 2}", "stride" },
        { "{\"name\": \"pooling\", \"pool_size\": 5, \"padding\": 1}", "padding" },
        { "{\"name\": \"pooling\", \"padding\": 0}", "padding" },
        { "{\"name\": \"pooling\", \"causal\": true}", "causal" },
        { "{\"name\": \"pooling\", \"causal\": true, \"semantics\": \"xformers\"}", "causal" },
        { "{\"name\": \"pooling\", \"dropout\": 0.1}", "dropout" },
        { "{\"name\": \"visual\", \"dim_model\": 8, \"causal\": true}", "causal" },
        { "{\"name\": \"visual\", \"dim_model\": 8, \"dropout\": 0.1}", "dropout" },
    };
    static const char *const right[] = {
        "{\"name\": \"pooling\", \"pool_size\": 5, \"padding\": 2}",
        "{\"name\": \"pooling\", \"padding\": 7, \"dropout\": 0.1, \"semantics\": \"xformers\"}",
        "{\"name\": \"visual\", \"num_heads\": 2, \"dim_head\": 4, \"dropout\": 0.1, \"semantics\": \"xformers\"}",
    };
    clf_device   *device = NULL;
    clf_instance *instance = NULL;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(clf_build(device, CLF_ATTENTION, wrong[i].config, &instance), CLF_UNSUPPORTED, "%s", wrong[i].config);
        cr_expect(strstr(clf_error_message(), wrong[i].field), "%s: %s", wrong[i].config, clf_error_message());
    }
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        cr_expect_eq(clf_build(device, CLF_ATTENTION, right[i], &instance), CLF_SUCCESS, "%s: %s", right[i],
                     clf_error_message());
        clf_instance_release(instance);
    }
    clf_device_release(device);
}

/* The transform of a single 1 at (t, d) is cos(2 pi (s t / S + c d / C)): lengths of all radices, of larger factors,
 * and prime. */
static void check_impulse(clf_device *device, int64_t length, int64_t width)
{
    const int64_t shape[] = { 1, 2, length, width }, channels = 2 * width, t = length / 3, d = 1;
    const size_t  count = (size_t)(length * channels);
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args };
    float        *values = calloc(count, sizeof *values);
    double        worst = 0;

    cr_assert_not_null(values);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, "{\"name\": \"fourier_mix\"}", &instance), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_Q]), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_OUT]), CLF_SUCCESS);
    values[(length + t) * width + d] = 1; /* in the second head */
    cr_assert_eq(clf_tensor_write_floats(device, &args.io[CLF_QKV_Q], values), CLF_SUCCESS);
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], values), CLF_SUCCESS);
    for (int64_t s = 0; s < length; s++)
        for (int64_t c = 0; c < channels; c++) {
            const double turns = (double)(s * t % length) / (double)length +
                                 (double)(c * (width + d) % channels) / (double)channels;
            const double got = (double)values[(c / width * length + s) * width + c % width];
            const double error = fabs(got - cos(6.283185307179586 * turns));
            worst = !(error <= worst) ? error : worst;
        }
    cr_expect(worst <= 2e-6, "%s: length %d: error %g", clf_device_get_info(device)->name, (int)length, worst);
    free(values);
    clf_tensor_free(device, &args.io[CLF_QKV_Q]);
    clf_tensor_free(device, &args.io[CLF_QKV_OUT]);
    clf_instance_release(instance);
}

static void check_impulses(clf_device *device)
{
    static const int64_t lengths[] = { 2, 720, 1001, 1009, 2048 };
    const bool           slow = clf_device_get_info(device)->simulator;

    for (size_t i = 0; i < (slow ? 2 : sizeof lengths / sizeof lengths[0]); i++)
        check_impulse(device, lengths[i], 3);
}

Test(zoo_mixing, impulses)
{
    for_each_device(check_impulses);
}
