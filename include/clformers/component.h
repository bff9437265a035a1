/* What a part is: the descriptor that its author writes, and the tables it points to.
 *
 * A part is one const clf_descriptor in one .c file plus its kernel sources. The build finds it by
 * its CLF_REGISTER_ line; tests, benchmark, command line and documentation iterate over the
 * registered parts and need no edit. The callbacks use what <clformers/author.h> offers.
 */
#ifndef CLFORMERS_COMPONENT_H
#define CLFORMERS_COMPONENT_H

#include <clformers/config.h>
#include <clformers/source.h>

CLF_BEGIN

typedef enum clf_kind {
    CLF_ATTENTION          = 1,
    CLF_FEEDFORWARD        = 2,
    CLF_POSITION_EMBEDDING = 3,
    CLF_NORM               = 4,
    CLF_MULTI_HEAD         = 5,
    CLF_BLOCK              = 6
} clf_kind;

/* "attention", "feedforward", ...; NULL / 0 when unknown. */
CLF_API const char *clf_kind_name(clf_kind kind);
CLF_API clf_kind    clf_kind_from_name(const char *name);

#define CLF_MAX_IO         24
#define CLF_MAX_PARAMETERS 32
#define CLF_MAX_PROGRAMS   32

/* ---- the io table: the tensors that go in and out --------------------------------------- */

typedef enum clf_io_role {
    CLF_INPUT  = 1,
    CLF_OUTPUT = 2
} clf_io_role;

typedef enum clf_io_class {
    CLF_IO_FLOATING = 1, /* f32, f16 or bf16: the same for all of this class */
    CLF_IO_SINGLE   = 2, /* always f32 */
    CLF_IO_MASK     = 3, /* bool or u8 (nonzero = attend), or additive f32, f16, bf16 (-inf = masked) */
    CLF_IO_BOOLEAN  = 4, /* bool or u8 */
    CLF_IO_INDEX    = 5, /* i32 or i64 */
    CLF_IO_NUMBER   = 6  /* f32 or i32 */
} clf_io_class;

enum {
    CLF_IO_OPTIONAL       = 1,
    CLF_IO_DIFFERENTIABLE = 2, /* backward gives its gradient (inputs) or takes it (outputs); boolean masks have none */
    CLF_IO_BROADCAST      = 4, /* leading axes may be missing and any axis may be 1 */
    CLF_IO_OWN_TYPE       = 8, /* a floating tensor whose storage type need not be that of the others */
    CLF_IO_PRIVATE        = 16, /* optional, and only the part knows what its numbers mean: no generated case has it */
    CLF_IO_QUANTISED      = 32  /* a floating tensor that may be u8 instead, which the part knows how to read */
};
/* A mask with axes BH.. lacks H, not B, when its rank is 3: item b of the mask serves all heads. Under xformers
 * semantics it is tiled instead: M matrices, M divides B*H, matrix (b*H + h) mod M. */

/* `axes` names one letter a dimension; a letter means the same extent everywhere. Attention uses
 * B batch, H heads, Q queries, K keys, D width of q and k, E width of v. A lower-case letter is an axis of its own that
 * the part checks by itself; in generated cases it is as long as the upper-case one. */
typedef struct clf_io {
    const char  *name;
    const char  *axes;
    clf_io_role  role;
    clf_io_class io_class;
    unsigned     flags;
    const char  *doc;
} clf_io;

#define CLF_IO_END { .name = NULL }

/* q, k, v, att_mask, key_padding_mask -> out, lse: the table of most attention mechanisms, and the
 * places in it. */
CLF_API extern const clf_io clf_attention_io_qkv[];
enum { CLF_QKV_Q = 0, CLF_QKV_K = 1, CLF_QKV_V = 2, CLF_QKV_ATT_MASK = 3, CLF_QKV_KEY_PADDING_MASK = 4,
       CLF_QKV_OUT = 5, CLF_QKV_LSE = 6 };
/* The table of mechanisms that mix the positions of q alone: the same places, so that one call serves them too; k and
 * v may be given, are not read and get no gradient. Channels of the model are c = head * width + d. */
CLF_API extern const clf_io clf_attention_io_q[];

/* ---- arguments of a call -------------------------------------------------------------------- */

/* Tensors by their place in the io table; rank 0 = absent. Planning reads the descriptions only
 * (mem may be NULL), running uses the memory. Zero-initialise and set size. */
typedef struct clf_args {
    size_t     size;             /* sizeof(clf_args) */
    clf_tensor io[CLF_MAX_IO];
    clf_tensor grad[CLF_MAX_IO]; /* backward: of outputs taken, of inputs given; absent = not wanted */
    bool       training;         /* dropout is active */
    uint64_t   seed, offset;     /* of the counter-based random numbers (Philox4x32-10) */
} clf_args;

/* Which passes a plan can run. */
enum { CLF_FORWARD = 1, CLF_BACKWARD = 2 };

/* ---- parameters and buffers ----------------------------------------------------------------- */

