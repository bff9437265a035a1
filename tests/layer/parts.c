/* Every registered part, planned and run forward and backward on its first problem: each OpenCL call and each
 * allocation fails in turn, after which the stage works when it is tried again, with the same bits, and leaves nothing
 * behind; and a user event that nobody has set holds both passes while no call waits. */
#define _XOPEN_SOURCE 700
#include "core/status.h"
#include "interpose.h"
#include "kit.h"
#include "layer.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct job {
    clf_device      *device;
    clf__kit_problem problem;
    clf__kit_result  result;
    int              passes;
    clf_plan        *plan;
    clf_args         args;
    clf_buffer       workspace, saved;
} job;

static const layer *lay;
static char         fault[200];
static int          injected, survived;

static void begin(void)
{
    lay = layer_find();
    if (!lay)
        cr_skip_test("this OpenCL loader knows no layers");
    layer_last_words(fault);
    host_catch_cjson();
}

TestSuite(parts, .init = begin);

/* ---- the stages ------------------------------------------------------------------------------------- */

static void free_plan(job *j)
{
    clf_plan_release(j->plan);
    clf_pool_release(j->device, j->workspace.mem, NULL);
    clf_pool_release(j->device, j->saved.mem, NULL);
    j->plan = NULL;
    j->workspace = j->saved = (clf_buffer){ 0 };
}

static clf_status plan(job *j)
{
    const clf_plan_options options = { .size = sizeof options, .passes = j->passes };
    clf_status status = clf_plan_create(j->problem.instance, &j->args, &options, &j->plan);

    if (status)
        return status;
    j->workspace.bytes = clf_plan_get_info(j->plan).workspace_bytes;
    j->saved.bytes = clf_plan_get_info(j->plan).saved_bytes;
    if (j->workspace.bytes)
        status = clf_pool_acquire(j->device, j->workspace.bytes, &j->workspace.mem);
    if (status == CLF_SUCCESS && j->saved.bytes)
        status = clf_pool_acquire(j->device, j->saved.bytes, &j->saved.mem);
    if (status)
        free_plan(j);
    return status;
}

static clf_status enqueue(job *j, cl_event gate, cl_event events[2])
{
    clf_status status = clf_forward(j->plan, &j->args, j->workspace, j->saved, NULL, gate != NULL, gate ? &gate : NULL,
                                    &events[0]);

    if (status == CLF_SUCCESS && (j->passes & CLF_BACKWARD))
        status = clf_backward(j->plan, &j->args, j->workspace, j->saved, NULL, 1, &events[0], &events[1]);
    return status;
}

static void release_events(cl_event events[2])
{
    for (int i = 0; i < 2; i++)
        if (events[i])
            clReleaseEvent(events[i]);
}

static clf_status run(job *j)
{
    cl_event events[2] = { NULL, NULL };
    const clf_status status = enqueue(j, NULL, events);

    release_events(events);
    return status;
}

/* ---- a part --------------------------------------------------------------------------------------------- */

/* The first problem of a default sweep; false when there is none. */
static bool first_case(const clf_component *part, const clf_device *device, clf__kit_case *c)
{
    clf__kit_cases cases = { .list = NULL };
    bool found = false;

    clf__kit_generate(part, clf_device_get_info(device), &cases);
    for (size_t i = 0; i < cases.count && !found; i++)
        if (cases.list[i].what == KIT_PROBLEM && !cases.list[i].slow) {
            *c = cases.list[i];
            found = true;
        }
    free(cases.list);
    return found;
}

