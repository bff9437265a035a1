/* The config of fused_attention, which its reference and <clformers/fused.h> read, too, and its places of tensors. */
#ifndef CLF_ATTENTION_FUSED_ATTENTION_H
#define CLF_ATTENTION_FUSED_ATTENTION_H

#include <clformers/component.h>

enum { FUSED_BOTTOM_RIGHT = 0, FUSED_TOP_LEFT = 1 };

typedef struct fused_attention_config {
    clf_attention_config base;
    int   causal_alignment;
    float scale;                     /* 0 = 1 / sqrt(width) */
    int   window_left, window_right; /* -1 = no limit */
    float softcap;                   /* 0 = none */
    bool  alibi;                     /* the usual slopes; others are a tensor */
    char *mask_mod, *score_mod, *score_mod_slope; /* expressions or "@name(...)"; NULL = none */
    char *extra_names;               /* "a,b,c": what the expressions call extra_0, extra_1 ...; NULL = none */
    int   max_queries, max_keys;     /* of a sequence; 0 = as long as the tensor */
} fused_attention_config;

/* Behind the places of clf_attention_io_qkv. */
enum { FUSED_ALIBI = 7, FUSED_SINKS, FUSED_Q_STARTS, FUSED_K_STARTS, FUSED_K_LENGTHS, FUSED_BLOCK_TABLE,
       FUSED_EXTRA, FUSED_EXTRAS = 4, FUSED_K_SCALES = FUSED_EXTRA + FUSED_EXTRAS, FUSED_V_SCALES, FUSED_TENSORS };

#endif
