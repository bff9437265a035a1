/* Orthoformer (Patrick et al. 2021): softmax attention through landmarks chosen among the queries. */
#include "attention/orthoformer_run.h"
#include "core/status.h"

static const char *const selection_names[] = { "orthogonal", "kmeans", "kmeans_spherical", "random", NULL };

static const clf_field orthoformer_fields[] = {
    CLF_ATTENTION_FIELDS(orthoformer_config),
    CLF_INT(orthoformer_config, num_landmarks, 32, .min = 1,
            .doc = "landmarks of a head; attention is exact where there are no more keys (or queries) than that"),
    CLF_FLOAT(
        orthoformer_config, subsample_fraction, 1, .max = 1,
        .doc = "orthogonal: the part of the queries among which landmarks are chosen, drawn anew in each call, one of "
               "each of equal stretches of the sequence"),
    CLF_ENUM(
        orthoformer_config, landmark_selection, SELECT_ORTHOGONAL, selection_names,
        .doc = "orthogonal: queries whose directions differ most; kmeans, kmeans_spherical: centres of six iterations; "
               "random: queries and keys in equal parts. What is random comes from seed and offset of the call"),
    { .name = "rng.randint.0",
      .type = CLF_FIELD_TENSOR,
      .offset = offsetof(orthoformer_config, randint[0]),
      .dtype = CLF_I32,
      .optional = true,
      .doc = "xformers semantics: draws to repeat instead of random ones. The first landmark of each head; with "
             "subsample_fraction the candidates; for random the rows of q" },
    { .name = "rng.randint.1",
      .type = CLF_FIELD_TENSOR,
      .offset = offsetof(orthoformer_config, randint[1]),
      .dtype = CLF_I32,
      .optional = true,
      .doc = "the same: with subsample_fraction the first landmark of each head; for random the rows of k" },
    { .name = "rng.randperm.0",
      .type = CLF_FIELD_TENSOR,
      .offset = offsetof(orthoformer_config, randperm),
      .dtype = CLF_I32,
      .optional = true,
      .doc = "the same: for kmeans the queries in an order whose first are the first centres" },
    CLF_FIELDS_END
};

static clf_status orthoformer_resolve(void *config, const clf_args *args)
{
    const orthoformer_config *c = config;
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS;

    (void)args;
    if (c->base.causal && !xformers)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but landmarks see the future");
    if (!(c->subsample_fraction > 0))
        return clf__fail(CLF_UNSUPPORTED, "'subsample_fraction' is 0, which leaves nothing to choose from");
    if (!xformers && (c->randint[0] || c->randint[1] || c->randperm))
        return clf__fail(CLF_UNSUPPORTED,
                         "'%s' is given, but only xformers semantics repeat draws: others take seed and "
                         "offset of the call",
                         c->randint[0]   ? "rng.randint.0"
                         : c->randint[1] ? "rng.randint.1"
                                         : "rng.randperm.0");
    if (xformers && c->landmark_selection == SELECT_RANDOM && c->num_landmarks < 2)
        return clf__fail(CLF_UNSUPPORTED,
                         "'num_landmarks' is 1, of which xformers semantics take half from q and half from k");
    return CLF_SUCCESS;
}

/* Two attentions with the landmarks on one side, and how they are chosen. */
static void orthoformer_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const orthoformer_config *c = config;
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const int64_t queries = q->shape[2], keys = args->io[CLF_QKV_K].shape[2];
    const double marks = c->num_landmarks, meetings = (double)clf_tensor_elements(q) * marks;

    if (marks >= (double)(queries < keys ? queries : keys)) {
        clf__fused_work(args, (double)queries * (double)keys, pass, work);
        return;
    }
    clf__fused_work(args, ((double)queries + (double)keys) * marks, pass, work);
    if (pass == CLF_FORWARD && c->landmark_selection == SELECT_ORTHOGONAL)
        work->flops += 2 * meetings * (double)c->subsample_fraction;
    else if (pass == CLF_FORWARD && c->landmark_selection != SELECT_RANDOM)
        work->flops += 3 * meetings * ORTHOFORMER_ITERATIONS;
}

static const char *const orthoformer_variants[] = {
    "\"num_landmarks\": 3",
    "\"num_landmarks\": 3, \"landmark_selection\": \"kmeans\"",
    "\"num_landmarks\": 3, \"landmark_selection\": \"kmeans_spherical\"",
    "\"num_landmarks\": 3, \"landmark_selection\": \"random\"",
    "\"num_landmarks\": 3, \"subsample_fraction\": 0.5",
    NULL
};

CLF_REGISTER_ATTENTION(orthoformer) = {
    .summary = "softmax attention through landmarks, which are queries that differ most",
    .paper = "Patrick et al. 2021, arXiv:2106.05392",
    .config = CLF_SCHEMA(orthoformer_config, orthoformer_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS | CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT |
              CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_SOME_MASKS | CLF_TRAIT_XFORMERS_LENIENT | CLF_TRAIT_DERIVED,
    .resolve = orthoformer_resolve,
    .plan = clf__orthoformer_plan,
    .forward = clf__orthoformer_forward,
    .backward = clf__orthoformer_backward,
    .work = orthoformer_work,
    .answer = { .forward = 0.129286, .backward = 0.05510238,
                .config = "\"num_landmarks\": 3" },
    .variants = orthoformer_variants,
    .knob = "num_landmarks",
};
