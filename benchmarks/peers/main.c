/* clf_bench_peers: parts against the library calls that they decompose into, call by call in turns, so that both see
 * the same machine; where there are none, against a bound that is told. Forward, f32, on a device that is the host's
 * CPU. The peers' side is the host's own threads, or a part that runs on the device as well.
 *
 *     clf_bench_peers [<device> [<length> [<parts> [<repeats>]]]]
 *     clf_bench_peers pocl 2048 favor,nystrom 21
 */
#include "bench.h"
#include "clocks.h"
#include "peers.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADS = 8, WIDTH = 64, MOST_THREADS = 256, MOST_REPEATS = 101 };

extern const peer peer_exact, peer_exact_products, peer_exact_clblast, peer_linformer, peer_nystrom, peer_orthoformer, peer_favor, peer_compositional, peer_local,
    peer_global, peer_random, peer_blocksparse, peer_lambda, peer_lambda_paper, peer_fourier_mix, peer_pooling,
    peer_visual;
const peer *const peers[] = { &peer_exact,     &peer_exact_products, &peer_exact_clblast,
                              &peer_linformer, &peer_nystrom,       &peer_orthoformer,
                              &peer_favor,     &peer_compositional, &peer_local,
                              &peer_global,    &peer_random,        &peer_blocksparse,
                              &peer_lambda,    &peer_lambda_paper,  &peer_fourier_mix,
                              &peer_pooling,   &peer_visual,        NULL };

/* One peer and its part on the device. */
typedef struct pair {
    const peer *peer;
    peer_problem problem;
    clf__bench_fixture fixture, rival;
    cJSON *config, *rival_config;
    float *owned[PEER_PARAMETERS + 6];
    int count;
    float *scratch[MOST_THREADS];
} pair;

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct team {
    const pair *pair;
    const peer_stage *stage;
    atomic_int next;
    int tasks;
} team;

typedef struct member {
    team *team;
    float *scratch;
    pthread_t thread;
} member;

static void *work(void *argument)
{
    const member *m = argument;

    for (int task; (task = atomic_fetch_add(&m->team->next, 1)) < m->team->tasks;)
        m->team->stage->run(&m->team->pair->problem, task, m->scratch);
    return NULL;
}

static void run_stage(const pair *p, const peer_stage *stage)
{
    team team = { .pair = p, .stage = stage, .tasks = stage->tasks(&p->problem) };
    member members[MOST_THREADS];
    int started = 1;

    for (int i = 0; i < p->problem.threads; i++)
        members[i] = (member){ .team = &team, .scratch = p->scratch[i] };
    while (started < p->problem.threads && pthread_create(&members[started].thread, NULL, work, &members[started]) == 0)
        started++;
    work(&members[0]);
    for (int i = 1; i < started; i++)
        pthread_join(members[i].thread, NULL);
}

static clf__bench_clocks run_part(clf__bench_fixture *fixture, clf_status *status)
{
    const clf__bench_clocks start = clf__bench_clocks_now();

    if ((*status = clf__bench_enqueue(fixture, NULL)) == CLF_SUCCESS)
        *status = (clf_status)clFinish(clf_device_queue(fixture->device));
    return clf__bench_clocks_since(start);
}

/* The rival, or all stages, or of a bound each by itself, for as much work as the part has. */
static int run_theirs(pair *p, clf__bench_clocks taken[PEER_STAGES], clf_status *status)
{
    const peer_stage *stages = p->peer->stages;
    clf__bench_clocks start = clf__bench_clocks_now();
    int count = 0;

    if (p->peer->rival)
        taken[count++] = run_part(&p->rival, status);
    for (int i = 0; i < PEER_STAGES && stages[i].run; i++) {
        run_stage(p, &stages[i]);
        if (!stages[i].name)
            continue;
        const double share = stages[i].flops ? p->problem.flops / stages[i].flops(&p->problem) : 1;
        const clf__bench_clocks all = clf__bench_clocks_since(start);
        taken[count++] = (clf__bench_clocks){ share * all.wall, share * all.cpu };
        start = clf__bench_clocks_now();
    }
    if (count == 0)
        taken[count++] = clf__bench_clocks_since(start);
    return count;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static float *own(pair *p, size_t count)
{
    float *numbers = calloc(count + 16, sizeof *numbers);
    p->owned[p->count++] = numbers;
    return numbers;
}

static clf_status read_tensor(pair *p, const clf_tensor *tensor, const float **to)
{
    float *numbers = own(p, (size_t)clf_tensor_elements(tensor));

    *to = numbers;
    return numbers ? clf_tensor_read_floats(p->fixture.device, tensor, numbers) : CLF_OUT_OF_HOST_MEMORY;
}

static clf_status read_parameters(pair *p)
{
    static const char buffer[] = "buffer:";
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < PEER_PARAMETERS && p->peer->parameters[i] && !status; i++) {
        const char *name = p->peer->parameters[i];
        clf_tensor tensor;
        status = strncmp(name, buffer, strlen(buffer)) == 0
                     ? clf_instance_buffer(p->fixture.instance, name + strlen(buffer), &tensor)
                     : clf_instance_parameter(p->fixture.instance, name, &tensor);
        if (!status)
            status = read_tensor(p, &tensor, &p->problem.parameter[i]);
    }
    return status;
}

