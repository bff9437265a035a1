/* Linformer (Wang et al. 2020): attention to learnt mixtures of the keys, as many as `k`, in linear time.
 *
 *     K' = E K      V' = F V      out = softmax(q K'^T / sqrt(D)) V'
 */
#include "attention/linformer_steps.h"

static const clf_field linformer_fields[] = {
    CLF_ATTENTION_FIELDS_REQUIRING(linformer_config, CLF_REQUIRE_SEQ_LEN),
    CLF_INT(
        linformer_config, k, 0, .optional = true, .min = 1,
        .doc = "mixtures of keys that queries see; absent: a quarter of seq_len, and at most 256 unless semantics is "
               "xformers"),
    CLF_FIELDS_END
};

static void weight_shape(const void *config, int *rank, int64_t *shape)
{
    const linformer_config *c = config;

    *rank = 2;
    shape[0] = c->k;
    shape[1] = c->base.seq_len;
}

static const clf_parameter linformer_parameters[] = {
    { "E.weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_UNIFORM, 0, "how each mixture of keys is made: [k, seq_len]" },
    { "F.weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_UNIFORM, 0, "the same for the values" },
    CLF_PARAMETERS_END
};

static bool is_xformers(const linformer_config *c)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS;
}

static clf_status linformer_resolve(void *config, const clf_args *args)
{
    linformer_config *c = config;

    (void)args;
    if (c->k == 0) {
        c->k = c->base.seq_len / 4;
        c->k = c->k < 1 ? 1 : c->k > 256 && !is_xformers(c) ? 256 : c->k;
    }
    return CLF_SUCCESS;
}

/* Every query with k keys, and the projections, whose backward is two products each. */
static void linformer_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const linformer_config *c = config;
    const int64_t *q = args->io[CLF_QKV_Q].shape, *v = args->io[CLF_QKV_V].shape;
    const double keys = (double)v[2] * (double)c->k;

    clf__fused_work(args, (double)q[2] * c->k, pass, work);
    work->flops += 2 * (double)q[0] * (double)q[1] * keys * (double)(q[3] + v[3]) * (pass == CLF_BACKWARD ? 2 : 1);
    work->bytes += 8.0 * c->k * c->base.seq_len * (pass == CLF_BACKWARD ? 2 : 1);
}

CLF_REGISTER_ATTENTION(linformer) = {
    .summary = "attention to a fixed number of learnt mixtures of the keys: linear time",
    .paper = "Wang et al. 2020, arXiv:2006.04768",
    .config = CLF_SCHEMA(linformer_config, linformer_fields),
    .programs = { "attention/linformer.cl", "ops/copy.cl" },
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE |
              CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT | CLF_TRAIT_DERIVED,
    .parameters = linformer_parameters,
    .resolve = linformer_resolve,
    .plan = clf__linformer_plan,
    .forward = clf__linformer_forward,
    .backward = clf__linformer_backward,
    .work = linformer_work,
    .answer = { .forward = -0.1769381, .backward = -0.01389622 },
    .knob = "k",
};
