/* The tensors of visual attention, and the products and sums between them, for its own files only. */
#ifndef CLF_ATTENTION_VISUAL_STEPS_H
#define CLF_ATTENTION_VISUAL_STEPS_H

#include "attention/visual_layers.h"
#include "ops/copy.h"
#include "ops/gemm.h"

typedef enum visual_buffer {
    BUFFER_BEFORE, BUFFER_NEAR, BUFFER_FAR, BUFFER_GATE, /* saved where there is a backward pass */
    BUFFER_X, BUFFER_OUT,                                /* tokens, where channels do not lie side by side */
    BUFFER_U, BUFFER_GATED, BUFFER_TAPS, BUFFER_BIAS,
    FORWARD_BUFFERS_END = BUFFER_BIAS,
    BUFFER_D_U, BUFFER_D_GATE, BUFFER_D_FAR, BUFFER_D_NEAR, BUFFER_PART,
    BUFFERS
} visual_buffer;

typedef enum visual_product {
    PRODUCT_FIRST, PRODUCT_MIXED, PRODUCT_LAST,
    FORWARD_PRODUCTS_END = PRODUCT_LAST,
    PRODUCT_D_GATED, PRODUCT_D_FAR, PRODUCT_D_X, PRODUCT_W_FIRST, PRODUCT_W_MIXED, PRODUCT_W_LAST,
    PRODUCTS
} visual_product;

enum { SUMS = VISUAL_PARAMETERS / 2 }; /* a bias each */

/* One of the two convolutions: kernels for its size. */
typedef struct convolution {
    cl_kernel forward, backward, weigh;
} convolution;

typedef struct visual_state {
    int               lanes;
    uint64_t          at[BUFFERS];
    clf__gemm_choice  products[PRODUCTS];
    clf__column_sums  sums[SUMS];
    clf__copy         copy, parameter;     /* storage to itself; a bias to f32 */
    cl_kernel         gelu, gate, gate_back, gelu_back, turn, turn_back;
    convolution       near, far;
} visual_state;

typedef struct visual_context {
    clf_plan       *plan;
    clf_run        *run; /* NULL while planning */
    const clf_args *args;
    visual_state   *state;
    clf_buffer      workspace, saved;
    int64_t         rows, channels, side, lines; /* lines: rows of cells in all images */
    int64_t         stretch, stretches;          /* lines that one work-item adds up; how many such there are */
    bool            backward;
} visual_context;

extern const clf_parameter clf__visual_parameters[];

visual_context clf__visual_context(clf_plan *plan, clf_run *run);
void           clf__visual_reserve(const visual_context *c);
clf_tensor     clf__visual_buffer(const visual_context *c, visual_buffer which); /* a matrix */
/* A tensor of the caller as a matrix of tokens, by way of a buffer where strides ask for it. */
clf_tensor     clf__visual_tokens(const visual_context *c, const clf_tensor *tensor, visual_buffer by_way_of);
/* A parameter or its gradient, matrices over channels as such. */
clf_tensor     clf__visual_parameter(const visual_context *c, int place, bool gradient);

clf__gemm_problem clf__visual_product(const visual_context *c, visual_product which);
/* What the gradient of a bias is the sum of; `place` of its weight. */
clf_tensor     clf__visual_summed(const visual_context *c, int place);

clf_status     clf__visual_forward(clf_run *run);
clf_status     clf__visual_backward(clf_run *run);

#endif
