/* Global tokens (Beltagy et al. 2020, Zaheer et al. 2020): some tokens see all and are seen by all. */
#include "attention/global.h"
#include "core/status.h"
#include "fused/fused.h"
#include <stdlib.h>

static const clf_field global_fields[] = {
    CLF_ATTENTION_FIELDS(global_config),
    CLF_TENSOR(global_config, attention_query_mask, CLF_BOOL8, .optional = true,
               .doc = "the global positions: a number for each, or a column of them, nonzero = global"),
    CLF_INT(global_config, num_global_tokens, 1,
            .doc = "without attention_query_mask: so many positions, the first ones, are global"),
    CLF_BOOL(global_config, force_sparsity, false, .field_class = CLF_HINT,
             .doc = "xformers semantics: the sparse path at any density, whose pattern loses its last nnz mod 4 entries"),
    CLF_FIELDS_END
};

static clf_status global_resolve(void *config, const clf_args *args)
{
    const global_config *c = config;
    const clf_host_tensor *mask = c->attention_query_mask;

    (void)args;
    if (mask && mask->rank != 1 && !(mask->rank == 2 && mask->shape[1] == 1))
        return clf__fail(CLF_INVALID_SHAPE, "'attention_query_mask' has rank %d: it is a row or a column of numbers",
                         mask->rank);
    return CLF_SUCCESS;
}

/* Positions that the pattern has: under xformers semantics there may be more than the sequence is long. */
static int64_t length_of(const global_config *c, const clf_args *args)
{
    return c->attention_query_mask ? c->attention_query_mask->shape[0] : args->io[CLF_QKV_Q].shape[2];
}

static clf_status make_pattern(const global_config *c, int64_t length, clf_pattern **pattern)
{
    uint8_t *is_global = calloc((size_t)length + 1, sizeof *is_global);
    const uint8_t *given = c->attention_query_mask ? c->attention_query_mask->data : NULL;

    if (!is_global)
        return clf__no_memory((size_t)length);
    for (int64_t i = 0; i < length; i++)
        is_global[i] = given ? given[i] : i < c->num_global_tokens;
    const clf_status status = clf_pattern_global(length, is_global, pattern);
    free(is_global);
    return status ? status : clf__fused_complete_pattern(&c->base, *pattern);
}

static clf_status global_plan(clf_plan *plan)
{
    const global_config *c = clf_plan_config(plan);
    const int64_t queries = clf_plan_args(plan)->io[CLF_QKV_Q].shape[2], length = length_of(c, clf_plan_args(plan));
    clf_pattern *pattern = NULL;

    if (c->base.semantics == CLF_SEMANTICS_PAPER && length != queries)
        return clf_plan_refuse(plan, "'attention_query_mask' has %lld positions, the sequence %lld", (long long)length,
                               (long long)queries);
    const clf_status status = make_pattern(c, length, &pattern);
    if (status) {
        clf_pattern_free(pattern);
        return status;
    }
    return clf__fused_plan_pattern(plan, pattern, (clf_semantics)c->base.semantics, c->force_sparsity, c->base.dropout);
}

static void global_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    clf_pattern *pattern = NULL;

    if (make_pattern(config, length_of(config, args), &pattern) == CLF_SUCCESS)
        clf__fused_work_pattern(args, pattern, pass, work);
    clf_pattern_free(pattern);
}

CLF_REGISTER_ATTENTION(global) = {
    .summary = "global tokens see all and are seen by all; others see them and themselves",
    .paper = "Beltagy et al. 2020, arXiv:2004.05150",
    .config = CLF_SCHEMA(global_config, global_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_VALUE_WIDTH |
              CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT |
              CLF_TRAIT_DERIVED,
    .resolve = global_resolve,
    .plan = global_plan,
    .forward = clf__fused_forward_pattern,
    .backward = clf__fused_backward_pattern,
    .work = global_work,
    .answer = { .forward = 0.4014923, .backward = -0.028362 },
};
