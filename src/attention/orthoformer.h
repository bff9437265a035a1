/* The config of orthoformer, which its reference reads, too. */
#ifndef CLF_ATTENTION_ORTHOFORMER_H
#define CLF_ATTENTION_ORTHOFORMER_H

#include <clformers/component.h>

typedef enum landmark_selection {
    SELECT_ORTHOGONAL       = 0,
    SELECT_KMEANS           = 1,
    SELECT_KMEANS_SPHERICAL = 2,
    SELECT_RANDOM           = 3
} landmark_selection;

typedef struct orthoformer_config {
    clf_attention_config base;
    int   num_landmarks;
    float subsample_fraction;
    int   landmark_selection;
    clf_host_tensor *randint[2], *randperm; /* i32: draws to repeat */
} orthoformer_config;

/* Iterations of k-means, and candidates whose sums are made together. */
enum { ORTHOFORMER_ITERATIONS = 6, ORTHOFORMER_CHUNK = 256 };

/* How rows are drawn: every row in order, one of each of equal stretches, or any, the same for all heads. */
enum { DRAW_ALL = 0, DRAW_STRETCHES = 1, DRAW_ANY = 2 };
/* Streams of random numbers: candidates, rows of k, the first landmark. */
enum { STREAM_ROWS = 0, STREAM_KEYS = 1, STREAM_FIRST = 2 };

#endif
