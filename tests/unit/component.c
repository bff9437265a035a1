/* Instances: configs resolved, parameters and buffers made, initialised, found and given back. */
#include "toy.h"
#include "component/random.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static clf_device *device;

static void open_device(void)
{
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
}

/* Whatever a test did, all its memory is back in the pool. */
static void close_device(void)
{
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
    clf_device_release(device);
}

TestSuite(component, .init = open_device, .fini = close_device);

static clf_instance *make(const char *json, const clf_instance_options *options)
{
    clf_instance *instance;
    cr_assert_eq(toy_instance(device, &toy, json, options, &instance), CLF_SUCCESS, "%s", clf_error_message());
    return instance;
}

static void refuse(const clf_component *component, const char *json, const clf_instance_options *options,
                   clf_status wanted, const char *message)
{
    clf_instance *instance;
    cr_expect_eq(toy_instance(device, component, json, options, &instance), wanted, "%s", clf_error_message());
    cr_expect_null(instance);
    cr_expect(strstr(clf_error_message(), message) != NULL, "'%s' lacks '%s'", clf_error_message(), message);
}

Test(component, resolved_config)
{
    clf_instance *instance = make("{\"landmarks\": 5}", NULL);
    const toy_config *config = clf_instance_config(instance);
    cr_expect_eq(config->landmarks, 5);
    cr_expect_eq(config->computed, 1);
    cr_expect_eq(clf_instance_component(instance), &toy);
    cr_expect_eq(clf_instance_device(instance), device);
    clf_instance_release(instance);
    clf_instance_release(NULL);
}

Test(component, initial_values)
{
    const clf_instance_options options = { .size = sizeof options, .seed = 99 };
    clf_instance *instance = make("{\"landmarks\": 4}", &options);
    clf_tensor tensor;
    float values[12];
    int32_t order[12];

    cr_assert_eq(clf_instance_parameter(instance, "weight", &tensor), CLF_SUCCESS);
    cr_expect_eq(tensor.shape[0], 3);
    cr_expect_eq(tensor.shape[1], 4);
    cr_assert_eq(clf_tensor_read_floats(device, &tensor, values), CLF_SUCCESS);
    const clf__stream weight = clf__stream_open(99, "weight", false), features = clf__stream_open(99, "features", true);
    for (uint64_t i = 0; i < 12; i++) /* bound 1 / sqrt(4) */
        cr_expect_eq(values[i], (float)(0.5 * (2 * clf__stream_uniform(&weight, i) - 1)));
    cr_assert_eq(clf_instance_buffer(instance, "features", &tensor), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_read_floats(device, &tensor, values), CLF_SUCCESS);
    for (uint64_t i = 0; i < 8; i++)
        cr_expect_eq(values[i], (float)(2 * clf__stream_normal(&features, i)));
    cr_assert_eq(clf_instance_buffer(instance, "order", &tensor), CLF_SUCCESS);
    cr_expect_eq(tensor.dtype, CLF_I32);
    cr_assert_eq(clf_tensor_read(device, &tensor, order), CLF_SUCCESS);
    cr_expect_eq(order[11], 89);
    clf_instance_release(instance);
}

/* These bits are a promise: trained models may be started from a seed. */
Test(component, initial_values_never_change)
{
    const clf__stream stream = clf__stream_open(1, "weight", false);
    cr_expect_eq((float)clf__stream_uniform(&stream, 0), 0x1.4ef1eep-2f);
    cr_expect_eq((float)clf__stream_uniform(&stream, 5), 0x1.0a2c8ap-3f);
    cr_expect_eq((float)clf__stream_normal(&stream, 0), 0x1.d2b1eep-3f);
    cr_expect_eq((float)clf__stream_normal(&stream, 7), -0x1.afe176p-3f);
}

Test(component, low_precision)
{
    const clf_instance_options options = { .size = sizeof options, .dtype = CLF_BF16 };
    clf_instance *instance = make("{}", &options);
    clf_tensor tensor;
    cr_assert_eq(clf_instance_parameter(instance, "weight", &tensor), CLF_SUCCESS);
    cr_expect_eq(tensor.dtype, CLF_BF16);
    cr_assert_eq(clf_instance_parameter(instance, "gain", &tensor), CLF_SUCCESS);
    cr_expect_eq(tensor.dtype, CLF_F32);
    clf_instance_release(instance);
    refuse(&bare, "{}", &options, CLF_UNSUPPORTED, "bare works in F32 only, not in BF16");
}

Test(component, names)
{
    clf_instance *instance = make("{\"features\": 0}", NULL);
    clf_tensor tensor;
    cr_expect_eq(clf_instance_parameter(instance, "wieght", &tensor), CLF_UNKNOWN_TENSOR);
    cr_expect(strstr(clf_error_message(), "no parameter 'wieght'") != NULL, "%s", clf_error_message());
    cr_expect_eq(clf_instance_parameter(instance, NULL, &tensor), CLF_UNKNOWN_TENSOR);
    cr_expect_eq(clf_instance_parameter(instance, "features", &tensor), CLF_UNKNOWN_TENSOR);
    cr_expect_eq(clf_instance_buffer(instance, "features", &tensor), CLF_UNKNOWN_TENSOR, "this config has none");
    cr_expect_eq(clf_instance_gradient(instance, "nobody", &tensor), CLF_UNKNOWN_TENSOR);
    clf_instance_release(instance);
}

