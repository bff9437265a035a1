/* Block-sparse attention (Child et al. 2019): a layout of blocks tells who sees whom. */
#include "attention/blocksparse.h"
#include "core/status.h"
#include "fused/fused.h"
#include "pattern/pattern.h"
#include <stdlib.h>

static const char *const pattern_names[] = { "dense", "fixed", "variable", "bigbird", "longformer", NULL };

static const clf_field blocksparse_fields[] = {
    CLF_ATTENTION_FIELDS(blocksparse_config),
    CLF_TENSOR(blocksparse_config, layout, CLF_BOOL8, .optional = true,
               .doc = "rows x rows blocks, or a layout for each head, nonzero = attend"),
    CLF_INT(blocksparse_config, block_size, 16, .min = 1, .max = 1 << 20,
            .doc = "positions of a block; the last block may be cut. xformers semantics: 16, 32, 64 or 128, never cut"),
    CLF_ENUM(blocksparse_config, pattern, CLF_LAYOUT_FIXED, pattern_names,
             .doc = "without a layout: the one to make, with its usual numbers of local, global and random blocks"),
    CLF_INT(blocksparse_config, seed, 0, .doc = "of the random blocks of that"),
    CLF_FIELDS_END
};

static bool is_xformers(const blocksparse_config *c)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS;
}

static clf_status blocksparse_resolve(void *config, const clf_args *args)
{
    const blocksparse_config *c = config;
    const clf_host_tensor *layout = c->layout;
    const int block = c->block_size, axis = layout ? layout->rank - 2 : 0;

    (void)args;
    if (layout && ((layout->rank != 2 && layout->rank != 3) || layout->shape[axis] != layout->shape[axis + 1]))
        return clf__fail(CLF_INVALID_SHAPE, "'layout' has rank %d: it is a square matrix of blocks, or one for each head",
                         layout->rank);
    if (is_xformers(c) && block != 16 && block != 32 && block != 64 && block != 128)
        return clf__fail(CLF_UNSUPPORTED, "'block_size' is %d: xformers semantics know 16, 32, 64 and 128", block);
    return CLF_SUCCESS;
}

/* heads x rows x rows blocks, as given or made. */
static clf_status make_pattern(const blocksparse_config *c, int64_t n, clf_pattern **pattern)
{
    const int64_t rows = (n + c->block_size - 1) / c->block_size;
    const int64_t heads = c->layout && c->layout->rank == 3 ? c->layout->shape[0] : 1;
    uint8_t *made = NULL;
    clf_status status = CLF_SUCCESS;

    if (!c->layout) {
        clf_layout_options options = clf_layout_defaults((clf_layout_kind)c->pattern, 1, c->block_size, rows * c->block_size);
        options.unidirectional = c->base.causal && !is_xformers(c);
        options.seed = (uint64_t)c->seed;
        if (options.sliding_blocks > rows)
            options.sliding_blocks = rows;
        if (!(made = calloc((size_t)(rows * rows) + 1, sizeof *made)))
            return clf__no_memory((size_t)(rows * rows));
        status = clf_layout_make(&options, made);
    }
    if (status == CLF_SUCCESS)
        status = clf_pattern_blocks(heads, rows, rows, c->block_size, made ? made : c->layout->data, pattern);
    if (status == CLF_SUCCESS && n > 0)
        status = clf__pattern_cut(*pattern, n, n);
    if (status == CLF_SUCCESS && c->base.causal && !is_xformers(c))
        status = clf_pattern_make_causal(*pattern, 0);
    free(made);
    return status;
}

static clf_status check_problem(clf_plan *plan, const blocksparse_config *c, const clf_args *args)
{
    const int64_t n = args->io[CLF_QKV_Q].shape[2], heads = args->io[CLF_QKV_Q].shape[1];
    const int64_t rows = (n + c->block_size - 1) / c->block_size;
    const clf_host_tensor *layout = c->layout;

    if (is_xformers(c) && n % c->block_size)
        return clf_plan_refuse(plan, "the sequence has %lld positions: in xformers semantics that is a multiple of "
                               "'block_size', %d", (long long)n, c->block_size);
    if (is_xformers(c) && (args->io[CLF_QKV_ATT_MASK].rank > 0 || args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0))
        return clf_plan_refuse(plan, "'%s' is given, but in xformers semantics this mechanism takes no masks: use paper "
                               "semantics", args->io[CLF_QKV_ATT_MASK].rank > 0 ? "att_mask" : "key_padding_mask");
    if (layout && layout->shape[layout->rank - 1] != rows)
        return clf_plan_refuse(plan, "'layout' has %lld x %lld blocks, but %lld positions make %lld blocks of %d",
                               (long long)layout->shape[layout->rank - 1], (long long)layout->shape[layout->rank - 1],
                               (long long)n, (long long)rows, c->block_size);
    if (layout && layout->rank == 3 && layout->shape[0] != 1 && layout->shape[0] != heads)
        return clf_plan_refuse(plan, "'layout' is for %lld heads, there are %lld", (long long)layout->shape[0],
                               (long long)heads);
    return CLF_SUCCESS;
}

static clf_status blocksparse_plan(clf_plan *plan)
{
    const blocksparse_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    clf_pattern *pattern = NULL;
    clf_status status = check_problem(plan, c, args);

    if (status == CLF_SUCCESS)
        status = make_pattern(c, args->io[CLF_QKV_Q].shape[2], &pattern);
    if (status) {
        clf_pattern_free(pattern);
        return status;
    }
    /* No entries are lost here, in either semantics. */
    return clf__fused_plan_pattern(plan, pattern, CLF_SEMANTICS_PAPER, false, c->base.dropout);
}

static void blocksparse_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    clf_pattern *pattern = NULL;

    if (make_pattern(config, args->io[CLF_QKV_Q].shape[2], &pattern) == CLF_SUCCESS)
        clf__fused_work_pattern(args, pattern, pass, work);
    clf_pattern_free(pattern);
}

CLF_REGISTER_ATTENTION(blocksparse) = {
    .summary = "a layout of blocks tells who sees whom: given, fixed, BigBird or Longformer",
    .paper = "Child et al. 2019, arXiv:1904.10509",
    .config = CLF_SCHEMA(blocksparse_config, blocksparse_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_VALUE_WIDTH |
              CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_XFORMERS_LENIENT |
              CLF_TRAIT_DERIVED,
    .resolve = blocksparse_resolve,
    .plan = blocksparse_plan,
    .forward = clf__fused_forward_pattern,
    .backward = clf__fused_backward_pattern,
    .work = blocksparse_work,
    .answer = { .forward = 0.1915286, .backward = 0.1500225, .config = "\"block_size\": 2" },
};
