/* A part that asks fused attention for what `fused_job` says, on random numbers: results and gradients against the
 * double reference, nothing beside the tensors written, two runs alike, and the same from fused_attention with a config
 * that says the same. Rows that belong to no sequence, and keys beyond their lengths, are NaN in all inputs. */
#ifndef CLF_UNIT_FUSED_PART_H
#define CLF_UNIT_FUSED_PART_H

#include "attention/fused_attention.h"
#include "devices.h"
#include "exact.h"
#include "fused/fused.h"
#include <clformers/registry.h>
#include <math.h>
#include <string.h>

typedef struct job {
    const char *name, *family; /* family NULL: the one that planning chooses */
    const char *config;        /* of fused_attention, for the same; NULL = not asked */
    clf_dtype dtype, out;      /* 0 = f32, and for out = like the others */
    int64_t batch, heads, k_heads, queries, keys, width, value_width; /* of the tensors */
    bool    causal, bottom_right, sinks, padding, forward_only;
    int64_t shift, window, max_queries, max_keys, sequences;
    int32_t q_starts[8], k_starts[8], k_lengths[8]; /* absent when their last entry is 0 */
    float   dropout;
    double  longer; /* sums: so many times the usual error */
} job;

static const job *fused_job;

enum { SINKS = CLF_QKV_LSE + 1, Q_STARTS, K_STARTS, K_LENGTHS, FUSED_IO, GUARD = 64 };

static const clf_io fused_io[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "" },
    [CLF_QKV_K] = { "k", "CGKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "" },
    [CLF_QKV_V] = { "v", "CGKE", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST, "" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "CK", CLF_INPUT, CLF_IO_BOOLEAN, CLF_IO_OPTIONAL, "" },
    [CLF_QKV_OUT] = { "out", "BHQE", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE | CLF_IO_OWN_TYPE, "" },
    [CLF_QKV_LSE] = { "lse", "BHQ", CLF_OUTPUT, CLF_IO_SINGLE, CLF_IO_OPTIONAL, "" },
    [SINKS] = { "sinks", "H", CLF_INPUT, CLF_IO_SINGLE, CLF_IO_OPTIONAL | CLF_IO_DIFFERENTIABLE, "" },
    [Q_STARTS] = { "q_starts", "S", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL, "" },
    [K_STARTS] = { "k_starts", "T", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL, "" },
    [K_LENGTHS] = { "k_lengths", "U", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL, "" },
    CLF_IO_END
};

static clf__fused_problem fused_problem(const clf_args *args)
{
    clf__fused_problem problem = clf__fused_problem_qkv(args, 0, fused_job->dropout);

    problem.causal = fused_job->causal;
    problem.shift = fused_job->shift;
    problem.window = fused_job->window;
    problem.bottom_right = fused_job->bottom_right;
    problem.sinks = args->io[SINKS];
    problem.grad_sinks = args->grad[SINKS];
    problem.q_starts = args->io[Q_STARTS];
    problem.k_starts = args->io[K_STARTS];
    problem.k_lengths = args->io[K_LENGTHS];
    problem.max_queries = fused_job->max_queries;
    problem.max_keys = fused_job->max_keys;
    return problem;
}

static clf_status fused_plan(clf_plan *plan)
{
    const clf__fused_problem problem = fused_problem(clf_plan_args(plan));
    return clf__fused_plan_part(plan, &problem);
}

static clf_status fused_forward(clf_run *run)
{
    const clf__fused_problem problem = fused_problem(clf_run_args(run));
    return clf__fused_forward_part(run, &problem);
}

static clf_status fused_backward(clf_run *run)
{
    const clf__fused_problem problem = fused_problem(clf_run_args(run));
    return clf__fused_backward_part(run, &problem);
}

static const clf_field fused_fields[] = { CLF_ATTENTION_FIELDS(struct { clf_attention_config base; }), CLF_FIELDS_END };
static const clf_descriptor fused_descriptor = {
    .summary = "fused attention", .config = { sizeof(clf_attention_config), fused_fields }, .io = fused_io,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT |
              CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION,
    .plan = fused_plan, .forward = fused_forward, .backward = fused_backward,
};
static const clf_component fused_part = { sizeof(clf_descriptor), CLF_ATTENTION, "fused", &fused_descriptor, NULL };

/* ---- tensors ------------------------------------------------------------------------------------- */

