/* Bad arguments: each one is refused with the right code and a message that names the tensor, and nothing
 * is enqueued; afterwards the same plan still runs. */
#include "kit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct spoiled {
    const char *what;
    clf_status  wanted;
    void      (*spoil)(clf_tensor *tensor);
} spoiled;

static void leave_out(clf_tensor *t)
{
    t->rank = 0;
}

static void cut_rank(clf_tensor *t)
{
    t->rank--;
}

static void wrong_dtype(clf_tensor *t)
{
    t->dtype = CLF_I16;
}

static void no_dtype(clf_tensor *t)
{
    t->dtype = (clf_dtype)1000;
}

static void negative_extent(clf_tensor *t)
{
    t->shape[t->rank - 1] = -1;
}

static void last_stride(clf_tensor *t)
{
    t->strides[t->rank - 1] = 2;
}

static void misaligned(clf_tensor *t)
{
    t->offset++;
}

static void behind_the_end(clf_tensor *t)
{
    t->offset += (uint64_t)1 << 40;
}

static void huge_extent(clf_tensor *t)
{
    t->shape[0] = INT64_MAX / 2;
}

/* Descriptions with memory, so that ends are checked too. */
static clf_args whole_args(const clf__kit_problem *p)
{
    return clf__kit_args(p, CLF_FORWARD);
}

static clf__kit_verdict expect_refusal(clf__kit_check *check, clf__kit_problem *p, const clf_args *args,
                                       const char *name, const spoiled *s)
{
    clf_plan        *plan = NULL;
    const clf_status status = clf_plan_create(p->instance, args, NULL, &plan);
    if (!status)
        clf_plan_release(plan);
    if (!status || (status != s->wanted && s->wanted != CLF_INVALID_VALUE))
        return clf__kit_finding(check, "%s with %s gives %s, expected %s", name, s->what, clf_status_name(status),
                                clf_status_name(s->wanted));
    if (plan && status)
        return clf__kit_finding(check, "%s with %s: refused, but the plan is not NULL", name, s->what);
    if (!strstr(clf_error_message(), name))
        return clf__kit_finding(check, "%s with %s: the message does not name it: %s", name, s->what,
                                clf_error_message());
    return KIT_PASSED;
}

static clf__kit_verdict spoil_each(clf__kit_check *check, clf__kit_problem *p)
{
    static const spoiled all[] = {
        { "no memory description", CLF_MISSING_TENSOR, leave_out },
        { "too low a rank", CLF_INVALID_RANK, cut_rank },
        { "an integer type", CLF_INVALID_DTYPE, wrong_dtype },
        { "an unknown type", CLF_INVALID_DTYPE, no_dtype },
        { "a negative extent", CLF_INVALID_SHAPE, negative_extent },
        { "a last stride of 2", CLF_INVALID_STRIDE, last_stride },
        { "an odd byte offset", CLF_INVALID_VALUE, misaligned }, /* any refusal will do */
        { "an offset behind its buffer", CLF_BUFFER_TOO_SMALL, behind_the_end },
        { "an extent near 2^63", CLF_INVALID_VALUE, huge_extent },
    };
    clf__kit_verdict verdict = KIT_PASSED;
    for (int i = 0; i < clf__kit_io_count(p->component); i++) {
        const clf_io *io = &p->component->descriptor->io[i];
        for (size_t k = 0; k < sizeof all / sizeof all[0] && verdict == KIT_PASSED; k++) {
            clf_args args = whole_args(p);
            if (io->io_class != CLF_IO_FLOATING || (io->flags & (CLF_IO_OPTIONAL | CLF_IO_BROADCAST)))
                continue;
            all[k].spoil(&args.io[i]);
            verdict = expect_refusal(check, p, &args, io->name, &all[k]);
        }
    }
    return verdict;
}

/* Running with other memory than the plan allows. */
static clf__kit_verdict expect_run_error(clf__kit_check *check, clf_plan *plan, const clf_args *args, clf_buffer workspace,
                                         clf_status wanted, const char *what)
{
    const clf_status status = clf_forward(plan, args, workspace, (clf_buffer){ 0 }, NULL, 0, NULL, NULL);
    return status == wanted ? KIT_PASSED
                            : clf__kit_finding(check, "running with %s gives %s, expected %s", what,
                                               clf_status_name(status), clf_status_name(wanted));
}

static clf__kit_verdict spoil_runs(clf__kit_check *check, clf__kit_problem *p, clf_plan *plan)
{
    const uint64_t   bytes = clf_plan_get_info(plan).workspace_bytes;
    clf_args         args;
    clf__kit_verdict verdict = KIT_PASSED;
    int              output = 0;
    while (p->component->descriptor->io[output].role != CLF_OUTPUT)
        output++;
    if (bytes) { /* no workspace at all */
        args = whole_args(p);
        verdict = expect_run_error(check, plan, &args, (clf_buffer){ 0 }, CLF_BUFFER_TOO_SMALL, "too small a workspace");
        return verdict; /* the checks below would need one */
    }
    args = whole_args(p);
    args.io[output].mem = args.io[0].mem;
    args.io[output].offset = args.io[0].offset;
    verdict = expect_run_error(check, plan, &args, (clf_buffer){ 0 }, CLF_BUFFER_OVERLAP, "output and input in one place");
    if (verdict)
        return verdict;
    args = whole_args(p);
    args.io[output].offset += KIT_GUARD + 64;
    return expect_run_error(check, plan, &args, (clf_buffer){ 0 }, CLF_BUFFER_TOO_SMALL, "an output behind its buffer");
}

clf__kit_verdict clf__kit_check_arguments(clf__kit_check *check)
{
    clf__kit_problem p;
    clf__kit_result  out = { .io = { NULL } };
    clf_plan        *plan = NULL;
    clf__kit_verdict verdict;
    char             why[256];
    clf_status       status = clf__kit_problem_make(check->device, check->component, check->c, &p);
    const clf_args   args = whole_args(&p);
    if (!status)
        status = clf__kit_result_make(&p, &out);
    if (!status)
        status = clf_plan_create(p.instance, &args, NULL, &plan);
    if (status) {
        verdict = clf__kit_stopped(check, "planning", status);
        goto end;
    }
    verdict = spoil_each(check, &p);
    if (verdict == KIT_PASSED)
        verdict = spoil_runs(check, &p, plan);
    if (verdict == KIT_PASSED) {
        status = clf__kit_execute(&p, plan, CLF_FORWARD, &out, why, sizeof why);
        if (status || why[0])
            verdict = clf__kit_finding(check, "after bad arguments the plan does not run: %s %s", clf_status_name(status),
                                       why);
    }
end:
    clf_plan_release(plan);
    clf__kit_result_free(&out);
    clf__kit_problem_free(&p);
    return verdict;
}
