/* Softmax attention over the table clf_attention_io_qkv, for the references of all parts that only differ in who
 * sees whom. Masks and key padding are taken from the arguments. */
#ifndef CLF_KIT_EXACT_H
#define CLF_KIT_EXACT_H

#include <clformers/author.h>

typedef struct clf__exact {
    double scale;
    float  dropout;
    bool (*sees)(const void *user, int64_t item, int64_t query, int64_t key); /* NULL: everybody */
    /* What becomes of a scaled dot product, and its derivative; before masks are added. NULL: it stays */
    double (*change)(const void *user, int64_t item, int64_t query, int64_t key, double score, double *slope);
    const void *user;
} clf__exact;

clf_status clf__reference_exact(const clf_reference *reference, const clf__exact *exact);

#endif
