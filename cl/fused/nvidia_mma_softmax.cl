/* The softmax of tiles of scores that pass by, as fragments of tensor cores hold them, and what follows it. */
#include "fused/nvidia_mma_tile.cl"

#ifndef CLF_REST
#define CLF_REST 0 /* 1: what rounding took from `out` is kept for the backward pass */
#endif

/* What a warp knows while keys pass by. Rows come in pairs, 8 apart: [a][0] and [a][1]. */
typedef struct state {
    float sum[CLF_TALL][E / 8][4];                  /* of weighted values */
    float base[CLF_TALL][2], total[CLF_TALL][2];    /* scores are counted from the base; the sum of weights */
#if CLF_REST
    float stored[CLF_TALL][2];                      /* the same of the weights as they are multiplied, rounded */
#endif
} state;

/* A row's base moves only when a score is this much larger, in powers of two: weights up to 2^8 lose nothing in f16 or
 * bf16, and most tiles then leave the sums as they are. The rule looks at the row alone, so that no other row, and
 * no later key, changes its bits. */
#define SLACK 8.0f

CLF_INLINE void begin(state *own)
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++) {
        own->base[a][0] = own->base[a][1] = -INFINITY;
        own->total[a][0] = own->total[a][1] = 0.0f;
#if CLF_REST
        own->stored[a][0] = own->stored[a][1] = 0.0f;
#endif
#pragma unroll
        for (int j = 0; j < E / 8; j++)
            own->sum[a][j][0] = own->sum[a][j][1] = own->sum[a][j][2] = own->sum[a][j][3] = 0.0f;
    }
}

/* Moves the bases where the scores of a tile ask for it; `shrink` is what the sums then lose. Answers whether any row
 * of this lane moved. */
CLF_INLINE int rebase(float s[CLF_TALL][CLF_COLUMNS / 8][4], float scale, state *own, float shrink[CLF_TALL][2])
{
    int moved = 0;
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            float top = fmax(s[a][0][2 * pair], s[a][0][2 * pair + 1]);
#pragma unroll
            for (int j = 1; j < CLF_COLUMNS / 8; j++)
                top = fmax(top, fmax(s[a][j][2 * pair], s[a][j][2 * pair + 1]));
            top = fmax(top, clf_nv_swap_float(top, 1));
            top = fmax(top, clf_nv_swap_float(top, 2)) * scale;
            const float old = own->base[a][pair], new = top > old + SLACK ? top : old;
            shrink[a][pair] = new == old ? 1.0f : clf_nv_exp2(old - new);
            moved |= new != old;
            own->base[a][pair] = new;
            own->total[a][pair] *= shrink[a][pair];
#if CLF_REST
            own->stored[a][pair] *= shrink[a][pair];
#endif
        }
    return moved;
}

CLF_INLINE void rescale(state *own, float shrink[CLF_TALL][2])
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int j = 0; j < E / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                own->sum[a][j][i] *= shrink[a][i / 2];
}

/* Scores become weights, in place. */
CLF_INLINE void weigh(float s[CLF_TALL][CLF_COLUMNS / 8][4], float scale, state *own)
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            const float anchor = own->base[a][pair] == -INFINITY ? 0.0f : own->base[a][pair];
            float more = 0.0f;
#pragma unroll
            for (int j = 0; j < CLF_COLUMNS / 8; j++)
#pragma unroll
                for (int i = 2 * pair; i < 2 * pair + 2; i++) {
                    s[a][j][i] = clf_nv_exp2(fma(s[a][j][i], scale, -anchor));
                    more += s[a][j][i];
                }
            own->total[a][pair] += more;
#if CLF_REST
            /* Out is divided by this sum: a row with one heavy key then gets that key's value to the last bit, which
             * its gradients need. */
            float stored = 0.0f;
#pragma unroll
            for (int j = 0; j < CLF_COLUMNS / 8; j++) {
                const float2 weight = unpack(clf_nv_pack(s[a][j][2 * pair], s[a][j][2 * pair + 1]));
                s[a][j][2 * pair] = weight.x;
                s[a][j][2 * pair + 1] = weight.y;
                stored += weight.x + weight.y;
            }
            own->stored[a][pair] += stored;
#endif
        }
}

CLF_INLINE void soften(float s[CLF_TALL][CLF_COLUMNS / 8][4], float scale, state *own)
{
    float shrink[CLF_TALL][2];
    if (clf_nv_any(rebase(s, scale, own, shrink)))
        rescale(own, shrink);
    weigh(s, scale, own);
}

/* Writes the rows of out, what rounding took from them (`rest` has contiguous rows), and lse. `row` is this lane's
 * first one. A sink joins the sums here, where its weight need not fit f16. */
CLF_INLINE void finish(const state *own, float factor, float sink, int row, int lane, int rows, int width,
                       __global clf_result *out, int out_step, __global clf_storage *rest, __global float *lse,
                       int lse_step)
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            const int r = row + a * 16 + pair * 8;
            float all = own->total[a][pair], base = own->base[a][pair];
            all += clf_nv_swap_float(all, 1);
            all += clf_nv_swap_float(all, 2);
#if CLF_REST
            float divisor = own->stored[a][pair];
            divisor += clf_nv_swap_float(divisor, 1);
            divisor += clf_nv_swap_float(divisor, 2);
#else
            const float divisor = all;
#endif
#if CLF_SINKS
            const float top = fmax(base, sink), shrink = base == -INFINITY ? 0.0f : clf_nv_exp2(base - top);
            const float weight = sink == -INFINITY ? 0.0f : clf_nv_exp2(sink - top);
            all = all * shrink + weight;
            const float inverse = all == 0.0f ? 0.0f : factor * shrink / (divisor * shrink + weight);
            base = top;
#else
            const float inverse = all == 0.0f ? 0.0f : factor / divisor;
#endif
            if (r >= rows)
                continue;
            STORE_ROW(own->sum[a], pair, inverse, out, r * out_step, E, width, lane);
#if CLF_REST
            STORE_LOST(own->sum[a], pair, inverse, rest, r * width, E, width, lane);
#endif
            if (lse && (lane & 3) == 0)
                lse[r * lse_step] = all == 0.0f ? -INFINITY : clf_log_sum(base, all);
        }
}
