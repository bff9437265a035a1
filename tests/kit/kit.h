/* What the files of the test kit share. The kit sees the public headers only, so that it works out of tree.
 *
 * A *case* is a few numbers; a *problem* is a case on a device: instance, arguments, values and guarded
 * buffers; a *result* is what a pass left in those buffers.
 */
#ifndef CLF_KIT_KIT_H
#define CLF_KIT_KIT_H

#include "references.h"
#include <clformers/clformers.h>
#include <clformers/testkit.h>

/* ---- random.c: a counter-based generator; value i of a stream needs no other -------------------- */

uint64_t clf__kit_bits(uint64_t stream, uint64_t counter);
double   clf__kit_uniform(uint64_t stream, uint64_t counter); /* in (0, 1) */
double   clf__kit_normal(uint64_t stream, uint64_t counter);  /* N(0, 1), never 0 */

/* ---- compare.c: the tolerance rule --------------------------------------------------------------- */

enum { KIT_BASELINES = 7 }; /* enough that rounding noise rarely cancels in all of them */

typedef struct clf__kit_measure {
    const double *out;                 /* what the device gave */
    const double *ref;                 /* the reference in double */
    const double *base[KIT_BASELINES]; /* what fair rounding gives; NULL = fewer baselines */
    int64_t       rows, width;
    double        eps;                 /* of the storage type */
    double        factor;              /* 2 for outputs, 3 for gradients */
} clf__kit_measure;

/* True when `out` is as good as the baselines let expect; otherwise `why` says where and how far off. */
bool clf__kit_compare(const clf__kit_measure *measure, char *why, size_t why_size);
double clf__kit_eps(clf_dtype dtype);

/* ---- cases.c, describe.c ------------------------------------------------------------------------- */

typedef enum clf__kit_what {
    KIT_PROBLEM = 0,  /* run on the device */
    KIT_DIFFERENCES,  /* the reference's gradient against finite differences */
    KIT_CONFIG,       /* round trip, bad configs */
    KIT_ARGUMENTS,    /* bad arguments */
    KIT_CONVENIENCE   /* clf_apply and friends */
} clf__kit_what;

typedef enum clf__kit_layout {
    KIT_CONTIGUOUS = 0,
    KIT_TRANSPOSED,   /* sequence before heads, so that rows of all heads lie side by side */
    KIT_PADDED,       /* gaps after rows and matrices, odd offset */
    KIT_EXPANDED      /* inputs and upstream gradients with stride 0 on the second of four axes */
} clf__kit_layout;

typedef enum clf__kit_values {
    KIT_NORMAL = 0,
    KIT_PEAKY,        /* first two inputs times 10: one key takes nearly all */
    KIT_HUGE          /* scores of about +-1e4 */
} clf__kit_values;

typedef struct clf__kit_case {
    clf__kit_what   what;
    int64_t         extent[26];   /* by axis letter, 'A' first */
    clf_dtype       dtype;        /* of the floating tensors */
    uint32_t        present;      /* optional entries of the io table, a bit each */
    uint32_t        no_gradient;  /* inputs whose gradient is not asked for, a bit each */
    clf_dtype       mask_dtype;   /* of CLF_IO_MASK entries with a query axis */
    int             mask_drop;    /* leading axes left out */
    unsigned        mask_ones;    /* axes (of the io table) of extent 1, a bit each */
    bool            mask_items;   /* rank 3: batch x heads in front instead of batch */
    bool            causal, xformers, training;
    float           dropout;
    clf__kit_layout layout;
    clf__kit_values values;
    bool            slow;
    bool            every_family; /* not only the one that planning chooses */
    char            own[448];    /* further members of the config, ", \"key\": value" */
    const char     *spread;      /* a learnt vector whose elements go down and up by `spread_by` in turn: what it is */
    double          spread_by;   /* added to then stays on its side of a kink, however it is rounded; NULL = none */
} clf__kit_case;

typedef struct clf__kit_cases {
    clf__kit_case *list;
    size_t         count, capacity;
    bool           failed; /* memory was short */
} clf__kit_cases;

/* A lower-case letter is an axis of its own, as long as the upper-case one. */
#define KIT_EXTENT(case_, letter_) ((case_)->extent[((letter_) & ~0x20) - 'A'])

void clf__kit_generate(const clf_component *component, const clf_device_info *device, clf__kit_cases *cases);
void clf__kit_describe(const clf_component *component, const clf__kit_case *c, char *text, size_t size);
void clf__kit_config_json(const clf_component *component, const clf__kit_case *c, char *text, size_t size);
/* The traits that a part must claim for this case. */
uint64_t clf__kit_needs(const clf_component *component, const clf__kit_case *c);

