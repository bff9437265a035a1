/* The config of lambda, which its reference reads, too. */
#ifndef CLF_ATTENTION_LAMBDA_H
#define CLF_ATTENTION_LAMBDA_H

#include <clformers/component.h>

typedef struct lambda_config {
    clf_attention_config base;
} lambda_config;

#endif
