/* clf_prepare and clf_apply*: the same bits as planning and running by hand. */
#include "kit.h"

#include <stdio.h>
#include <string.h>

/* What the apply calls left behind against the kept run. */
static clf__kit_verdict compare(clf__kit_check *check, clf__kit_problem *p, clf__kit_result *out, const char *call,
                                clf_status status)
{
    const char *differs;
    char        why[256] = "";
    if (!status)
        status = (clf_status)clFinish(clf_device_queue(p->device));
    if (!status)
        status = clf__kit_download(p, out, why, sizeof why);
    if (status)
        return clf__kit_finding(check, "%s: %s: %s", call, clf_status_name(status), clf_error_message());
    if (why[0])
        return clf__kit_finding(check, "%s: %s", call, why);
    differs = clf__kit_same_as_kept(p);
    return differs ? clf__kit_finding(check, "%s gives other bits than a plan in %s", call, differs) : KIT_PASSED;
}

/* One pass combination: by plan, then three times by the convenience calls (planned, kept plan, prepared). */
static clf__kit_verdict check_passes(clf__kit_check *check, clf__kit_problem *p, int passes, clf__kit_result *out)
{
    const clf_plan_options options = { .size = sizeof options, .passes = passes };
    const clf_args         args = clf__kit_args(p, passes);
    const bool             backward = passes & CLF_BACKWARD;
    const char            *call = backward ? "clf_apply_training" : "clf_apply";
    clf_plan              *plan = NULL;
    clf__kit_verdict       verdict = KIT_PASSED;
    char                   why[256];
    clf_status             status = clf_plan_create(p->instance, &args, &options, &plan);
    if (!status)
        status = clf__kit_execute(p, plan, passes, out, why, sizeof why);
    clf_plan_release(plan);
    if (status)
        return clf__kit_stopped(check, "planning", status);
    clf__kit_keep(p);
    if (clf__kit_seeks_unwritten(check->device)) /* a part of this memory was written */
        clf_pool_trim(check->device, 0);
    for (int round = 0; round < 3 && verdict == KIT_PASSED; round++) {
        if (round == 2 && !clf__kit_seeks_unwritten(check->device))
            status = clf_prepare(p->instance, &args, &options);
        if (!status)
            status = clf__kit_upload(p);
        if (!status)
            status = backward ? clf_apply_training(p->instance, &args) : clf_apply(p->instance, &args);
        if (!status && backward)
            status = clf_apply_backward(p->instance, &args);
        verdict = compare(check, p, out, call, status);
    }
    return verdict;
}

clf__kit_verdict clf__kit_check_convenience(clf__kit_check *check)
{
    clf__kit_problem p;
    clf__kit_result  out = { .io = { NULL } };
    clf__kit_verdict verdict;
    clf_status       status = clf__kit_problem_make(check->device, check->component, check->c, &p);
    if (!status)
        status = clf__kit_result_make(&p, &out);
    if (status) {
        verdict = clf__kit_stopped(check, "creating", status);
    } else {
        verdict = check_passes(check, &p, CLF_FORWARD, &out);
        if (verdict == KIT_PASSED && p.backward)
            verdict = check_passes(check, &p, CLF_FORWARD | CLF_BACKWARD, &out);
    }
    clf__kit_result_free(&out);
    clf__kit_problem_free(&p);
    return verdict;
}