/* ---- rows.c: the programs of a default run ------------------------------------------------------- */

typedef enum clf__kit_device {
    KIT_DEVICE = 0,
    KIT_RASTERISER, /* software that plays a GPU and compiles slowly */
    KIT_SIMULATOR   /* hardly compiles, and runs slowly */
} clf__kit_device;

/* Row `number`, from 0, of those for this part on a device of this kind; false behind the last. */
bool clf__kit_row(const clf_component *component, clf__kit_device device, const clf__kit_case *plain, int number,
                  clf__kit_case *c);
/* Do the two cases run on the same programs? */
bool clf__kit_same_program(const clf_component *component, const clf__kit_case *a, const clf__kit_case *b);

bool clf__kit_has_axis(const clf_io *io, char letter);
bool clf__kit_is_query_mask(const clf_io *io);   /* an attention mask */
bool clf__kit_is_key_padding(const clf_io *io);
int  clf__kit_io_count(const clf_component *component);

/* ---- image.c: a tensor inside a buffer whose every other byte is watched ------------------------- */

enum { KIT_GUARD = 256 };

typedef struct clf__kit_image {
    clf_tensor     tensor; /* rank 0 = absent */
    size_t         bytes;  /* of the whole buffer */
    unsigned char *before; /* what is written to the device */
    unsigned char *after;  /* what came back */
    unsigned char *kept;   /* an earlier `after` */
    bool          *inside; /* is the byte part of an element? */
} clf__kit_image;

/* Lays out a tensor of this shape, poison everywhere. */
clf_status clf__kit_image_make(clf_device *device, clf_dtype dtype, int rank, const int64_t *shape,
                               clf__kit_layout layout, bool input, clf__kit_image *image);
void       clf__kit_image_free(clf__kit_image *image);
clf_status clf__kit_image_write(clf_device *device, clf__kit_image *image);
clf_status clf__kit_image_read(clf_device *device, clf__kit_image *image);
/* Byte position of element i (row-major order) in the buffer. */
size_t     clf__kit_image_place(const clf__kit_image *image, int64_t i);
/* Puts a value into `before` and returns it as the storage type holds it. */
double     clf__kit_image_set(clf__kit_image *image, int64_t i, double value);
double     clf__kit_image_get(const clf__kit_image *image, const unsigned char *bytes, int64_t i);
/* Is everything outside the elements as it was written? */
bool       clf__kit_image_is_intact(const clf__kit_image *image);

/* ---- problem.c, inputs.c --------------------------------------------------------------------------- */

typedef struct clf__kit_problem {
    const clf_component *component;
    const clf__kit_case *c;
    clf_device          *device;
    clf_instance        *instance;
    void                *config;               /* resolved for args */
    bool                 backward;             /* the part has gradients */
    clf_args             args;
    clf__kit_image       io[CLF_MAX_IO], grad[CLF_MAX_IO];
    double              *value[CLF_MAX_IO];    /* inputs as the reference sees them */
    double              *upstream[CLF_MAX_IO]; /* gradients of outputs */
    int                  parameters, buffers;
    clf_tensor           parameter[CLF_MAX_PARAMETERS], buffer[CLF_MAX_PARAMETERS];
    double              *parameter_value[CLF_MAX_PARAMETERS], *buffer_value[CLF_MAX_PARAMETERS];
    double             **frozen;               /* handed to the reference */
} clf__kit_problem;

clf_status clf__kit_problem_make(clf_device *device, const clf_component *component, const clf__kit_case *c,
                                 clf__kit_problem *problem);
void       clf__kit_problem_free(clf__kit_problem *problem);
clf_status clf__kit_fill_inputs(clf__kit_problem *problem);
/* Index of element i of io entry `slot` along the axis `letter`; -1 without such an axis. */
int64_t    clf__kit_index(const clf__kit_problem *problem, int slot, int64_t i, char letter);

/* ---- reference.c ------------------------------------------------------------------------------------- */

/* Outputs and gradients in contiguous double arrays. */
typedef struct clf__kit_result {
    double *io[CLF_MAX_IO], *grad[CLF_MAX_IO], *parameter_grad[CLF_MAX_PARAMETERS];
} clf__kit_result;

clf_status clf__kit_result_make(const clf__kit_problem *problem, clf__kit_result *result);
void       clf__kit_result_free(clf__kit_result *result);

