/* A problem of clf_fused_attention, both passes, in the memory of a device: for tests that compare whole results to the
 * bit. */
#include "../unit/devices.h"
#include "kit.h"
#include "fused/fused.h"
#include <clformers/clformers.h>
#include <string.h>

enum { Q, K, V, GRAD_OUT, OUT, LSE, GRAD_Q, GRAD_K, GRAD_V, TENSORS }; /* results from OUT on */

typedef struct whole {
    clf_device         *device;
    clf_fused_attention p;
    clf_plan           *plan;
    clf_buffer          buffer[2]; /* workspace, saved */
} whole;

static inline bool went_well(clf_status status, const char *doing)
{
    cr_expect_eq(status, CLF_SUCCESS, "%s: %s", doing, clf_error_message());
    return status == CLF_SUCCESS;
}

static inline clf_tensor *tensor_of(whole *r, int i)
{
    clf_fused_attention *p = &r->p;
    clf_tensor *const all[TENSORS] = { &p->q, &p->k, &p->v, &p->grad_out, &p->out, &p->lse, &p->grad_q, &p->grad_k,
                                       &p->grad_v };
    return all[i];
}

/* `p` has what is no tensor; `family` NULL = the device's choice. */
static inline clf_status plan_whole(whole *r, clf_dtype dtype, const int64_t q[4], const int64_t k[4],
                                    const char *family)
{
    const clf_plan_options options = { .size = sizeof options, .family = family, .passes = CLF_FORWARD | CLF_BACKWARD };

    r->p.size = sizeof r->p;
    for (int i = 0; i < TENSORS; i++)
        *tensor_of(r, i) = clf_tensor_view(NULL, i == LSE ? CLF_F32 : dtype, i == LSE ? 3 : 4,
                                           i == K || i == V || i >= GRAD_K ? k : q);
    return clf_fused_attention_plan(r->device, &r->p, &options, &r->plan);
}

/* From the host: behind fills of so much NVIDIA's driver 580 answers CL_OUT_OF_RESOURCES. */
static inline bool fill(const whole *r, cl_mem mem, uint64_t bytes, int byte)
{
    const uint64_t most = UINT64_C(1) << 28, piece = bytes < most ? bytes : most;
    void          *block = malloc((size_t)piece);
    cl_int         error = block ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;

    if (block)
        memset(block, byte, (size_t)piece);
    for (uint64_t at = 0; at < bytes && !error; at += piece)
        error = clEnqueueWriteBuffer(clf_device_queue(r->device), mem, CL_TRUE, (size_t)at,
                                     (size_t)(bytes - at < piece ? bytes - at : piece), block, 0, NULL, NULL);
    free(block);
    cr_expect_eq(error, CL_SUCCESS, "filling: %d", error);
    return !error;
}

/* Zeros in what is read, NaN in what is written. */
static inline bool allocate_whole(whole *r)
{
    const clf_plan_info info = clf_plan_get_info(r->plan);
    const uint64_t      bytes[2] = { info.workspace_bytes, info.saved_bytes };
    bool                well = true;

    for (int i = 0; i < TENSORS && well; i++) {
        const clf_tensor like = *tensor_of(r, i);
        clf_tensor      *t = tensor_of(r, i);
        well = went_well(clf_tensor_alloc(r->device, like.dtype, like.rank, like.shape, t), "allocating") &&
               fill(r, t->mem, clf_tensor_end(t), i < OUT ? 0 : 0xff);
    }
    for (int i = 0; i < 2 && well; i++) {
        r->buffer[i].bytes = bytes[i];
        well = !bytes[i] || (went_well(clf_pool_acquire(r->device, bytes[i], &r->buffer[i].mem), "allocating") &&
                             fill(r, r->buffer[i].mem, bytes[i], 0xff));
    }
    return well;
}

static inline void end_whole(whole *r)
{
    for (int i = 0; i < TENSORS; i++)
        if (tensor_of(r, i)->mem)
            clf_tensor_free(r->device, tensor_of(r, i));
    for (int i = 0; i < 2; i++)
        if (r->buffer[i].mem)
            clf_pool_release(r->device, r->buffer[i].mem, NULL);
    clf_plan_release(r->plan);
    clf_pool_trim(r->device, 0);
}

/* Random numbers, the same for the same seed. */
static inline bool write_random(const whole *r, const clf_tensor *t, uint32_t seed)
{
    const size_t count = (size_t)clf_tensor_elements(t);
    char        *numbers = malloc(count * clf_dtype_size(t->dtype));

    for (size_t n = 0; numbers && n < count; n++) {
        const float    x = (float)(3 * clf__kit_uniform(seed, n) - 1.5);
        const uint16_t half = t->dtype == CLF_F16 ? clf_float_to_half(x) : clf_float_to_bfloat16(x);
        memcpy(numbers + n * clf_dtype_size(t->dtype), t->dtype == CLF_F32 ? (const void *)&x : &half,
               clf_dtype_size(t->dtype));
    }
    const bool well = numbers && went_well(clf_tensor_write(r->device, t, numbers), "writing");
    free(numbers);
    return well;
}

static inline bool run_whole(whole *r)
{
    const clf_buffer *b = r->buffer;

    return went_well(clf_fused_attention_forward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "forward") &&
           went_well(clf_fused_attention_backward(r->plan, &r->p, b[0], b[1], NULL, 0, NULL, NULL), "backward");
}
