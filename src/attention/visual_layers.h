/* The config and layers of visual attention, which its reference reads, too. */
#ifndef CLF_ATTENTION_VISUAL_LAYERS_H
#define CLF_ATTENTION_VISUAL_LAYERS_H

#include <clformers/component.h>

typedef struct visual_config {
    clf_attention_config base; /* resolved: with dim_model */
} visual_config;

/* Places in the table of parameters: weight of each layer, then its bias. */
enum { VISUAL_FIRST = 0, VISUAL_NEAR = 2, VISUAL_FAR = 4, VISUAL_MIXED = 6, VISUAL_LAST = 8, VISUAL_PARAMETERS = 10 };

/* Windows of the two convolutions of single channels. */
enum { VISUAL_NEAR_SIZE = 5, VISUAL_FAR_SIZE = 7, VISUAL_FAR_DILATION = 3 };

#endif