typedef enum clf_init {
    CLF_INIT_ZERO    = 0,
    CLF_INIT_ONE     = 1,
    CLF_INIT_UNIFORM = 2, /* U(-a, a); a = 1/sqrt(last extent) when `scale` is 0 */
    CLF_INIT_NORMAL  = 3, /* N(0, scale^2) */
    CLF_INIT_OWN     = 4  /* by the component's `initialise` callback */
} clf_init;

/* A learnt parameter or a kept buffer. `shape` fills *rank and shape[] from the config; rank 0 means
 * that this config has no such parameter. */
typedef struct clf_parameter {
    const char *name;
    void      (*shape)(const void *config, int *rank, int64_t *shape);
    clf_dtype   dtype;           /* CLF_DTYPE_NONE = the instance's dtype */
    clf_init    init;
    double      scale;
    const char *doc;
} clf_parameter;

#define CLF_PARAMETERS_END { .name = NULL }

/* ---- the descriptor ------------------------------------------------------------------------- */

/* What a mechanism can honour; tests and benchmark take their cases from these. */
enum {
    CLF_TRAIT_CAUSAL           = 1 << 0,
    CLF_TRAIT_ATTENTION_MASK   = 1 << 1,
    CLF_TRAIT_KEY_PADDING_MASK = 1 << 2,
    CLF_TRAIT_CROSS            = 1 << 3, /* S_q != S_k */
    CLF_TRAIT_VALUE_WIDTH      = 1 << 4, /* width of v != width of q and k */
    CLF_TRAIT_DROPOUT          = 1 << 5,
    CLF_TRAIT_LSE              = 1 << 6, /* gives the log-sum-exp */
    CLF_TRAIT_LOW_PRECISION    = 1 << 7, /* f16 and bf16 storage */
    CLF_TRAIT_SQUARE_SEQUENCE  = 1 << 8, /* the sequence is an image: a perfect square */
    CLF_TRAIT_XFORMERS_LENIENT = 1 << 9, /* under xformers semantics `causal` and `dropout` that the traits do not claim
                                            are no reason to refuse: the part does with them what xFormers did */
    CLF_TRAIT_DERIVED          = 1 << 10, /* runs mostly on kernels that other parts and tests try: quick tests do less */
    CLF_TRAIT_SOME_MASKS       = 1 << 11 /* takes an attention mask in some configs, and itself refuses it in the others */
};

/* Arithmetic and traffic of one pass, by the field's conventions (4*B*H*N*N*D for exact forward). */
typedef struct clf_work {
    double flops;
    double bytes;
} clf_work;

/* What the known-answer problem comes to (clf_component_answer): a number a pass. All 0 = not known. */
typedef struct clf_answer {
    double      forward, backward;
    const char *config; /* members that the problem's config needs beyond the usual hints, "\"landmarks\": 4"; or NULL */
} clf_answer;

typedef struct clf_plan clf_plan;
typedef struct clf_run  clf_run;
struct clf_reference;

typedef struct clf_descriptor {
    const char          *summary;  /* one line */
    const char          *paper;    /* authors, year, identifier */
    clf_schema           config;
    const char          *programs[CLF_MAX_PROGRAMS]; /* kernel sources, e.g. "attention/nystrom.cl" */
    const char *const   *families; /* names of its kernel families up to NULL, each of which the tests try; may be NULL */
    const clf_io        *io;
    uint64_t             traits;
    const clf_parameter *parameters; /* learnt; may be NULL */
    const clf_parameter *buffers;    /* kept but not learnt: random features, patterns; may be NULL */

    /* Defaults that depend on other fields or on the problem (args may be NULL at instance
     * creation), and refusals that the config alone decides. May be NULL. */
    clf_status (*resolve)(void *config, const clf_args *args);
    /* CLF_INIT_OWN parameters and buffers: fills `data` (double, contiguous). May be NULL. */
    clf_status (*initialise)(const void *config, const clf_parameter *what, uint64_t seed, double *data);
    /* Can this be done here, by which family, with how much memory? Creates the kernels. */
    clf_status (*plan)(clf_plan *plan);
    /* Enqueue only: no compiling, allocating or blocking. backward may be NULL. */
    clf_status (*forward)(clf_run *run);
    clf_status (*backward)(clf_run *run);
    /* Work of one pass (CLF_FORWARD or CLF_BACKWARD). */
    void (*work)(const void *config, const clf_args *args, int pass, clf_work *work);
    /* The same maths in plain C and double precision, for the tests; NULL when tests/reference has it. */
    clf_status (*reference)(const struct clf_reference *reference);
    /* For the check before first use (CLF_SELFTEST), where `reference` is NULL; the tests tell the numbers. */
    clf_answer answer;
    /* What the kernel families can do, for tables such as that of `clf describe`: the name of feature `i` (NULL beyond the
     * last), and in *passes those of CLF_FORWARD and CLF_BACKWARD in which `family` has it, on `device` (NULL = on one that
     * suits it). May be NULL. */
    const char *(*feature)(const clf_device *device, const char *family, int i, int *passes);
    /* Members of configs that take other paths than the defaults, "\"landmarks\": 4, \"bias\": true", up to NULL: the
     * tests try the main features with each of them. May be NULL. */
    const char *const *variants;
    /* The int field of the config that brings the result the nearer to exact attention the larger it is, such as a number
     * of landmarks or of random features: `clf bench --accuracy` measures how near. NULL = there is none. */
    const char *knob;
} clf_descriptor;

