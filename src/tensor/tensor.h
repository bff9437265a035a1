/* What the tensor layer offers to the rest of src/. */
#ifndef CLF_TENSOR_TENSOR_H
#define CLF_TENSOR_TENSOR_H

#include <clformers/tensor.h>

/* Elements of a shape, 0 when an extent is 0. False for a negative extent, and when the product of
 * the other extents and `size` passes INT64_MAX: what is computed from an accepted shape fits. */
bool clf__shape_elements(int rank, const int64_t *shape, size_t size, int64_t *elements);

/* Has every element its own memory? Outputs need it. Layouts whose dimensions interleave in ways
 * that only arithmetic could prove right are answered false. */
bool clf__tensor_is_injective(const clf_tensor *tensor);

/* Do two tensors that clf_tensor_check accepted share a byte? Exact for everyday layouts such as
 * the parts of a packed QKV buffer, whose ranges interleave without touching; where the search
 * gets long the answer is true. Absent tensors, empty ones and those without memory overlap nothing. */
bool clf__tensors_overlap(const clf_tensor *a, const clf_tensor *b);

/* Of its elements side by side, without the gaps that strides leave; 0 when it is absent. */
uint64_t clf__tensor_bytes(const clf_tensor *tensor);

/* Where its first element is in its memory, in elements, as kernels count; 0 when it is absent. */
int64_t clf__tensor_start(const clf_tensor *tensor);

/* F32, F16 or BF16: what kernels compute with. */
bool clf__is_floating(clf_dtype dtype);

/* The number of a floating type in kernels: CLF_STORAGE of cl/prelude/storage.cl. */
int clf__storage_number(clf_dtype dtype);

#endif
