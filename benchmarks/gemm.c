/* clf_bench_gemm: matrix products of one device against OpenBLAS's sgemm with as many threads as the device has
 * compute units, call by call in turns, so that both see the same machine.
 *
 *     clf_bench_gemm [<device> [<providers> [<dtype> [<part of a shape's name, or a shape of one's own>]]]]
 *     clf_bench_gemm pocl vector,clblast f32 512x2048
 *     clf_bench_gemm nvidia nvidia_wgmma,nvidia_mma f16 "4096x4096x4096 TN"   (T: stored turned)
 *
 * Devices that are no CPUs are timed by wall clock, several calls behind each other at a time, and compared with nobody
 * here: peers/torch_matmul.py does that.
 */
#include "bench.h"
#include "clocks.h"
#include "gemm_part.h"
#include "openblas.h"

#include <clformers/clformers.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEAST_REPEATS = 9, MOST_REPEATS = 101, CALLS = 10 /* at a time, where the queue is another processor's */ };

/* M x N x K, the batch, and what is stored turned. */
typedef struct shape {
    int  m, n, k, batch;
    bool turned_a, turned_b;
} shape;

static const shape shapes[] = {
    { 1024, 1024, 1024, 1, false, false }, { 1024, 1024, 1024, 1, false, true }, { 1024, 1024, 1024, 1, true, false },
    { 2048, 2048, 64, 8, false, true },    { 2048, 64, 2048, 8, false, false },  { 2048, 64, 2048, 8, true, false },
    { 512, 512, 2048, 1, false, true },    { 512, 2048, 512, 1, false, true },   { 512, 2048, 512, 1, false, false },
    { 64, 64, 2048, 8, true, false },      { 256, 64, 64, 64, false, false },    { 128, 128, 128, 64, false, true },
};

typedef struct bench {
    clf_device     *device;
    clf__bench_blas blas;
    bool            compared; /* with OpenBLAS */
    int             threads;
    int             calls; /* behind each other, of ours between two looks at the clock */
    float          *a, *b, *c; /* what OpenBLAS multiplies */
} bench;

static clf__bench_clocks run_openblas(const bench *bench, const shape *s, int threads)
{
    const size_t a = (size_t)s->m * (size_t)s->k, b = (size_t)s->k * (size_t)s->n, c = (size_t)s->m * (size_t)s->n;

    bench->blas.set_threads(threads);
    const clf__bench_clocks start = clf__bench_clocks_now();
    for (size_t i = 0; i < (size_t)s->batch; i++)
        bench->blas.sgemm(CLF__BENCH_ROW_MAJOR, s->turned_a ? CLF__BENCH_TRANSPOSED : CLF__BENCH_PLAIN,
                          s->turned_b ? CLF__BENCH_TRANSPOSED : CLF__BENCH_PLAIN, s->m, s->n, s->k, 1,
                          bench->a + i * a, s->turned_a ? s->m : s->k, bench->b + i * b, s->turned_b ? s->k : s->n, 0,
                          bench->c + i * c, s->n);
    const clf__bench_clocks spent = clf__bench_clocks_since(start);
    /* Its threads spin before they sleep, and would take time from ours. */
    nanosleep(&(struct timespec){ .tv_nsec = 40000000 }, NULL);
    return spent;
}

static clf__bench_clocks run_ours(const bench *bench, gemm_fixture *fixture, clf_status *status)
{
    const clf__bench_clocks start = clf__bench_clocks_now();
    clf__bench_clocks spent;

    *status = CLF_SUCCESS;
    for (int i = 0; i < bench->calls && *status == CLF_SUCCESS; i++)
        *status = gemm_enqueue(fixture, NULL);
    if (*status == CLF_SUCCESS)
        *status = (clf_status)clFinish(clf_device_queue(bench->device));
    spent = clf__bench_clocks_since(start);
    spent.wall /= bench->calls;
    spent.cpu /= bench->calls;
    return spent;
}

typedef struct samples {
    clf__bench_samples ours, ours_cpu, theirs, theirs_cpu;
} samples;

