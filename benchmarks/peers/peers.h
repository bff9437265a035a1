/* Mechanisms by the library calls that they decompose into, on the host: what a program without this library would do.
 *
 * A peer is a list of stages, each with so many tasks, which as many threads as the device has units share; a task
 * calls OpenBLAS with one thread. Softmax takes one pass over a row that lies in the cache.
 */
#ifndef CLF_BENCH_PEERS_H
#define CLF_BENCH_PEERS_H

#include <stddef.h>

enum { PEER_PARAMETERS = 16, PEER_STAGES = 4, PEER_ROWS = 256 };

typedef struct peer_problem {
    int          heads, length, width;             /* tensors are [heads][length][width] */
    int          threads;
    int          model;                            /* heads x width */
    int          marks;                            /* landmarks, features drawn or mixtures of keys */
    float        scale;                            /* 1 / sqrt(width) */
    double       flops;                            /* of the part, by its own count */
    const float *q, *k, *v;
    const float *parameter[PEER_PARAMETERS];       /* as the part has them, in its order; absent: NULL */
    float       *out;
    float       *shared;                           /* of all tasks */
} peer_problem;

typedef struct peer_stage {
    int  (*tasks)(const peer_problem *problem);
    void (*run)(const peer_problem *problem, int task, float *scratch);
    const char *name;                              /* of a bound; NULL = one stage after the other, and `form` */
    double (*flops)(const peer_problem *problem);  /* what a bound's stage computes: its time is scaled to the part's
                                                      own count; NULL = it stands as it is */
} peer_stage;

typedef struct peer {
    const char *part, *config;                     /* JSON object for ours, or NULL */
    const char *form;                              /* what it is, for the table */
    int       (*exists)(void);                     /* is its library there? NULL = always */
    const char *knob;                              /* the field whose value `marks` gets, set to `marks` */
    int         marks;
    const char *parameters[PEER_PARAMETERS];       /* names in ours, up to NULL; "buffer:" before a buffer's */
    int         square;                            /* the sequence is an image */
    int         bound;                             /* reads, writes or computes as much, its results are others; of
                                                      stages with names the one that takes longer counts */
    size_t    (*shared)(const peer_problem *problem);  /* floats; may be NULL */
    size_t    (*scratch)(const peer_problem *problem); /* floats of each thread; may be NULL */
    peer_stage  stages[PEER_STAGES];
    const struct clf_component *rival;             /* instead of stages: a part that runs on the device, too, */
    const char *rival_config;                      /* and its config */
} peer;

extern const peer *const peers[]; /* ended by NULL */

/* Numbers of so many rows, which is where the next one begins. */
static inline size_t peer_at(int rows, int columns)
{
    return (size_t)rows * (size_t)columns;
}

/* ---- blocks.c: tasks of a stage: heads, and blocks of PEER_ROWS rows, the last one's fewer ----------------- */

int peer_heads(const peer_problem *problem);
int peer_blocks(const peer_problem *problem);
int peer_blocks_of_heads(const peer_problem *problem);
int peer_rows_of(const peer_problem *problem, int block);

/* ---- blas.c ------------------------------------------------------------------------------------ */

/* Loads OpenBLAS, which from then on uses one thread a call; 0 when there is none. */
int peer_blas_open(void);

/* c = alpha a b + beta c, row by row; `turned` matrices are stored as their transposes. Rows lie `lda`, ... apart. */
typedef enum peer_turn { PLAIN = 0, TURN_A = 1, TURN_B = 2 } peer_turn;
void peer_gemm(peer_turn turned, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
               float beta, float *c, int ldc);

/* ---- rows.c: compiled for the machine it runs on ----------------------------------------------------- */

/* Softmax of each row in place. */
void peer_softmax(float *rows, int count, int columns, int pitch);
/* exp of sign * x - norm - top, number by number; answers the sum of the row. */
float peer_exp(const float *x, float sign, float less, float *to, int count);
float peer_largest(const float *x, float sign, int count);
float peer_dot(const float *a, const float *b, int count);
void  peer_add(float *to, float factor, const float *from, int count);
void  peer_scale(float *to, float factor, int count);

#endif
