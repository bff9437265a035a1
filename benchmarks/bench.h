/* The benchmark: a sweep over parts, shapes, dtypes and devices that reports one row a measurement.
 *
 * A row's device time is the time between the end of the command before a pass and the end of the
 * pass, on the device's own clock: for fast passes the command before is the previous call of the
 * same pass, so that the device never waits for the host; for slow ones a marker. Wall clock is from
 * the call to the end of the wait.
 */
#ifndef CLF_BENCH_H
#define CLF_BENCH_H

#include <cjson/cJSON.h>
#include <clformers/clformers.h>

enum { CLF__BENCH_MAX_LIST = 32 };

typedef struct clf__bench_list {
    int     count;
    int64_t at[CLF__BENCH_MAX_LIST];
} clf__bench_list;

typedef struct clf__bench_samples {
    int     count;
    double *at; /* seconds */
} clf__bench_samples;

/* What is measured. */
typedef struct clf__bench_case {
    const clf_component *component;
    int64_t              batch, heads, length, head_dim;
    int64_t              queries, key_heads; /* 0 = as many as length, heads */
    clf_dtype            dtype;
    bool                 causal;
    int                  pass; /* CLF_FORWARD or CLF_BACKWARD */
    int64_t              knob; /* value of the field that the descriptor names so; 0 = the default */
} clf__bench_case;

typedef enum clf__bench_outcome {
    CLF__BENCH_MEASURED    = 0,
    CLF__BENCH_UNSUPPORTED = 1, /* refused with a reason, or too large for the device */
    CLF__BENCH_FAILED      = 2
} clf__bench_outcome;

/* What a run of limits.c does. */
typedef struct clf__bench_limit_work {
    double bytes;                 /* read and written by a copy */
    double flops;                 /* of multiply-adds, each is two */
    int    copy_width, sum_width; /* lanes of the fastest kernels */
} clf__bench_limit_work;

/* In place of an error. */
enum { CLF__BENCH_NOT_ASKED = -1, CLF__BENCH_NO_ERROR_KNOWN = -2 };

typedef struct clf__bench_row {
    clf__bench_case    what;
    clf__bench_outcome outcome;
    char              *reason;         /* when not measured */
    char               family[64];
    clf__bench_samples device, wall;
    const char        *clock;          /* how `device` was taken: "chain" or "marker"; NULL = the device has none */
    clf__bench_samples ceiling;        /* sgemm runs between these samples */
    clf__bench_samples copies, sums;   /* and runs of what limits.c measures */
    double             flops, bytes;
    uint64_t           memory;         /* peak, tensors included */
    double             error;          /* relative L2 at a small shape; negative: see above */
    double             distance;       /* relative L2 from exact attention, where that was asked for */
} clf__bench_row;

typedef struct clf__bench_device {
    clf_device_info    info;
    char               platform_version[128];
    clf__bench_samples ceiling;        /* all of them; empty when there is no ceiling */
    double             ceiling_flops;
    char               ceiling_name[128];
    clf__bench_samples copies, sums;   /* all of them; empty when there are no limits */
    clf__bench_limit_work most;
    clf__bench_row    *rows;
    int                count, capacity;
} clf__bench_device;

typedef struct clf__bench_results {
    clf__bench_device *devices;
    int                count;
} clf__bench_results;

/* Lists with count 0 take defaults that suit the device. Callbacks may be NULL. */
typedef struct clf__bench_options {
    const char     *components;        /* "name,name"; NULL = all */
    const char     *device;            /* a selector, `;` and `all` included; NULL = the default device */
    const char     *family;
    const cJSON    *config;            /* entries for every config; may be NULL */
    clf__bench_list lengths, head_dims, batches, heads, dtypes, causal;
    clf__bench_list queries, key_heads; /* count 0: as many as there are keys, heads of q */
    int             passes;
    int             kv_bits;           /* 8 or 4: keys and values quantised; 0 = not */
    int             repeats;           /* 0 = as many as the time allows, five at least */
    bool            quick, errors;
    bool            accuracy;          /* distances from exact attention instead of times */
    clf__bench_list knobs;             /* where they are taken */
    void          (*progress)(const char *text);
    void          (*begin)(const clf__bench_device *device);
    void          (*row)(const clf__bench_device *device, const clf__bench_row *row);
    void          (*end)(const clf__bench_device *device);
} clf__bench_options;

/* ---- sweep.c ---------------------------------------------------------------------------------- */