typedef struct tensors {
    clf_device *device;
    clf_args    args;
    clf_tensor  flat[2 * FUSED_IO]; /* with guards on both sides; gradients behind the others */
    double     *values[2 * FUSED_IO];
} tensors;

static clf_tensor *tensor_of(tensors *t, int i)
{
    return i < FUSED_IO ? &t->args.io[i] : &t->args.grad[i - FUSED_IO];
}

static void describe(const job *j, clf_args *args)
{
    const clf_dtype dtype = j->dtype ? j->dtype : CLF_F32, out = j->out ? j->out : dtype;
    const int64_t B = j->batch, H = j->heads, G = j->k_heads, N = j->queries, K = j->keys, D = j->width, E = j->value_width;
    const int64_t C = j->k_starts[j->sequences] ? 1 : j->q_starts[j->sequences] ? j->sequences : B, ends = j->sequences + 1;

    *args = (clf_args){ .size = sizeof *args, .training = j->dropout > 0, .seed = 77, .offset = 3 };
    args->io[CLF_QKV_Q] = clf_tensor_view(NULL, dtype, 4, (const int64_t[]){ B, H, N, D });
    args->io[CLF_QKV_K] = clf_tensor_view(NULL, dtype, 4, (const int64_t[]){ C, G, K, D });
    args->io[CLF_QKV_V] = clf_tensor_view(NULL, dtype, 4, (const int64_t[]){ C, G, K, E });
    args->io[CLF_QKV_OUT] = clf_tensor_view(NULL, out, 4, (const int64_t[]){ B, H, N, E });
    args->io[CLF_QKV_LSE] = clf_tensor_view(NULL, CLF_F32, 3, (const int64_t[]){ B, H, N });
    if (j->padding)
        args->io[CLF_QKV_KEY_PADDING_MASK] = clf_tensor_view(NULL, CLF_U8, 2, (const int64_t[]){ C, K });
    if (j->sinks)
        args->io[SINKS] = clf_tensor_view(NULL, CLF_F32, 1, &H);
    if (j->q_starts[j->sequences])
        args->io[Q_STARTS] = clf_tensor_view(NULL, CLF_I32, 1, &ends);
    if (j->k_starts[j->sequences])
        args->io[K_STARTS] = clf_tensor_view(NULL, CLF_I32, 1, &ends);
    if (j->k_lengths[j->sequences - (j->sequences > 0)])
        args->io[K_LENGTHS] = clf_tensor_view(NULL, CLF_I32, 1, &j->sequences);
    for (int i = 0; i < FUSED_IO && !j->forward_only; i++)
        if (fused_io[i].flags & CLF_IO_DIFFERENTIABLE)
            args->grad[i] = args->io[i];
}

/* Is tensor i an output, or a gradient of an input? */
static bool is_written(int i)
{
    const int  which = i % FUSED_IO;
    const bool output = which == CLF_QKV_OUT || which == CLF_QKV_LSE;

    return i < FUSED_IO ? output : !output;
}

/* Is row `row` of item b one of a sequence? */
static bool is_used(const job *j, bool of_keys, int64_t b, int64_t row)
{
    const int32_t *starts = of_keys ? j->k_starts : j->q_starts;
    const bool has_lengths = of_keys && j->sequences > 0 && j->k_lengths[j->sequences - 1] > 0;

    if (!starts[j->sequences])
        return !has_lengths || row < j->k_lengths[b];
    for (int64_t s = 0; s < j->sequences; s++)
        if (row >= starts[s] && row < starts[s + 1])
            return !has_lengths || row < starts[s] + j->k_lengths[s];
    return false;
}

static float next_random(uint32_t *state)
{
    *state = 1664525u * *state + 1013904223u;
    return (float)((double)*state / 4294967296.0 - 0.5) * 3;
}

static void fill(const job *j, const clf_tensor *tensor, int i, float *values)
{
    const int     which = i % FUSED_IO;
    const bool    of_keys = which == CLF_QKV_K || which == CLF_QKV_V;
    const int64_t rows = tensor->rank > 2 ? tensor->shape[2] : 1, width = tensor->rank > 3 ? tensor->shape[3] : 1;
    uint32_t      state = 1000u + (uint32_t)i;

    for (int64_t n = 0; n < clf_tensor_elements(tensor); n++) {
        values[n] = next_random(&state);
        if (tensor->rank == 4 && !is_used(j, of_keys, n / width / rows / tensor->shape[1], n / width % rows))
            values[n] = NAN;
        if (is_written(i))
            values[n] = 768;
    }
    if (i == SINKS) {
        values[0] = 4; /* more than most scores */
        values[tensor->shape[0] - 1] = tensor->shape[0] > 2 ? -INFINITY : 0;
    }
}

