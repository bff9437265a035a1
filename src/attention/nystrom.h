/* The config of nystrom, which its reference reads, too, and what its plan, forward and backward share. */
#ifndef CLF_ATTENTION_NYSTROM_H
#define CLF_ATTENTION_NYSTROM_H

#include <clformers/component.h>

typedef struct nystrom_config {
    clf_attention_config base;
    int   num_landmarks;
    int   inv_iterations;
    bool  use_razavi_pinverse;
    bool  pinverse_original_init;
    int   conv_kernel_size;  /* 0 when absent */
    char *landmark_pooling;  /* always absent */
    char *v_skip_connection;
} nystrom_config;

enum { NYSTROM_CONVERGED = 24 }; /* iterations that stand for the exact pseudo-inverse */

#endif
