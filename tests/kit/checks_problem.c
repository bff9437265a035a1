/* The main check: one problem, every family that can do it, forward and backward. */
#define _POSIX_C_SOURCE 200809L
#include "kit.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

clf__kit_verdict clf__kit_finding(clf__kit_check *check, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (!check->why[0])
        vsnprintf(check->why, sizeof check->why, format, list);
    va_end(list);
    return KIT_FAILED;
}

clf__kit_verdict clf__kit_stopped(clf__kit_check *check, const char *doing, clf_status status)
{
    const uint64_t needs = clf__kit_needs(check->component, check->c);
    /* traits speak of the part's own semantics and of the defaults of its own fields */
    const bool     claimed = (needs & ~check->component->descriptor->traits) == 0 && !check->c->own[0] &&
                         !check->c->xformers;
    const char    *reason = status == CLF_OUT_OF_HOST_MEMORY ? "" : clf_error_message();
    if (status != CLF_UNSUPPORTED)
        return clf__kit_finding(check, "%s: %s: %s", doing, clf_status_name(status), reason);
    if (!reason[0])
        return clf__kit_finding(check, "%s: refused without a reason", doing);
    if (claimed)
        return clf__kit_finding(check, "%s: refused although the traits claim it: %s", doing, reason);
    snprintf(check->why, sizeof check->why, "%s", reason);
    return KIT_REFUSED;
}

/* What the results of one case are measured with. */
typedef struct expectation {
    bool            reference; /* ref and base are filled */
    bool            first;     /* ref holds the first family's results instead */
    clf__kit_result ref, base[KIT_BASELINES];
} expectation;

static clf_status expect(const clf__kit_problem *p, expectation *e)
{
    const int  passes = p->backward ? CLF_FORWARD | CLF_BACKWARD : CLF_FORWARD;
    clf_status status = clf__kit_result_make(p, &e->ref);
    for (int b = 0; b < KIT_BASELINES && !status; b++)
        status = clf__kit_result_make(p, &e->base[b]);
    e->reference = clf__kit_has_reference(p->component);
    if (!e->reference)
        return status;
    if (!status)
        status = clf__kit_reference(p, passes, -1, &e->ref);
    for (int b = 0; b < KIT_BASELINES && !status; b++)
        status = clf__kit_reference(p, passes, b, &e->base[b]);
    return status;
}

static void expect_free(expectation *e)
{
    clf__kit_result_free(&e->ref);
    for (int b = 0; b < KIT_BASELINES; b++)
        clf__kit_result_free(&e->base[b]);
}

/* Values that nothing is known about must at least be numbers. */
static bool is_number(const double *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (isnan(out[i]))
            return false;
    return true;
}

/* One tensor. `base` are the addresses of its baselines. */
static bool compare_tensor(const expectation *e, const clf_tensor *t, const double *out, const double *ref,
                           const double *const *base, double factor, char *why, size_t why_size)
{
    const int64_t    count = clf_tensor_elements(t), width = t->rank && t->shape[t->rank - 1] ? t->shape[t->rank - 1] : 1;
    clf__kit_measure m = { .out = out, .ref = ref, .rows = count / width, .width = width,
                           .eps = clf__kit_eps(t->dtype), .factor = factor };
    if (!e->reference && !e->first) {
        snprintf(why, why_size, "NaN");
        return is_number(out, count);
    }
    for (int b = 0; b < KIT_BASELINES && e->reference; b++)
        m.base[b] = base[b];
    m.eps *= e->reference ? 1 : 64;
    return clf__kit_compare(&m, why, why_size);
}

static clf__kit_verdict compare_all(clf__kit_check *check, const clf__kit_problem *p, const expectation *e,
                                    const clf__kit_result *out, const char *family, int passes)
{
    const clf_descriptor *descriptor = p->component->descriptor;
    const double         *base[KIT_BASELINES];
    char                  why[256];
    for (int i = 0; i < CLF_MAX_IO; i++) {
        for (int b = 0; b < KIT_BASELINES; b++)
            base[b] = e->base[b].io[i];
        if (out->io[i] && !compare_tensor(e, &p->io[i].tensor, out->io[i], e->ref.io[i], base, 2, why, sizeof why))
            return clf__kit_finding(check, "family %s: %s: %s", family, descriptor->io[i].name, why);
        for (int b = 0; b < KIT_BASELINES; b++)
            base[b] = e->base[b].grad[i];
        if ((passes & CLF_BACKWARD) && out->grad[i] &&
            !compare_tensor(e, &p->grad[i].tensor, out->grad[i], e->ref.grad[i], base, 3, why, sizeof why))
            return clf__kit_finding(check, "family %s: grad_%s: %s", family, descriptor->io[i].name, why);
    }
    for (int i = 0; (passes & CLF_BACKWARD) && i < p->parameters; i++) {
        for (int b = 0; b < KIT_BASELINES; b++)
            base[b] = e->base[b].parameter_grad[i];
        if (out->parameter_grad[i] && !compare_tensor(e, &p->parameter[i], out->parameter_grad[i],
                                                      e->ref.parameter_grad[i], base, 3, why, sizeof why))
            return clf__kit_finding(check, "family %s: gradient of %s: %s", family, descriptor->parameters[i].name, why);
    }
    return KIT_PASSED;
}

static clf_status make_plan(clf__kit_problem *p, int passes, const char *family, clf_plan **plan)
{
    const clf_plan_options options = { .size = sizeof options, .passes = passes, .family = family,
                                       .allow_reference = true };
    const clf_args         args = clf__kit_args(p, passes);
    return clf_plan_create(p->instance, &args, &options, plan);
}