Test(component, gradients)
{
    clf_instance *instance = make("{}", NULL);
    const uint64_t before = clf_pool_get_stats(device).in_use;
    clf_tensor tensor, again;
    float values[12];
    cr_assert_eq(clf_instance_gradient(instance, "weight", &tensor), CLF_SUCCESS);
    cr_expect_gt(clf_pool_get_stats(device).in_use, before);
    cr_assert_eq(clf_tensor_read_floats(device, &tensor, values), CLF_SUCCESS);
    cr_expect_eq(values[0], 0);
    cr_assert_eq(clf_instance_gradient(instance, "weight", &again), CLF_SUCCESS);
    cr_expect_eq(tensor.mem, again.mem);
    clf_instance_release(instance);
}

Test(component, refusals)
{
    const clf_instance_options f64 = { .size = sizeof f64, .dtype = CLF_F64 }, sizeless = { .seed = 1 };
    const clf_instance_options large = { .size = 4096 };
    clf_instance *instance = NULL;
    void *config = NULL;
    clf_component old = toy;

    refuse(&toy, "{\"landmarks\": 13}", NULL, CLF_UNSUPPORTED, "toy");
    refuse(&bare, "{\"causal\": true}", NULL, CLF_UNSUPPORTED, "bare cannot be causal");
    refuse(&bare, "{\"dropout\": 0.5}", NULL, CLF_UNSUPPORTED, "bare has no dropout: 'dropout' is 0.5");
    refuse(&toy, "{}", &f64, CLF_INVALID_DTYPE, "options.dtype is F64");
    refuse(&toy, "{}", &sizeless, CLF_INVALID_VALUE, "options.size is 0");
    refuse(&toy, "{}", &large, CLF_INVALID_VALUE, "options.size is 4096");
    toy_fail_initialise = 1;
    refuse(&toy, "{}", NULL, CLF_OUT_OF_RANGE,
           "buffer 'order': toy: initial value 0 of 'order' is 1e+10, which no I32");
    toy_fail_initialise = 0;
    old.size = 8;
    refuse(&old, "{}", NULL, CLF_INVALID_VALUE, "built for another version");

    cr_assert_eq(clf_config_parse(&toy.descriptor->config, "{}", NULL, &config), CLF_SUCCESS);
    cr_expect_eq(clf_instance_create(NULL, &toy, config, NULL, &instance), CLF_INVALID_VALUE);
    cr_expect_eq(clf_instance_create(device, NULL, config, NULL, &instance), CLF_INVALID_VALUE);
    cr_expect_eq(clf_instance_create(device, &toy, NULL, NULL, &instance), CLF_INVALID_VALUE);
    cr_expect_eq(clf_instance_create(device, &toy, config, NULL, NULL), CLF_INVALID_VALUE);
    ((clf_config_header *)config)->size = 12;
    cr_expect_eq(clf_instance_create(device, &toy, config, NULL, &instance), CLF_INVALID_VALUE);
    clf_config_free(&toy.descriptor->config, config);
    clf_pool_set_limit(device, 300); /* less than everything needs */
    refuse(&toy, "{\"landmarks\": 64}", NULL, CLF_OUT_OF_DEVICE_MEMORY, "");
    clf_pool_set_limit(device, 0);
}

/* Under xformers semantics a part may ignore fields that it cannot honour, but only when it says so. */
Test(component, xformers_semantics)
{
    static const char causal[] = "{\"causal\": true, \"semantics\": \"xformers\"}";
    static const char dropout[] = "{\"dropout\": 0.5, \"semantics\": \"xformers\"}";
    clf_descriptor descriptor = *bare.descriptor;
    clf_component lenient = bare;
    clf_instance *instance;

    refuse(&bare, causal, NULL, CLF_UNSUPPORTED, "'causal' is true");
    refuse(&bare, dropout, NULL, CLF_UNSUPPORTED, "'dropout' is 0.5");
    descriptor.traits |= CLF_TRAIT_XFORMERS_LENIENT;
    lenient.descriptor = &descriptor;
    refuse(&lenient, "{\"causal\": true}", NULL, CLF_UNSUPPORTED, "'causal' is true");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(toy_instance(device, &lenient, i ? dropout : causal, NULL, &instance), CLF_SUCCESS, "%s",
                     clf_error_message());
        clf_instance_release(instance);
    }
}

Test(kinds, names)
{
    for (int kind = CLF_ATTENTION; kind <= CLF_BLOCK; kind++)
        cr_expect_eq(clf_kind_from_name(clf_kind_name((clf_kind)kind)), (clf_kind)kind);
    cr_expect_null(clf_kind_name((clf_kind)0));
    cr_expect_null(clf_kind_name((clf_kind)7));
    cr_expect_null(clf_kind_name((clf_kind)-1));
    cr_expect_eq(clf_kind_from_name("attentoin"), 0);
    cr_expect_eq(clf_kind_from_name(NULL), 0);
}
