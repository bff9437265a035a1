/* favor: a task is a head. Features are exponentials of both signs; what is taken from the exponents, the largest one
 * of all keys and that of each query, cancels in the quotient. */
#include "peers.h"

#include <math.h>
#include <string.h>

static size_t scratch_size(const peer_problem *p)
{
    const size_t features = (size_t)p->marks;
    return (size_t)p->length * (features / 2 + 1) + PEER_ROWS * (features + features / 2) +
           features * (size_t)(p->width + 1);
}

/* A row of features from one of u. */
static void make_features(const float *u, int drawn, float less, float *to)
{
    peer_exp(u, 1, less, to, drawn);
    peer_exp(u, -1, less, to + drawn, drawn);
}

static void sum_keys(const peer_problem *p, const float *k, const float *v, float *u, float *phi, float *state,
                     float *sums)
{
    const int drawn = p->marks / 2;
    const float scale = sqrtf(p->scale);
    float *norm = u + peer_at(p->length, drawn), largest = -INFINITY;

    peer_gemm(PLAIN, p->length, drawn, p->width, scale, k, p->width, p->parameter[0], drawn, 0, u, drawn);
    for (int row = 0; row < p->length; row++) {
        const float *x = k + peer_at(row, p->width), *logits = u + peer_at(row, drawn);
        norm[row] = 0.5f * p->scale * peer_dot(x, x, p->width);
        const float top = fmaxf(peer_largest(logits, 1, drawn), peer_largest(logits, -1, drawn)) - norm[row];
        largest = top > largest ? top : largest;
    }
    memset(sums, 0, (size_t)p->marks * sizeof *sums);
    for (int block = 0; block < peer_blocks(p); block++) {
        const int first = block * PEER_ROWS, rows = peer_rows_of(p, block);
        for (int row = 0; row < rows; row++) {
            float *to = phi + peer_at(row, p->marks);
            make_features(u + peer_at(first + row, drawn), drawn, norm[first + row] + largest, to);
            peer_add(sums, 1, to, p->marks);
        }
        peer_gemm(TURN_A, p->marks, p->width, rows, 1, phi, p->marks, v + peer_at(first, p->width), p->width,
                  first > 0, state, p->width);
    }
}

static void favor(const peer_problem *p, int h, float *scratch)
{
    const int drawn = p->marks / 2;
    const size_t at = peer_at(h * p->length, p->width);
    float *u = scratch, *phi = u + peer_at(p->length, drawn + 1),
          *some = phi + peer_at(PEER_ROWS, p->marks);
    float *state = some + peer_at(PEER_ROWS, drawn), *sums = state + peer_at(p->marks, p->width);

    sum_keys(p, p->k + at, p->v + at, u, phi, state, sums);
    for (int block = 0; block < peer_blocks(p); block++) {
        const int first = block * PEER_ROWS, rows = peer_rows_of(p, block);
        const size_t from = at + peer_at(first, p->width);
        peer_gemm(PLAIN, rows, drawn, p->width, sqrtf(p->scale), p->q + from, p->width, p->parameter[0], drawn, 0, some,
                  drawn);
        for (int row = 0; row < rows; row++) {
            const float *logits = some + peer_at(row, drawn);
            float *to = phi + peer_at(row, p->marks);
            make_features(logits, drawn, fmaxf(peer_largest(logits, 1, drawn), peer_largest(logits, -1, drawn)), to);
            peer_scale(to, 1 / peer_dot(to, sums, p->marks), p->marks);
        }
        peer_gemm(PLAIN, rows, p->width, p->marks, 1, phi, p->marks, state, p->width, 0, p->out + from, p->width);
    }
}

const peer peer_favor;
const peer peer_favor = {
    .part = "favor",
    .form = "OpenBLAS + exp",
    .knob = "dim_features",
    .marks = 448,
    .parameters = { "buffer:feature_map.features" },
    .scratch = scratch_size,
    .stages = { { peer_heads, favor } },
};
