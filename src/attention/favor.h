/* The config of favor, which its reference reads, too. */
#ifndef CLF_ATTENTION_FAVOR_H
#define CLF_ATTENTION_FAVOR_H

#include <clformers/component.h>

/* How features are drawn, and whether both signs of the exponent are used. */
typedef enum favor_map {
    FAVOR_SM_REG = 0, /* both signs, directions of equal length */
    FAVOR_SM_HYP = 1, /* both signs */
    FAVOR_SM_ORF = 2  /* one sign */
} favor_map;

typedef struct favor_config {
    clf_attention_config base;
    int  dim_features;
    int  feature_map, feature_map_type;
    bool normalize_inputs;
    int  iter_before_redraw;
} favor_config;

#endif
