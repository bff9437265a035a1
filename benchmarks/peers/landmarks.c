/* linformer, nystrom and orthoformer: a task is a head. */
#include "peers.h"

#include <math.h>
#include <string.h>

enum { MOST_MARKS = 1024, ITERATIONS = 6 };

static const float *head(const peer_problem *p, const float *tensor, int h)
{
    return tensor + peer_at(h * p->length, p->width);
}

/* out = softmax(scale q keys^T) values, some rows at a time. */
static void attend(const peer_problem *p, int h, const float *keys, const float *values, float *scores)
{
    const float *q = head(p, p->q, h);
    float *out = p->out + (head(p, p->q, h) - p->q);

    for (int block = 0; block < peer_blocks(p); block++) {
        const int first = block * PEER_ROWS, rows = peer_rows_of(p, block);
        const size_t at = peer_at(first, p->width);
        peer_gemm(TURN_B, rows, p->marks, p->width, p->scale, q + at, p->width, keys, p->width, 0, scores, p->marks);
        peer_softmax(scores, rows, p->marks, p->marks);
        peer_gemm(PLAIN, rows, p->width, p->marks, 1, scores, p->marks, values, p->width, 0, out + at, p->width);
    }
}

/* to = softmax(scale marks k^T) v */
static void summarise(const peer_problem *p, int h, const float *marks, float *to, float *scores)
{
    peer_gemm(TURN_B, p->marks, p->length, p->width, p->scale, marks, p->width, head(p, p->k, h), p->width, 0, scores,
              p->length);
    peer_softmax(scores, p->marks, p->length, p->length);
    peer_gemm(PLAIN, p->marks, p->width, p->length, 1, scores, p->length, head(p, p->v, h), p->width, 0, to, p->width);
}

static size_t scratch_size(const peer_problem *p)
{
    const size_t marks = (size_t)p->marks, length = (size_t)p->length, width = (size_t)p->width;
    return 4 * marks * width + 4 * marks * marks + marks * length + PEER_ROWS * marks + 2 * length * width + 2 * length;
}

/* ---- linformer ------------------------------------------------------------------------------- */

static void linformer(const peer_problem *p, int h, float *scratch)
{
    const size_t side = peer_at(p->marks, p->width);

    for (int i = 0; i < 2; i++)
        peer_gemm(PLAIN, p->marks, p->width, p->length, 1, p->parameter[i], p->length, head(p, i ? p->v : p->k, h),
                  p->width, 0, scratch + (i ? side : 0), p->width);
    attend(p, h, scratch, scratch + side, scratch + 2 * side);
}

const peer peer_linformer;
const peer peer_linformer = {
    .part = "linformer",
    .form = "OpenBLAS + softmax",
    .knob = "k",
    .marks = 256,
    .parameters = { "E.weight", "F.weight" },
    .scratch = scratch_size,
    .stages = { { peer_heads, linformer } },
};

/* ---- nystrom --------------------------------------------------------------------------------- */

static void means(const peer_problem *p, const float *x, float *to)
{
    const int segment = p->length / p->marks;

    memset(to, 0, peer_at(p->marks, p->width) * sizeof *to);
    for (int row = 0; row < segment * p->marks; row++)
        peer_add(to + peer_at(row / segment, p->width), 1 / (float)segment, x + peer_at(row, p->width), p->width);
}

/* to = identity I - from */
static void shift(int size, float identity, const float *from, float *to)
{
    for (int i = 0; i < size * size; i++)
        to[i] = -from[i];
    for (int i = 0; i < size; i++)
        to[i * size + i] += identity;
}

/* Of k in work[0]; answers where it is. */
static float *invert(int size, float *const work[4])
{
    float *k = work[0], *z = work[1], *a = work[2], *u = work[3], largest = 0;

    for (int j = 0; j < size; j++) {
        float sum = 0;
        for (int i = 0; i < size; i++)
            sum += k[i * size + j];
        largest = sum > largest ? sum : largest;
    }
    for (int i = 0; i < size * size; i++)
        z[i] = k[i % size * size + i / size] / largest;
    float *next = u + peer_at(size, size);
    for (int n = 0; n < ITERATIONS; n++) {
        peer_gemm(PLAIN, size, size, size, 1, k, size, z, size, 0, a, size);
        shift(size, 7, a, u);
        peer_gemm(PLAIN, size, size, size, 1, a, size, u, size, 0, next, size);
        shift(size, 15, next, u);
        peer_gemm(PLAIN, size, size, size, 1, a, size, u, size, 0, next, size);
        shift(size, 13, next, u);
        peer_gemm(PLAIN, size, size, size, 0.25f, z, size, u, size, 0, next, size);
        memcpy(z, next, peer_at(size, size) * sizeof *z);
    }
    return z;
}

