/* The tensors of compositional attention and the products and sums between them, for its own files only. */
#ifndef CLF_ATTENTION_COMPOSITIONAL_STEPS_H
#define CLF_ATTENTION_COMPOSITIONAL_STEPS_H

#include "attention/compositional_layers.h"
#include "fused/fused.h"
#include "ops/copy.h"
#include "ops/gemm.h"

/* Matrices in the workspace, or in `saved` where backward needs what forward made. A row is a token, or a (token,
 * head). */
typedef enum step_buffer {
    BUFFER_XQ, BUFFER_XK, BUFFER_XV,             /* inputs whose channels do not lie side by side */
    BUFFER_OUT,                                  /* the result or its gradient, likewise */
    BUFFER_Q, BUFFER_K, BUFFER_V,                /* projected */
    BUFFER_LSE, BUFFER_RETRIEVED,                /* [tokens x heads, rules x width] */
    BUFFER_TURNED,                               /* xformers semantics: q by position, then batch */
    BUFFER_SELECT,                               /* [tokens x heads, dim_selection] */
    BUFFER_U,                                    /* what a retrieved value is multiplied by: a row, or one for all */
    BUFFER_SHIFT, BUFFER_HIDDEN, BUFFER_TOP,     /* of the score network */
    BUFFER_WEIGHT, BUFFER_COMPOSED,              /* [tokens x heads, rules], [tokens, heads x width] */
    SAVED_BUFFERS_END = BUFFER_COMPOSED,
    BUFFER_D_COMPOSED, BUFFER_D_WEIGHT, BUFFER_D_RETRIEVED, BUFFER_D_U, BUFFER_D_SHIFT, BUFFER_D_HIDDEN, BUFFER_D_TOP,
    BUFFER_D_SELECT, BUFFER_D_TURNED,
    BUFFER_PART_Q, BUFFER_PART_K, BUFFER_PART_V, /* gradients of one chunk of values */
    BUFFER_D_Q, BUFFER_D_K, BUFFER_D_V,
    BUFFER_SEEN_K, BUFFER_SEEN_V,                /* bytes: is anything but zeros in that row of d_k, of d_v? */
    BUFFERS
} step_buffer;

typedef enum step_product {
    PRODUCT_Q, PRODUCT_K, PRODUCT_V, PRODUCT_SELECT, PRODUCT_U, PRODUCT_SHIFT, PRODUCT_HIDDEN, PRODUCT_OUT,
    FORWARD_PRODUCTS_END = PRODUCT_OUT,
    PRODUCT_D_COMPOSED, PRODUCT_D_SELECT, PRODUCT_D_RETRIEVED, PRODUCT_D_Q_SELECT, PRODUCT_D_XQ, PRODUCT_D_XQ_SELECT,
    PRODUCT_D_XK, PRODUCT_D_XV,
    PRODUCT_W_OUT, PRODUCT_W_VALUE_K, PRODUCT_W_VALUE_Q, PRODUCT_W_SHIFT, PRODUCT_W_HIDDEN, PRODUCT_W_Q, PRODUCT_W_K,
    PRODUCT_W_V,
    PRODUCTS
} step_product;

/* Gradients that are sums over rows. */
typedef enum step_sum {
    SUM_OUT, SUM_SELECT, SUM_SHIFT, SUM_TOP, SUM_SCORE, SUM_Q, SUM_K, SUM_V, SUMS
} step_sum;

enum { MOST_CHUNKS = 64 };

/* The columns of the values, some in each launch of fused attention. */
typedef struct step_chunks {
    int64_t    columns; /* of one, the last one's may be fewer */
    int        count;
    clf__fused fused[MOST_CHUNKS];
} step_chunks;

