/* Which devices, and each part on each of them. */
#define _POSIX_C_SOURCE 200809L
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- devices --------------------------------------------------------------------------------------- */

static bool matches(const char *selector, const clf_device_info *device)
{
    clf_device_info *infos = NULL;
    size_t           count = 0;
    bool             found = false;
    if (clf_devices(selector, &infos, &count) != CLF_SUCCESS)
        return false;
    for (size_t i = 0; i < count; i++)
        found = found || infos[i].device_id == device->device_id;
    clf_free(infos);
    return found;
}

static bool is_wanted(const clf_testkit_sweep_options *o, const clf_device_info *device)
{
    for (const char *const *except = o->except; except && *except; except++)
        if (matches(*except, device))
            return false;
    return !o->limit || !o->limit[0] || matches(o->limit, device);
}

/* The one device that is taken when nothing is asked for. */
static clf_status only_default(clf_device_info *infos, size_t *count)
{
    clf_device  *device = NULL;
    clf_status   status = clf_device_open(NULL, &device);
    cl_device_id id;
    size_t       kept = 0;
    if (status)
        return status;
    id = clf_device_id(device);
    for (size_t i = 0; i < *count; i++)
        if (infos[i].device_id == id)
            infos[kept++] = infos[i];
    *count = kept;
    clf_device_release(device);
    return CLF_SUCCESS;
}

/* Keeps the devices that are asked for; *shown is the selector itself when it means one device. */
static clf_status choose(const clf_testkit_sweep_options *o, clf_device_info **infos, size_t *count, const char **shown)
{
    clf_status   status = clf_devices(o->selector ? o->selector : "all", infos, count);
    size_t       kept = 0;
    const size_t found = *count;
    if (!status && !o->selector)
        status = only_default(*infos, count);
    *shown = !status && found == 1 ? o->selector : NULL;
    for (size_t i = 0; !status && i < *count; i++)
        if (!((*infos)[i].duplicate && *count > 1) && is_wanted(o, &(*infos)[i]))
            (*infos)[kept++] = (*infos)[i];
    *count = kept;
    return !status && kept == 0 ? CLF_DEVICE_NOT_FOUND : status;
}

/* ---- pairs ----------------------------------------------------------------------------------------- */

void clf__kit_pair_here(clf__kit_pair *pair)
{
    clf_testkit_options options = pair->options->run;
    clf__kit_watch      watch;
    clf_status          status;
    options.device = NULL;
    options.selector = pair->selector;
    clf__kit_watch_begin(&watch, pair->device->simulator);
    status = clf_testkit_run(pair->component, &options, &pair->counts);
    if (status)
        snprintf(pair->trouble, sizeof pair->trouble, "%s%s%.900s", clf_status_name(status),
                 clf_error_message()[0] ? ": " : "", clf_error_message());
    else if (pair->counts.passed + pair->counts.failed + pair->counts.refused == 0)
        snprintf(pair->trouble, sizeof pair->trouble, "no case ran");
    clf__kit_watch_end(&watch, pair->trouble, sizeof pair->trouble);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void run_pair(const clf_testkit_sweep_options *o, const clf_component *component, const clf_device_info *device,
                     const char *selector, bool apart)
{
    clf__kit_pair      pair = { .options = o, .component = component, .device = device, .selector = selector };
    const double       begin = now();
    clf_testkit_result result = { .component = component, .device = device, .selector = selector,
                                  .trouble = pair.trouble };
    if (o->start)
        o->start(component, device, o->run.user);
    if (apart)
        clf__kit_pair_apart(&pair);
    else
        clf__kit_pair_here(&pair);
    result.counts = pair.counts;
    result.seconds = now() - begin;
    result.passed = !pair.trouble[0] && pair.counts.failed == 0;
    if (o->result)
        o->result(&result, o->run.user);
}

clf_status clf_testkit_sweep(const clf_component *const *components, const clf_testkit_sweep_options *options, int *pairs)
{
    clf_device_info *infos = NULL;
    size_t           count = 0, parts = 0;
    const char      *shown = NULL;
    clf_status       status;
    if (pairs)
        *pairs = 0;
    if (!components || !options || options->size < sizeof *options || options->run.size < sizeof options->run)
        return CLF_INVALID_VALUE;
    while (components[parts])
        parts++;
    status = choose(options, &infos, &count, &shown);
    for (size_t i = 0; i < count && !status; i++)
        for (size_t part = 0; part < parts; part++) {
            char number[32];
            snprintf(number, sizeof number, "%d:%d", infos[i].platform_index, infos[i].device_index);
            run_pair(options, components[part], &infos[i], shown ? shown : number,
                     !options->in_process || count * parts > 1);
        }
    if (pairs && !status)
        *pairs = (int)(count * parts);
    clf_free(infos);
    return status;
}
