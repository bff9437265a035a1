/* The config of random, which its reference reads, too. */
#ifndef CLF_ATTENTION_RANDOM_H
#define CLF_ATTENTION_RANDOM_H

#include <clformers/component.h>

typedef struct random_config {
    clf_attention_config base;
    float            r;
    int              keys_per_row; /* 0 = by r */
    int              seed;
    bool             constant_masking;
    clf_host_tensor *pattern;      /* N x N, nonzero = attend; NULL: drawn */
    bool             force_sparsity;
} random_config;

#endif