/* The part's own reference, or that of tests/reference with its name; NULL = none. */
clf_status (*clf__kit_find_reference(const clf_component *component))(const clf_reference *reference);
bool clf__kit_has_reference(const clf_component *component);
/* Baseline 0 rounds to nearest, later ones at random; -1 is the reference in double. */
clf_status clf__kit_reference(const clf__kit_problem *problem, int passes, int baseline, clf__kit_result *result);

/* ---- execute.c ------------------------------------------------------------------------------------------ */

/* The arguments of these passes: without gradients when there is no backward pass. */
clf_args   clf__kit_args(const clf__kit_problem *problem, int passes);
/* Runs the passes of a plan on fresh outputs and reads everything back into the images and `result`.
 * A finding (a byte changed outside the elements) is put into `why`, which is "" otherwise. */
clf_status clf__kit_execute(clf__kit_problem *problem, clf_plan *plan, int passes, clf__kit_result *result, char *why,
                            size_t why_size);
/* The halves of that: fresh images to the device; images back, decoded and looked over. */
clf_status clf__kit_upload(clf__kit_problem *problem);
clf_status clf__kit_download(clf__kit_problem *problem, clf__kit_result *result, char *why, size_t why_size);
/* Copies every `after` to `kept`; compares the two bit by bit. */
void        clf__kit_keep(clf__kit_problem *problem);
const char *clf__kit_same_as_kept(const clf__kit_problem *problem); /* name of what differs, or NULL */

/* ---- checks ------------------------------------------------------------------------------------------ */

typedef enum clf__kit_verdict {
    KIT_PASSED = 0,
    KIT_FAILED,
    KIT_REFUSED
} clf__kit_verdict;

/* One case while it is checked: `why` collects the first finding. */
typedef struct clf__kit_check {
    clf_device          *device;
    const clf_component *component;
    const clf__kit_case *c;
    const char          *family;       /* only this one; NULL = the one that planning chooses */
    bool                 every_family; /* and then the others */
    bool                 optimised;    /* these too, as far as compilers can; otherwise what takes long there is not */
    char                 why[1024];
} clf__kit_check;

/* Remembers the first finding; returns KIT_FAILED. */
clf__kit_verdict clf__kit_finding(clf__kit_check *check, const char *format, ...) CLF_PRINTF(2, 3);

clf__kit_verdict clf__kit_check_problem(clf__kit_check *check);
clf__kit_verdict clf__kit_check_differences(clf__kit_check *check);
clf__kit_verdict clf__kit_check_config(clf__kit_check *check);
clf__kit_verdict clf__kit_check_arguments(clf__kit_check *check);
clf__kit_verdict clf__kit_check_convenience(clf__kit_check *check);
/* Later rows of the inputs change: earlier rows of the outputs may not. `kept` holds the run before. */
clf__kit_verdict clf__kit_check_causality(clf__kit_check *check, clf__kit_problem *problem, clf_plan *plan,
                                          clf__kit_result *scratch);
/* What a status that stops a case means: a finding, or a refusal that the traits allow. */
clf__kit_verdict clf__kit_stopped(clf__kit_check *check, const char *doing, clf_status status);

/* ---- sweep.c, child.c, simulator.c: parts on devices, in this process or in others ------------------------- */

enum { KIT_TROUBLE = 1024 };

/* One part on one device. */
typedef struct clf__kit_pair {
    const clf_testkit_sweep_options *options;
    const clf_component             *component;
    const clf_device_info           *device;
    const char                      *selector;             /* of the device */
    clf_testkit_counts               counts;
    char                             trouble[KIT_TROUBLE]; /* what went wrong outside the cases; "" = nothing */
} clf__kit_pair;

/* Runs the pair here, or in a new process of this executable. */
void clf__kit_pair_here(clf__kit_pair *pair);
void clf__kit_pair_apart(clf__kit_pair *pair);

/* Oclgrind tells what it sees to a file. Begin before the device is opened; end leaves what was told in `trouble`. */
typedef struct clf__kit_watch {
    char path[64]; /* "" = not watching */
} clf__kit_watch;
void clf__kit_watch_begin(clf__kit_watch *watch, bool simulator);
void clf__kit_watch_end(clf__kit_watch *watch, char *trouble, size_t size);
/* Is Oclgrind looking for reads of what nobody wrote? It does not know clEnqueueFillBuffer, with which clf_prepare warms
 * up; where the host wrote a part of a buffer, it forgets what kernels write to the rest, and to a later buffer in its
 * place; and it is slow: a problem of each sort will do. */
bool clf__kit_seeks_unwritten(const clf_device *device);

#endif
