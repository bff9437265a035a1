/* Every OpenCL call that the library makes fails: the n-th of each kind, for n = 1, 2, ... until the whole job goes
 * through without it, once and from then on, with the codes that OpenCL allows. Each time the failing stage must say
 * why, work when it is tried again, and leave nothing behind. */
#define _XOPEN_SOURCE 700
#include "core/status.h"
#include "job.h"
#include "layer.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The fault of the moment, for messages, and for the last words when the process dies of it. */
static char         fault[160];
static const layer *lay;
static int          injected, survived, errors, passed_over;

static void begin(void)
{
    lay = layer_find();
    if (!lay)
        cr_skip_test("this OpenCL loader knows no layers");
    layer_last_words(fault);
}

TestSuite(faults, .init = begin);

/* ---- what a failure may look like ---------------------------------------------------------------------- */

/* The code itself, or what the library makes of it for a reason. */
static bool fits(layer_call call, cl_int code, clf_status status)
{
    const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES ||
                        code == CL_OUT_OF_HOST_MEMORY;

    if ((int)status == code)
        return true;
    switch (call) {
    case LAYER_CREATE_BUFFER: return memory && status == CLF_OUT_OF_DEVICE_MEMORY;
    case LAYER_CREATE_KERNEL: return code == CL_INVALID_KERNEL_NAME && status == CLF_INVALID_VALUE;
    case LAYER_GET_PLATFORM_INFO: /* platforms and devices that do not answer are passed over */
    case LAYER_GET_DEVICE_IDS:
    case LAYER_GET_DEVICE_INFO: return status == CLF_DEVICE_NOT_FOUND || status == CLF_NO_PLATFORM;
    default: return false;
    }
}

static bool complain(const char *what, const char *stage, clf_status status)
{
    fprintf(stderr, "%s: %s: %s: %s (%s)\n", fault, stage, what, clf_status_name(status), clf_error_message());
    return false;
}

/* The message must be of this failure: the one before is wiped. */
static bool check_failure(layer_call call, cl_int code, const char *stage, clf_status status)
{
    errors++;
    if (!fits(call, code, status))
        return complain("another status", stage, status);
    if (!strcmp(clf_error_message(), "no failure yet") || !clf_error_message()[0])
        return complain("no message", stage, status);
    return true;
}

/* ---- one job with one fault --------------------------------------------------------------------------- */

static bool run_stage(job *j, const job_stage *stage, layer_call call, cl_int code)
{
    clf_status status;

    (void)clf__fail(CLF_SUCCESS, "no failure yet");
    status = stage->run(j);
    if (status == CLF_SUCCESS)
        return true;
    if (!check_failure(call, code, stage->name, status))
        return false;
    lay->calm();
    status = stage->run(j);
    return status == CLF_SUCCESS || complain("fails again without the fault", stage->name, status);
}

static bool nothing_left(const layer_counts *before)
{
    layer_counts now = lay->count();

    /* A driver may free memory a moment after its last command. */
    for (int i = 0; i < 2000 && now.bytes != before->bytes; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        now = lay->count();
    }
    if (layer_alive(&now) == layer_alive(before) && now.device_references == before->device_references &&
        !now.strangers && now.bytes == before->bytes)
        return true;
    fprintf(stderr, "%s: %d contexts %d queues %d buffers %d programs %d kernels %d events %d device references are "
                    "left, %d strangers, %d bytes\n", fault, now.alive[LAYER_CONTEXT], now.alive[LAYER_QUEUE],
            now.alive[LAYER_BUFFER], now.alive[LAYER_PROGRAM], now.alive[LAYER_KERNEL], now.alive[LAYER_EVENT],
            now.device_references, now.strangers, (int)now.bytes);
    return false;
}

/* False when the job went through before the n-th call came. */
static bool inject(const job *template, layer_call call, int n, cl_int code, bool always, const job_results *expected)
{
    const layer_counts before = lay->count(); /* settled by the last job's nothing_left */
    job j = *template;
    bool good = true;

    snprintf(fault, sizeof fault, "%s number %d gives %s%s", lay->name(call), n, clf__opencl_name(code),
             always ? " from then on" : "");
    lay->reset();
    lay->fail(call, n, code, always);
    const int errors_before = errors;
    for (const job_stage *stage = job_stages; stage->name && good; stage++)
        good = run_stage(&j, stage, call, code);
    job_close(&j);
    const bool fired = lay->count().failed > 0;
    lay->calm();
    if (good && !job_agree(&j.results, expected))
        good = complain("wrong results", "the whole job", CLF_SUCCESS);
    good = nothing_left(&before) && good;
    injected += fired;
    survived += fired && good;
    passed_over += fired && errors == errors_before;
    return fired;
}

static bool is_among(layer_call call, const layer_call *calls)
{
    while (calls && *calls != LAYER_CALLS && *calls != call)
        calls++;
    return !calls || *calls == call;
}

/* `calls` (ended by LAYER_CALLS, NULL = all) limits the calls to those that this job has of its own. The codes take
 * turns, and so do failing once and from then on; with CLF_FAULTS_EVERY_CODE each call fails with each code in both
 * ways. `prepare` runs before each job. */
