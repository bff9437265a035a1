/* The config of scaled_dot_product, which its reference reads, too. */
#ifndef CLF_ATTENTION_SCALED_DOT_PRODUCT_H
#define CLF_ATTENTION_SCALED_DOT_PRODUCT_H

#include <clformers/component.h>

typedef enum causal_alignment {
    ALIGN_AUTO         = 0, /* bottom_right, or top_left under xformers semantics */
    ALIGN_TOP_LEFT     = 1, /* query i sees keys 0 .. i */
    ALIGN_BOTTOM_RIGHT = 2  /* the last query sees all keys */
} causal_alignment;

typedef struct scaled_dot_product_config {
    clf_attention_config base;
    int   to_seq_len;       /* hint: length of the keys; 0 when absent */
    int   causal_alignment;
    float scale;            /* 0 = 1 / sqrt(width) */
} scaled_dot_product_config;

#endif
