/* Known answers of mechanisms with learnt projections, on inputs from a linear congruential generator: the first four
 * values, the last two, the sum and the Euclidean length of the whole result. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>

typedef struct row {
    const char *config;
    int64_t     length;
    double      values[8]; /* first four, last two, sum, length */
} row;

enum { BATCH = 2, LENGTH = 16, WIDTH = 8 };

static const row rows[] = {
    { "{\"name\": \"linformer\", \"seq_len\": 16, \"k\": 4}", 16,
      { 0.796725841, -1.65823934, 1.21627374, -1.39720506, 0.696305602, -0.522794838, -40.2469804, 14.3333466 } },
    { "{\"name\": \"linformer\", \"seq_len\": 16}", 12, /* shorter than the projections */
      { 1.27640015, 0.449020664, 0.160286247, 0.557108061, -0.45032309, -0.277360369, 8.25512988, 7.50924149 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, \"semantics\": \"xformers\"}", 16,
      { 0.396671308, 0.278728258, 0.353731594, 0.747165294, -0.54957018, 0.00688638156, 20.8880385, 5.73057795 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"qk_rule\": true}", 16,
      { 0.581608119, 0.351902615, 0.410665289, 0.587326317, -0.588493635, -0.00859103655, 15.871784, 6.26621335 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"nonlinear\": true}", 16,
      { 0.431860993, 0.20146832, 0.359889694, 0.700794833, -0.480415397, 0.0533528218, 25.332817, 5.70116761 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"qk_rule\": true, \"q_compose\": true}", 16,
      { 0.350894019, 0.26752506, 0.339993107, 0.787939256, -0.637095665, -0.0467742265, 8.96480064, 6.38073701 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"num_rules\": 4, \"dim_selection\": 3}", 16,
      { 0.398271503, -0.207752625, 0.0171997714, 0.545617538, -0.250397226, 0.454149394, 21.2627671, 4.7026125 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"causal\": true}", 16,
      { -0.27028268, 0.439116777, 0.686307051, 1.20170544, -0.54957018, 0.00688638156, 23.2560088, 6.96287886 } },
    { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, "
      "\"semantics\": \"xformers\", \"use_separate_proj_weight\": true}", 16,
      { 0.866172529, 0.662285788, 0.178201335, -0.55250222, 0.233212048, 0.390250985, 55.0769324, 7.35477575 } },
};

static void generate(uint32_t seed, int64_t count, double scale, float *to)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        state = 1664525u * state + 1013904223u;
        to[i] = (float)(((double)state / 4294967296.0 - 0.5) * scale);
    }
}

/* Parameters that this config has, in the order of the table, from the seeds 4001, 4002, ... */
static void fill_parameters(clf_device *device, clf_instance *instance)
{
    const clf_parameter *what = clf_instance_component(instance)->descriptor->parameters;
    static float         values[WIDTH * 64];
    uint32_t             seed = 4001;

    for (; what->name; what++) {
        clf_tensor tensor;
        if (clf_instance_parameter(instance, what->name, &tensor) == CLF_UNKNOWN_TENSOR)
            continue;
        cr_assert_leq(clf_tensor_elements(&tensor), WIDTH * 64);
        generate(seed++, clf_tensor_elements(&tensor), 1, values);
        cr_assert_eq(clf_tensor_write_floats(device, &tensor, values), CLF_SUCCESS, "%s", clf_error_message());
    }
}

static void expect_row(const char *device, const row *expected, const float *out)
{
    const int64_t count = BATCH * expected->length * WIDTH;
    const double  length = expected->values[7], near = 1e-5 * (length > 1 ? length : 1);
    double        got[8] = { (double)out[0], (double)out[1], (double)out[2], (double)out[3],
                             (double)out[count - 2], (double)out[count - 1], 0, 0 };

    for (int64_t i = 0; i < count; i++) {
        got[6] += (double)out[i];
        got[7] += (double)out[i] * (double)out[i];
    }
    got[7] = sqrt(got[7]);
    for (int i = 0; i < 8; i++)
        cr_expect(fabs(got[i] - expected->values[i]) <= near, "%s: %s: number %d is %.9g, expected %.9g", device,
                  expected->config, i, got[i], expected->values[i]);
}

/* The generator's rows of all LENGTH positions, of which a shorter problem takes the first. */
static void upload(clf_device *device, uint32_t seed, int64_t length, clf_tensor *tensor)
{
    const int64_t shape[] = { BATCH, 1, LENGTH, WIDTH };
    float         values[BATCH * LENGTH * WIDTH];

    generate(seed, BATCH * LENGTH * WIDTH, 4, values);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, tensor), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_write_floats(device, tensor, values), CLF_SUCCESS, "%s", clf_error_message());
    tensor->shape[2] = length;
}

static void check_row(clf_device *device, const row *expected)
{
    static const uint32_t seeds[] = { 1001, 2002, 3003 };
    const int64_t shape[] = { BATCH, 1, expected->length, WIDTH };
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args };
    float         out[BATCH * LENGTH * WIDTH];

    cr_assert_eq(clf_build(device, CLF_ATTENTION, expected->config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    fill_parameters(device, instance);
    for (int i = 0; i < 3; i++)
        upload(device, seeds[i], expected->length, &args.io[CLF_QKV_Q + i]);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[CLF_QKV_OUT]), CLF_SUCCESS);
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], out), CLF_SUCCESS);
    expect_row(clf_device_get_info(device)->name, expected, out);
    for (int i = 0; i < CLF_MAX_IO; i++)
        clf_tensor_free(device, &args.io[i]);
    clf_instance_release(instance);
}