static void inject_all(const job *template, const layer_call *calls, void (*prepare)(void))
{
    const bool every_code = getenv("CLF_FAULTS_EVERY_CODE") != NULL;
    job j = *template;
    int turn = 0;

    for (const job_stage *stage = job_stages; stage->name; stage++)
        cr_assert_eq(stage->run(&j), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
    job_close(&j);
    for (layer_call call = 0; call < LAYER_CALLS; call++) {
        int         count;
        const cl_int *codes = lay->codes(call, &count);
        bool        fired = is_among(call, calls);

        for (int n = 1; fired; n++)
            for (int i = 0; i < (every_code ? 2 * count : 1) && fired; i++, turn++) {
                prepare();
                fired = every_code ? inject(template, call, n, codes[i / 2], i % 2, &j.results)
                                   : inject(template, call, n, codes[turn % count], (n + (int)call) % 2, &j.results);
            }
    }
    printf("faults: %d injected, %d survived (%d by an error, %d without)\n", injected, survived,
           injected - passed_over, passed_over);
    fflush(stdout);
    cr_assert_gt(injected, 20, "the layer hardly saw any call");
    cr_assert_eq(survived, injected);
}

static void nothing(void)
{
}

Test(faults, of_a_device_that_is_opened)
{
    inject_all(&(job){ .device = NULL }, NULL, nothing);
}

Test(faults, of_a_device_that_is_wrapped_around_an_out_of_order_queue)
{
    static const layer_call calls[] = {
        LAYER_RETAIN_DEVICE, LAYER_RETAIN_CONTEXT, LAYER_GET_CONTEXT_INFO, LAYER_RETAIN_QUEUE,    LAYER_RELEASE_QUEUE,
        LAYER_GET_QUEUE_INFO, LAYER_RELEASE_EVENT, LAYER_WAIT_FOR_EVENTS, LAYER_FINISH,           LAYER_LAUNCH,
        LAYER_READ,          LAYER_WRITE,          LAYER_MARKER,          LAYER_BARRIER,          LAYER_CALLS,
    };
    job wrapped = { .device = NULL };
    clf_device *device = NULL;
    cl_int code;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    wrapped.context = clf_device_context(device);
    wrapped.id = clf_device_id(device);
    wrapped.queue = clCreateCommandQueue(wrapped.context, wrapped.id,
                                         CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE | CL_QUEUE_PROFILING_ENABLE, &code);
    cr_assert_eq(code, CL_SUCCESS);
    inject_all(&wrapped, calls, nothing);
    clReleaseCommandQueue(wrapped.queue);
    clf_device_release(device);
}

static char cold[] = "/tmp/clf_cold_XXXXXX";

static void empty_cache(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -f %s/*", cold);
    cr_assert_eq(system(command), 0);
}

/* Everything is compiled and stored each time, with PoCL's own cache behind it. */
Test(faults, of_a_cache_that_is_filled)
{
    static const layer_call calls[] = { LAYER_CREATE_PROGRAM_SOURCE, LAYER_BUILD_PROGRAM, LAYER_GET_PROGRAM_INFO,
                                        LAYER_GET_BUILD_INFO, LAYER_CREATE_KERNEL, LAYER_CREATE_QUEUE,
                                        LAYER_RELEASE_PROGRAM, LAYER_CALLS };

    cr_assert_not_null(mkdtemp(cold));
    setenv("CLF_CACHE_DIR", cold, 1);
    inject_all(&(job){ .device = NULL }, calls, empty_cache);
    empty_cache();
    cr_assert_eq(rmdir(cold), 0);
}

/* The pool may hold 0, 1, 2, ... KiB: what does not fit is refused with the bytes asked for, and works once it may. */
Test(faults, of_device_memory_that_runs_out)
{
    int refused = 0, went_through = 0;

    for (uint64_t limit = 1; went_through == 0; limit += 1024) {
        const layer_counts before = lay->count();
        job j = { .device = NULL };
        int refusals = 0;

        lay->reset();
        for (const job_stage *stage = job_stages; stage->name; stage++) {
            unsigned long long asked = 0;

            if (stage > job_stages)
                clf_pool_set_limit(j.device, limit);
            const clf_status status = stage->run(&j);
            if (status == CLF_SUCCESS)
                continue;
            refusals++;
            cr_assert_eq(status, CLF_OUT_OF_DEVICE_MEMORY, "%s", clf_error_message());
            const char *number = strstr(clf_error_message(), "a buffer of ");
            cr_assert(number && sscanf(number, "a buffer of %llu bytes was asked for", &asked) == 1 && asked > 0, "%s",
                      clf_error_message());
            cr_assert_lt(lay->count().bytes, before.bytes + limit + 64 * 1024, "the limit is kept");
            clf_pool_set_limit(j.device, 0);
            cr_assert_eq(stage->run(&j), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
        }
        job_close(&j);
        cr_assert(nothing_left(&before));
        refused += refusals;
        went_through = refusals == 0;
    }
    printf("faults: %d refused for lack of device memory, %d survived\n", refused, refused);
    cr_assert_gt(refused, 20);
}
