/* The known-answer check: right and wrong parts, what is remembered and what is not. */
#define _XOPEN_SOURCE 700
#include "registry/registry.h"
#include "toy.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static clf_descriptor       descriptor; /* toy's, changed by the tests */
static clf_component        part;
static const clf_component *list[] = { &part, NULL };
static char                 directory[64];
static clf_device          *device;
static double               reference_gain;
static int                  references;

/* out = gain * sum of all values; no masks in this problem. */
static clf_status toy_reference(const clf_reference *r)
{
    const int64_t *shape = r->args->io[CLF_QKV_V].shape, items = shape[0] * shape[1], rows = shape[2], width = shape[3];
    const double  *v = r->io[CLF_QKV_V], *g = r->grad[CLF_QKV_OUT];
    double         grad_gain = 0;

    references++;
    cr_assert_float_eq(r->parameter[0][0], 2, 0);
    for (int64_t item = 0; item < items; item++)
        for (int64_t e = 0; e < width; e++) {
            double sum = 0, upstream = 0;
            for (int64_t j = 0; j < rows; j++) {
                sum += v[(item * rows + j) * width + e];
                upstream += g[(item * rows + j) * width + e];
            }
            for (int64_t i = 0; i < rows; i++) {
                r->io[CLF_QKV_OUT][(item * rows + i) * width + e] = reference_gain * sum;
                r->grad[CLF_QKV_V][(item * rows + i) * width + e] = reference_gain * upstream;
                grad_gain += sum * g[(item * rows + i) * width + e];
            }
        }
    for (int64_t i = 0; i < items * rows * width; i++)
        r->grad[CLF_QKV_Q][i] = r->grad[CLF_QKV_K][i] = 0;
    r->parameter_grad[0][0] = grad_gain;
    for (int i = 0; i < 3 * 4; i++) /* `weight` has no use */
        r->parameter_grad[1][i] = 0;
    return CLF_SUCCESS;
}

static void begin(void)
{
    strcpy(directory, "/tmp/clf_answer_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    setenv("CLF_CACHE_DIR", directory, 1);
    setenv("CLF_SELFTEST", "1", 1);
    descriptor = *toy.descriptor;
    part = toy;
    part.descriptor = &descriptor;
    reference_gain = 2;
    clf__registry_use(list);
    cr_assert_eq(clf_component_next(NULL), &part);
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
}

static void end(void)
{
    char command[128];
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
    clf_device_release(device);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(answer, .init = begin, .fini = end);

static clf_status make(void)
{
    clf_instance    *instance = NULL;
    const clf_status status = toy_instance(device, &part, "{}", NULL, &instance);
    clf_instance_release(instance);
    return status;
}

static void open_again(void)
{
    clf_device_release(device);
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
}

/* toy's gradients of q and k are never written: forward only, where that matters. */
static void forward_only(void)
{
    descriptor.backward = NULL;
}

Test(answer, once_for_a_device_and_driver)
{
    forward_only();
    cr_expect_eq(make(), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(toy_forwards, 1);
    cr_expect_eq(make(), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 1, "remembered in the process");
    open_again();
    cr_expect_eq(make(), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 1, "remembered on disk");
    cr_expect_eq(clf_component_check(device, &part), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 2, "asked for");
    setenv("CLF_CACHE_DIR", "", 1);
    open_again();
    cr_expect_eq(make(), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 3, "no place to remember it");
}

Test(answer, only_when_asked_for)
{
    descriptor.answer.forward = 1e3;
    unsetenv("CLF_SELFTEST");
    cr_expect_eq(make(), CLF_SUCCESS, "%s", clf_error_message());
    setenv("CLF_SELFTEST", "0", 1);
    cr_expect_eq(make(), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(toy_forwards, 0);
}

Test(answer, wrong_results_are_a_status_with_a_reason)
{
    forward_only();
    descriptor.answer.forward = 1e3;
    for (int round = 0; round < 3; round++) {
        cr_expect_eq(make(), CLF_WRONG_RESULT);
        cr_expect(strstr(clf_error_message(), "toy computes wrong results on ") &&
                  strstr(clf_error_message(), "the forward pass") && strstr(clf_error_message(), "not 1000"), "%s",
                  clf_error_message());
        cr_expect_eq(toy_forwards, 1);
        if (round == 1)
            open_again();
    }
    descriptor.answer.forward = 0; /* another answer is another question */
    cr_expect_eq(make(), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_str_eq(clf_status_name(CLF_WRONG_RESULT), "CLF_WRONG_RESULT");
}

Test(answer, numbers_of_the_reference)
{
    clf_answer answer = { 0 }, wrong = { 0 };
    double     forward;
    forward_only();
    descriptor.reference = NULL;
    cr_assert_eq(clf_component_answer(&toy, toy_reference, &answer), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect(isfinite(answer.forward) && answer.forward != 0 && isfinite(answer.backward) && answer.backward != 0);
    forward = answer.forward;
    descriptor.answer.forward = forward;
    cr_expect_eq(clf_component_check(device, &part), CLF_SUCCESS, "%s", clf_error_message());
    descriptor.answer.forward = forward * 1.1;
    cr_expect_eq(clf_component_check(device, &part), CLF_WRONG_RESULT);
    reference_gain = 2.1;
    cr_assert_eq(clf_component_answer(&toy, toy_reference, &wrong), CLF_SUCCESS);
    cr_expect_float_eq(wrong.forward, forward * 1.05, 1e-9);
    cr_expect_eq(clf_component_answer(&toy, NULL, &answer), CLF_INVALID_VALUE);
    cr_expect_eq(clf_component_check(NULL, &toy), CLF_INVALID_VALUE);
}

/* What cannot be run is no verdict: instances are made, and nothing is remembered. */
Test(answer, no_verdict)
{
    forward_only();
    toy_broken_launch = 1;
    cr_expect_eq(make(), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(toy_forwards, 1);
    cr_expect_neq(clf_component_check(device, &part), CLF_SUCCESS);
    toy_broken_launch = 0;
    cr_expect_eq(make(), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 3);
    cr_expect_eq(make(), CLF_SUCCESS);
    cr_expect_eq(toy_forwards, 3);
}

/* A part without any known answer: NaN and zeros are wrong all the same. */
Test(answer, unusable_numbers)
{
    cr_expect_eq(make(), CLF_WRONG_RESULT, "the gradients of q and k are not written");
    cr_expect(strstr(clf_error_message(), "the backward pass"), "%s", clf_error_message());
    cr_expect_eq(toy_backwards, 1);
}