/* One row of the registry: a descriptor under its name. */
typedef struct clf_component {
    size_t                     size;    /* sizeof(clf_descriptor) that the part was built with */
    clf_kind                   kind;
    const char                *name;
    const clf_descriptor      *descriptor;
    const clf_source          *sources; /* kernel sources that come with a plugin; NULL for built-in parts */
} clf_component;

/* The line by which the build finds a part. */
#define CLF_REGISTER_ATTENTION(name_)          const clf_descriptor clf__attention_##name_
#define CLF_REGISTER_FEEDFORWARD(name_)        const clf_descriptor clf__feedforward_##name_
#define CLF_REGISTER_POSITION_EMBEDDING(name_) const clf_descriptor clf__position_embedding_##name_
#define CLF_REGISTER_NORM(name_)               const clf_descriptor clf__norm_##name_
#define CLF_REGISTER_MULTI_HEAD(name_)         const clf_descriptor clf__multi_head_##name_
#define CLF_REGISTER_BLOCK(name_)              const clf_descriptor clf__block_##name_

/* ---- what every attention config begins with -------------------------------------------------- */

typedef enum clf_semantics {
    CLF_SEMANTICS_PAPER    = 0, /* as published and as users expect */
    CLF_SEMANTICS_XFORMERS = 1  /* as xFormers shipped it, for weights trained with it */
} clf_semantics;

typedef struct clf_attention_config {
    clf_config_header header;
    int   semantics;  /* clf_semantics */
    bool  causal;
    float dropout;    /* probability of dropping an attention weight, [0, 1] */
    int   num_heads;  /* hints: 0 when absent */
    int   dim_model;
    int   dim_head;
    int   seq_len;
    int   reserved[21]; /* keeps the size when the base grows */
} clf_attention_config;

CLF_API extern const char *const clf_semantics_names[];

#define CLF_ATTENTION_FIELDS(type_) CLF_ATTENTION_FIELDS_REQUIRING(type_, 0)

/* Hints that a part cannot do without, because its parameters have such an extent. */
enum { CLF_REQUIRE_NUM_HEADS = 1, CLF_REQUIRE_DIM_MODEL = 2, CLF_REQUIRE_DIM_HEAD = 4, CLF_REQUIRE_SEQ_LEN = 8 };

#define CLF_ATTENTION_FIELDS_REQUIRING(type_, hints_)                                                                 \
    { .name = "semantics", .type = CLF_FIELD_ENUM, .field_class = CLF_SEMANTIC,                                       \
      .offset = offsetof(type_, base.semantics), .choices = clf_semantics_names,                                      \
      .doc = "paper, or xformers for what xFormers shipped" },                                                        \
    { .name = "causal", .type = CLF_FIELD_BOOL, .field_class = CLF_SEMANTIC, .offset = offsetof(type_, base.causal),  \
      .doc = "a query sees no later key" },                                                                           \
    { .name = "dropout", .type = CLF_FIELD_FLOAT, .field_class = CLF_SEMANTIC,                                        \
      .offset = offsetof(type_, base.dropout), .max = 1, .doc = "probability of dropping an attention weight" },      \
    { .name = "num_heads", .type = CLF_FIELD_INT, .field_class = CLF_HINT, .offset = offsetof(type_, base.num_heads), \
      .optional = !((hints_) & CLF_REQUIRE_NUM_HEADS), .required = ((hints_) & CLF_REQUIRE_NUM_HEADS) != 0, .min = 1, \
      .doc = "heads" },                                                                                               \
    { .name = "dim_model", .type = CLF_FIELD_INT, .field_class = CLF_HINT, .offset = offsetof(type_, base.dim_model), \
      .optional = !((hints_) & CLF_REQUIRE_DIM_MODEL), .required = ((hints_) & CLF_REQUIRE_DIM_MODEL) != 0, .min = 1, \
      .doc = "width of the model: heads x head width" },                                                              \
    { .name = "dim_head", .type = CLF_FIELD_INT, .field_class = CLF_HINT, .offset = offsetof(type_, base.dim_head),   \
      .optional = !((hints_) & CLF_REQUIRE_DIM_HEAD), .required = ((hints_) & CLF_REQUIRE_DIM_HEAD) != 0, .min = 1,   \
      .doc = "width of one head" },                                                                                   \
    { .name = "seq_len", .type = CLF_FIELD_INT, .field_class = CLF_HINT, .offset = offsetof(type_, base.seq_len),     \
      .optional = !((hints_) & CLF_REQUIRE_SEQ_LEN), .required = ((hints_) & CLF_REQUIRE_SEQ_LEN) != 0, .min = 1,     \
      .doc = "length of the sequence" }

CLF_END
#endif
