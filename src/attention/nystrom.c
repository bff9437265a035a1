/* Nystrom attention (Nystromformer, Xiong et al. 2021): softmax attention through landmarks, in linear time. */
#include "attention/nystrom_run.h"
#include "component/random.h"
#include "core/status.h"
#include <math.h>

static const clf_field nystrom_fields[] = {
    CLF_ATTENTION_FIELDS(nystrom_config),
    CLF_INT(nystrom_config, num_landmarks, 64, .min = 1,
            .doc = "landmarks of a head: means of segments of the sequence; attention is exact where there are no more "
                   "keys (or queries) than that"),
    CLF_INT(nystrom_config, inv_iterations, 6, .min = 1, .max = 100,
            .doc = "iterations of the pseudo-inverse; 6 are enough for smooth attention, 10 or more where few keys take "
                   "all"),
    CLF_BOOL(nystrom_config, use_razavi_pinverse, true,
             .doc = "false: the exact pseudo-inverse as far as f32 goes, which is 24 iterations and a refinement"),
    CLF_BOOL(nystrom_config, pinverse_original_init, false,
             .doc = "xformers semantics: the iteration starts from one scale for the whole batch, so that results of "
                    "items depend on each other"),
    CLF_INT(
        nystrom_config, conv_kernel_size, 0, .optional = true, .min = 1,
        .doc = "adds a convolution of the values along the sequence, so many positions wide (odd), a filter a head"),
    CLF_STRING(nystrom_config, landmark_pooling, NULL, .optional = true, .doc = "always absent: landmarks are means"),
    CLF_STRING(nystrom_config, v_skip_connection, NULL, .optional = true,
               .doc = "always absent: conv_kernel_size adds the convolution"),
    CLF_FIELDS_END
};

static clf_status nystrom_resolve(void *config, const clf_args *args)
{
    const nystrom_config *c = config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;

    (void)args;
    if (c->base.causal && !xformers)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but landmarks are means over the future, too");
    if (c->pinverse_original_init && !xformers)
        return clf__fail(CLF_UNSUPPORTED,
                         "'pinverse_original_init' is true, but no result may depend on the rest of its "
                         "batch: use xformers semantics");
    if (c->landmark_pooling)
        return clf__fail(CLF_UNSUPPORTED, "'landmark_pooling' is '%s': landmarks are means", c->landmark_pooling);
    if (c->v_skip_connection)
        return clf__fail(CLF_UNSUPPORTED, "'v_skip_connection' is '%s': 'conv_kernel_size' adds the convolution",
                         c->v_skip_connection);
    if (c->conv_kernel_size > 0 && c->conv_kernel_size % 2 == 0)
        return clf__fail(CLF_UNSUPPORTED, "'conv_kernel_size' is %d: only an odd one keeps the length of the sequence",
                         c->conv_kernel_size);
    if (c->conv_kernel_size > 0 && c->base.num_heads == 0)
        return clf__fail(CLF_UNSUPPORTED, "'conv_kernel_size' is %d, which needs 'num_heads'", c->conv_kernel_size);
    return CLF_SUCCESS;
}

static void weight_shape(const void *config, int *rank, int64_t *shape)
{
    const nystrom_config *c = config;
    const int64_t wanted[4] = { c->base.num_heads, 1, c->conv_kernel_size, 1 };

    *rank = c->conv_kernel_size > 0 && c->base.num_heads > 0 ? 4 : 0;
    for (int i = 0; i < *rank; i++)
        shape[i] = wanted[i];
}

static const clf_parameter nystrom_parameters[] = {
    { "skip_connection.weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_OWN, 0,
      "filters of the convolution, with conv_kernel_size" },
    CLF_PARAMETERS_END
};

/* U(-a, a), a = 1 / sqrt(length of a filter), which is not the last extent. */
static clf_status nystrom_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data)
{
    const nystrom_config *c = config;
    const clf__stream stream = clf__stream_open(seed, what->name, false);

    for (int64_t i = 0; i < (int64_t)c->base.num_heads * c->conv_kernel_size; i++)
        data[i] = (2 * clf__stream_uniform(&stream, (uint64_t)i) - 1) / sqrt(c->conv_kernel_size);
    return CLF_SUCCESS;
}

/* Two attentions with the landmarks on one side, and the pseudo-inverse. */
static void nystrom_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const nystrom_config *c = config;
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const int64_t queries = q->shape[2], keys = args->io[CLF_QKV_K].shape[2];
    const double marks = c->num_landmarks;

    if (marks >= (double)(queries < keys ? queries : keys)) {
        clf__fused_work(args, (double)queries * (double)keys, pass, work);
        return;
    }
    clf__fused_work(args, ((double)queries + (double)keys) * marks, pass, work);
    work->flops += clf__pinv_flops((double)(q->shape[0] * q->shape[1]), marks,
                                   c->use_razavi_pinverse ? c->inv_iterations : NYSTROM_CONVERGED, pass);
}

/* As clf_attention_io_qkv, but key padding may be additive. */
static const clf_io nystrom_io[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "queries" },
    [CLF_QKV_K] = { "k", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "keys" },
    [CLF_QKV_V] = { "v", "BHKE", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "values" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST,
                           "refused: pairs of a query and a key are never formed" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "BK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST,
                                   "which keys are no padding, with as many queries which of those, too; or what is "
                                   "added to the landmarks' scores, -inf = padding" },
    [CLF_QKV_OUT] = { "out", "BHQE", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "result" },
    CLF_IO_END
};

static const char *const nystrom_variants[] = {
    "\"num_landmarks\": 2, \"conv_kernel_size\": 3", "\"num_landmarks\": 5", NULL
};

CLF_REGISTER_ATTENTION(nystrom) = {
    .summary = "softmax attention through landmarks, which are means of segments",
    .paper = "Xiong et al. 2021, arXiv:2102.03902",
    .config = CLF_SCHEMA(nystrom_config, nystrom_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = nystrom_io,
    .traits = CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT |
              CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT | CLF_TRAIT_DERIVED,
    .parameters = nystrom_parameters,
    .resolve = nystrom_resolve,
    .initialise = nystrom_initialise,
    .plan = clf__nystrom_plan,
    .forward = clf__nystrom_forward,
    .backward = clf__nystrom_backward,
    .work = nystrom_work,
    .answer = { .forward = 0.3568069, .backward = 0.03116097,
                .config = "\"num_landmarks\": 3, \"conv_kernel_size\": 3" },
    .variants = nystrom_variants,
    .knob = "num_landmarks",
};
