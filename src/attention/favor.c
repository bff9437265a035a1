/* Attention through random features (FAVOR+, Choromanski et al. 2020), in time linear in the length. */
#include "attention/favor_draw.h"
#include "attention/favor_pass.h"
#include "core/status.h"
#include "ops/lanes.h"
#include <math.h>
#include <string.h>

static const char *const map_names[] = { "sm_reg", "sm_hyp", "sm_orf", NULL };

static const clf_field favor_fields[] = {
    CLF_ATTENTION_FIELDS(favor_config),
    CLF_INT(favor_config, dim_features, 0, .optional = true, .min = 1,
            .doc = "random features of a head: the more, the nearer to exact attention; even, but for sm_orf. Absent: "
                   "d (1 + log2 d) of them for heads of width d"),
    CLF_ENUM(favor_config, feature_map, FAVOR_SM_REG, map_names,
             .doc = "sm_orf: exp(w x) with normal w; sm_hyp: exp(w x) and exp(-w x) for each w; sm_reg: the same, all w of "
                    "length sqrt(d), which varies less, about something slightly other than softmax. Under xformers "
                    "semantics ignored, as its builder does"),
    CLF_ENUM(favor_config, feature_map_type, FAVOR_SM_REG, map_names, .optional = true,
             .doc = "the same by its name in the constructor of xFormers, which goes before and holds in both semantics"),
    CLF_BOOL(favor_config, normalize_inputs, false,
             .doc = "take the longest row's square from all exponents: changes nothing, as it cancels, and exponents are "
                    "kept small in any case"),
    CLF_INT(favor_config, iter_before_redraw, 0, .optional = true, .min = 1,
            .doc = "refused when given: an instance keeps the features of its seed; make another one, or write the buffer"),
    CLF_FIELDS_END
};

static bool is_given(const favor_config *c, const char *name)
{
    return clf_config_has(&(clf_schema)CLF_SCHEMA(favor_config, favor_fields), c, name);
}

static bool is_xformers(const favor_config *c)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS;
}

int clf__favor_map(const favor_config *c)
{
    if (is_given(c, "feature_map_type"))
        return c->feature_map_type;
    return is_xformers(c) ? FAVOR_SM_REG : c->feature_map;
}

static int width_of(const favor_config *c)
{
    if (c->base.dim_head > 0)
        return c->base.dim_head;
    return c->base.num_heads > 0 ? c->base.dim_model / c->base.num_heads : 0;
}

/* 2 floor(t / 2), t = ceil(d (1 + log2 d)); d = 1 would get none. */
int clf__favor_features(const favor_config *c)
{
    const double width = width_of(c);

    if (c->dim_features > 0)
        return c->dim_features;
    const int features = width > 0 ? (int)ceil(width * (1 + log2(width))) / 2 * 2 : 0;
    return features > 2 ? features : 2;
}

static clf_status favor_resolve(void *config, const clf_args *args)
{
    const favor_config *c = config;
    const int64_t width = args ? args->io[CLF_QKV_Q].shape[3] : width_of(c);

    if (c->iter_before_redraw > 0)
        return clf__fail(CLF_UNSUPPORTED, "'iter_before_redraw' is %d: an instance keeps the features of its seed",
                         c->iter_before_redraw);
    if (args && width_of(c) == 0)
        return clf__fail(CLF_UNSUPPORTED, "'dim_head' is absent (so are 'dim_model' and 'num_heads'): features are drawn "
                                          "for a width of heads");
    if (width_of(c) > 4096 || clf__favor_features(c) > 1 << 16)
        return clf__fail(CLF_UNSUPPORTED, "%d features for heads of width %d: up to %d for widths up to 4096 are drawn",
                         clf__favor_features(c), width_of(c), 1 << 16);
    if (clf__favor_map(c) != FAVOR_SM_ORF && clf__favor_features(c) % 2)
        return clf__fail(CLF_UNSUPPORTED, "'dim_features' is %d: %s has them in pairs", c->dim_features,
                         map_names[clf__favor_map(c)]);
    if (!is_xformers(c) && is_given(c, "feature_map_type") && is_given(c, "feature_map") &&
        c->feature_map != c->feature_map_type)
        return clf__fail(CLF_UNSUPPORTED, "'feature_map' is %s and 'feature_map_type' %s: they mean the same",
                         map_names[c->feature_map], map_names[c->feature_map_type]);
    if (width != width_of(c))
        return clf__fail(CLF_UNSUPPORTED, "'dim_head' is %d, for which features were drawn, but heads are %lld wide",
                         width_of(c), (long long)width);
    return CLF_SUCCESS;
}

