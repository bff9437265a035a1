/* Timing one pass: warm up, then repeat on the device's clock and on the wall's. */
#include "bench.h"
#include "clocks.h"

enum { LEAST_REPEATS = 5, MOST_REPEATS = 50, PEER_RUNS = 9 };

static const double FAST = 5e-3;  /* seconds: below, host overhead would show in single calls */
static const double SLOW = 20;    /* seconds: above, one sample has to do */

/* The end of a command in seconds of the device's clock; negative when it has none. */
static double end_of(cl_event event)
{
    cl_ulong end = 0;
    cl_int   code = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
    return code == CL_SUCCESS && end > 0 ? 1e-9 * (double)end : -1;
}

static clf_status wait_for(cl_event event)
{
    return (clf_status)clWaitForEvents(1, &event);
}

/* One call, waited for: its wall clock, and with `marker` its device time as well. */
static clf_status time_call(clf__bench_fixture *fixture, bool marker, double *wall, double *device)
{
    cl_event   before = NULL, after = NULL;
    clf_status status = CLF_SUCCESS;
    double     start = clf__bench_now();
    if (marker) {
        status = (clf_status)clEnqueueMarkerWithWaitList(clf_device_queue(fixture->device), 0, NULL, &before);
    }
    if (status == CLF_SUCCESS) {
        status = clf__bench_enqueue(fixture, &after);
    }
    if (status == CLF_SUCCESS) {
        status = wait_for(after);
    }
    *wall = clf__bench_now() - start;
    if (marker && status == CLF_SUCCESS) {
        double begin = end_of(before), end = end_of(after);
        *device = begin > 0 && end > begin ? end - begin : -1;
    }
    if (before) {
        clReleaseEvent(before);
    }
    if (after) {
        clReleaseEvent(after);
    }
    return status;
}

/* n + 1 calls in a row, n <= MOST_REPEATS; the device time of each but the first is the time from end to end. */
static clf_status time_chain(clf__bench_fixture *fixture, int n, clf__bench_samples *device)
{
    cl_event   events[MOST_REPEATS + 1] = { NULL };
    clf_status status = CLF_SUCCESS;
    int        enqueued = 0;
    for (; enqueued <= n && status == CLF_SUCCESS; enqueued++) {
        status = clf__bench_enqueue(fixture, &events[enqueued]);
    }
    clf_status waited = (clf_status)clFinish(clf_device_queue(fixture->device));
    status = status == CLF_SUCCESS ? waited : status;
    for (int i = 1; i <= n && status == CLF_SUCCESS; i++) {
        double begin = end_of(events[i - 1]), end = end_of(events[i]);
        if (begin > 0 && end > begin && !clf__bench_add(device, end - begin)) {
            status = CLF_OUT_OF_HOST_MEMORY;
        }
    }
    for (int i = 0; i < enqueued; i++) {
        if (events[i]) {
            clReleaseEvent(events[i]);
        }
    }
    return status;
}

static void sample_peers(const clf__bench_peers *peers, clf__bench_row *row)
{
    if (peers->ceiling) {
        clf__bench_add(&row->ceiling, clf__bench_ceiling_run(peers->ceiling));
    }
    if (peers->limits) {
        clf__bench_limits_run(peers->limits, &row->copies, &row->sums);
    }
}

/* How many samples lie between two runs of the peers: on a machine whose speed moves, ratios are taken side by side. */
static int peers_every(int repeats, bool quick)
{
    const int runs = quick ? 2 : PEER_RUNS;
    return repeats > runs ? repeats / runs : 1;
}

static clf_status measure_fast(clf__bench_fixture *fixture, int repeats, int every, const clf__bench_peers *peers,
                               clf__bench_row *row)
{
    clf_status status = CLF_SUCCESS;
    double     wall = 0;
    for (int i = 0; i < repeats && status == CLF_SUCCESS; i++) {
        status = time_call(fixture, false, &wall, NULL);
        clf__bench_add(&row->wall, wall);
    }
    const int most = every < MOST_REPEATS ? every : MOST_REPEATS;
    row->clock = "chain";
    for (int left = repeats; left > 0 && status == CLF_SUCCESS; left -= most) {
        sample_peers(peers, row);
        status = time_chain(fixture, left < most ? left : most, &row->device);
    }
    return status;
}

static clf_status measure_slow(clf__bench_fixture *fixture, int repeats, int every, const clf__bench_peers *peers,
                               clf__bench_row *row)
{
    row->clock = "marker";
    for (int i = 0; i < repeats; i++) {
        double     wall = 0, device = -1;
        if (i % every == 0) {
            sample_peers(peers, row);
        }
        clf_status status = time_call(fixture, true, &wall, &device);
        if (status != CLF_SUCCESS) {
            return status;
        }
        clf__bench_add(&row->wall, wall);
        if (device > 0) {
            clf__bench_add(&row->device, device);
        }
    }
    return CLF_SUCCESS;
}

clf_status clf__bench_measure(clf__bench_fixture *fixture, const clf__bench_options *options,
                              const clf__bench_peers *peers, clf__bench_row *row)
{
    double     budget = options->quick ? 0.2 : 1, spent = 0, seconds = 0;
    clf_status status = time_call(fixture, false, &seconds, NULL); /* pays for everything that happens once */
    for (int i = 0; i < 3 && status == CLF_SUCCESS && (i == 0 || spent < budget / 4) && seconds < SLOW; i++) {
        status = time_call(fixture, false, &seconds, NULL);
        spent += seconds;
    }
    if (status != CLF_SUCCESS) {
        return status;
    }
    int repeats = options->repeats;
    if (repeats == 0) {
        double affordable = budget / seconds;
        repeats = seconds > SLOW ? 1 : affordable < LEAST_REPEATS ? LEAST_REPEATS
                : affordable > MOST_REPEATS ? MOST_REPEATS : (int)affordable;
    }
    const int every = peers_every(repeats, options->quick);
    status = (seconds < FAST ? measure_fast : measure_slow)(fixture, repeats, every, peers, row);
    if (status == CLF_SUCCESS && row->device.count == 0) {
        row->clock = NULL;
    }
    return status;
}