static void read_back(job *j)
{
    char why[256] = "";

    cr_assert_eq(clf__kit_download(&j->problem, &j->result, why, sizeof why), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert(!why[0], "%s: %s", fault, why);
}

/* A job with one good run behind it, whose results are kept. */
static void open_job(clf_device *device, const clf_component *part, const clf__kit_case *c, job *j)
{
    memset(j, 0, sizeof *j);
    snprintf(fault, sizeof fault, "%s: no fault", part->name);
    j->device = device;
    cr_assert_eq(clf__kit_problem_make(device, part, c, &j->problem), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf__kit_result_make(&j->problem, &j->result), CLF_SUCCESS);
    j->passes = CLF_FORWARD | (j->problem.backward ? CLF_BACKWARD : 0);
    j->args = clf__kit_args(&j->problem, j->passes);
    cr_assert_eq(clf__kit_upload(&j->problem), CLF_SUCCESS);
    cr_assert_eq(plan(j), CLF_SUCCESS, "%s: %s", part->name, clf_error_message());
    cr_assert_eq(run(j), CLF_SUCCESS, "%s: %s", part->name, clf_error_message());
    read_back(j);
    clf__kit_keep(&j->problem);
    free_plan(j);
}

static void close_job(job *j)
{
    free_plan(j);
    clf__kit_result_free(&j->result);
    clf__kit_problem_free(&j->problem);
}

static void for_each_part(void (*check)(clf_device *device, const clf_component *part, job *j))
{
    clf_device *device = NULL;
    clf__kit_case c;
    job j;
    int parts = 0;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (const clf_component *part = clf_component_next(NULL); part; part = clf_component_next(part)) {
        if (!first_case(part, device, &c))
            continue;
        open_job(device, part, &c, &j);
        check(device, part, &j);
        close_job(&j);
        parts++;
    }
    clf_device_release(device);
    cr_assert_gt(parts, 0);
    printf("%d parts\n", parts);
}

/* ---- held by an event ------------------------------------------------------------------------------------ */

static void hold(clf_device *device, const clf_component *part, job *j)
{
    cl_event gate, events[2] = { NULL, NULL };
    cl_int code, state = CL_COMPLETE;

    cr_assert_eq(clf__kit_upload(&j->problem), CLF_SUCCESS);
    cr_assert_eq(plan(j), CLF_SUCCESS, "%s", clf_error_message());
    gate = clCreateUserEvent(clf_device_context(device), &code);
    cr_assert_eq(code, CL_SUCCESS);
    lay->reset();
    cr_assert_eq(enqueue(j, gate, events), CLF_SUCCESS, "%s: %s", part->name, clf_error_message());
    const layer_counts counts = lay->count();
    cr_expect_eq(counts.blocking, 0, "%s: a call waited", part->name);
    cr_expect_eq(counts.source_builds + counts.calls[LAYER_CREATE_BUFFER], 0, "%s: built or allocated", part->name);
    cr_expect_gt(counts.calls[LAYER_LAUNCH], 0, "%s", part->name);
    clFlush(clf_device_queue(device));
    for (int i = 0; i < 2 && events[i]; i++) {
        clGetEventInfo(events[i], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
        cr_expect_gt(state, CL_COMPLETE, "%s: pass %d is done before the gate opens", part->name, i);
    }
    cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    read_back(j);
    const char *differs = clf__kit_same_as_kept(&j->problem);
    cr_expect_null(differs, "%s: other bits in %s", part->name, differs);
    release_events(events);
    clReleaseEvent(gate);
}

Test(parts, are_held_by_a_user_event, .timeout = 1200)
{
    for_each_part(hold);
}

/* ---- faults ---------------------------------------------------------------------------------------------- */

static bool complain(const char *what)
{
    fprintf(stderr, "%s: %s (%s)\n", fault, what, clf_error_message());
    return false;
}

static bool try_stage(job *j, clf_status (*stage)(job *j))
{
    (void)clf__fail(CLF_SUCCESS, "no failure yet");
    const clf_status status = stage(j);
    lay->calm();
    host_calm();
    if (status == CLF_SUCCESS)
        return true;
    if (!clf_error_message()[0] || !strcmp(clf_error_message(), "no failure yet"))
        return complain("no message");
    return stage(j) == CLF_SUCCESS || complain("fails again without the fault");
}

static int objects(clf_device *device)
{
    clf_pool_trim(device, 0);
    const layer_counts now = lay->count();
    return layer_alive(&now);
}

/* One run of both stages with a fault in one of them; `arm` sets it. */
static bool survives(job *j, bool in_run, void (*arm)(void))
{
    const int before = objects(j->device);
    bool good = clf__kit_upload(&j->problem) == CLF_SUCCESS;

    if (!in_run)
        arm();
    good = good && try_stage(j, plan);
    if (in_run)
        arm();
    good = good && try_stage(j, run);
    if (good) {
        read_back(j);
        good = !clf__kit_same_as_kept(&j->problem) || complain("other bits");
    }
    free_plan(j);
    return good && (objects(j->device) == before || complain("objects are left"));
}

static layer_call armed_call;
static int        armed_number;
static cl_int     armed_code;

static void arm_opencl(void)
{
    lay->reset();
    lay->fail(armed_call, armed_number, armed_code, false);
}

/* All of them where there is time; binding arguments alone takes hundreds of calls. */
static bool is_wanted(layer_call call)
{
    return getenv("CLF_FAULTS_EVERY_CODE") || call == LAYER_CREATE_BUFFER || call == LAYER_CREATE_KERNEL ||
           call == LAYER_LAUNCH;
}

static void fail_opencl(clf_device *device, const clf_component *part, job *j)
{
    int turn = 0, count;

    (void)device;
    for (int in_run = 0; in_run < 2; in_run++)
        for (armed_call = 0; armed_call < LAYER_CALLS; armed_call++) {
            const cl_int *codes = lay->codes(armed_call, &count);
            bool fired = is_wanted(armed_call);
            for (armed_number = 1; fired; armed_number++, turn++) {
                armed_code = codes[turn % count];
                snprintf(fault, sizeof fault, "%s, %s: %s number %d gives %d", part->name,
                         in_run ? "running" : "planning", lay->name(armed_call), armed_number, armed_code);
                const bool good = survives(j, in_run, arm_opencl);
                fired = lay->count().failed > 0;
                injected += fired;
                survived += fired && good;
                cr_assert(fired || good, "%s: without a fault", part->name);
                lay->reset();
            }
        }
}

static void report(void)
{
    printf("faults: %d injected, %d survived\n", injected, survived);
    fflush(stdout);
    cr_assert_gt(injected, 100);
    cr_assert_eq(survived, injected);
}

Test(parts, opencl_fails, .timeout = 1200)
{
    for_each_part(fail_opencl);
    report();
}

static int host_fired;

static void arm_host(void)
{
    host_fail(HOST_ALLOCATE, armed_number, ENOMEM, false);
}

static void fail_allocations(clf_device *device, const clf_component *part, job *j)
{
    (void)device;
    for (int in_run = 0; in_run < 2; in_run++) {
        host_fired = 1;
        for (armed_number = 1; host_fired; armed_number++) {
            snprintf(fault, sizeof fault, "%s, %s: allocation number %d fails", part->name,
                     in_run ? "running" : "planning", armed_number);
            const bool good = survives(j, in_run, arm_host);
            host_fired = host_failed();
            injected += host_fired > 0;
            survived += host_fired > 0 && good;
            cr_assert(host_fired || good, "%s: without a fault", part->name);
        }
    }
}

Test(parts, memory_is_short, .timeout = 1200)
{
    for_each_part(fail_allocations);
    report();
}
