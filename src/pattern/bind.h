/* How kernels get masks, whatever reads them: cl/prelude/mask.cl tells the numbers. */
#ifndef CLF_PATTERN_BIND_H
#define CLF_PATTERN_BIND_H

#include <clformers/author.h>

/* A null pointer and zeros when the tensor is absent (rank 0). */
void clf__bind_mask(clf_binder *binder, const clf_tensor *mask);
void clf__bind_padding(clf_binder *binder, const clf_tensor *padding);

#endif