static clf_status open_part(const clf_component *part, cJSON *config, clf_device *device, int length,
                            clf__bench_fixture *fixture)
{
    const clf__bench_options options = { .repeats = 1, .config = config };
    const clf__bench_case what = { .component = part, .batch = 1, .heads = HEADS, .length = length, .head_dim = WIDTH,
                                   .dtype = CLF_F32, .pass = CLF_FORWARD };

    return clf__bench_setup(device, &options, &what, fixture);
}

/* Ours, and the rival if it is a part. */
static clf_status open_parts(pair *p, clf_device *device, int length)
{
    const clf_component *part = NULL;
    clf_status status = clf_component_find(CLF_ATTENTION, p->peer->part, &part);

    p->config = p->peer->config ? cJSON_Parse(p->peer->config) : cJSON_CreateObject();
    if (p->peer->knob)
        cJSON_AddNumberToObject(p->config, p->peer->knob, p->peer->marks);
    if (!status)
        status = open_part(part, p->config, device, length, &p->fixture);
    if (!status && p->peer->rival) {
        p->rival_config = cJSON_Parse(p->peer->rival_config);
        status = open_part(p->peer->rival, p->rival_config, device, length, &p->rival);
    }
    return status;
}

/* By the part's own count. */
static double flops_of(const pair *p)
{
    const clf_component *component = NULL;
    clf_work work = { 0 };

    if (clf_component_find(CLF_ATTENTION, p->peer->part, &component) == CLF_SUCCESS && component->descriptor->work)
        component->descriptor->work(clf_instance_config(p->fixture.instance), &p->fixture.args, CLF_FORWARD, &work);
    return work.flops;
}

static clf_status open_pair(pair *p, clf_device *device, int length, int threads)
{
    const clf_tensor *io;
    clf_status status;

    if ((status = open_parts(p, device, length)))
        return status;
    io = p->fixture.args.io;
    p->problem = (peer_problem){ .heads = HEADS,
                                 .length = length,
                                 .width = WIDTH,
                                 .model = HEADS * WIDTH,
                                 .threads = threads,
                                 .marks = p->peer->marks,
                                 .scale = 1 / sqrtf(WIDTH),
                                 .flops = flops_of(p) };
    const float **const tensors[] = { &p->problem.q, &p->problem.k, &p->problem.v };
    for (int i = CLF_QKV_Q; i <= CLF_QKV_V && !status; i++)
        if (io[i].rank > 0)
            status = read_tensor(p, &io[i], tensors[i]);
    if (!status)
        status = read_parameters(p);
    p->problem.out = own(p, (size_t)(HEADS * WIDTH) * (size_t)length);
    p->problem.shared = own(p, p->peer->shared ? p->peer->shared(&p->problem) : 0);
    for (int i = 0; i < threads; i++)
        p->scratch[i] = calloc((p->peer->scratch ? p->peer->scratch(&p->problem) : 0) + 16, sizeof(float));
    return status                                                           ? status
           : p->problem.out && p->problem.shared && p->scratch[threads - 1] ? CLF_SUCCESS
                                                                            : CLF_OUT_OF_HOST_MEMORY;
}

