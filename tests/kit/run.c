/* The public face: all cases of a part on a device, and the error at one small shape. */
#include "kit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct session {
    const clf_component         *component;
    const clf_testkit_options   *options;
    clf_device                  *device;
    char                         selector[64];
    clf_testkit_counts           counts;
    bool                         seen[KIT_CONVENIENCE + 1]; /* quick: was there a case of this sort? */
} session;

static void say(const session *s, const char *text)
{
    if (s->options->line)
        s->options->line(text, s->options->user);
}

static clf__kit_verdict check_case(clf__kit_check *check)
{
    switch (check->c->what) {
    case KIT_PROBLEM:
        return clf__kit_check_problem(check);
    case KIT_DIFFERENCES:
        return clf__kit_check_differences(check);
    case KIT_CONFIG:
        return clf__kit_check_config(check);
    case KIT_ARGUMENTS:
        return clf__kit_check_arguments(check);
    case KIT_CONVENIENCE:
        return clf__kit_check_convenience(check);
    }
    return KIT_FAILED;
}

static void command_of(const session *s, size_t number, char *text, size_t size)
{
    const char *quote = strpbrk(s->selector, " ;'()&|") ? "'" : "";
    snprintf(text, size, "%s --component %s --device %s%s%s --case %zu%s%s",
             s->options->program ? s->options->program : "clf selftest", s->component->name, quote, s->selector, quote,
             number, s->options->family ? " --family " : "", s->options->family ? s->options->family : "");
}

/* What a case has cost: processor time of all threads, and programs compiled. */
typedef struct cost {
    double   seconds;
    uint64_t programs;
} cost;

static cost spent(const session *s)
{
    return (cost){ (double)clock() / CLOCKS_PER_SEC, clf_device_program_stats(s->device).built };
}

static void tell(const session *s, const clf__kit_check *check, clf__kit_verdict verdict, size_t number, cost before)
{
    const cost               after = spent(s);
    static const char *const names[] = { "passed", "FAILED", "refused" };
    char                     about[256], command[256], line[1700];
    const clf_testkit_case   result = { .number = (int)number, .verdict = (clf_testkit_verdict)verdict, .about = about,
                                        .why = check->why, .command = command };
    clf__kit_describe(s->component, check->c, about, sizeof about);
    command_of(s, number, command, sizeof command);
    if (s->options->done)
        s->options->done(&result, s->options->user);
    if (verdict != KIT_FAILED && !s->options->verbose)
        return;
    snprintf(line, sizeof line, "%s %s: %s%s%s [%.1f s of CPU, %d programs]", names[verdict], command, about,
             check->why[0] ? ": " : "", check->why, after.seconds - before.seconds,
             (int)(after.programs - before.programs));
    say(s, line);
}

static void run_case(session *s, const clf__kit_case *c, size_t number)
{
    clf__kit_check   check = { .device = s->device, .component = s->component, .c = c, .family = s->options->family,
                               .every_family = s->options->slow || s->options->only ||
                                               (c->every_family && !s->options->quick),
                               .optimised = s->options->slow };
    const cost       before = spent(s);
    clf__kit_verdict verdict;
    if (s->options->begin)
        s->options->begin((int)number, s->options->user);
    verdict = check_case(&check);
    s->counts.passed += verdict == KIT_PASSED;
    s->counts.failed += verdict == KIT_FAILED;
    s->counts.refused += verdict == KIT_REFUSED;
    tell(s, &check, verdict, number, before);
}

/* Do both ask for the same: masks, order, dropout, switches? */
static bool asks_the_same(const clf__kit_case *a, const clf__kit_case *b)
{
    return a->present == b->present && a->causal == b->causal && a->xformers == b->xformers &&
           (a->training && a->dropout > 0) == (b->training && b->dropout > 0) && strcmp(a->own, b->own) == 0;
}

/* Where it takes long: the first problem in single precision of all that ask for the same, slow or not. */
static bool is_first(const clf__kit_cases *cases, size_t i)
{
    if (cases->list[i].what != KIT_PROBLEM)
        return !cases->list[i].slow;
    if (cases->list[i].dtype != CLF_F32)
        return false;
    for (size_t before = 0; before < i; before++)
        if (cases->list[before].what == KIT_PROBLEM && asks_the_same(&cases->list[before], &cases->list[i]))
            return false;
    return true;
}

/* Does this run include case i? Quick ones take the first of each sort. */
static bool is_wanted(session *s, const clf__kit_cases *cases, size_t i)
{
    const clf__kit_case *c = &cases->list[i];
    if (s->options->only)
        return i + 1 == (size_t)s->options->only;
    if (clf__kit_seeks_unwritten(s->device))
        return is_first(cases, i);
    if (!s->options->quick)
        return s->options->slow || !c->slow;
    const bool first = !s->seen[c->what];
    s->seen[c->what] = true;
    return first;
}

