/* Lists of seconds and what is told about them. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

bool clf__bench_add(clf__bench_samples *samples, double seconds)
{
    double *longer = realloc(samples->at, (size_t)(samples->count + 1) * sizeof *longer);
    if (!longer) {
        return false;
    }
    longer[samples->count++] = seconds;
    samples->at = longer;
    return true;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double clf__bench_median(const clf__bench_samples *samples)
{
    size_t  n = (size_t)samples->count;
    double *sorted = n ? malloc(n * sizeof *sorted) : NULL;
    if (!sorted) {
        return 0;
    }
    memcpy(sorted, samples->at, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    free(sorted);
    return median;
}

double clf__bench_least(const clf__bench_samples *samples)
{
    double least = samples->count ? samples->at[0] : 0;
    for (int i = 1; i < samples->count; i++) {
        least = samples->at[i] < least ? samples->at[i] : least;
    }
    return least;
}

double clf__bench_most(const clf__bench_samples *samples)
{
    double most = 0;
    for (int i = 0; i < samples->count; i++) {
        most = samples->at[i] > most ? samples->at[i] : most;
    }
    return most;
}

double clf__bench_seconds(const clf__bench_row *row)
{
    return clf__bench_median(row->device.count ? &row->device : &row->wall);
}

double clf__bench_roofline(const clf__bench_device *device, const clf__bench_row *row)
{
    double seconds = clf__bench_seconds(row);
    double memory = row->bytes / device->most.bytes * clf__bench_median(&row->copies);
    double arithmetic = row->flops / device->most.flops * clf__bench_median(&row->sums);
    if (seconds <= 0 || row->copies.count == 0 || row->sums.count == 0) {
        return 0;
    }
    return (memory > arithmetic ? memory : arithmetic) / seconds;
}

double clf__bench_ratio(const clf__bench_device *device, const clf__bench_row *row)
{
    double seconds = clf__bench_seconds(row), ceiling = clf__bench_median(&row->ceiling);
    if (seconds <= 0 || ceiling <= 0) {
        return 0;
    }
    return row->flops / seconds / (device->ceiling_flops / ceiling);
}