static void close_pair(pair *p)
{
    if (p->fixture.device)
        clf__bench_teardown(&p->fixture);
    for (int i = 0; i < p->count; i++)
        free(p->owned[i]);
    for (int i = 0; i < MOST_THREADS; i++)
        free(p->scratch[i]);
    if (p->rival.device)
        clf__bench_teardown(&p->rival);
    cJSON_Delete(p->config);
    cJSON_Delete(p->rival_config);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* Relative distance of the two results; negative when it cannot be told. */
static double difference(pair *p)
{
    const clf_tensor *out = &p->fixture.args.io[CLF_QKV_OUT];
    const float *ours, *theirs = p->problem.out;
    double off = 0, size = 0;

    if (p->peer->bound || read_tensor(p, out, &ours) != CLF_SUCCESS ||
        (p->peer->rival && read_tensor(p, &p->rival.args.io[CLF_QKV_OUT], &theirs) != CLF_SUCCESS))
        return -1;
    for (int64_t i = 0; i < clf_tensor_elements(out); i++) {
        const double d = (double)ours[i] - (double)theirs[i];
        off += d * d;
        size += (double)ours[i] * (double)ours[i];
    }
    return sqrt(off / size);
}

/* Samples of one side. */
typedef struct side {
    clf__bench_samples wall, cpu;
} side;

static void close_side(const side *side)
{
    free(side->wall.at);
    free(side->cpu.at);
}

static bool add(side *to, clf__bench_clocks sample)
{
    return clf__bench_add(&to->wall, sample.wall) && clf__bench_add(&to->cpu, sample.cpu);
}

static void print_pair(pair *p, const side *ours, const side *theirs, const char *form)
{
    const double off = difference(p);

    printf("%-18s %-22s", p->peer->part, form);
    for (int i = 0; i < 2; i++) {
        const clf__bench_samples *wall = &(i ? theirs : ours)->wall, *cpu = &(i ? theirs : ours)->cpu;
        char range[32];
        (void)snprintf(range, sizeof range, "%.2f..%.2f", 1e3 * clf__bench_least(wall), 1e3 * clf__bench_most(wall));
        printf(" %8.2f %16s %8.2f", 1e3 * clf__bench_median(wall), range, 1e3 * clf__bench_least(cpu));
    }
    printf(" %6.2f %6.2f", clf__bench_median(&theirs->wall) / clf__bench_median(&ours->wall),
           clf__bench_least(&theirs->cpu) / clf__bench_least(&ours->cpu));
    if (off < 0)
        printf(" %8s", "bound");
    else
        printf(" %8.1e", off);
    printf(" %s\n", p->peer->config ? p->peer->config : "");
    (void)fflush(stdout);
}

static clf_status measure(pair *p, int repeats)
{
    side ours = { 0 }, theirs[PEER_STAGES] = { 0 };
    clf_status status = CLF_SUCCESS;
    int count = 0, longest = 0;

    for (int i = -2; i < repeats && !status; i++) { /* two to warm up */
        clf__bench_clocks other[PEER_STAGES];
        const clf__bench_clocks mine = run_part(&p->fixture, &status);
        count = status ? 0 : run_theirs(p, other, &status);
        if (i >= 0 && !status && !add(&ours, mine))
            status = CLF_OUT_OF_HOST_MEMORY;
        for (int n = 0; n < count && i >= 0 && !status; n++)
            status = add(&theirs[n], other[n]) ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
    }
    for (int n = 1; n < count && !status; n++)
        if (clf__bench_median(&theirs[n].wall) > clf__bench_median(&theirs[longest].wall))
            longest = n;
    if (!status)
        print_pair(p, &ours, &theirs[longest], p->peer->form ? p->peer->form : p->peer->stages[longest].name);
    close_side(&ours);
    for (int n = 0; n < PEER_STAGES; n++)
        close_side(&theirs[n]);
    return status;
}

static bool wanted(const char *parts, const char *part)
{
    const size_t length = strlen(part);

    for (const char *at = parts; (at = strstr(at, part)) != NULL; at += length)
        if ((at == parts || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return !*parts;
}

int main(int argc, char **argv)
{
    const char *parts = argc > 3 ? argv[3] : "";
    const int length = argc > 2 ? atoi(argv[2]) : 2048, asked = argc > 4 ? atoi(argv[4]) : 15;
    const int side = (int)sqrt((double)length), repeats = asked < 1 ? 1 : asked > MOST_REPEATS ? MOST_REPEATS : asked;
    clf_device *device = NULL;
    clf_status status = length < 1 ? CLF_INVALID_VALUE : clf_device_open(argc > 1 ? argv[1] : NULL, &device);

    if (!status && !peer_blas_open()) {
        (void)fprintf(stderr, "clf_bench_peers: there is no OpenBLAS\n");
        status = CLF_UNSUPPORTED;
    } else if (status) {
        (void)fprintf(stderr, "clf_bench_peers: %s\n",
                      length < 1 ? "a length is a number from 1 on" : clf_error_message());
    }
    if (!status) {
        const clf_device_info *info = clf_device_get_info(device);
        const long processors = sysconf(_SC_NPROCESSORS_ONLN);
        const int units = (int)(processors < info->compute_units ? processors : info->compute_units);
        const int threads = units > MOST_THREADS ? MOST_THREADS : units;
        printf("%s, %d threads, %d heads, N=%d, D=%d, f32, medians of %d and least CPU times in ms, ratios of both\n",
               info->name, threads, HEADS, length, WIDTH, repeats);
        printf("%-18s %-22s %8s %16s %8s %8s %16s %8s %6s %6s %8s\n", "part", "against", "ours", "min..max", "cpu",
               "theirs", "min..max", "cpu", "ratio", "cpu", "differs");
        for (int i = 0; peers[i]; i++) {
            pair p = { .peer = peers[i] };
            clf_status outcome = CLF_SUCCESS;
            if (!wanted(parts, peers[i]->part))
                continue;
            if (peers[i]->exists && !peers[i]->exists()) {
                printf("%-18s there is no %s\n", peers[i]->part, peers[i]->form);
                continue;
            }
            if ((outcome = open_pair(&p, device, peers[i]->square ? side * side : length, threads)) ||
                (outcome = measure(&p, repeats)))
                printf("%-18s %s\n", peers[i]->part, clf_error_message());
            close_pair(&p);
            status = status ? status : outcome;
        }
    }
    clf_device_release(device);
    return status ? 1 : 0;
}
