/* Random attention (Zaheer et al. 2020): each query sees keys that were drawn once, and itself. */
#include "attention/random.h"
#include "core/status.h"
#include "fused/fused.h"

static const clf_field random_fields[] = {
    CLF_ATTENTION_FIELDS(random_config),
    CLF_FLOAT(random_config, r, 0.01, .max = 1, .doc = "share of the keys that a query sees: each by itself is drawn with it"),
    CLF_INT(random_config, keys_per_row, 0, .optional = true, .min = 1,
            .doc = "instead of r: so many keys of each query; when causal, of those up to its own"),
    CLF_INT(random_config, seed, 0, .doc = "of the drawing"),
    CLF_BOOL(random_config, constant_masking, true, .doc = "one pattern for all calls; false is refused"),
    CLF_TENSOR(random_config, pattern, CLF_BOOL8, .optional = true,
               .doc = "instead of drawing: the pattern, queries x keys, nonzero = attend"),
    CLF_BOOL(random_config, force_sparsity, false, .field_class = CLF_HINT,
             .doc = "xformers semantics: the sparse path at any density, whose pattern loses its last nnz mod 4 entries"),
    CLF_FIELDS_END
};

static clf_status random_resolve(void *config, const clf_args *args)
{
    const random_config *c = config;
    const clf_host_tensor *pattern = c->pattern;

    (void)args;
    if (!c->constant_masking)
        return clf__fail(CLF_UNSUPPORTED, "'constant_masking' is false: a pattern is drawn once for an instance; another "
                                          "'seed' draws another one");
    if (pattern && (pattern->rank != 2 || pattern->shape[0] != pattern->shape[1]))
        return clf__fail(CLF_INVALID_SHAPE, "'pattern' has rank %d: it is a square matrix", pattern->rank);
    if (c->base.semantics == CLF_SEMANTICS_XFORMERS && !pattern && c->keys_per_row == 0 && !(c->r > 0 && c->r < 1))
        return clf__fail(CLF_UNSUPPORTED, "'r' is %g: in xformers semantics it lies between 0 and 1", (double)c->r);
    return CLF_SUCCESS;
}

static int64_t length_of(const random_config *c, const clf_args *args)
{
    return c->pattern ? c->pattern->shape[0] : args->io[CLF_QKV_Q].shape[2];
}

/* The draw alone. */
static clf_status draw(const random_config *c, int64_t n, clf_pattern **pattern)
{
    const bool paper = c->base.semantics == CLF_SEMANTICS_PAPER;
    const int64_t count = c->keys_per_row < n ? c->keys_per_row : n;
    const uint64_t seed = (uint64_t)c->seed;

    if (c->pattern)
        return clf_pattern_mask(1, n, n, c->pattern->data, pattern);
    if (c->keys_per_row > 0)
        return clf_pattern_random_keys(1, n, n, count, paper && c->base.causal, seed, pattern);
    if (c->r >= 1)
        return clf_pattern_window(n, n, 0, -1, -1, 0, pattern);
    if (c->r <= 0)
        return clf_pattern_random_keys(1, n, n, 0, false, seed, pattern);
    return clf_pattern_random(1, n, n, 1 - (double)c->r, seed, pattern);
}

static clf_status make_pattern(const random_config *c, int64_t n, clf_pattern **pattern)
{
    const clf_status status = draw(c, n, pattern);

    return status ? status : clf__fused_complete_pattern(&c->base, *pattern);
}

static clf_status random_plan(clf_plan *plan)
{
    const random_config *c = clf_plan_config(plan);
    const int64_t queries = clf_plan_args(plan)->io[CLF_QKV_Q].shape[2], length = length_of(c, clf_plan_args(plan));
    clf_pattern *pattern = NULL;

    if (c->base.semantics == CLF_SEMANTICS_PAPER && length != queries)
        return clf_plan_refuse(plan, "'pattern' has %lld rows, the sequence %lld positions", (long long)length,
                               (long long)queries);
    const clf_status status = make_pattern(c, length, &pattern);
    if (status) {
        clf_pattern_free(pattern);
        return status;
    }
    return clf__fused_plan_pattern(plan, pattern, (clf_semantics)c->base.semantics, c->force_sparsity, c->base.dropout);
}

static void random_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    clf_pattern *pattern = NULL;

    if (make_pattern(config, length_of(config, args), &pattern) == CLF_SUCCESS)
        clf__fused_work_pattern(args, pattern, pass, work);
    clf_pattern_free(pattern);
}

CLF_REGISTER_ATTENTION(random) = {
    .summary = "each query sees keys drawn at random, and itself",
    .paper = "Zaheer et al. 2020, arXiv:2007.14062",
    .config = CLF_SCHEMA(random_config, random_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_VALUE_WIDTH |
              CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT |
              CLF_TRAIT_DERIVED,
    .resolve = random_resolve,
    .plan = random_plan,
    .forward = clf__fused_forward_pattern,
    .backward = clf__fused_backward_pattern,
    .work = random_work,
    .answer = { .forward = -0.1221559, .backward = 0.3156644 },
    .knob = "keys_per_row",
};
