/* compositional, with a linear score: projections, retrieval by some rows of a head, projection of the result. What the
 * score has in common for all rules is left out, as ours does. */
#include "peers.h"

#include <string.h>

enum { RULES = 8, PROJECTIONS = 3, WEIGHT_OUT = 6, BIAS_OUT = 7, WEIGHT_SCORE = 8 };

static size_t tokens(const peer_problem *p)
{
    return peer_at(p->length, p->model);
}

static size_t shared_size(const peer_problem *p)
{
    return (PROJECTIONS + 1) * tokens(p);
}

static size_t scratch_size(const peer_problem *p)
{
    return peer_at(PEER_ROWS, p->length + p->model + RULES);
}

static void spread_bias(const float *bias, int rows, int columns, float *to)
{
    for (int row = 0; row < rows; row++)
        memcpy(to + peer_at(row, columns), bias, (size_t)columns * sizeof *to);
}

/* q, k and v of some tokens. */
static void project(const peer_problem *p, int block, float *scratch)
{
    const float *const tensors[PROJECTIONS] = { p->q, p->k, p->v };
    const int first = block * PEER_ROWS, rows = peer_rows_of(p, block);

    for (size_t i = 0; i < PROJECTIONS; i++) {
        float *to = p->shared + i * tokens(p) + peer_at(first, p->model);
        for (int h = 0; h < p->heads; h++)
            for (int row = 0; row < rows; row++)
                memcpy(scratch + peer_at(row, p->model) + peer_at(h, p->width),
                       tensors[i] + peer_at(h * p->length + first + row, p->width),
                       (size_t)p->width * sizeof *to);
        spread_bias(p->parameter[2 * i + 1], rows, p->model, to);
        peer_gemm(TURN_B, rows, p->model, p->model, 1, scratch, p->model, p->parameter[2 * i], p->model, 1, to,
                  p->model);
    }
}

/* What a head retrieves by each rule, and what it selects of that, for some queries. */
static void retrieve(const peer_problem *p, int task, float *scratch)
{
    const int h = task % p->heads, block = task / p->heads, rows = peer_rows_of(p, block), value = p->model / RULES;
    const float *q = p->shared + peer_at(block * PEER_ROWS, p->model), *k = p->shared + tokens(p),
                *v = k + tokens(p);
    float *composed = p->shared + PROJECTIONS * tokens(p) + peer_at(block * PEER_ROWS, p->model);
    float *scores = scratch, *found = scores + peer_at(PEER_ROWS, p->length);

    peer_gemm(TURN_B, rows, p->length, p->width, p->scale, q + peer_at(h, p->width), p->model, k + peer_at(h, p->width),
              p->model, 0, scores, p->length);
    peer_softmax(scores, rows, p->length, p->length);
    peer_gemm(PLAIN, rows, p->model, p->length, 1, scores, p->length, v, p->model, 0, found, p->model);
    for (int row = 0; row < rows; row++) {
        const float *retrieved = found + peer_at(row, p->model);
        float weight[RULES], *to = composed + peer_at(row, p->model) + peer_at(h, p->width);
        for (int r = 0; r < RULES; r++)
            weight[r] = peer_dot(retrieved + peer_at(r, value), p->parameter[WEIGHT_SCORE], value);
        peer_softmax(weight, 1, RULES, RULES);
        memset(to, 0, (size_t)value * sizeof *to);
        for (int r = 0; r < RULES; r++)
            peer_add(to, weight[r], retrieved + peer_at(r, value), value);
    }
}

static void finish(const peer_problem *p, int block, float *scratch)
{
    const int first = block * PEER_ROWS, rows = peer_rows_of(p, block);

    spread_bias(p->parameter[BIAS_OUT], rows, p->model, scratch);
    peer_gemm(TURN_B, rows, p->model, p->model, 1, p->shared + PROJECTIONS * tokens(p) + peer_at(first, p->model),
              p->model, p->parameter[WEIGHT_OUT], p->model, 1, scratch, p->model);
    for (int h = 0; h < p->heads; h++)
        for (int row = 0; row < rows; row++)
            memcpy(p->out + peer_at(h * p->length + first + row, p->width),
                   scratch + peer_at(row, p->model) + peer_at(h, p->width), (size_t)p->width * sizeof *scratch);
}

const peer peer_compositional;
const peer peer_compositional = {
    .part = "compositional",
    .form = "OpenBLAS + softmax",
    .knob = "num_rules",
    .marks = RULES,
    .parameters = { "in_proj_container.q_proj.weight", "in_proj_container.q_proj.bias",
                    "in_proj_container.k_proj.weight", "in_proj_container.k_proj.bias",
                    "in_proj_container.v_proj.weight", "in_proj_container.v_proj.bias", "out_proj.weight",
                    "out_proj.bias", "score_network.weight" },
    .shared = shared_size,
    .scratch = scratch_size,
    .stages = { { peer_blocks, project }, { peer_blocks_of_heads, retrieve }, { peer_blocks, finish } },
};