typedef struct compositional_state {
    int               lanes;
    step_chunks       chunks[2];              /* forward; backward, if those of forward will not do */
    bool              used[BUFFERS];
    uint64_t          at[BUFFERS];
    bool              multiplies[PRODUCTS];
    clf__gemm_choice  products[PRODUCTS];
    bool              adds[SUMS];
    clf__column_sums  sums[SUMS];
    clf__copy         gather, gather_seen;    /* a storage type to itself: rows out of heads, and back */
    clf__copy         convert, accumulate;    /* storage to f32 */
    clf__copy         add;                    /* f32 to f32, accumulating */
    clf__copy         parameter, zero;        /* a parameter to f32; zeros to a parameter */
    cl_kernel         score, network, softmax, mix, select, softmax_back, retrieved, network_back, seen;
} compositional_state;

typedef struct steps {
    clf_plan                   *plan;
    clf_run                    *run; /* NULL while planning */
    const compositional_config *config;
    const clf_args             *args;
    compositional_state        *state;
    clf_buffer                  workspace, saved;
    int64_t batch, queries, keys, model, heads, rules, width, selection, head; /* head: width of one for q and k */
    bool                        linear, qk, network, backward, turned, masked;
} steps;

steps clf__steps_of(clf_plan *plan, clf_run *run);

/* Decides which buffers there are and reserves them. */
void       clf__steps_reserve(const steps *s);
clf_tensor clf__steps_buffer(const steps *s, step_buffer which); /* a matrix */
/* The same of `rows` as [B, H, N, columns]: B * N rows, heads side by side in them. */
clf_tensor clf__steps_heads(const steps *s, step_buffer which, int64_t rows, int64_t heads);

/* Slot 0 to 2 of the io table, or the result, as a matrix of tokens; by way of a buffer where strides ask for it. */
clf_tensor clf__steps_tokens(const steps *s, const clf_tensor *tensor, step_buffer by_way_of);

/* A parameter or its gradient, or columns of it; rank 0 where this config has none. */
clf_tensor clf__steps_parameter(const steps *s, int place, bool gradient);
clf_tensor clf__steps_columns(clf_tensor matrix, int64_t first, int64_t end);

/* false: this problem has no such product, no such sum. */
bool clf__steps_product(const steps *s, step_product which, clf__gemm_problem *problem);
bool clf__steps_sum(const steps *s, step_sum which, clf_tensor *matrix, clf_tensor *to, bool *accumulate);

/* Of a launch for some of the values, and for which: state->chunks[0] where forward's serve both passes. */
step_chunks       *clf__steps_chunks(const steps *s, bool backward);
clf__fused_problem clf__steps_attention(const steps *s, const step_chunks *chunks, int chunk);

/* ---- single steps of a run --------------------------------------------------------------------------- */

/* Nothing where this problem has no such product or sum. */
clf_status clf__steps_multiply(const steps *s, step_product which);
clf_status clf__steps_add_rows(const steps *s, step_sum which);

/* A matrix, or a row, as [1, 1, rows, columns]. */
clf_tensor clf__steps_wide(clf_tensor matrix);
/* q by position, then batch entry, as xFormers reads it when it selects by queries; a buffer that has it so. */
clf_tensor clf__steps_by_position(const steps *s, step_buffer which);
clf_tensor clf__steps_in_order(const steps *s, step_buffer which);

clf_status clf__steps_copy(const steps *s, const clf__copy *kernel, clf_tensor from, clf_tensor to);
/* Heads of the caller's tensor and rows of a buffer, one into the other; nothing where the tensor will do as it is. */
clf_status clf__steps_regroup(const steps *s, const clf_tensor *tensor, step_buffer which, bool into_rows);
/* Binds matrices in turn, each with the elements from row to row (0 where one serves all rows), and launches. */
clf_status clf__steps_launch(const steps *s, cl_kernel kernel, const clf_tensor *const *matrices, int count,
                             int64_t rules, int64_t width, int64_t items);
/* score[row][r] = u[row] . retrieved[row][r] */
clf_status clf__steps_multiply_rules(const steps *s, step_buffer u, step_buffer score);
/* out[row] = sum over r of weight[row][r] retrieved[row][r] */
clf_status clf__steps_mix_rules(const steps *s, step_buffer weight, step_buffer out);

clf_status clf__compositional_forward(clf_run *run);
clf_status clf__compositional_backward(clf_run *run);

#endif