static void make_floats(tensors *t, const job *j, int i)
{
    clf_tensor   *tensor = tensor_of(t, i);
    const int64_t count = clf_tensor_elements(tensor), whole = count + 2 * GUARD;
    float        *values = malloc((size_t)whole * sizeof *values);

    cr_assert_eq(clf_tensor_alloc(t->device, tensor->dtype, 1, &whole, &t->flat[i]), CLF_SUCCESS, "%s", clf_error_message());
    for (int64_t n = 0; n < whole; n++)
        values[n] = 512;
    fill(j, tensor, i, values + GUARD);
    cr_assert_eq(clf_tensor_write_floats(t->device, &t->flat[i], values), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(t->device, &t->flat[i], values), CLF_SUCCESS, "%s", clf_error_message());
    tensor->mem = t->flat[i].mem;
    tensor->offset = t->flat[i].offset + GUARD * clf_dtype_size(tensor->dtype);
    for (int64_t n = 0; n < count; n++)
        t->values[i][n] = (double)values[GUARD + n];
    free(values);
}

static void make_integers(tensors *t, int i, const int32_t *values)
{
    clf_tensor *tensor = tensor_of(t, i);

    cr_assert_eq(clf_tensor_alloc(t->device, tensor->dtype, tensor->rank, tensor->shape, &t->flat[i]), CLF_SUCCESS);
    *tensor = t->flat[i];
    if (tensor->dtype == CLF_I32)
        cr_assert_eq(clf_tensor_write(t->device, tensor, values), CLF_SUCCESS);
    for (int64_t n = 0; n < clf_tensor_elements(tensor) && tensor->dtype == CLF_I32; n++)
        t->values[i][n] = values[n];
}

static void make_bytes(tensors *t, int i)
{
    clf_tensor *tensor = tensor_of(t, i);
    uint8_t     bytes[4096];

    make_integers(t, i, NULL);
    cr_assert_leq(clf_tensor_elements(tensor), 4096);
    for (int64_t n = 0; n < clf_tensor_elements(tensor); n++)
        t->values[i][n] = bytes[n] = n % 5 != 2;
    cr_assert_eq(clf_tensor_write(t->device, tensor, bytes), CLF_SUCCESS);
}

static void make_all(tensors *t, const job *j)
{
    for (int i = 0; i < 2 * FUSED_IO; i++) {
        const clf_tensor *tensor = tensor_of(t, i);
        if (tensor->rank == 0)
            continue;
        t->values[i] = calloc((size_t)clf_tensor_elements(tensor) + 1, sizeof(double));
        if (tensor->dtype == CLF_I32)
            make_integers(t, i, i == Q_STARTS ? j->q_starts : i == K_STARTS ? j->k_starts : j->k_lengths);
        else if (tensor->dtype == CLF_U8)
            make_bytes(t, i);
        else
            make_floats(t, j, i);
    }
}

static void free_all(tensors *t)
{
    for (int i = 0; i < 2 * FUSED_IO; i++) {
        if (t->flat[i].rank > 0)
            clf_tensor_free(t->device, &t->flat[i]);
        free(t->values[i]);
    }
}

/* ---- the reference ----------------------------------------------------------------------------------- */

typedef struct seen_by {
    const clf_reference *reference;
    const clf__exact    *exact;
} seen_by;

static bool job_sees(const void *user, int64_t item, int64_t query, int64_t key)
{
    const seen_by *seen = user;
    const int64_t  s = item / fused_job->heads;
    const int64_t  last = query + fused_job->shift + (fused_job->bottom_right ?
                          clf__exact_keys(seen->reference, seen->exact, s) -
                          clf__exact_queries(seen->reference, seen->exact, s) : 0);

    return key <= last && (fused_job->window == 0 || key > last - fused_job->window);
}

