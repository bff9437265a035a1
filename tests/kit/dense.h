/* Matrices written out, for the references of parts that put attention together from several of them. */
#ifndef CLF_KIT_DENSE_H
#define CLF_KIT_DENSE_H

#include <clformers/author.h>

/* One call of a reference and the memory that it takes; zero-initialise and set `reference`. */
typedef struct clf__dense {
    const clf_reference *reference;
    void  **blocks;
    size_t  count, capacity;
    bool    failed; /* memory was short: what take gave must not be used */
} clf__dense;

/* `count` numbers, all 0; freed by clf__dense_end, which answers how it went. */
double    *clf__dense_take(clf__dense *dense, int64_t count);
clf_status clf__dense_end(clf__dense *dense);

double clf__dense_add(const clf__dense *dense, double sum, double a, double b);

/* c = alpha a b, rows x columns; added to what is there when `more`. One of a and b may be stored turned. */
typedef enum clf__turn { CLF__PLAIN, CLF__LEFT, CLF__RIGHT } clf__turn;
void clf__dense_multiply(const clf__dense *dense, clf__turn turn, double alpha, const double *a, const double *b,
                         int64_t rows, int64_t depth, int64_t columns, bool more, double *c);

/* Scores of `rows` queries and `columns` keys. */
typedef struct clf__scores {
    const double *q, *k;
    int64_t       rows, columns, width;
    double        scale;
    double      (*bias)(const void *user, int64_t i, int64_t j); /* -inf = hidden; NULL = none */
    const void   *user;
    bool          rounded; /* weights and results are kept in the storage type */
} clf__scores;

/* Attention as fused kernels do it: weights = exp(score - lse), out = weights v. */
void clf__dense_attend(const clf__dense *dense, const clf__scores *scores, const double *v, int64_t value_width,
                       double *weights, double *out);
/* From grad_out to the gradients of q, k and v, which are added, with delta = out grad_out. */
void clf__dense_attend_back(const clf__dense *dense, const clf__scores *scores, const double *weights, const double *v,
                            int64_t value_width, const double *out, const double *grad_out, double *grad_q,
                            double *grad_k, double *grad_v);

/* Softmax of the scores as such; a row that sees nothing is 0. */
void clf__dense_soften(const clf__dense *dense, const clf__scores *scores, double *weights);
/* From the gradient of the weights, which is overwritten, to those of q and k, which are added. */
void clf__dense_soften_back(const clf__dense *dense, const clf__scores *scores, const double *weights, double *grad,
                            double *grad_q, double *grad_k);

/* What dropout makes of element e of row `row` of a result: 0, or a factor. */
double clf__dense_drop(const clf__dense *dense, float dropout, int64_t item, int64_t row, int64_t e);

#endif