/* CPU seconds are compared with one thread of OpenBLAS, because waiting threads spin. */
static clf_status sample(const bench *bench, const shape *s, gemm_fixture *fixture, samples *all)
{
    clf_status status;
    const clf__bench_clocks ours = run_ours(bench, fixture, &status);
    bool added = clf__bench_add(&all->ours, ours.wall) && clf__bench_add(&all->ours_cpu, ours.cpu);

    if (bench->compared)
        added = added && clf__bench_add(&all->theirs, run_openblas(bench, s, bench->threads).wall) &&
                clf__bench_add(&all->theirs_cpu, run_openblas(bench, s, 1).cpu);
    return status ? status : added ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
}

static void print_samples(const bench *bench, const shape *s, const samples *all, const char *label)
{
    const double flops = 2e-9 * s->m * s->n * s->k * s->batch;
    const double ours = clf__bench_median(&all->ours), ours_cpu = clf__bench_least(&all->ours_cpu);

    printf("  %-9s %9.3f ms %7.1f GFLOP/s (%.1f a core)", label, 1e3 * ours, flops / ours, flops / ours_cpu);
    if (bench->compared) {
        const double theirs = clf__bench_median(&all->theirs);
        printf(" | OpenBLAS %7.1f, ratio %.2f | least CPU time, ratio %.2f", flops / theirs, theirs / ours,
               clf__bench_least(&all->theirs_cpu) / ours_cpu);
    }
    printf("  (%d)\n", all->ours.count);
    (void)fflush(stdout);
}

/* One provider at one shape: a line of the table. */
static clf_status measure(const bench *bench, const shape *s, gemm_fixture *fixture, const char *label)
{
    samples all = { 0 };
    clf__bench_samples *const each[] = { &all.ours, &all.ours_cpu, &all.theirs, &all.theirs_cpu };
    const double start = clf__bench_now();
    clf_status status = sample(bench, s, fixture, &all); /* pays for what happens once */

    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        each[i]->count = 0;
    while (status == CLF_SUCCESS && all.ours.count < MOST_REPEATS &&
           (all.ours.count < LEAST_REPEATS || clf__bench_now() - start < 1.5))
        status = sample(bench, s, fixture, &all);
    if (status == CLF_SUCCESS)
        print_samples(bench, s, &all, label);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        free(each[i]->at);
    return status;
}

static clf_status fill(bench *bench, const clf_tensor *tensor, float *values)
{
    const int64_t count = clf_tensor_elements(tensor);
    uint32_t state = 1;

    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    return clf_tensor_write_floats(bench->device, tensor, values);
}

static clf_status make(bench *bench, clf_dtype dtype, const int64_t *extents, bool turned, clf_tensor *tensor)
{
    const int64_t shape[3] = { extents[0], extents[turned ? 2 : 1], extents[turned ? 1 : 2] };
    return clf_tensor_alloc(bench->device, dtype, 3, shape, tensor);
}

/* All wanted providers at one shape. */
static clf_status run_shape(bench *bench, const shape *s, clf_dtype dtype, char *providers)
{
    clf__gemm_problem problem = { .alpha = 1 };
    const int64_t a[3] = { s->batch, s->m, s->k }, b[3] = { s->batch, s->k, s->n }, c[3] = { s->batch, s->m, s->n };
    clf_status status;

    if ((status = make(bench, dtype, a, s->turned_a, &problem.a)) ||
        (status = make(bench, dtype, b, s->turned_b, &problem.b)) ||
        (status = make(bench, dtype, c, false, &problem.c)) || (status = fill(bench, &problem.a, bench->a)) ||
        (status = fill(bench, &problem.b, bench->b)))
        goto done;
    const clf_tensor tensors[2] = { problem.a, problem.b };
    if (s->turned_a)
        problem.a = clf__gemm_transposed(&problem.a);
    if (s->turned_b)
        problem.b = clf__gemm_transposed(&problem.b);
    for (char *name = providers; *name; name += strlen(name) + 1) {
        gemm_fixture fixture;
        problem.provider = name;
        status = gemm_open(bench->device, &problem, &fixture);
        if (status == CLF_SUCCESS) {
            status = measure(bench, s, &fixture, name);
            gemm_close(bench->device, &fixture);
        }
        if (status)
            printf("  %-9s %s\n", name, clf_error_message());
    }
    problem.a = tensors[0];
    problem.b = tensors[1];
    status = CLF_SUCCESS;
done:
    clf_tensor_free(bench->device, &problem.a);
    clf_tensor_free(bench->device, &problem.b);
    clf_tensor_free(bench->device, &problem.c);
    return status;
}

