/* Parts that no library calls make: what reads and writes as much as they must, or the largest call inside them. */
#include "peers.h"

#include <dlfcn.h>
#include <string.h>

/* First number of a task's rows, and how many numbers they have. */
static size_t place_of(const peer_problem *p, int task, size_t *count)
{
    const int h = task % p->heads, block = task / p->heads;

    *count = (size_t)peer_rows_of(p, block) * (size_t)p->width;
    return ((size_t)h * (size_t)p->length + (size_t)(block * PEER_ROWS)) * (size_t)p->width;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* out = q + k + v */
static void read_three(const peer_problem *p, int task, float *scratch)
{
    size_t count;
    const size_t at = place_of(p, task, &count);

    (void)scratch;
    memcpy(p->out + at, p->q + at, count * sizeof *p->out);
    peer_add(p->out + at, 1, p->k + at, (int)count);
    peer_add(p->out + at, 1, p->v + at, (int)count);
}

/* out = q */
static void copy(const peer_problem *p, int task, float *scratch)
{
    size_t count;
    const size_t at = place_of(p, task, &count);

    (void)scratch;
    memcpy(p->out + at, p->q + at, count * sizeof *p->out);
}

/* ---- memory, or multiply-adds --------------------------------------------------------------------- */

enum { CUBE = 256, CUBES = 4 }; /* rows of a product that stays in the cache, products of a thread */

static int cubes(const peer_problem *p)
{
    return CUBES * p->threads;
}

static double cube_flops(const peer_problem *p)
{
    return 2.0 * CUBE * CUBE * CUBE * cubes(p);
}

static void multiply_cube(const peer_problem *p, int task, float *scratch)
{
    const size_t count = (size_t)CUBE * CUBE;

    (void)p;
    (void)task;
    peer_gemm(PLAIN, CUBE, CUBE, CUBE, 1, scratch, CUBE, scratch + count, CUBE, 0, scratch + 2 * count, CUBE);
}

static size_t cube_size(const peer_problem *p)
{
    (void)p;
    return 3 * (size_t)CUBE * CUBE;
}

/* The part cannot take less time than a copy of what it reads and writes, nor than its own multiply-adds at the speed of
 * large products, which is more than most of them can reach. */
#define LEAST_WORK(name_, part_, config_) \
    const peer name_; \
    const peer name_ = { \
        .part = (part_), .config = (config_), .bound = 1, .scratch = cube_size, \
        .stages = { { peer_blocks_of_heads, read_three, "copy", NULL }, \
                    { cubes, multiply_cube, "multiply-adds (sgemm)", cube_flops } } \
    }

LEAST_WORK(peer_local, "local", "{\"window_size\": 5}");
LEAST_WORK(peer_global, "global", "{\"num_global_tokens\": 4}");
LEAST_WORK(peer_random, "random", "{\"keys_per_row\": 8}");
LEAST_WORK(peer_blocksparse, "blocksparse", "{\"pattern\": \"bigbird\", \"block_size\": 16}");
LEAST_WORK(peer_lambda, "lambda", "{\"semantics\": \"xformers\"}");

const peer peer_pooling;
const peer peer_pooling = {
    .part = "pooling", .form = "copy", .bound = 1, .square = 1, .stages = { { peer_blocks_of_heads, copy } }
};

/* ---- products -------------------------------------------------------------------------------- */

/* The three linear maps over channels, without anything between them. */
static void mix_channels(const peer_problem *p, int block, float *scratch)
{
    const size_t first = (size_t)(block * PEER_ROWS) * (size_t)p->model;
    const int rows = peer_rows_of(p, block);

    peer_gemm(TURN_B, rows, p->model, p->model, 1, p->q + first, p->model, p->parameter[0], p->model, 0, scratch,
              p->model);
    peer_gemm(TURN_B, rows, p->model, p->model, 1, scratch, p->model, p->parameter[1], p->model, 0, p->out + first,
              p->model);
    peer_gemm(TURN_B, rows, p->model, p->model, 1, p->out + first, p->model, p->parameter[2], p->model, 0, scratch,
              p->model);
}

static size_t rows_size(const peer_problem *p)
{
    return (size_t)PEER_ROWS * (size_t)p->model;
}

const peer peer_visual;
const peer peer_visual = {
    .part = "visual",
    .form = "its OpenBLAS products",
    .bound = 1,
    .square = 1,
    .scratch = rows_size,
    .parameters = { "block.0.weight", "block.2.conv1.weight", "block.3.weight" },
    .stages = { { peer_blocks, mix_channels } },
};

/* Products of all pairs, as for exact attention, and no softmax between them. */
static void all_pairs(const peer_problem *p, int task, float *scratch)
{
    size_t count;
    const size_t at = place_of(p, task, &count),
                 head = (size_t)(task % p->heads) * (size_t)p->length * (size_t)p->width;
    const int rows = (int)count / p->width;

    peer_gemm(TURN_B, rows, p->length, p->width, 1, p->q + at, p->width, p->k + head, p->width, 0, scratch, p->length);
    peer_gemm(PLAIN, rows, p->width, p->length, 1, scratch, p->length, p->v + head, p->width, 0, p->out + at, p->width);
}

static size_t pairs_size(const peer_problem *p)
{
    return (size_t)PEER_ROWS * (size_t)p->length;
}

const peer peer_lambda_paper;
const peer peer_lambda_paper = { .part = "lambda",
                                 .form = "its OpenBLAS products",
                                 .bound = 1,
                                 .scratch = pairs_size,
                                 .stages = { { peer_blocks_of_heads, all_pairs } } };

/* ---- transforms ------------------------------------------------------------------------------ */

static struct fftw {
    void *plan;
    void *(*plan_r2c_2d)(int n0, int n1, float *in, float *out, unsigned flags);
    void (*execute)(const void *plan);
    int (*init_threads)(void);
    void (*use_threads)(int count);
} fftw;

/* ISO C has no conversion from dlsym's pointer to a function; POSIX promises that it works. */
static void find_symbol(void *library, const char *name, void *function)
{
    *(void **)function = library ? dlsym(library, name) : NULL;
}

static int find_fftw(void)
{
    void *library = dlopen("libfftw3f.so.3", RTLD_NOW | RTLD_GLOBAL);
    void *threads = dlopen("libfftw3f_threads.so.3", RTLD_NOW | RTLD_LOCAL);

    find_symbol(library, "fftwf_plan_dft_r2c_2d", &fftw.plan_r2c_2d);
    find_symbol(library, "fftwf_execute", &fftw.execute);
    find_symbol(threads, "fftwf_init_threads", &fftw.init_threads);
    find_symbol(threads, "fftwf_plan_with_nthreads", &fftw.use_threads);
    return fftw.plan_r2c_2d && fftw.execute && fftw.init_threads && fftw.use_threads && fftw.init_threads();
}

/* The real transform over positions and all channels, of numbers that lie as it likes them; FFTW measures how. */
static void transform(const peer_problem *p, int task, float *scratch)
{
    const size_t count = (size_t)p->length * (size_t)p->model;

    (void)task;
    (void)scratch;
    if (!fftw.plan) {
        fftw.use_threads(p->threads);
        fftw.plan = fftw.plan_r2c_2d(p->length, p->model, p->shared, p->shared + count, 0 /* FFTW_MEASURE */);
        memcpy(p->shared, p->q, count * sizeof *p->q);
    }
    fftw.execute(fftw.plan);
}

static int once(const peer_problem *p)
{
    (void)p;
    return 1;
}

static size_t transform_size(const peer_problem *p)
{
    return (size_t)p->length * (size_t)(2 * p->model + 2);
}

const peer peer_fourier_mix;
const peer peer_fourier_mix = {
    .part = "fourier_mix", .form = "FFTW", .exists = find_fftw, .bound = 1, .shared = transform_size,
    .stages = { { once, transform } }
};
