/* What decoding needs beside attention itself: results over parts of the keys that become one, and caches of keys and
 * values in fewer bits. Both calls only enqueue; the first call of a kind compiles its kernel, or takes it from the
 * cache on disk. Tensors may have any strides, the last one 1. `queue` NULL means the device's own. They wait for
 * `wait` (n_wait events) and, when `event` is not NULL, give an event that the caller releases. Nothing is enqueued
 * when they fail.
 */
#ifndef CLFORMERS_DECODING_H
#define CLFORMERS_DECODING_H

#include <clformers/tensor.h>

CLF_BEGIN

/* Attention of the same queries over chunks of the keys becomes attention over all of them:
 *
 *     out = sum_c exp(lse_c) out_c / sum_c exp(lse_c)        lse = log(sum_c exp(lse_c))
 *
 * chunks: [chunks, B, H, N, E], lse_chunks: [chunks, B, H, N] F32, natural logarithms, -inf where a chunk has no key
 * for a query (what `out` holds there is not read). out: [B, H, N, E]; chunks and out may have different types of F32,
 * F16 and BF16. lse: [B, H, N] F32, or NULL. Chunks are added in their order, so results repeat bit for bit.
 * A query without any key gives 0 and -inf. out and lse overlap nothing else. Dao et al. 2023 (Flash-Decoding);
 * Milakov and Gimelshein 2018, arXiv:1805.02867.
 * Errors: CLF_INVALID_*, CLF_BUFFER_TOO_SMALL, CLF_BUFFER_OVERLAP, CLF_BUILD_FAILED, those of OpenCL. */
CLF_API clf_status clf_merge_attentions(clf_device *device, const clf_tensor *chunks, const clf_tensor *lse_chunks,
                                        const clf_tensor *out, const clf_tensor *lse, cl_command_queue queue,
                                        cl_uint n_wait, const cl_event *wait, cl_event *event);

/* Keys or values in 8 or 4 bits, as attention reads them ('k' and 'v' of U8, with 'k_scales' and 'v_scales').
 *
 * x: [B, H, N, W] F32, F16 or BF16, finite and within the range of F16. scales: [B, H, N, 2 W / group] F16, a scale
 * and a shift for every `group` neighbours, a multiple of 16 that divides W. packed: U8, [B, H, N, W] for 8 bits,
 * [B, H, N, W / 2] for 4, where the lower half of byte i is number 2 i. With `levels` = 2^bits - 1
 *
 *     scale = (max - min) / levels      shift = min      number = floor((x - shift) / scale + 1/2), 0 .. levels
 *
 * and a number stands for number * scale + shift; scale and shift are rounded to F16 first. B and N may be pages and
 * rows of a page.
 * Errors: CLF_INVALID_*, CLF_OUT_OF_RANGE (bits, group), CLF_BUFFER_TOO_SMALL, CLF_BUFFER_OVERLAP, CLF_BUILD_FAILED,
 * those of OpenCL. */
CLF_API clf_status clf_quantise(clf_device *device, const clf_tensor *x, int bits, int group, const clf_tensor *packed,
                                const clf_tensor *scales, cl_command_queue queue, cl_uint n_wait, const cl_event *wait,
                                cl_event *event);

CLF_END
#endif