/* Has its name, which is written to `text`, the part asked for? */
static bool wants(const shape *s, const char *part, char *text, size_t size)
{
    (void)snprintf(text, size, "%dx%dx%d batch %d %c%c", s->m, s->n, s->k, s->batch, s->turned_a ? 'T' : 'N',
                   s->turned_b ? 'T' : 'N');
    return !part || strstr(text, part);
}

/* A shape of one's own: three extents that are no part of a name in the table, and what is stored turned. */
static bool is_own(const char *text, shape *own)
{
    char name[64], a = 'N', b = 'N';

    if (!text || sscanf(text, "%dx%dx%d %c%c", &own->m, &own->n, &own->k, &a, &b) < 3 || own->m < 1 || own->n < 1 ||
        own->k < 1)
        return false;
    own->turned_a = a == 'T';
    own->turned_b = b == 'T';
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (wants(&shapes[i], text, name, sizeof name))
            return false;
    return true;
}

static clf_status run_wanted(bench *bench, const shape *all, size_t count, const char *part, clf_dtype dtype,
                             char *providers)
{
    clf_status status = CLF_SUCCESS;
    char text[64];

    for (const shape *s = all; s < all + count && status == CLF_SUCCESS; s++)
        if (wants(s, part, text, sizeof text)) {
            printf("%s\n", text);
            status = run_shape(bench, s, dtype, providers);
        }
    return status;
}

/* Room for the largest operand of a shape. */
static size_t room_for(const shape *s)
{
    const size_t m = (size_t)s->m, n = (size_t)s->n, k = (size_t)s->k, a = m * k, b = k * n, c = m * n;

    return (size_t)s->batch * (a > b ? (a > c ? a : c) : (b > c ? b : c)) * sizeof(float);
}

int main(int argc, char **argv)
{
    const clf_dtype dtype = clf_dtype_from_name(argc > 3 ? argv[3] : "F32");
    const char *part = argc > 4 ? argv[4] : NULL;
    shape own = { .batch = 1 };
    const bool alone = is_own(part, &own);
    const size_t largest = alone ? room_for(&own) : (size_t)2048 * 2048 * 8 * sizeof(float);
    bench bench = { .a = malloc(largest), .b = malloc(largest), .c = malloc(largest) };
    char providers[64] = "";
    clf_status status = CLF_OUT_OF_HOST_MEMORY;

    (void)snprintf(providers, sizeof providers - 1, "%s", argc > 2 ? argv[2] : "vector,portable,clblast");
    for (char *comma = providers; (comma = strchr(comma, ',')) != NULL;)
        *comma++ = '\0';
    if (bench.a && bench.b && bench.c && (status = clf_device_open(argc > 1 ? argv[1] : NULL, &bench.device)) == 0) {
        const clf_device_info *info = clf_device_get_info(bench.device);
        const bool cpu = info->type & CL_DEVICE_TYPE_CPU;
        bench.threads = info->compute_units;
        bench.calls = cpu ? 1 : CALLS;
        bench.compared = cpu && clf__bench_blas_open(&bench.blas);
        printf("%s, %s\n", info->name, clf_dtype_name(dtype));
        status = alone ? run_wanted(&bench, &own, 1, NULL, dtype, providers)
                       : run_wanted(&bench, shapes, sizeof shapes / sizeof *shapes, part, dtype, providers);
    }
    if (status)
        fprintf(stderr, "clf_bench_gemm: %s\n", clf_error_message());
    clf_device_release(bench.device);
    free(bench.a);
    free(bench.b);
    free(bench.c);
    return status ? 1 : 0;
}
