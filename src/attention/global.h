/* The config of global, which its reference reads, too. */
#ifndef CLF_ATTENTION_GLOBAL_H
#define CLF_ATTENTION_GLOBAL_H

#include <clformers/component.h>

typedef struct global_config {
    clf_attention_config base;
    clf_host_tensor *attention_query_mask; /* N or N x 1, nonzero = global; NULL: the first num_global_tokens */
    int              num_global_tokens;
    bool             force_sparsity;
} global_config;

#endif
