/* Softmax attention over the table clf_attention_io_qkv, for the references of all parts that only differ in who
 * sees whom. Masks and key padding are taken from the arguments. */
#ifndef CLF_KIT_EXACT_H
#define CLF_KIT_EXACT_H

#include <clformers/author.h>

typedef struct clf__exact {
    double scale;
    float  dropout;
    bool (*sees)(const void *user, int64_t item, int64_t query, int64_t key); /* NULL: everybody */
    const void *user;
} clf__exact;

/* For `sees`: pairs written down, a byte each; items 1 = the same for all. */
typedef struct clf__exact_pairs {
    int64_t  items, queries, keys;
    uint8_t *seen;
} clf__exact_pairs;

bool clf__exact_pairs_see(const void *pairs, int64_t item, int64_t query, int64_t key);
/* What xFormers' sparse path loses, where it is taken (at most 0.3 of all pairs, or forced): the last entries, until
 * their number is a multiple of 4. */
void clf__exact_pairs_drop(clf__exact_pairs *pairs, bool force);

clf_status clf__reference_exact(const clf_reference *reference, const clf__exact *exact);

#endif
