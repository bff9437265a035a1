/* The config of pooling, which its reference reads, too. */
#ifndef CLF_ATTENTION_POOLING_H
#define CLF_ATTENTION_POOLING_H

#include <clformers/component.h>

typedef struct pooling_config {
    clf_attention_config base;
    int pool_size;
    int stride;
    int padding; /* 0 when absent */
} pooling_config;

#endif
