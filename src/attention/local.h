/* The config of local, which its reference reads, too. */
#ifndef CLF_ATTENTION_LOCAL_H
#define CLF_ATTENTION_LOCAL_H

#include <clformers/component.h>

typedef struct local_config {
    clf_attention_config base;
    int  window_size;
    bool force_sparsity;
} local_config;

#endif