static void check_rows(clf_device *device)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(device, &rows[i]);
}

Test(zoo_learnt, known_answers)
{
    for_each_device(check_rows);
}

/* What a config asks for and a mechanism cannot do is refused, with the field in the reason. */
Test(zoo_learnt, refusals)
{
    static const struct { const char *config, *field; clf_status status; } wrong[] = {
        { "{\"name\": \"linformer\"}", "seq_len", CLF_MISSING_KEY },
        { "{\"name\": \"linformer\", \"seq_len\": 64, \"k\": 0}", "k", CLF_OUT_OF_RANGE },
        { "{\"name\": \"linformer\", \"seq_len\": 64, \"causal\": true}", "causal", CLF_UNSUPPORTED },
        { "{\"name\": \"visual\"}", "dim_model", CLF_MISSING_KEY },
        { "{\"name\": \"compositional\", \"num_heads\": 2}", "dim_model", CLF_MISSING_KEY },
        { "{\"name\": \"compositional\", \"dim_model\": 8}", "num_heads", CLF_MISSING_KEY },
        { "{\"name\": \"compositional\", \"dim_model\": 9, \"num_heads\": 2}", "dim_model", CLF_UNSUPPORTED },
        { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, \"num_rules\": 3}", "num_rules",
          CLF_UNSUPPORTED },
        { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, \"dim_key\": 4}", "dim_key",
          CLF_UNSUPPORTED },
        { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, \"dim_value\": 4}", "dim_value",
          CLF_UNSUPPORTED },
        { "{\"name\": \"compositional\", \"dim_model\": 8, \"num_heads\": 2, \"in_proj_container\": \"x\"}",
          "in_proj_container", CLF_UNSUPPORTED },
    };
    clf_device   *device = NULL;
    clf_instance *instance = NULL;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(clf_build(device, CLF_ATTENTION, wrong[i].config, &instance), wrong[i].status, "%s: %s",
                     wrong[i].config, clf_error_message());
        cr_expect(strstr(clf_error_message(), wrong[i].field), "%s: %s", wrong[i].config, clf_error_message());
    }
    clf_device_release(device);
}

/* The extent of a weight, and with how long a sequence it is used. */
Test(zoo_learnt, linformer_mixtures)
{
    static const struct { const char *config; int64_t k;
    } expected[] = {
        { "{\"name\": \"linformer\", \"seq_len\": 2}", 1 },
        { "{\"name\": \"linformer\", \"seq_len\": 77}", 19 },
        { "{\"name\": \"linformer\", \"seq_len\": 4096}", 256 },
        { "{\"name\": \"linformer\", \"seq_len\": 4096, \"semantics\": \"xformers\"}", 1024 },
        { "{\"name\": \"linformer\", \"seq_len\": 4096, \"k\": 300, \"causal\": true, \"semantics\": \"xformers\"}",
          300 },
    };
    const int64_t shape[] = { 1, 1, 3, 8 };
    clf_device   *device = NULL;
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    clf_args      args = { .size = sizeof args };
    clf_tensor    weight;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < 3; i++)
        args.io[i] = args.io[CLF_QKV_OUT] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        cr_assert_eq(clf_build(device, CLF_ATTENTION, expected[i].config, &instance), CLF_SUCCESS, "%s",
                     clf_error_message());
        cr_assert_eq(clf_instance_parameter(instance, "E.weight", &weight), CLF_SUCCESS);
        cr_expect_eq(weight.shape[0], expected[i].k, "%s: %d", expected[i].config, (int)weight.shape[0]);
        if (i == 0) {
            cr_expect_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_UNSUPPORTED);
            cr_expect(strstr(clf_error_message(), "'seq_len' = 2"), "%s", clf_error_message());
        }
        clf_instance_release(instance);
    }
    clf_device_release(device);
}
