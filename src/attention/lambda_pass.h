/* What the passes of lambda share: memory, products and kernels of one chunk of (batch, head) pairs. */
#ifndef CLF_ATTENTION_LAMBDA_PASS_H
#define CLF_ATTENTION_LAMBDA_PASS_H

#include "attention/lambda.h"
#include "ops/gemm.h"

/* f32 arrays of the workspace: of an item; those from LAMBDA_R on are there once. cl/attention/lambda.cl tells of them. */
enum {
    LAMBDA_WEIGHT, LAMBDA_CONTENT, LAMBDA_OUT, LAMBDA_S, LAMBDA_G, LAMBDA_DS, LAMBDA_Q, LAMBDA_DQ, LAMBDA_DV,
    LAMBDA_DCONTENT, LAMBDA_DWEIGHT, LAMBDA_GAIN,
    LAMBDA_R, LAMBDA_DR, LAMBDA_DTABLE,
    LAMBDA_ARRAYS
};

enum {
    LAMBDA_SOFTMAX, LAMBDA_SOFTMAX_BACK, LAMBDA_COPY, LAMBDA_STORE, LAMBDA_CORNERS, LAMBDA_ZERO, LAMBDA_WINDOWS,
    LAMBDA_WINDOWS_BACK, LAMBDA_OWN, LAMBDA_OWN_BACK, LAMBDA_GATHER, LAMBDA_STORE_TABLE,
    LAMBDA_KERNELS
};

/* Products; those with a block of queries come first. */
enum {
    LAMBDA_MAKE_S, LAMBDA_ADD_OUT, LAMBDA_MAKE_DS, LAMBDA_MAKE_DQ, LAMBDA_ADD_DTABLE, LAMBDA_ADD_DV,
    LAMBDA_MAKE_CONTENT, LAMBDA_MAKE_OUT, LAMBDA_MAKE_DCONTENT, LAMBDA_ADD_DQ, LAMBDA_MAKE_DV, LAMBDA_MAKE_DWEIGHT,
    LAMBDA_PRODUCTS
};

typedef struct lambda_state {
    int       lanes;
    bool      xformers, drops;
    int       width, value_width, seq_len;
    int64_t   batch, heads, length, block;    /* block: queries at a time */
    int64_t   chunk_batches, chunk_heads;
    int64_t   size[LAMBDA_ARRAYS], start[LAMBDA_ARRAYS]; /* floats */
    uint64_t  workspace;
    float     keep_scale;
    cl_kernel kernel[LAMBDA_KERNELS];
    clf__gemm_choice product[LAMBDA_PRODUCTS];
} lambda_state;

/* One chunk: `args` are views on its batches and heads; first and rows: the block of queries. */
typedef struct lambda_chunk {
    clf_run            *run; /* NULL while planning */
    const lambda_state *state;
    clf_args            args;
    clf_tensor          table;
    int64_t             batches, heads, item;
    int64_t             first, rows;
    cl_uint8            random;
} lambda_chunk;

clf_tensor clf__lambda_array(const lambda_chunk *chunk, int array, int64_t rows, int64_t columns, int64_t step);
void clf__lambda_bind_array(clf_binder *binder, const lambda_chunk *chunk, int array);
clf__gemm_problem clf__lambda_problem(const lambda_chunk *chunk, int which);
clf_status clf__lambda_product(lambda_chunk *chunk, int which);

clf_status clf__lambda_forward(lambda_chunk *chunk);
clf_status clf__lambda_backward(lambda_chunk *chunk);
/* Before the first chunk of a pass, and behind the last one. */
clf_status clf__lambda_begin(lambda_chunk *chunk, bool backward);
clf_status clf__lambda_end(lambda_chunk *chunk, const clf_tensor *gradient);

#endif