/* Runs everything. A case that cannot be measured is a row, not an error. Free with clf__bench_free
 * in any case.
 * Errors: those of opening the devices and of finding the components; CLF_OUT_OF_HOST_MEMORY. */
clf_status clf__bench_run(const clf__bench_options *options, clf__bench_results *results);
void       clf__bench_free(clf__bench_results *results);

/* ---- fixture.c: everything that one case needs on the device ------------------------------------ */

typedef struct clf__bench_fixture {
    clf_device   *device;
    clf_instance *instance;
    clf_plan     *plan;
    clf_plan_info info;
    clf_args      args;
    clf_buffer    workspace, saved;
    int           pass;
} clf__bench_fixture;

clf_status clf__bench_setup(clf_device *device, const clf__bench_options *options, const clf__bench_case *what,
                            clf__bench_fixture *fixture);
/* Enqueues the case's pass once. */
clf_status clf__bench_enqueue(clf__bench_fixture *fixture, cl_event *event);
void       clf__bench_teardown(clf__bench_fixture *fixture);

/* ---- ceiling.c: OpenBLAS sgemm on the same CPU -------------------------------------------------- */

typedef struct clf__bench_ceiling clf__bench_ceiling;

/* NULL when there is no OpenBLAS or no memory. `name` tells library, size and threads. */
clf__bench_ceiling *clf__bench_ceiling_open(int threads, char *name, size_t size, double *flops);
/* One product; seconds. Lets OpenBLAS's threads fall asleep afterwards. */
double              clf__bench_ceiling_run(clf__bench_ceiling *ceiling);
void                clf__bench_ceiling_close(clf__bench_ceiling *ceiling);

/* ---- limits.c: memory and arithmetic of the device ----------------------------------------------- */

typedef struct clf__bench_limits clf__bench_limits;

/* NULL on simulators and where a kernel fails. */
clf__bench_limits *clf__bench_limits_open(clf_device *device, clf__bench_limit_work *work);
/* One sample of each. */
void               clf__bench_limits_run(const clf__bench_limits *limits, clf__bench_samples *copies,
                                         clf__bench_samples *sums);
void               clf__bench_limits_close(clf__bench_limits *limits);

/* What runs between the samples of a row; each may be NULL. */
typedef struct clf__bench_peers {
    clf__bench_ceiling *ceiling;
    clf__bench_limits  *limits;
} clf__bench_peers;

/* ---- measure.c -------------------------------------------------------------------------------- */

/* Fills the samples of a row. */
clf_status clf__bench_measure(clf__bench_fixture *fixture, const clf__bench_options *options,
                              const clf__bench_peers *peers, clf__bench_row *row);

/* ---- accuracy.c ------------------------------------------------------------------------------- */

/* Exact attention on the case's inputs, as floats on the host: *exact is to be freed. */
clf_status clf__bench_exact(clf_device *device, const clf__bench_options *options, const clf__bench_case *what,
                            float **exact);
/* Fills the distance of a row. */
clf_status clf__bench_approximate(clf_device *device, const clf__bench_options *options, const float *exact,
                                  clf__bench_row *row);

/* ---- samples.c -------------------------------------------------------------------------------- */

bool   clf__bench_add(clf__bench_samples *samples, double seconds); /* false when memory is short */
double clf__bench_median(const clf__bench_samples *samples);        /* 0 without samples */
double clf__bench_least(const clf__bench_samples *samples);
double clf__bench_most(const clf__bench_samples *samples);
/* Seconds that count for a row: device clock, else wall clock. */
double clf__bench_seconds(const clf__bench_row *row);
/* Throughput as a part of the ceiling's; 0 = there is none. */
double clf__bench_ratio(const clf__bench_device *device, const clf__bench_row *row);
/* The least time that memory or multiply-adds allow, as a part of the row's; 0 = not known. */
double clf__bench_roofline(const clf__bench_device *device, const clf__bench_row *row);

/* ---- table.c, json.c ---------------------------------------------------------------------------- */

void clf__bench_print_head(const clf__bench_device *device);
void clf__bench_print_row(const clf__bench_device *device, const clf__bench_row *row);
void clf__bench_print_end(const clf__bench_device *device);
void clf__bench_print_accuracy_head(const clf__bench_device *device);
void clf__bench_print_accuracy(const clf__bench_device *device, const clf__bench_row *row);

/* The whole run as JSON; NULL when memory is short. */
cJSON *clf__bench_json(const clf__bench_options *options, const clf__bench_results *results);

#endif
