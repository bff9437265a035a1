/* Threads: one device for many, many devices at once, several queues. Every result is bitwise that of one thread. */
#include "devices.h"
#include "small.h"
#include <pthread.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 20 };

typedef struct worker {
    pthread_t        thread;
    clf_device      *device;
    clf_instance    *instance; /* shared by the threads, or NULL: makes its own */
    cl_command_queue queue;    /* NULL = the device's */
    int              seed;
    small_results    expected;
    clf_status       status;
    int              wrong;    /* rounds with another result */
    char             message[200];
} worker;

/* Reading is on the device's queue: it must wait for another one's events. */
static clf_status run_once(small *s, cl_command_queue queue, small_results *results)
{
    cl_event forward = NULL, backward = NULL;
    clf_status status = small_forward(s, queue, NULL, &forward);

    if (status == CLF_SUCCESS)
        status = small_backward(s, queue, forward, &backward);
    if (status == CLF_SUCCESS && clWaitForEvents(1, &backward) != CL_SUCCESS)
        status = CLF_INTERNAL;
    if (forward)
        clReleaseEvent(forward);
    if (backward)
        clReleaseEvent(backward);
    memset(results, 0, sizeof *results);
    return status ? status : small_read(s, results);
}

static void *work(void *user)
{
    worker *w = user;
    clf_instance *own = NULL;
    small_results results;
    small s = { .device = w->device };

    w->status = w->instance ? CLF_SUCCESS : small_instance(w->device, &own);
    if (w->status == CLF_SUCCESS)
        w->status = small_make(&s, w->device, w->instance ? w->instance : own, w->seed);
    for (int i = 0; i < ROUNDS && w->status == CLF_SUCCESS; i++) {
        w->status = run_once(&s, w->queue, &results);
        w->wrong += memcmp(&results, &w->expected, sizeof results) != 0;
    }
    if (w->status)
        snprintf(w->message, sizeof w->message, "%s", clf_error_message());
    small_free(&s);
    clf_instance_release(own);
    return NULL;
}

/* What one thread alone gets for this seed. */
static void expect(worker *w)
{
    clf_instance *own = NULL;
    small s = { .device = w->device };

    cr_assert_eq(small_instance(w->device, &own), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_make(&s, w->device, own, w->seed), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(run_once(&s, NULL, &w->expected), CLF_SUCCESS, "%s", clf_error_message());
    small_free(&s);
    clf_instance_release(own);
}

static void run_all(worker *workers, int count)
{
    for (int i = 0; i < count; i++)
        expect(&workers[i]);
    for (int i = 0; i < count; i++)
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < count; i++)
        cr_expect(workers[i].status == CLF_SUCCESS && workers[i].wrong == 0, "thread %d: %s (%s), %d wrong results", i,
                  clf_status_name(workers[i].status), workers[i].message, workers[i].wrong);
}

/* Simulators interpret in one thread and were not made for this. */
static bool takes_threads(const clf_device_info *info)
{
    return !info->simulator;
}

static void share_a_device(clf_device *device)
{
    worker workers[THREADS];
    clf_instance *shared = NULL;

    if (!takes_threads(clf_device_get_info(device)))
        return;
    memset(workers, 0, sizeof workers);
    cr_assert_eq(small_instance(device, &shared), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < THREADS; i++) {
        workers[i].device = device;
        workers[i].instance = i % 2 ? shared : NULL;
        workers[i].seed = i;
    }
    run_all(workers, THREADS);
    clf_instance_release(shared);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(threads, one_device_and_a_plan_each, .timeout = 300)
{
    for_each_device(share_a_device);
}

static void use_two_queues(clf_device *device)
{
    worker workers[4];
    cl_command_queue queues[2];
    cl_int code;

    if (!takes_threads(clf_device_get_info(device)))
        return;
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < 2; i++) {
        queues[i] = clCreateCommandQueue(clf_device_context(device), clf_device_id(device), 0, &code);
        cr_assert_eq(code, CL_SUCCESS);
    }
    for (int i = 0; i < 4; i++) {
        workers[i].device = device;
        workers[i].queue = queues[i % 2];
        workers[i].seed = i;
    }
    run_all(workers, 4);
    for (int i = 0; i < 2; i++)
        clReleaseCommandQueue(queues[i]);
}

Test(threads, two_queues, .timeout = 300)
{
    for_each_device(use_two_queues);
}

Test(threads, several_devices_at_once, .timeout = 300)
{
    const char *selector = getenv("CLF_TEST_DEVICE");
    clf_device_info *infos = NULL;
    worker workers[THREADS];
    size_t count = 0;
    int used = 0;

    memset(workers, 0, sizeof workers);
    cr_assert_eq(clf_devices(selector ? selector : "all", &infos, &count), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < count && used < THREADS; i++) {
        char name[32];

        if (!takes_threads(&infos[i]))
            continue;
        snprintf(name, sizeof name, "%d:%d", infos[i].platform_index, infos[i].device_index);
        for (int twice = 0; twice < 2 && used < THREADS; twice++, used++) { /* two of each, with a context each */
            workers[used].seed = used;
            cr_assert_eq(clf_device_open(name, &workers[used].device), CLF_SUCCESS, "%s", clf_error_message());
        }
    }
    clf_free(infos);
    run_all(workers, used);
    for (int i = 0; i < used; i++)
        clf_device_release(workers[i].device);
    if (used == 0)
        cr_skip_test("no device");
}