/* The device under test and the selector that names it in lines. */
static clf_status open_device(session *s)
{
    const clf_testkit_options *options = s->options;
    const clf_device_info     *info;
    if (options->device) {
        clf_device_retain(options->device);
        s->device = options->device;
    } else {
        const clf_status status = clf_device_open(options->selector, &s->device);
        if (status)
            return status;
    }
    info = clf_device_get_info(s->device);
    if (options->selector && options->selector[0])
        snprintf(s->selector, sizeof s->selector, "%s", options->selector);
    else
        snprintf(s->selector, sizeof s->selector, "%d:%d", info->platform_index, info->device_index);
    return CLF_SUCCESS;
}

static void sum_up(session *s)
{
    char line[256];
    if (!clf__kit_has_reference(s->component)) {
        snprintf(line, sizeof line, "%s has no reference: values and gradients were not checked", s->component->name);
        say(s, line);
    }
    snprintf(line, sizeof line, "%s %s: %d passed, %d failed, %d refused", s->component->name, s->selector,
             s->counts.passed, s->counts.failed, s->counts.refused);
    say(s, line);
}

static clf_status no_such_case(const session *s, size_t count)
{
    char line[128];
    snprintf(line, sizeof line, "%s has %zu cases, there is no case %d", s->component->name, count, s->options->only);
    say(s, line);
    return CLF_INVALID_VALUE;
}

clf_status clf_testkit_run(const clf_component *component, const clf_testkit_options *options,
                           clf_testkit_counts *counts)
{
    session        s = { .component = component, .options = options };
    clf__kit_cases cases = { .list = NULL };
    clf_status     status;
    if (!component || !options || !counts || options->size < sizeof *options || options->only < 0)
        return CLF_INVALID_VALUE;
    *counts = (clf_testkit_counts){ 0 };
    status = open_device(&s);
    if (status)
        return status;
    clf__kit_generate(component, clf_device_get_info(s.device), &cases);
    if (cases.failed)
        status = CLF_OUT_OF_HOST_MEMORY;
    else if ((size_t)options->only > cases.count)
        status = no_such_case(&s, cases.count);
    for (size_t i = 0; i < cases.count && !status; i++)
        if (is_wanted(&s, &cases, i))
            run_case(&s, &cases.list[i], i + 1);
    if (!status)
        sum_up(&s);
    *counts = s.counts;
    free(cases.list);
    clf_device_release(s.device);
    return status;
}

/* The plain case of the generator, with another type and order. */
static clf_status plain_case(const clf_component *component, const clf_device_info *device, clf_dtype dtype,
                             bool causal, clf__kit_case *c)
{
    clf__kit_cases cases = { .list = NULL };
    clf_status     status = CLF_OUT_OF_HOST_MEMORY;
    clf__kit_generate(component, device, &cases);
    if (!cases.failed) {
        *c = cases.list[0];
        c->dtype = dtype;
        c->causal = causal;
        status = CLF_SUCCESS;
    }
    free(cases.list);
    return status;
}

static double relative_error_of(const double *out, const double *ref, int64_t count)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        error += (out[i] - ref[i]) * (out[i] - ref[i]);
        size += ref[i] * ref[i];
    }
    return size > 0 ? sqrt(error / size) : sqrt(error);
}

clf_status clf_testkit_accuracy(clf_device *device, const clf_component *component, clf_dtype dtype, bool causal,
                                double *relative_error)
{
    clf__kit_case    c;
    clf__kit_problem p = { .component = component };
    clf__kit_result  out = { .io = { NULL } }, ref = { .io = { NULL } };
    clf_plan        *plan = NULL;
    clf_args         args;
    char             why[256];
    int              first = 0;
    clf_status       status;
    if (!device || !component || !relative_error)
        return CLF_INVALID_VALUE;
    if (!clf__kit_has_reference(component))
        return CLF_UNSUPPORTED;
    status = plain_case(component, clf_device_get_info(device), dtype, causal, &c);
    if (!status)
        status = clf__kit_problem_make(device, component, &c, &p);
    if (!status)
        status = clf__kit_result_make(&p, &out);
    if (!status)
        status = clf__kit_result_make(&p, &ref);
    if (!status)
        status = clf__kit_reference(&p, CLF_FORWARD, -1, &ref);
    args = clf__kit_args(&p, CLF_FORWARD);
    if (!status)
        status = clf_plan_create(p.instance, &args, NULL, &plan);
    if (!status)
        status = clf__kit_execute(&p, plan, CLF_FORWARD, &out, why, sizeof why);
    while (!out.io[first] && first < CLF_MAX_IO - 1)
        first++;
    if (!status)
        *relative_error = relative_error_of(out.io[first], ref.io[first], clf_tensor_elements(&p.io[first].tensor));
    clf_plan_release(plan);
    clf__kit_result_free(&out);
    clf__kit_result_free(&ref);
    clf__kit_problem_free(&p);
    return status;
}
