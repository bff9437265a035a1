/* The config of linformer, which its reference reads, too. */
#ifndef CLF_ATTENTION_LINFORMER_H
#define CLF_ATTENTION_LINFORMER_H

#include <clformers/component.h>

typedef struct linformer_config {
    clf_attention_config base;
    int k; /* projected keys; resolved: never 0 */
} linformer_config;

/* Under xformers semantics the result is dropped out once more: channel e of it then counts as this key + e. */
enum { LINFORMER_CHANNEL_KEY = 1 << 30 };

#endif
