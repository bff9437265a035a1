/* Do elements share memory? Within one tensor, and between two.
 *
 * Two tensors share a byte when  offset_a + sum x_i s_i + e  =  offset_b + sum y_j t_j + f  has a solution
 * inside the bounds of the indices x, y and of the bytes e, f inside an element. With y and f
 * counted from their far ends this is  sum c_k z_k = total,  0 <= z_k <= bound_k,  all c_k > 0. The
 * search goes from the largest c down: what is left must lie between 0 and what the smaller terms
 * can reach, which leaves one or two values of z_k in nested layouts.
 */
#include "tensor/tensor.h"

enum { MAX_TERMS = 2 * CLF_MAX_RANK + 1, MAX_STEPS = 100000 };

typedef struct equation {
    int     terms;
    int64_t coefficient[MAX_TERMS]; /* descending */
    int64_t bound[MAX_TERMS];
    int64_t reach[MAX_TERMS + 1];   /* the most that terms k, k+1, ... can add */
    int     steps;
} equation;

bool clf__tensor_is_injective(const clf_tensor *tensor)
{
    int64_t reach = 0; /* elements that the dimensions with smaller strides span, less one */
    bool    used[CLF_MAX_RANK] = { false };

    if (clf_tensor_elements(tensor) <= 1) {
        return true;
    }
    for (int n = 0; n < tensor->rank; n++) {
        int next = -1;
        for (int i = 0; i < tensor->rank; i++) {
            if (!used[i] && tensor->shape[i] > 1 && (next < 0 || tensor->strides[i] < tensor->strides[next])) {
                next = i;
            }
        }
        if (next < 0) {
            break;
        }
        used[next] = true;
        if (tensor->strides[next] <= reach) {
            return false;
        }
        reach += (tensor->shape[next] - 1) * tensor->strides[next];
    }
    return true;
}

/* Keeps the terms in descending order, one for each coefficient. */
static void add_term(equation *e, int64_t coefficient, int64_t bound)
{
    int at = 0;

    if (coefficient <= 0 || bound <= 0) {
        return;
    }
    while (at < e->terms && e->coefficient[at] > coefficient) {
        at++;
    }
    if (at < e->terms && e->coefficient[at] == coefficient) {
        e->bound[at] += bound;
        return;
    }
    for (int k = e->terms; k > at; k--) {
        e->coefficient[k] = e->coefficient[k - 1];
        e->bound[k] = e->bound[k - 1];
    }
    e->coefficient[at] = coefficient;
    e->bound[at] = bound;
    e->terms++;
}

static bool solvable(equation *e, int k, int64_t total)
{
    if (total < 0 || total > e->reach[k]) {
        return false;
    }
    if (total == 0 || ++e->steps > MAX_STEPS) {
        return true;
    }
    const int64_t c = e->coefficient[k]; /* k < terms: the reach of no terms is 0 */
    const int64_t most = total / c < e->bound[k] ? total / c : e->bound[k];
    for (int64_t z = most; z >= 0 && total - z * c <= e->reach[k + 1]; z--) {
        if (solvable(e, k + 1, total - z * c)) {
            return true;
        }
    }
    return false;
}

bool clf__tensors_overlap(const clf_tensor *a, const clf_tensor *b)
{
    if (!a || !b || !a->mem || a->mem != b->mem || a->rank < 1 || b->rank < 1) {
        return false;
    }
    const uint64_t end_a = clf_tensor_end(a), end_b = clf_tensor_end(b);
    const int64_t  size_a = (int64_t)clf_dtype_size(a->dtype), size_b = (int64_t)clf_dtype_size(b->dtype);
    if (end_a == 0 || end_b == 0 || a->offset >= end_b || b->offset >= end_a) {
        return false;
    }

    equation e = { .terms = 0 };
    for (int i = 0; i < a->rank; i++) {
        add_term(&e, a->strides[i] * size_a, a->shape[i] - 1);
    }
    for (int i = 0; i < b->rank; i++) {
        add_term(&e, b->strides[i] * size_b, b->shape[i] - 1);
    }
    add_term(&e, 1, size_a - 1 + size_b - 1);
    for (int k = e.terms - 1; k >= 0; k--) {
        e.reach[k] = e.reach[k + 1] + e.coefficient[k] * e.bound[k];
    }
    /* Counting b from its last byte turns the equation's right side into  last byte of b - offset of a. */
    return solvable(&e, 0, (int64_t)(end_b - 1 - a->offset));
}
