/* The config of fourier_mix, which its reference reads, too. */
#ifndef CLF_ATTENTION_FOURIER_MIX_H
#define CLF_ATTENTION_FOURIER_MIX_H

#include <clformers/component.h>

typedef struct fourier_mix_config {
    clf_attention_config base;
} fourier_mix_config;

#endif
