/* The config of blocksparse, which its reference reads, too. */
#ifndef CLF_ATTENTION_BLOCKSPARSE_H
#define CLF_ATTENTION_BLOCKSPARSE_H

#include <clformers/component.h>

typedef struct blocksparse_config {
    clf_attention_config base;
    clf_host_tensor *layout;     /* (heads x) rows x rows blocks, nonzero = attend; NULL: made as `pattern` tells */
    int              block_size;
    int              pattern;    /* clf_layout_kind */
    int              seed;
} blocksparse_config;

#endif
