/* The known-answer check: the problem on a device, the verdict, and remembering it. */
#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include "device/cache.h"
#include "device/device.h"
#include "device/program.h"
#include "registry/answer.h"
#include "registry/registry.h"
#include <clformers/plan.h>
#include <clformers/version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Far above what rounding does to f32, far below what a mistake does. */
static const double tolerance = 1e-3;

/* ---- the problem on a device ---------------------------------------------------------------------------- */

static clf_status upload(clf_device *device, const double *values, clf_tensor *tensor)
{
    const clf_tensor wanted = *tensor;
    const int64_t count = clf_tensor_elements(&wanted);
    void *data = malloc((size_t)count * 4 + 1);
    clf_status status = data ? clf_tensor_alloc(device, wanted.dtype, wanted.rank, wanted.shape, tensor)
                             : clf__no_memory((size_t)count * 4);

    for (int64_t i = 0; i < count && !status; i++) {
        if (wanted.dtype == CLF_F32)
            ((float *)data)[i] = (float)values[i];
        else if (wanted.dtype == CLF_I32)
            ((int32_t *)data)[i] = (int32_t)values[i];
        else
            ((uint8_t *)data)[i] = values[i] != 0;
    }
    if (!status)
        status = clf_tensor_write(device, tensor, data);
    free(data);
    return status;
}

static clf_status download(clf_device *device, const clf_tensor *tensor, double *values)
{
    const int64_t count = clf_tensor_elements(tensor);
    float *data = malloc((size_t)count * sizeof *data + 1);
    clf_status status = data ? clf_tensor_read_floats(device, tensor, data) : clf__no_memory((size_t)count * sizeof *data);

    for (int64_t i = 0; i < count && !status; i++)
        values[i] = (double)data[i];
    free(data);
    return status;
}

/* Outputs, or the gradients of inputs and parameters. */
static clf_status download_results(clf__problem *p, clf_instance *instance, const clf_args *args)
{
    clf_device *device = clf_instance_device(instance);
    clf_status status = CLF_SUCCESS;
    clf_tensor gradient;

    for (int i = 0; i < CLF_MAX_IO && p->component->descriptor->io[i].name && !status; i++) {
        const bool output = p->component->descriptor->io[i].role == CLF_OUTPUT;
        if (output && p->io[i])
            status = download(device, &args->io[i], p->io[i]);
        else if (!output && p->grad[i])
            status = download(device, &args->grad[i], p->grad[i]);
    }
    for (int i = 0; i < CLF_MAX_PARAMETERS && !status; i++) {
        if (!p->parameter_grad[i])
            continue;
        status = clf_instance_gradient(instance, p->component->descriptor->parameters[i].name, &gradient);
        if (!status)
            status = download(device, &gradient, p->parameter_grad[i]);
    }
    return status;
}

clf_status clf__problem_run(clf__problem *p, clf_device *device)
{
    const clf_instance_options options = { .size = sizeof options, .dtype = CLF_F32, .seed = CLF__PROBLEM_SEED };
    const bool backward = p->passes != CLF_FORWARD;
    clf_instance *instance = NULL;
    clf_args args = p->args;
    clf_status status = clf_instance_create(device, p->component, p->config, &options, &instance);

    for (int i = 0; i < CLF_MAX_IO && !status; i++) {
        if (p->io[i])
            status = upload(device, p->io[i], &args.io[i]);
        if (p->grad[i] && !status)
            status = upload(device, p->grad[i], &args.grad[i]);
    }
    if (!status)
        status = backward ? clf_apply_training(instance, &args) : clf_apply(instance, &args);
    if (!status && backward)
        status = clf_apply_backward(instance, &args);
    if (!status)
        status = download_results(p, instance, &args);
    for (int i = 0; i < CLF_MAX_IO; i++) {
        if (args.io[i].mem)
            clf_tensor_free(device, &args.io[i]);
        if (args.grad[i].mem)
            clf_tensor_free(device, &args.grad[i]);
    }
    clf_instance_release(instance);
    return status;
}

/* ---- the verdict ------------------------------------------------------------------------------------------ */

/* `wanted` is 0 where no answer is known. */
static clf_status judge(const clf__problem *p, clf_device *device, int pass, double wanted)
{
    const clf_device_info *info = clf_device_get_info(device);
    const char *name = pass == CLF_FORWARD ? "forward" : "backward";
    double rms;
    const double got = clf__problem_sum(p, pass, &rms);

    if (wanted == 0 && rms > 0 && isfinite(got))
        return CLF_SUCCESS;
    if (wanted != 0 && fabs(got - wanted) <= tolerance * rms)
        return CLF_SUCCESS;
    if (wanted == 0)
        return clf__fail(CLF_WRONG_RESULT, "%s gives no usable numbers on %s (%s, driver %s): the %s pass of its "
                         "known-answer check sums up to %g", p->component->name, info->name, info->platform,
                         info->driver, name, got);
    return clf__fail(CLF_WRONG_RESULT, "%s computes wrong results on %s (%s, driver %s): the %s pass of its known-answer "
                     "check sums up to %.6g, not %.6g", p->component->name, info->name, info->platform, info->driver,
                     name, got, wanted);
}