/* Native CPUs have a family of their own; those made for GPUs compile for half a minute there, in a tenth of that
 * without optimising. Slow runs optimise. */
static clf_status make_plan_for(const clf__kit_check *check, clf__kit_problem *p, int passes, const char *family,
                                clf_plan **plan)
{
    const clf_device_info *info = clf_device_get_info(check->device);
    const bool native = (info->type & CL_DEVICE_TYPE_CPU) && !info->software && !info->simulator;
    const bool quickly = family && !check->family && !check->optimised && native && !getenv("CLF_BUILD_OPTIONS");
    clf_status status;

    if (quickly)
        setenv("CLF_BUILD_OPTIONS", "-cl-opt-disable", 1);
    status = make_plan(p, passes, family, plan);
    if (quickly)
        unsetenv("CLF_BUILD_OPTIONS");
    return status;
}

/* Plans a problem that the traits do not claim: where the part refuses it, its reference need not know it either. */
static clf_status may_be_refused(clf__kit_problem *p, const char *family)
{
    clf_plan  *plan = NULL;
    clf_status status = CLF_SUCCESS;
    if (clf__kit_needs(p->component, p->c) & ~p->component->descriptor->traits)
        status = make_plan(p, CLF_FORWARD, family, &plan);
    clf_plan_release(plan);
    return status;
}

/* Runs a plan twice: values, guards, the same bits. */
static clf__kit_verdict check_plan(clf__kit_check *check, clf__kit_problem *p, clf_plan *plan, int passes,
                                   const expectation *e, clf__kit_result *out)
{
    const char      *family = clf_plan_get_info(plan).family, *differs;
    clf__kit_verdict verdict = KIT_PASSED;
    char             why[256];
    for (int run = 0; run < 2; run++) {
        const clf_status status = clf__kit_execute(p, plan, passes, out, why, sizeof why);
        if (status)
            return clf__kit_finding(check, "family %s: %s: %s", family, clf_status_name(status), clf_error_message());
        if (why[0])
            return clf__kit_finding(check, "family %s: %s", family, why);
        if (run == 0) {
            verdict = compare_all(check, p, e, out, family, passes);
            if (verdict)
                return verdict;
            clf__kit_keep(p);
        } else if ((differs = clf__kit_same_as_kept(p))) {
            return clf__kit_finding(check, "family %s: a second run gives other bits in %s", family, differs);
        }
    }
    const uint64_t traits = p->component->descriptor->traits; /* lenient parts ignore `causal` */
    const bool ordered = (traits & CLF_TRAIT_CAUSAL) && !(check->c->xformers && (traits & CLF_TRAIT_XFORMERS_LENIENT));
    if (check->c->causal && ordered && !(passes & CLF_BACKWARD))
        verdict = clf__kit_check_causality(check, p, plan, out);
    return verdict;
}

/* All passes of one family; `family` NULL lets the plan choose, and `chosen` tells what it was. */
static clf__kit_verdict check_family(clf__kit_check *check, clf__kit_problem *p, const char *family, expectation *e,
                                     char *chosen, size_t chosen_size)
{
    clf_plan        *plan = NULL;
    clf__kit_result  out;
    clf__kit_verdict verdict = KIT_PASSED;
    clf_status       status = clf__kit_result_make(p, &out);
    for (int backward = 0; backward <= p->backward && !status && verdict == KIT_PASSED; backward++) {
        const int passes = backward ? CLF_FORWARD | CLF_BACKWARD : CLF_FORWARD;
        status = make_plan_for(check, p, passes, family, &plan);
        if (status)
            break;
        if (!family)
            snprintf(chosen, chosen_size, "%s", clf_plan_get_info(plan).family);
        else if (strcmp(clf_plan_get_info(plan).family, family) != 0)
            verdict = clf__kit_finding(check, "asked for family %s, got %s", family, clf_plan_get_info(plan).family);
        if (verdict == KIT_PASSED)
            verdict = check_plan(check, p, plan, passes, e, &out);
        clf_plan_release(plan);
        plan = NULL;
    }
    if (status == CLF_UNSUPPORTED && family) /* not every family need be able to do it */
        verdict = check->family ? KIT_REFUSED : KIT_PASSED;
    else if (status)
        verdict = clf__kit_stopped(check, "planning", status);
    if (!status && !family && !e->reference) { /* the other families are compared with this one */
        clf__kit_result swap = e->ref;
        e->ref = out;
        out = swap;
        e->first = true;
    }
    clf__kit_result_free(&out);
    return verdict;
}

clf__kit_verdict clf__kit_check_problem(clf__kit_check *check)
{
    const char *const *families = check->component->descriptor->families;
    clf__kit_problem   p;
    expectation        e = { .reference = false };
    clf__kit_verdict   verdict;
    char               chosen[64] = "";
    clf_status         status = clf__kit_problem_make(check->device, check->component, check->c, &p);
    if (status) {
        verdict = clf__kit_stopped(check, "creating", status);
        goto end;
    }
    status = may_be_refused(&p, check->family);
    if (status) {
        verdict = clf__kit_stopped(check, "planning", status);
        goto end;
    }
    status = expect(&p, &e);
    if (status) {
        verdict = clf__kit_finding(check, "the reference failed: %s: %s", clf_status_name(status), clf_error_message());
        goto end;
    }
    verdict = check_family(check, &p, check->family, &e, chosen, sizeof chosen);
    if (check->family || !check->every_family)
        goto end;
    for (int i = 0; families && families[i] && verdict == KIT_PASSED; i++)
        if (strcmp(families[i], chosen) != 0)
            verdict = check_family(check, &p, families[i], &e, NULL, 0);
end:
    expect_free(&e);
    clf__kit_problem_free(&p);
    return verdict;
}
