/* The benchmark as a table for people. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

static void print_device(const clf_device_info *info)
{
    printf("%s (%s, driver %s), %d compute units\n", info->name, info->platform, info->driver, info->compute_units);
}

void clf__bench_print_head(const clf__bench_device *device)
{
    print_device(&device->info);
    printf("%-20s %-8s %-4s %3s %3s %6s %4s %-6s %-10s %9s %17s %9s %8s %6s %6s %8s %8s\n", "part", "pass", "type", "B",
           "H", "N", "D", "causal", "family", "ms", "min..max", "wall ms", "GFLOP/s", "/sgemm", "/limit", "memory",
           "error");
}

static void memory_text(uint64_t bytes, char text[16])
{
    snprintf(text, 16, bytes < (1u << 20) ? "%.1f KiB" : "%.0f MiB",
             (double)bytes / (bytes < (1u << 20) ? 1024.0 : 1048576.0));
}

static void print_measured(const clf__bench_device *device, const clf__bench_row *row)
{
    const clf__bench_samples *samples = row->device.count ? &row->device : &row->wall;
    char   range[32], memory[16], speed[16] = "-", ratio[16] = "-", limit[16] = "-", error[16] = "-";
    double seconds = clf__bench_median(samples), part = clf__bench_ratio(device, row);
    double most = clf__bench_roofline(device, row);
    snprintf(range, sizeof range, "%.4g..%.4g", 1e3 * clf__bench_least(samples), 1e3 * clf__bench_most(samples));
    memory_text(row->memory, memory);
    if (row->flops > 0 && seconds > 0) {
        snprintf(speed, sizeof speed, "%.1f", 1e-9 * row->flops / seconds);
    }
    if (part > 0 && row->flops > 0) {
        snprintf(ratio, sizeof ratio, "%.2f", part);
    }
    if (most > 0) {
        snprintf(limit, sizeof limit, "%.2f", most);
    }
    if (row->error >= 0) {
        snprintf(error, sizeof error, "%.1e", row->error);
    }
    printf("%-10s %8.4g%s %17s %9.4g %8s %6s %6s %8s %8s\n", row->family, 1e3 * seconds, row->device.count ? " " : "w",
           range, 1e3 * clf__bench_median(&row->wall), speed, ratio, limit, memory, error);
}

static void print_reason(const clf__bench_row *row)
{
    const char *reason = row->reason ? row->reason : "";
    printf("%s: %.*s\n", row->outcome == CLF__BENCH_FAILED ? "FAILED" : "unsupported", (int)strcspn(reason, "\n"), reason);
}

void clf__bench_print_row(const clf__bench_device *device, const clf__bench_row *row)
{
    const clf__bench_case *what = &row->what;
    printf("%-20s %-8s %-4s %3lld %3lld %6lld %4lld %-6s ", what->component->name,
           what->pass == CLF_FORWARD ? "forward" : "backward", clf_dtype_name(what->dtype), (long long)what->batch,
           (long long)what->heads, (long long)what->length, (long long)what->head_dim, what->causal ? "yes" : "no");
    if (row->outcome == CLF__BENCH_MEASURED) {
        print_measured(device, row);
    } else {
        print_reason(row);
    }
    fflush(stdout);
}

void clf__bench_print_accuracy_head(const clf__bench_device *device)
{
    print_device(&device->info);
    printf("%-20s %-4s %3s %3s %6s %4s %-6s %-14s %6s %19s\n", "part", "type", "B", "H", "N", "D", "causal", "field", "value",
           "distance from exact");
}

void clf__bench_print_accuracy(const clf__bench_device *device, const clf__bench_row *row)
{
    const clf__bench_case *what = &row->what;
    (void)device;
    printf("%-20s %-4s %3lld %3lld %6lld %4lld %-6s %-14s %6lld ", what->component->name, clf_dtype_name(what->dtype),
           (long long)what->batch, (long long)what->heads, (long long)what->length, (long long)what->head_dim,
           what->causal ? "yes" : "no", what->component->descriptor->knob, (long long)what->knob);
    if (row->outcome == CLF__BENCH_MEASURED) {
        printf("%19.4f\n", row->distance);
    } else {
        print_reason(row);
    }
    fflush(stdout);
}

void clf__bench_print_end(const clf__bench_device *device)
{
    if (device->ceiling.count) {
        double seconds = clf__bench_median(&device->ceiling);
        printf("ceiling: %s: %.4g ms (%.4g..%.4g), %.1f GFLOP/s\n", device->ceiling_name, 1e3 * seconds,
               1e3 * clf__bench_least(&device->ceiling), 1e3 * clf__bench_most(&device->ceiling),
               1e-9 * device->ceiling_flops / seconds);
    }
    if (device->copies.count && device->sums.count) {
        printf("limits: copies %.1f GB/s, read and written (float%d), multiply-adds %.1f GFLOP/s (float%d)\n",
               1e-9 * device->most.bytes / clf__bench_median(&device->copies), device->most.copy_width,
               1e-9 * device->most.flops / clf__bench_median(&device->sums), device->most.sum_width);
    }
    fflush(stdout);
}
