/* What the passes of favor share: sizes, memory, products and kernels of one chunk of (batch, head) pairs. */
#ifndef CLF_ATTENTION_FAVOR_PASS_H
#define CLF_ATTENTION_FAVOR_PASS_H

#include "attention/favor.h"
#include "ops/gemm.h"

/* f32 arrays of an item. Those from FAVOR_TOP on are kept for backward and exist once for all items, those from
 * FAVOR_TOPS on exist for all items, too, but in the workspace, the others lie in the workspace of a chunk.
 * cl/attention/favor.cl, favor_vector.cl and favor_causal.cl tell what they hold. */
enum {
    FAVOR_U, FAVOR_UQ, FAVOR_PHI, FAVOR_COLUMN, FAVOR_D, FAVOR_SHRINK, FAVOR_PREFIX, FAVOR_BEFORE, FAVOR_NORM, FAVOR_RHO,
    FAVOR_SIGMA, FAVOR_V, FAVOR_G, FAVOR_THROUGH, FAVOR_DSTATE, FAVOR_DSUM, FAVOR_SCAN, FAVOR_PAIRS,
    FAVOR_TOPS, FAVOR_SUMS, FAVOR_STATES,
    FAVOR_TOP, FAVOR_SUM, FAVOR_STATE, FAVOR_LARGEST, FAVOR_SHARE, FAVOR_WEIGHTS,
    FAVOR_ARRAYS
};

enum {
    FAVOR_FEATURES_K, FAVOR_FEATURES_Q, FAVOR_MAKE_STATE, FAVOR_OUT, FAVOR_DPHI_Q, FAVOR_DQ, FAVOR_MAKE_DSTATE,
    FAVOR_DPHI_K, FAVOR_DK, FAVOR_DV,
    FAVOR_PRODUCTS
};

enum {
    FAVOR_NORMS, FAVOR_KEYS, FAVOR_QUERIES, FAVOR_FOLD, FAVOR_COLUMNS, FAVOR_MAKE_RHO, FAVOR_COPY, FAVOR_DROP,
    FAVOR_FINISH, FAVOR_MEAN, FAVOR_FULL_KERNELS,
    FAVOR_MAKE_PREFIX = FAVOR_FULL_KERNELS, FAVOR_MAKE_WEIGHTS, FAVOR_FACTORS, FAVOR_MAKE_SCAN, FAVOR_MAKE_PAIRS,
    FAVOR_GRADIENT, FAVOR_ENDS, FAVOR_JOIN,
    FAVOR_CAUSAL_KERNELS,
    FAVOR_VECTOR_KEYS = FAVOR_CAUSAL_KERNELS, FAVOR_VECTOR_MERGE, FAVOR_VECTOR_QUERIES,
    FAVOR_KERNELS
};

typedef struct favor_state {
    int       lanes;
    bool      mean;                   /* what xFormers computes when causal */
    bool      causal, padded, drops;  /* padded: keys may be hidden */
    int       drawn, drawn_padded, signs, features, width, value_width, value_padded;
    int64_t   batch, heads, queries, keys, shift; /* shift: place of query 0 among the keys */
    int64_t   chunk_batches, chunk_heads;
    bool      vector;                 /* forward by favor_vector.cl, for all items at once */
    int64_t   segments;               /* of the keys of an item; in causal order of its places */
    int64_t   segment_chunks;         /* chunks of places of each */
    int64_t   rows_keys, rows_queries; /* at a time */
    int64_t   size[FAVOR_ARRAYS];     /* floats of an item, 0 = not needed */
    int64_t   start[FAVOR_ARRAYS];    /* floats from the start of workspace or saved */
    bool      kept_is_saved;
    uint64_t  workspace, parts, kept; /* where the pieces begin */
    float     scale;                  /* of x in the exponents: width^(-1/4) */
    float     keep_scale;             /* 1 / (1 - dropout), 0 when everything is dropped */
    cl_kernel kernel[FAVOR_KERNELS];
    clf__gemm_choice product[FAVOR_PRODUCTS];
} favor_state;

/* One chunk: `args` are views on its batches and heads. */
typedef struct favor_chunk {
    clf_run           *run;           /* NULL while planning */
    const favor_state *state;
    clf_args           args;
    clf_tensor         drawn;         /* W */
    int64_t            batches, heads, first; /* first: number of its first item */
    cl_uint8           random;
} favor_chunk;

/* Number of features, and directions to draw, by the config. */
int clf__favor_features(const favor_config *config);
int clf__favor_map(const favor_config *config);

clf_status clf__favor_plan(clf_plan *plan);
clf_status clf__favor_run(clf_run *run, clf_status (*pass)(favor_chunk *chunk));

int64_t clf__favor_items(const favor_chunk *chunk);
/* An array as a matrix for each item; rows lie `step` apart. */
clf_tensor clf__favor_array(const favor_chunk *chunk, int array, int64_t rows, int64_t columns, int64_t step);
/* mem and first element, a long. */
void clf__favor_bind_array(clf_binder *binder, const favor_chunk *chunk, int array);
/* cl_int8 of favor.cl for so many rows of `channels`. */
void clf__favor_bind_shape(clf_binder *binder, const favor_chunk *chunk, int64_t rows, int64_t channels, int64_t place);
void clf__favor_bind_int(clf_binder *binder, int value);
void clf__favor_bind_float(clf_binder *binder, float value);
/* A work-item or a group for each row of an array. */
clf_status clf__favor_rows(favor_chunk *chunk, clf_binder *binder, int64_t rows);
/* A work-item for each block of features. */
clf_status clf__favor_columns(favor_chunk *chunk, clf_binder *binder);
/* A work-item for each of `count` of every item. */
clf_status clf__favor_each(favor_chunk *chunk, clf_binder *binder, int64_t count);

/* One of the products of the table above; the first needs nothing but descriptions. A gradient that nobody wants needs
 * no product. */
clf_status clf__favor_plan_product(clf_plan *plan, const favor_chunk *chunk, int which, clf__gemm_choice *choice);
clf_status clf__favor_product(favor_chunk *chunk, int which);

/* Steps that both orders have. */
clf_status clf__favor_norms(favor_chunk *chunk);
/* Rows of `x` by place into V or G: those of keys lose what is hidden, those of queries what dropout takes. */
clf_status clf__favor_copy(favor_chunk *chunk, const clf_tensor *x, int array, int64_t rows);
/* Zeroes what dropout takes from the result, or (`drops` false) all of the first rows. */
clf_status clf__favor_drop(favor_chunk *chunk, const clf_tensor *y, int64_t rows, bool drops);
clf_status clf__favor_rho(favor_chunk *chunk, int64_t rows);
/* From gradients of features (with FAVOR_PHI and `column`) or of logits to those of u, in the array `u`. */
clf_status clf__favor_fold(favor_chunk *chunk, int64_t rows, bool rho, int column, int u);
clf_status clf__favor_finish(favor_chunk *chunk);

/* For CPUs. _choose: is it for this problem, and in which pieces? */
void clf__favor_vector_choose(favor_state *state, const clf_device_info *device);
clf_status clf__favor_vector_forward(favor_chunk *chunk);

clf_status clf__favor_full_forward(favor_chunk *chunk);
clf_status clf__favor_full_backward(favor_chunk *chunk);
clf_status clf__favor_causal_forward(favor_chunk *chunk);
clf_status clf__favor_causal_backward(favor_chunk *chunk);
clf_status clf__favor_mean_forward(favor_chunk *chunk);
clf_status clf__favor_mean_backward(favor_chunk *chunk);

#endif
