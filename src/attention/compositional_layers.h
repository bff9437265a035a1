/* The config of compositional attention, which its reference reads, too, and its linear layers. */
#ifndef CLF_ATTENTION_COMPOSITIONAL_LAYERS_H
#define CLF_ATTENTION_COMPOSITIONAL_LAYERS_H

#include <clformers/component.h>

/* Resolved: every number is set, and `base.dim_model`, `base.num_heads`. */
typedef struct compositional_config {
    clf_attention_config base;
    int   num_rules, dim_attn, dim_key, dim_value, dim_selection;
    bool  qk_rule, nonlinear, q_compose, bias, use_separate_proj_weight;
    char *in_proj_container;
} compositional_config;

/* Each has two places in the table of parameters, weight [out, in] and bias [out]: 2 * layer and 2 * layer + 1. */
typedef enum compositional_layer {
    LAYER_Q, LAYER_K, LAYER_V, LAYER_OUT, LAYER_VALUE_K, LAYER_VALUE_Q, LAYER_SCORE, LAYER_HIDDEN, LAYER_TOP, LAYERS
} compositional_layer;

extern const clf_parameter clf__compositional_parameters[];

typedef struct clf__linear {
    int64_t out, in; /* 0: this config has no such layer */
} clf__linear;
clf__linear clf__compositional_layer(const compositional_config *config, compositional_layer layer);

clf_status clf__compositional_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data);

#endif
