/* Masks as kernel arguments. */
#include "pattern/bind.h"
#include "tensor/tensor.h"

void clf__bind_mask(clf_binder *binder, const clf_tensor *mask)
{
    cl_long8 at = { { 0 } };

    if (mask->rank > 0) {
        at.s[0] = clf__tensor_start(mask);
        at.s[1] = mask->strides[0];
        at.s[2] = mask->rank == 4 ? mask->strides[1] : 0;
        at.s[3] = mask->strides[mask->rank - 2];
        at.s[4] = mask->strides[mask->rank - 1];
        at.s[5] = mask->rank == 3 ? mask->shape[0] : 0;
    }
    clf_bind_mem(binder, mask->rank > 0 ? mask->mem : NULL);
    clf_bind_value(binder, &at, sizeof at);
}

void clf__bind_padding(clf_binder *binder, const clf_tensor *padding)
{
    cl_long4 at = { { 0 } };

    if (padding->rank > 0)
        at = (cl_long4){ { (cl_long)padding->offset, padding->strides[0], padding->strides[1], 0 } };
    clf_bind_mem(binder, padding->rank > 0 ? padding->mem : NULL);
    clf_bind_value(binder, &at, sizeof at);
}