static void features_shape(const void *config, int *rank, int64_t *shape)
{
    *rank = width_of(config) > 0 ? 2 : 0; /* without it no problem can be planned */
    shape[0] = width_of(config);
    shape[1] = clf__favor_features(config) / (clf__favor_map(config) == FAVOR_SM_ORF ? 1 : 2);
}

static const clf_parameter favor_buffers[] = {
    { .name = "feature_map.features", .shape = features_shape, .dtype = CLF_F32, .init = CLF_INIT_OWN,
      .doc = "random directions, one a column, for all heads; orthogonal in blocks of dim_head columns, under xformers "
             "semantics in its blocks of rows" },
    CLF_PARAMETERS_END
};

static clf_status favor_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data)
{
    const favor_config *c = config;
    int64_t shape[CLF_MAX_RANK];
    int rank;

    what->shape(config, &rank, shape);
    return clf__favor_draw((int)shape[0], (int)shape[1], clf__favor_map(c), is_xformers(c), what->name, seed, data);
}

static clf_status favor_plan(clf_plan *plan)
{
    const favor_config *c = clf_plan_config(plan);
    const clf_tensor *io = clf_plan_args(plan)->io;

    if (is_xformers(c) && io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(plan, "'key_padding_mask' is given, but in xformers semantics this mechanism takes none");
    if (is_xformers(c) && c->base.causal && io[CLF_QKV_Q].shape[2] != io[CLF_QKV_K].shape[2])
        return clf_plan_refuse(plan, "there are %lld queries and %lld keys: causal in xformers semantics needs as many",
                               (long long)io[CLF_QKV_Q].shape[2], (long long)io[CLF_QKV_K].shape[2]);
    return clf__favor_plan(plan);
}

static clf_status favor_forward(clf_run *run)
{
    const favor_state *s = clf_plan_state(clf_run_plan(run), sizeof *s);

    return clf__favor_run(run, s->mean     ? clf__favor_mean_forward
                               : s->causal ? clf__favor_causal_forward
                               : s->vector ? clf__favor_vector_forward
                                           : clf__favor_full_forward);
}

static clf_status favor_backward(clf_run *run)
{
    const favor_state *s = clf_plan_state(clf_run_plan(run), sizeof *s);

    return clf__favor_run(run, s->mean ? clf__favor_mean_backward : s->causal ? clf__favor_causal_backward
                                                                              : clf__favor_full_backward);
}

/* Two products with what was drawn (one direction for both signs), two with the state; twice that in backward. */
static void favor_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const favor_config *c = config;
    const clf_tensor *q = &args->io[CLF_QKV_Q], *k = &args->io[CLF_QKV_K], *v = &args->io[CLF_QKV_V];
    const double features = clf__favor_features(c), drawn = features / (clf__favor_map(c) == FAVOR_SM_ORF ? 1 : 2);
    const double rows = (double)(q->shape[0] * q->shape[1]) * (double)(q->shape[2] + k->shape[2]);
    const double tensors = (double)(2 * clf_tensor_elements(q) + 2 * clf_tensor_elements(k));

    work->flops = 2 * rows * (drawn * (double)q->shape[3] + features * (double)v->shape[3]) * (pass == CLF_BACKWARD ? 2 : 1);
    work->bytes = tensors * (double)clf_dtype_size(q->dtype) * (pass == CLF_BACKWARD ? 2 : 1);
}

CLF_REGISTER_ATTENTION(favor) = {
    .summary = "softmax attention through random features, in linear time",
    .paper = "Choromanski et al. 2020, arXiv:2009.14794",
    .config = CLF_SCHEMA(favor_config, favor_fields),
    .programs = { "attention/favor.cl", "attention/favor_vector.cl", "attention/favor_causal.cl" },
    .families = clf__lanes_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH |
              CLF_TRAIT_DROPOUT | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_DERIVED,
    .buffers = favor_buffers,
    .resolve = favor_resolve,
    .initialise = favor_initialise,
    .plan = favor_plan,
    .forward = favor_forward,
    .backward = favor_backward,
    .work = favor_work,
    .answer = { .forward = 0.154491, .backward = 0.07867652 },
    .knob = "dim_features",
};