static void run_reference(const job *j, tensors *t)
{
    clf_reference reference = { .size = sizeof reference, .args = &t->args, .storage = CLF_F64,
                                .pass = CLF_FORWARD | (j->forward_only ? 0 : CLF_BACKWARD) };
    clf__exact exact = { .scale = 1 / sqrt((double)j->width), .dropout = j->dropout, .sinks = t->values[SINKS],
                         .grad_sinks = t->values[FUSED_IO + SINKS], .q_starts = t->values[Q_STARTS],
                         .k_starts = t->values[K_STARTS], .k_lengths = t->values[K_LENGTHS], .sequences = j->sequences };
    const seen_by seen = { &reference, &exact };

    for (int i = 0; i < FUSED_IO; i++) {
        reference.io[i] = t->values[i];
        reference.grad[i] = t->values[FUSED_IO + i];
    }
    exact.sees = j->causal ? job_sees : NULL;
    exact.user = &seen;
    cr_assert_eq(clf__reference_exact(&reference, &exact), CLF_SUCCESS);
}

/* ---- running and comparing --------------------------------------------------------------------------- */

static clf_buffer buffer_of(clf_device *device, uint64_t bytes, clf_tensor *holder)
{
    const int64_t count = (int64_t)(bytes / 4 + 1);
    float        *values = malloc((size_t)count * sizeof *values);

    for (int64_t n = 0; n < count; n++)
        values[n] = NAN;
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 1, &count, holder), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(device, holder, values), CLF_SUCCESS);
    free(values);
    return (clf_buffer){ holder->mem, holder->offset, bytes };
}

