/* Known answers of favor and lambda on inputs from a linear congruential generator (the first four values, the last
 * two, the sum and the Euclidean length of the whole result), what they refuse, and how near favor comes to exact
 * attention. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>

typedef struct row {
    const char *config;
    double      values[8]; /* first four, last two, sum, length */
} row;

enum { BATCH = 2, LENGTH = 16, WIDTH = 8, COUNT = BATCH * LENGTH * WIDTH };

#define FAVOR "{\"name\": \"favor\", \"dim_head\": 8, \"dim_features\": 12, "
#define LAMBDA "{\"name\": \"lambda\", \"dim_head\": 8, \"seq_len\": 16, "
static const row rows[] = {
    { FAVOR "\"feature_map\": \"sm_orf\"}",
      { -0.113386638, 0.123172428, -0.348307738, 0.0241768585, 0.00704784196, 0.233779026, 13.1015901, 5.92093107 } },
    { FAVOR "\"feature_map\": \"sm_hyp\"}",
      { 0.107338033, 0.232325111, -0.127432744, 0.0310427096, 0.098819353, 0.0838480549, 27.5680618, 5.53673377 } },
    { FAVOR "\"feature_map\": \"sm_reg\", \"normalize_inputs\": true}",
      { 0.107338033, 0.232325111, -0.127432744, 0.0310427096, 0.098819353, 0.0838480549, 27.5680618, 5.53673377 } },
    { FAVOR "\"causal\": true}",
      { -0.400448354, 0.647894775, 1.99390239, 1.3120549, 0.098819353, 0.0838480549, 43.3599621, 9.67087077 } },
    { FAVOR "\"causal\": true, \"semantics\": \"xformers\"}",
      { -0.400448354, 0.12372321, 0.747116269, 0.888350927, -0.0569430684, -0.139463992, 17.4264812, 11.4331987 } },
    { LAMBDA "\"semantics\": \"paper\"}",
      { 2.20978743, 1.41001167, 0.723444336, 7.47605537, -6.4303142, -4.28054953, 194.584238, 83.1324358 } },
    { LAMBDA "\"semantics\": \"xformers\"}",
      { -6.25328619, 8.20886569, 12.6993901, 13.6424589, -0.380978311, -1.97660634, -21.555981, 79.7904903 } },
};

static void generate(uint32_t seed, int64_t count, double scale, float *to)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        state = 1664525u * state + 1013904223u;
        to[i] = (float)(((double)state / 4294967296.0 - 0.5) * scale);
    }
}

static void fill(clf_device *device, clf_instance *instance)
{
    float      values[WIDTH * 31];
    clf_tensor tensor;
    double     scale = 2;

    if (clf_instance_buffer(instance, "feature_map.features", &tensor)) {
        cr_assert_eq(clf_instance_parameter(instance, "rel_pos_emb", &tensor), CLF_SUCCESS, "%s", clf_error_message());
        scale = 1;
    }
    cr_assert_leq(clf_tensor_elements(&tensor), WIDTH * 31);
    generate(4001, clf_tensor_elements(&tensor), scale, values);
    cr_assert_eq(clf_tensor_write_floats(device, &tensor, values), CLF_SUCCESS, "%s", clf_error_message());
}

/* q, k, v in `values` one after another; the result comes to their place. */
static void apply(clf_device *device, clf_instance *instance, const int64_t *shape, float *values)
{
    static const int slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V, CLF_QKV_OUT };
    const int64_t    count = shape[0] * shape[1] * shape[2] * shape[3];
    clf_args         args = { .size = sizeof args };

    for (int i = 0; i < 4; i++) {
        cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[slots[i]]), CLF_SUCCESS);
        if (i < 3)
            cr_assert_eq(clf_tensor_write_floats(device, &args.io[slots[i]], values + i * count), CLF_SUCCESS);
    }
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], values), CLF_SUCCESS);
    for (int i = 0; i < 4; i++)
        clf_tensor_free(device, &args.io[slots[i]]);
}

static void check_row(clf_device *device, const row *expected)
{
    const int64_t shape[] = { BATCH, 1, LENGTH, WIDTH };
    const double  length = expected->values[7], near = 1e-5 * (length > 1 ? length : 1);
    clf_instance *instance = NULL;
    float         values[3 * COUNT];

    for (int i = 0; i < 3; i++)
        generate((uint32_t)(1001 * (i + 1)), COUNT, 4, values + i * COUNT);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, expected->config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    fill(device, instance);
    apply(device, instance, shape, values);
    double got[8] = { (double)values[0], (double)values[1], (double)values[2], (double)values[3],
                      (double)values[COUNT - 2], (double)values[COUNT - 1], 0, 0 };
    for (int i = 0; i < COUNT; i++) {
        got[6] += (double)values[i];
        got[7] += (double)values[i] * (double)values[i];
    }
    got[7] = sqrt(got[7]);
    for (int i = 0; i < 8; i++)
        cr_expect(fabs(got[i] - expected->values[i]) <= near, "%s: %s: number %d is %.9g, expected %.9g",
                  clf_device_get_info(device)->name, expected->config, i, got[i], expected->values[i]);
    clf_instance_release(instance);
}

static void check_rows(clf_device *device)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(device, &rows[i]);
}

Test(zoo_linear, known_answers)
{
    for_each_device(check_rows);
}