static size_t nystrom_scratch(const peer_problem *p)
{
    return scratch_size(p) + peer_at(p->marks, p->marks);
}

static void nystrom(const peer_problem *p, int h, float *scratch)
{
    const size_t side = peer_at(p->marks, p->width), square = peer_at(p->marks, p->marks);
    float *queries = scratch, *keys = queries + side, *values = keys + side, *mixed = values + side;
    float *work[4] = { mixed + side, mixed + side + square, mixed + side + 2 * square, mixed + side + 3 * square };
    float *scores = work[3] + 2 * square;

    means(p, head(p, p->q, h), queries);
    means(p, head(p, p->k, h), keys);
    peer_gemm(TURN_B, p->marks, p->marks, p->width, p->scale, queries, p->width, keys, p->width, 0, work[0], p->marks);
    peer_softmax(work[0], p->marks, p->marks, p->marks);
    summarise(p, h, queries, values, scores);
    peer_gemm(PLAIN, p->marks, p->width, p->marks, 1, invert(p->marks, work), p->marks, values, p->width, 0, mixed,
              p->width);
    attend(p, h, keys, mixed, scores);
}

const peer peer_nystrom;
const peer peer_nystrom = {
    .part = "nystrom",
    .form = "OpenBLAS + softmax",
    .knob = "num_landmarks",
    .marks = 64,
    .scratch = nystrom_scratch,
    .stages = { { peer_heads, nystrom } },
};

/* ---- orthoformer ----------------------------------------------------------------------------- */

/* The queries that differ most, from the first on: of each, the largest cosine with those that were chosen. */
static void choose(const peer_problem *p, const float *q, float *to, float *unit, float *nearest)
{
    int newest = 0, chosen[MOST_MARKS];

    for (int row = 0; row < p->length; row++) {
        float *x = unit + peer_at(row, p->width);
        memcpy(x, q + peer_at(row, p->width), (size_t)p->width * sizeof *x);
        peer_scale(x, 1 / sqrtf(peer_dot(x, x, p->width)), p->width);
        nearest[row] = 0;
    }
    for (int l = 0; l < p->marks; l++) {
        float best = INFINITY;
        chosen[l] = newest;
        peer_gemm(TURN_B, p->length, 1, p->width, 1, unit, p->width, unit + peer_at(newest, p->width), p->width,
                  0, nearest + p->length, 1);
        nearest[newest] = 10;
        for (int row = 0, last = newest; row < p->length; row++) {
            const float cosine = row == last ? 10 : fabsf(nearest[p->length + row]);
            nearest[row] = cosine > nearest[row] ? cosine : nearest[row];
            if (nearest[row] < best) {
                best = nearest[row];
                newest = row;
            }
        }
    }
    for (int l = 1; l < p->marks; l++) /* in the order of the sequence */
        for (int n = l; n > 0 && chosen[n] < chosen[n - 1]; n--) {
            const int swap = chosen[n];
            chosen[n] = chosen[n - 1];
            chosen[n - 1] = swap;
        }
    for (int l = 0; l < p->marks; l++)
        memcpy(to + peer_at(l, p->width), q + peer_at(chosen[l], p->width), (size_t)p->width * sizeof *to);
}

static void orthoformer(const peer_problem *p, int h, float *scratch)
{
    const size_t side = peer_at(p->marks, p->width);
    float *marks = scratch, *values = marks + side, *scores = values + side;
    float *unit = scores + peer_at(p->marks, p->length + PEER_ROWS);

    choose(p, head(p, p->q, h), marks, unit, unit + peer_at(p->length, p->width));
    summarise(p, h, marks, values, scores);
    attend(p, h, marks, values, scores);
}

const peer peer_orthoformer;
const peer peer_orthoformer = {
    .part = "orthoformer",
    .form = "OpenBLAS + softmax",
    .knob = "num_landmarks",
    .marks = 32,
    .config = "{\"semantics\": \"xformers\", \"rng.randint.0\": [0, 0, 0, 0, 0, 0, 0, 0]}",
    .scratch = scratch_size,
    .stages = { { peer_heads, orthoformer } },
};