static void execute(const job *j, clf_plan *plan, tensors *t, const clf_args *args)
{
    const clf_plan_info info = clf_plan_get_info(plan);
    clf_tensor          holders[2];
    const clf_buffer    workspace = buffer_of(t->device, info.workspace_bytes, &holders[0]);
    const clf_buffer    saved = buffer_of(t->device, info.saved_bytes, &holders[1]);

    cr_assert_eq(clf_forward(plan, args, workspace, saved, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s", clf_error_message());
    if (!j->forward_only)
        cr_assert_eq(clf_backward(plan, args, workspace, saved, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                     clf_error_message());
    clf_tensor_free(t->device, &holders[0]);
    clf_tensor_free(t->device, &holders[1]);
}

/* What numbers of a type may be off by. */
static double error_of(clf_dtype dtype)
{
    return dtype == CLF_BF16 ? 4e-2 : dtype == CLF_F16 ? 5e-3 : 2e-5;
}

/* Compares tensor i with the reference, or, when `before` is given, to the bit with what was there before (which is
 * freed). The caller frees what was there now. */
static float *compare(const job *j, tensors *t, const char *family, int i, float *before)
{
    const int64_t count = clf_tensor_elements(tensor_of(t, i)), whole = count + 2 * GUARD;
    const double  own = error_of(tensor_of(t, i)->dtype), rounded = error_of(t->args.io[CLF_QKV_OUT].dtype);
    const double  larger = i < FUSED_IO || own > rounded ? own : rounded; /* gradients know out as it was rounded */
    const double  tolerance = larger * (j->longer > 0 ? j->longer : 1);
    const char   *kind = i < FUSED_IO ? "" : "grad.", *name = fused_io[i % FUSED_IO].name;
    float        *got = malloc((size_t)whole * sizeof *got);
    int64_t       wrong = 0;

    cr_assert_eq(clf_tensor_read_floats(t->device, &t->flat[i], got), CLF_SUCCESS, "%s", clf_error_message());
    for (int64_t n = 0; n < GUARD; n++)
        cr_assert(got[n] == 512 && got[whole - 1 - n] == 512, "%s, %s: written beside %s%s", j->name, family, kind, name);
    if (before)
        cr_expect(memcmp(before, got, (size_t)whole * sizeof *got) == 0, "%s, %s: %s%s differs from run to run", j->name,
                  family, kind, name);
    for (int64_t n = 0; n < count && !before; n++) {
        const double x = t->values[i][n], y = (double)got[GUARD + n];
        if (!(x == y || fabs(x - y) <= tolerance * (1 + fabs(x))) && wrong++ < 3)
            cr_expect_fail("%s, %s on %s: %s%s [%d] is %.9g, expected %.9g", j->name, family,
                           clf_device_get_info(t->device)->name, kind, name, (int)n, y, x);
    }
    cr_expect_eq(wrong, 0, "%s, %s: %d of %d numbers of %s%s are wrong", j->name, family, (int)wrong, (int)count, kind, name);
    free(before);
    return got;
}

static clf_status open_part(clf_device *device, clf_instance **instance)
{
    void *config = NULL;
    clf_status status = clf_config_parse(&fused_descriptor.config, "{\"dropout\": 0.5}", NULL, &config);

    if (status == CLF_SUCCESS)
        status = clf_instance_create(device, &fused_part, config, NULL, instance);
    clf_config_free(&fused_descriptor.config, config);
    return status;
}

static clf_status plan_job(clf_device *device, const job *j, clf_args *args, clf_instance **instance, clf_plan **plan)
{
    const clf_plan_options options = { .size = sizeof options, .family = j->family, .allow_reference = true,
                                       .passes = CLF_FORWARD | (j->forward_only ? 0 : CLF_BACKWARD) };

    fused_job = j;
    *plan = NULL;
    describe(j, args);
    const clf_status status = open_part(device, instance);
    return status ? status : clf_plan_create(*instance, args, &options, plan);
}

/* The same tensors at the places of fused_attention. */
static void execute_public(const job *j, tensors *t)
{
    static const int places[][2] = { { FUSED_SINKS, SINKS }, { FUSED_Q_STARTS, Q_STARTS }, { FUSED_K_STARTS, K_STARTS },
                                     { FUSED_K_LENGTHS, K_LENGTHS } };
    const clf_plan_options options = { .size = sizeof options, .family = j->family, .allow_reference = true,
                                       .passes = CLF_FORWARD | (j->forward_only ? 0 : CLF_BACKWARD) };
    clf_args      args = t->args;
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;

    for (int i = SINKS; i < CLF_MAX_IO; i++)
        args.io[i] = args.grad[i] = (clf_tensor){ 0 };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        args.io[places[i][0]] = t->args.io[places[i][1]];
        args.grad[places[i][0]] = t->args.grad[places[i][1]];
    }
    cr_assert_eq(clf_build(t->device, CLF_ATTENTION, j->config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_plan_create(instance, &args, &options, &plan), CLF_SUCCESS, "%s", clf_error_message());
    execute(j, plan, t, &args);
    clf_plan_release(plan);
    clf_instance_release(instance);
}

static void check_job(clf_device *device, const job *j)
{
    tensors       t = { .device = device };
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;
    float        *kept[2 * FUSED_IO] = { NULL };

    cr_assert_eq(plan_job(device, j, &t.args, &instance, &plan), CLF_SUCCESS, "%s: %s", j->name, clf_error_message());
    make_all(&t, j);
    run_reference(j, &t);
    for (int turn = 0; turn < 2 + (j->config != NULL); turn++) {
        if (turn < 2)
            execute(j, plan, &t, &t.args);
        else
            execute_public(j, &t);
        for (int i = 0; i < 2 * FUSED_IO; i++)
            if (tensor_of(&t, i)->rank > 0 && is_written(i))
                kept[i] = compare(j, &t, clf_plan_get_info(plan).family, i, kept[i]);
    }
    for (int i = 0; i < 2 * FUSED_IO; i++)
        free(kept[i]);
    free_all(&t);
    clf_plan_release(plan);
    clf_instance_release(instance);
}

/* With the family that planning chooses, the first also with the naive one; on simulators the first alone. */
static inline void check_jobs(clf_device *device, const job *jobs, size_t count)
{
    const bool simulator = clf_device_get_info(device)->simulator;

    for (size_t i = 0; i < (simulator ? 1 : count); i++) {
        job j = jobs[i];
        check_job(device, &j);
        j.family = "reference";
        if (i == 0 && !simulator)
            check_job(device, &j);
    }
}

/* Checks the job where planning does not refuse it, and answers whether that was so. */
static inline bool check_job_if_possible(clf_device *device, const job *j)
{
    clf_instance *instance = NULL;
    clf_plan     *plan;
    clf_args      args;
    const bool    possible = plan_job(device, j, &args, &instance, &plan) == CLF_SUCCESS;

    clf_plan_release(plan);
    clf_instance_release(instance);
    if (possible)
        check_job(device, j);
    return possible;
}

/* Refused, with these words. */
static inline void expect_refused(clf_device *device, const job *j, const char *words)
{
    clf_instance *instance = NULL;
    clf_plan     *plan;
    clf_args      args;

    cr_expect_eq(plan_job(device, j, &args, &instance, &plan), CLF_UNSUPPORTED, "%s: planned, not refused with '%s'", j->name,
                 words);
    cr_expect(strstr(clf_error_message(), words), "%s: no '%s' in: %s", j->name, words, clf_error_message());
    clf_plan_release(plan);
    clf_instance_release(instance);
}

#endif