/* What a config asks for and a mechanism cannot do is refused, with the field in the reason. */
Test(zoo_linear, refusals)
{
    static const struct { const char *config, *field; } wrong[] = {
        { "{\"name\": \"favor\", \"dim_head\": 8, \"dim_features\": 7}", "dim_features" },
        { "{\"name\": \"favor\", \"dim_head\": 8, \"iter_before_redraw\": 10}", "iter_before_redraw" },
        { "{\"name\": \"favor\", \"dim_head\": 8, \"feature_map\": \"sm_orf\", \"feature_map_type\": \"sm_hyp\"}",
          "feature_map_type" },
        { "{\"name\": \"lambda\", \"dim_head\": 8, \"seq_len\": 16, \"causal\": true}", "causal" },
    };
    clf_device   *device = NULL;
    clf_instance *instance = NULL;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(clf_build(device, CLF_ATTENTION, wrong[i].config, &instance), CLF_UNSUPPORTED, "%s", wrong[i].config);
        cr_expect(strstr(clf_error_message(), wrong[i].field), "%s: %s", wrong[i].config, clf_error_message());
    }
    clf_device_release(device);
}

/* Without a width or a length there is an instance, but no problem that it could be planned for. */
Test(zoo_linear, missing_sizes)
{
    static const struct { const char *config, *field; } configs[] = {
        { "{\"name\": \"favor\"}", "dim_head" },
        { "{\"name\": \"favor\", \"dim_head\": 4}", "dim_head" },
        { "{\"name\": \"lambda\", \"seq_len\": 16}", "dim_head" },
        { "{\"name\": \"lambda\", \"dim_head\": 8}", "seq_len" },
        { "{\"name\": \"lambda\", \"dim_head\": 8, \"seq_len\": 15}", "seq_len" },
    };
    const int64_t shape[] = { BATCH, 1, LENGTH, WIDTH };
    clf_device   *device = NULL;
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    clf_args      args = { .size = sizeof args };

    for (int slot = CLF_QKV_Q; slot <= CLF_QKV_V; slot++)
        args.io[slot] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    args.io[CLF_QKV_OUT] = args.io[CLF_QKV_Q];
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        cr_assert_eq(clf_build(device, CLF_ATTENTION, configs[i].config, &instance), CLF_SUCCESS, "%s: %s",
                     configs[i].config, clf_error_message());
        cr_expect_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_UNSUPPORTED, "%s", configs[i].config);
        cr_expect(strstr(clf_error_message(), configs[i].field), "%s: %s", configs[i].config, clf_error_message());
        clf_instance_release(instance);
    }
    clf_device_release(device);
}

/* ---- how near favor comes to exact attention ------------------------------------------------------- */

enum { HEADS = 4, MANY = 64, WIDE = 16, NUMBERS = HEADS * MANY * WIDE };

/* Normal numbers, nearly: sums of twelve. Those of q and k are half as large: the estimate's variance grows with the
 * exponential of their squares, and with it the number of features that it takes to see it fall. */
static void make_normal(float *values)
{
    uint32_t state = 7;
    for (int i = 0; i < 3 * NUMBERS; i++) {
        double sum = -6;
        for (int n = 0; n < 12; n++) {
            state = 1664525u * state + 1013904223u;
            sum += (double)state / 4294967296.0;
        }
        values[i] = (float)(i < 2 * NUMBERS ? sum / 2 : sum);
    }
}

static void attend(clf_device *device, const char *config, float *values)
{
    const int64_t shape[] = { 1, HEADS, MANY, WIDE };
    clf_instance *instance = NULL;

    make_normal(values);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    apply(device, instance, shape, values);
    clf_instance_release(instance);
}

/* Relative to the length of the exact result. */
static double error_of(clf_device *device, const char *map, const char *causal, int features)
{
    static float exact[3 * NUMBERS], near[3 * NUMBERS];
    char         config[256];
    double       error = 0, size = 0;

    (void)snprintf(config, sizeof config, "{\"name\": \"scaled_dot_product\", \"causal\": %s}", causal);
    attend(device, config, exact);
    (void)snprintf(config, sizeof config, "{\"name\": \"favor\", \"dim_head\": %d, \"feature_map\": \"%s\", "
                   "\"dim_features\": %d, \"causal\": %s}", WIDE, map, features, causal);
    attend(device, config, near);
    for (int i = 0; i < NUMBERS; i++) {
        const double e = (double)exact[i], off = (double)near[i] - e;
        error += off * off;
        size += e * e;
    }
    return sqrt(error / size);
}

/* Eight times the features: a third of the error, if the estimate had no tails (and sm_reg no bias). */
Test(zoo_linear, favor_comes_nearer_with_features)
{
    static const char *const maps[] = { "sm_orf", "sm_hyp", "sm_reg" };
    clf_device              *device = NULL;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (int map = 0; map < 3; map++)
        for (int causal = 0; causal < (map == 2 ? 2 : 1); causal++) {
            const char  *order = causal ? "true" : "false";
            const double few = error_of(device, maps[map], order, 16), some = error_of(device, maps[map], order, 128);
            const double many = error_of(device, maps[map], order, 1024);
            cr_expect(some < 0.75 * few && many < 0.75 * some, "%s, causal %s: errors %g, %g, %g", maps[map], order, few,
                      some, many);
        }
    clf_device_release(device);
}