static clf_status check_now(clf_device *device, const clf_component *component)
{
    clf_answer answer = component->descriptor->answer;
    clf__problem problem;
    clf_status status = CLF_SUCCESS;

    if (component->descriptor->reference)
        status = clf_component_answer(component, component->descriptor->reference, &answer);
    if (!status)
        status = clf__problem_make(component, &problem);
    if (status)
        return status;
    if (!(status = clf__problem_run(&problem, device)))
        status = judge(&problem, device, CLF_FORWARD, answer.forward);
    if (!status && problem.passes != CLF_FORWARD && (answer.forward == 0 || answer.backward != 0))
        status = judge(&problem, device, CLF_BACKWARD, answer.backward);
    clf__problem_free(&problem);
    return status;
}

/* ---- remembering it ----------------------------------------------------------------------------------------- */

typedef struct verdict {
    clf__disk_key   key;
    char           *failure; /* NULL = passed */
    struct verdict *next;
} verdict;

/* Attached to a device. */
typedef struct verdicts {
    clf__mutex mutex;
    verdict   *list;
} verdicts;

static const char verdicts_key[] = "known answers";
static const char good[] = "passed";

static clf_status make_verdicts(clf_device *device, void **value)
{
    verdicts *all = calloc(1, sizeof *all);
    clf_status status = all ? clf__mutex_init(&all->mutex) : clf__no_memory(sizeof *all);

    (void)device;
    if (status)
        free(all);
    *value = status ? NULL : all;
    return status;
}

static void free_verdicts(clf_device *device, void *value)
{
    verdicts *all = value;

    (void)device;
    while (all->list) {
        verdict *first = all->list;
        all->list = first->next;
        free(first->failure);
        free(first);
    }
    clf__mutex_destroy(&all->mutex);
    free(all);
}

/* Everything that the outcome depends on, beside device and driver, which the cache knows. */
static clf_status make_key(clf_device *device, const clf_component *component, clf__disk_key *key)
{
    const clf_descriptor *d = component->descriptor;
    clf__text sources = { 0 }, about = { 0 };
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < CLF_MAX_PROGRAMS && d->programs[i] && !status; i++)
        status = clf__source_expand(component->sources, d->programs[i], &sources);
    clf__text_add(&about, "%s|%s|%s|%.9g|%.9g|%s|%d", clf_version(), clf_kind_name(component->kind), component->name,
                  d->answer.forward, d->answer.backward, d->answer.config ? d->answer.config : "", d->reference != NULL);
    if (!status && about.failed)
        status = clf__no_memory(about.length);
    if (!status)
        *key = clf__disk_make_key(clf__programs_disk(device), "known answer", about.data,
                                  sources.data ? sources.data : "");
    clf__text_free(&sources);
    clf__text_free(&about);
    return status;
}

/* Lack of memory only means that the next instance is checked again. */
static void remember(verdicts *all, clf__disk_key key, const char *failure)
{
    verdict *one = calloc(1, sizeof *one);

    if (one && failure && !(one->failure = clf__strdup(failure))) {
        free(one);
        one = NULL;
    }
    if (!one)
        return;
    one->key = key;
    clf__mutex_lock(&all->mutex);
    one->next = all->list; /* the newest counts */
    all->list = one;
    clf__mutex_unlock(&all->mutex);
}

/* Is there a verdict? Then *status is it. */
static bool recall(clf_device *device, verdicts *all, clf__disk_key key, clf_status *status)
{
    void *stored = NULL;
    size_t size = 0;
    bool found = false;

    clf__mutex_lock(&all->mutex);
    for (verdict *one = all->list; one && !found; one = one->next) {
        if (one->key.low != key.low || one->key.high != key.high)
            continue;
        found = true;
        *status = one->failure ? clf__fail(CLF_WRONG_RESULT, "%s", one->failure) : CLF_SUCCESS;
    }
    clf__mutex_unlock(&all->mutex);
    if (found || !clf__disk_load(clf__programs_disk(device), key, &stored, &size))
        return found;
    const bool passed = strcmp(stored, good) == 0;
    remember(all, key, passed ? NULL : stored);
    *status = passed ? CLF_SUCCESS : clf__fail(CLF_WRONG_RESULT, "%s", (const char *)stored);
    free(stored);
    return true;
}

static _Thread_local bool checking; /* the check makes instances itself */

static clf_status check(clf_device *device, const clf_component *component, bool anew)
{
    clf__disk_key key;
    void *value = NULL;
    clf_status status = clf__device_attach(device, verdicts_key, make_verdicts, free_verdicts, &value);

    if (!status)
        status = make_key(device, component, &key);
    if (status || (!anew && recall(device, value, key, &status)))
        return status;
    checking = true;
    status = check_now(device, component);
    checking = false;
    if (status && status != CLF_WRONG_RESULT)
        return status;
    const char *text = status ? clf_error_message() : good;
    remember(value, key, status ? text : NULL);
    clf__disk_store(clf__programs_disk(device), key, text, strlen(text));
    clf__log(CLF_LOG_INFO, "known answer of %s: %s", component->name, text);
    return status;
}

clf_status clf_component_check(clf_device *device, const clf_component *component)
{
    if (!device || !component)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !device ? "device" : "component");
    return check(device, component, true);
}

clf_status clf__check_gate(clf_device *device, const clf_component *component)
{
    const char *wanted = getenv("CLF_SELFTEST");

    if (checking || !wanted || strcmp(wanted, "1") != 0)
        return CLF_SUCCESS;
    const clf_status status = check(device, component, false);
    if (status && status != CLF_WRONG_RESULT) /* it says nothing; what is wrong will show by itself */
        clf__log(CLF_LOG_INFO, "known answer of %s: not checked: %s", component->name, clf_error_message());
    return status == CLF_WRONG_RESULT ? status : CLF_SUCCESS;
}