/* ---- calls that share what they use ----------------------------------------------------------------- */

/* Convenience calls of one instance take turns. */
static void *apply(void *user)
{
    worker *w = user;
    small_results results;
    small s = { .device = w->device };

    w->status = small_make(&s, w->device, w->instance, w->seed);
    for (int i = 0; i < ROUNDS && w->status == CLF_SUCCESS; i++) {
        memset(&results, 0, sizeof results);
        w->status = clf_apply(w->instance, &s.args);
        if (w->status == CLF_SUCCESS)
            w->status = clf_tensor_read_floats(w->device, &s.args.io[CLF_QKV_OUT], results.out);
        if (i == 0)
            w->expected = results;
        w->wrong += memcmp(results.out, w->expected.out, sizeof results.out) != 0;
    }
    if (w->status)
        snprintf(w->message, sizeof w->message, "%s", clf_error_message());
    small_free(&s);
    return NULL;
}

/* The device comes and goes under other threads' feet; the last reference may be anyone's. */
static void *hold_device(void *user)
{
    for (int i = 0; i < 100; i++) {
        clf_device_retain(user);
        clf_device_release(user);
    }
    clf_device_release(user);
    return NULL;
}

static void *use_pool(void *user)
{
    for (int i = 0; i < 200; i++) {
        cl_mem buffers[3] = { NULL };

        for (int k = 0; k < 3; k++)
            if (clf_pool_acquire(user, (uint64_t)(i % 7 + 1) * 1000 + (uint64_t)k, &buffers[k]) != CLF_SUCCESS)
                return user;
        if (buffers[0] == buffers[1] || buffers[1] == buffers[2] || buffers[0] == buffers[2])
            return user;
        for (int k = 0; k < 3; k++)
            clf_pool_release(user, buffers[k], NULL);
        if (i % 50 == 0)
            clf_pool_trim(user, 0);
        (void)clf_pool_get_stats(user);
    }
    return NULL;
}

static void share_calls(clf_device *device)
{
    worker workers[THREADS];
    pthread_t others[4];
    clf_instance *shared = NULL;
    void *failed = NULL;

    if (!takes_threads(clf_device_get_info(device)))
        return;
    memset(workers, 0, sizeof workers);
    cr_assert_eq(small_instance(device, &shared), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .device = device, .instance = shared, .seed = i };
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, apply, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        if (i % 2)
            clf_device_retain(device);
        cr_assert_eq(pthread_create(&others[i], NULL, i % 2 ? hold_device : use_pool, device), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        cr_expect(workers[i].status == CLF_SUCCESS && workers[i].wrong == 0, "thread %d: %s (%s), %d wrong", i,
                  clf_status_name(workers[i].status), workers[i].message, workers[i].wrong);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(others[i], &failed);
        cr_expect_null(failed, "thread of the pool");
    }
    clf_instance_release(shared);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(threads, convenience_calls_pool_and_references, .timeout = 300)
{
    for_each_device(share_calls);
}

/* ---- without a device ------------------------------------------------------------------------------------ */

static void *use_the_rest(void *user)
{
    for (int i = 0; i < 20; i++) {
        const clf_component *part = NULL;
        clf_device_info *infos = NULL;
        void *config = NULL;
        size_t count;

        if (clf_component_find(CLF_ATTENTION, "scaled_dot_product", &part) != CLF_SUCCESS ||
            clf_component_config(part, "{\"dropout\": 0.5}", NULL, NULL, &config) != CLF_SUCCESS ||
            clf_component_find(CLF_ATTENTION, user, &part) != CLF_UNKNOWN_COMPONENT ||
            !strstr(clf_error_message(), user)) /* the message is this thread's */
            return user;
        clf_config_free(&clf_component_next(NULL)->descriptor->config, config);
        if (clf_devices("all", &infos, &count) == CLF_SUCCESS)
            clf_free(infos);
    }
    return NULL;
}

static void log_nothing(clf_log_level level, const char *message, void *user)
{
    (void)level;
    (void)message;
    ++*(int *)user; /* under the log's lock */
}

Test(threads, registry_messages_and_log)
{
    static char names[THREADS][24];
    pthread_t threads[THREADS];
    int lines = 0;

    clf_log_set(CLF_LOG_DEBUG, log_nothing, &lines);
    for (int i = 0; i < THREADS; i++) {
        snprintf(names[i], sizeof names[i], "nobody_%d", i);
        cr_assert_eq(pthread_create(&threads[i], NULL, use_the_rest, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;

        pthread_join(threads[i], &failed);
        cr_expect_null(failed);
    }
    clf_log_set(CLF_LOG_OFF, NULL, NULL);
}
