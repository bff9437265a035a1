/* Softmax attention over the table clf_attention_io_qkv, for the references of all parts that only differ in who
 * sees whom. Masks and key padding are taken from the arguments. k and v may have fewer heads than q. Rows that belong
 * to no sequence get 0, lse -inf. */
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
    /* one more score for each head, without a value: [heads], and its gradient, or NULL */
    const double *sinks;
    double       *grad_sinks;
    /* sequences in a row: where each one's rows begin and the last ones end, how many of its rows are keys; or NULL.
     * `item` is then sequence * heads + head, and queries and keys count from the sequence's first. */
    const double *q_starts, *k_starts, *k_lengths;
    int64_t       sequences; /* where there are starts */
} clf__exact;

/* Queries and keys of sequence s. */
int64_t clf__exact_queries(const clf_reference *reference, const clf__exact *exact, int64_t s);
int64_t clf__exact_keys(const clf_reference *reference, const clf__exact *exact, int64_t s);
/* For `sees`: pairs written down, a byte each; items 1 = the same for all. */
typedef struct clf__exact_pairs {
    int64_t  items, queries, keys;
    uint8_t *seen;
} clf__exact_pairs;

bool clf__exact_pairs_see(const void *pairs, int64_t item, int64_t query, int64_t key);
/* What xFormers' sparse path loses, where it is taken (at most 0.3 of all pairs, or forced): the last entries, until
 * their number is a multiple of 4; and once more of what the mask of the arguments leaves, which is one for all items. */
void clf__exact_pairs_drop(clf__exact_pairs *pairs, const clf_reference *reference, bool force);

clf_status clf__reference_exact(const clf_reference *reference, const clf__exact *exact);

#endif
