/* Everything that fused attention can do, as a part: exact softmax attention with the order, the masks and the changes
 * of scores that its config and its tensors ask for. What no kernel family can do is refused with each family's reason. */
#include "attention/fused_attention.h"
#include "core/status.h"
#include "fused/fused.h"
#include "fused/snippet.h"
#include <clformers/pattern.h>
#include <stdio.h>
#include <string.h>

/* What a plan keeps. */
typedef struct state {
    clf__fused fused;
    cl_mem     slopes;  /* of the usual ALiBi; NULL = a tensor, or none */
    int        extras;  /* names of the tensors that expressions read */
    char       name[FUSED_EXTRAS][CLF__SNIPPET_NAME];
    char       snippet[3][CLF__SNIPPET]; /* mask_mod, score_mod, score_mod_slope; "" = none */
} state;

static const char *const alignment_names[] = { "bottom_right", "top_left", NULL };

static const clf_field fused_attention_fields[] = {
    CLF_ATTENTION_FIELDS(fused_attention_config),
    CLF_ENUM(fused_attention_config, causal_alignment, FUSED_BOTTOM_RIGHT, alignment_names, .field_class = CLF_SEMANTIC,
             .doc = "where the diagonal of causal order, windows and ALiBi ends: bottom_right, the last query belongs to "
                    "the last key; top_left, the first to the first"),
    CLF_FLOAT(fused_attention_config, scale, 0, .optional = true,
              .doc = "factor of the scores; absent or 0: 1/sqrt(width of a head)"),
    CLF_INT(fused_attention_config, window_left, -1, .min = -1,
            .doc = "keys before a query's own place that it sees; -1: all"),
    CLF_INT(fused_attention_config, window_right, -1, .min = -1,
            .doc = "keys behind a query's own place that it sees; -1: all, or none when causal"),
    CLF_FLOAT(fused_attention_config, softcap, 0, .doc = "a score s becomes softcap * tanh(s / softcap); 0: it stays"),
    CLF_BOOL(fused_attention_config, alibi, false, .field_class = CLF_SEMANTIC,
             .doc = "scores fall linearly with distance, by the usual slope of each head; other slopes are a tensor"),
    CLF_STRING(fused_attention_config, mask_mod, NULL, .optional = true,
               .doc = "an expression over b, h, q, k that holds where query q sees key k, or @name(...)"),
    CLF_STRING(fused_attention_config, score_mod, NULL, .optional = true,
               .doc = "an expression over score, b, h, q, k that becomes the score, or @name(...)"),
    CLF_STRING(fused_attention_config, score_mod_slope, NULL, .optional = true,
               .doc = "its derivative by score, which backward needs"),
    CLF_STRING(fused_attention_config, extra_names, NULL, .optional = true,
               .doc = "what the expressions call the tensors extra_0 to extra_3, separated by commas"),
    CLF_INT(fused_attention_config, max_queries, 0, .doc = "most queries of a sequence; 0: all rows of q"),
    CLF_INT(fused_attention_config, max_keys, 0, .doc = "most keys of a sequence; 0: all rows of k"),
    CLF_FIELDS_END
};

static const clf_io fused_attention_io[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "queries" },
    [CLF_QKV_K] = { "k", "bhkd", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE | CLF_IO_QUANTISED,
                    "keys, with as many heads as q or fewer that divide them; with a block_table pages of keys" },
    [CLF_QKV_V] = { "v", "bhke", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE | CLF_IO_QUANTISED,
                    "values" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK,
                           CLF_IO_OPTIONAL | CLF_IO_BROADCAST | CLF_IO_DIFFERENTIABLE,
                           "which keys a query sees, or what is added to the scores" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "BK", CLF_INPUT, CLF_IO_BOOLEAN,
                                   CLF_IO_OPTIONAL | CLF_IO_BROADCAST, "which keys are no padding" },
    [CLF_QKV_OUT] = { "out", "BHQE", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE | CLF_IO_OWN_TYPE, "result" },
    [CLF_QKV_LSE] = { "lse", "BHQ", CLF_OUTPUT, CLF_IO_SINGLE, CLF_IO_OPTIONAL,
                      "natural logarithm of the sum of exponentials of a row's scores" },
    [FUSED_ALIBI] = { "alibi_slopes", "H", CLF_INPUT, CLF_IO_SINGLE, CLF_IO_OPTIONAL,
                      "slope * (k - q) is added to the scores of a head, counted along the diagonal" },
    [FUSED_SINKS] = { "sinks", "H", CLF_INPUT, CLF_IO_SINGLE,
                      CLF_IO_OPTIONAL | CLF_IO_DIFFERENTIABLE | CLF_IO_PRIVATE,
                      "one more score in the sum of exponentials of a head's rows, for a key without a value" },
    [FUSED_Q_STARTS] = { "q_starts", "N", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL | CLF_IO_PRIVATE,
                         "I32: sequence s has the queries q_starts[s] .. q_starts[s + 1] - 1 of a batch of 1" },
    [FUSED_K_STARTS] = { "k_starts", "N", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL | CLF_IO_PRIVATE,
                         "I32: the same for its keys" },
    [FUSED_K_LENGTHS] = { "k_lengths", "S", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL | CLF_IO_PRIVATE,
                          "I32: only so many rows of a sequence are keys" },
    [FUSED_BLOCK_TABLE] = { "block_table", "SP", CLF_INPUT, CLF_IO_INDEX, CLF_IO_OPTIONAL | CLF_IO_PRIVATE,
                            "I32: where the pages of a sequence's keys and values are" },
    [FUSED_EXTRA] = { "extra_0", "W", CLF_INPUT, CLF_IO_NUMBER, CLF_IO_OPTIONAL | CLF_IO_PRIVATE,
                      "a table for the expressions" },
    { "extra_1", "X", CLF_INPUT, CLF_IO_NUMBER, CLF_IO_OPTIONAL | CLF_IO_PRIVATE, "another" },
    { "extra_2", "Y", CLF_INPUT, CLF_IO_NUMBER, CLF_IO_OPTIONAL | CLF_IO_PRIVATE, "another" },
    { "extra_3", "Z", CLF_INPUT, CLF_IO_NUMBER, CLF_IO_OPTIONAL | CLF_IO_PRIVATE, "another" },
    [FUSED_K_SCALES] = { "k_scales", "bhkg", CLF_INPUT, CLF_IO_FLOATING,
                         CLF_IO_OPTIONAL | CLF_IO_OWN_TYPE | CLF_IO_PRIVATE,
                         "F16: scale and shift of every group of columns of a U8 'k' (clf_quantise)" },
    [FUSED_V_SCALES] = { "v_scales", "bhkf", CLF_INPUT, CLF_IO_FLOATING,
                         CLF_IO_OPTIONAL | CLF_IO_OWN_TYPE | CLF_IO_PRIVATE, "F16: the same for 'v'" },
    CLF_IO_END
};

static clf_status fused_attention_resolve(void *config, const clf_args *args)
{
    const fused_attention_config *c = config;

    (void)args;
    if (c->base.semantics == CLF_SEMANTICS_XFORMERS)
        return clf__fail(CLF_UNSUPPORTED, "'semantics' is xformers: fused attention has one meaning; 'causal_alignment' "
                                          "top_left is what xFormers' LowerTriangularMask does");
    return CLF_SUCCESS;
}

/* ---- what the io table cannot say ------------------------------------------------------------------- */

static clf_status check_index(clf_plan *plan, const clf_io *io, const clf_tensor *tensor)
{
    if (tensor->rank > 0 && tensor->dtype != CLF_I32)
        return clf_plan_refuse(plan, "'%s' is %s: only I32 is possible", io->name, clf_dtype_name(tensor->dtype));
    if (tensor->rank > 0 && tensor->shape[tensor->rank - 1] > 1 && tensor->strides[tensor->rank - 1] != 1)
        return clf_plan_refuse(plan, "the last stride of '%s' is %lld: only 1 is possible", io->name,
                               (long long)tensor->strides[tensor->rank - 1]);
    return CLF_SUCCESS;
}

/* Heads of k and v, and their batch where nothing says how sequences are found in it. */
static clf_status check_heads(const clf_args *args)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q], *k = &args->io[CLF_QKV_K];
    const bool paged = args->io[FUSED_BLOCK_TABLE].rank > 0, in_a_row = args->io[FUSED_Q_STARTS].rank > 0;

    if (k->shape[1] != q->shape[1] && (k->shape[1] == 0 || q->shape[1] % k->shape[1] != 0))
        return clf__fail(CLF_INVALID_SHAPE, "argument 'k': axis 1 is %lld, which does not divide the %lld heads of 'q'",
                         (long long)k->shape[1], (long long)q->shape[1]);
    if (!paged && !in_a_row && k->shape[0] != q->shape[0])
        return clf__fail(CLF_INVALID_SHAPE, "argument 'k': axis 0 is %lld, but %lld in 'q'", (long long)k->shape[0],
                         (long long)q->shape[0]);
    return CLF_SUCCESS;
}

/* Keys and values beyond the batch and heads: as many of both, as wide as queries and results or packed to that. */
static clf_status check_keys(const clf_args *args, int keys, int scales, int64_t width)
{
    const clf_tensor *io = args->io, *k = &io[keys];
    const bool paged = io[FUSED_BLOCK_TABLE].rank > 0, quantised = k->dtype == CLF_U8;
    const char *name = fused_attention_io[keys].name, *scales_name = fused_attention_io[scales].name;

    if (io[CLF_QKV_ATT_MASK].rank > 0 && !paged && io[CLF_QKV_ATT_MASK].shape[io[CLF_QKV_ATT_MASK].rank - 1] > 1 &&
        io[CLF_QKV_ATT_MASK].shape[io[CLF_QKV_ATT_MASK].rank - 1] != k->shape[2] && !io[FUSED_K_STARTS].rank)
        return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis 2 is %lld, but 'att_mask' has %lld keys", name,
                         (long long)k->shape[2], (long long)io[CLF_QKV_ATT_MASK].shape[io[CLF_QKV_ATT_MASK].rank - 1]);
    if (!quantised && io[scales].rank > 0)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is given, but '%s' is %s", scales_name, name,
                         clf_dtype_name(k->dtype));
    if (quantised && io[scales].rank == 0)
        return clf__fail(CLF_MISSING_TENSOR, "argument '%s' is missing: '%s' is U8", scales_name, name);
    if (quantised && io[scales].dtype != CLF_F16)
        return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, not F16", scales_name,
                         clf_dtype_name(io[scales].dtype));
    if (quantised && (io[scales].shape[3] < 2 || io[scales].shape[3] % 2))
        return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis 3 is %lld, not a scale and a shift for each group",
                         scales_name, (long long)io[scales].shape[3]);
    if (k->shape[3] != width && !(quantised && 2 * k->shape[3] == width))
        return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis 3 is %lld, not %lld%s", name, (long long)k->shape[3],
                         (long long)width, quantised ? " or half of it" : "");
    return CLF_SUCCESS;
}

/* Sequences of different lengths: one batch entry holds them all. */
static clf_status check_sequences(const clf_args *args)
{
    const clf_tensor *io = args->io, *q = &io[CLF_QKV_Q], *k = &io[CLF_QKV_K];
    const bool starts = io[FUSED_Q_STARTS].rank > 0;
    const int64_t sequences = starts ? io[FUSED_Q_STARTS].shape[0] - 1 : q->shape[0];

    if (starts && (q->shape[0] != 1 || sequences < 0))
        return clf__fail(CLF_INVALID_SHAPE, "argument 'q': axis 0 is %lld: with 'q_starts', which has %lld entries, all "
                         "sequences are in a row in a batch of 1", (long long)q->shape[0], (long long)sequences + 1);
    if (io[FUSED_K_STARTS].rank > 0 && (!starts || k->shape[0] != 1))
        return clf__fail(CLF_INVALID_SHAPE, "argument 'k_starts' needs 'q_starts' and a batch of 1 in 'k', which has %lld",
                         (long long)k->shape[0]);
    for (int i = FUSED_K_LENGTHS; i <= FUSED_BLOCK_TABLE; i++)
        if (io[i].rank > 0 && io[i].shape[0] != sequences)
            return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis 0 is %lld, but there are %lld sequences",
                             fused_attention_io[i].name, (long long)io[i].shape[0], (long long)sequences);
    if (io[FUSED_BLOCK_TABLE].rank > 0 && io[FUSED_K_LENGTHS].rank == 0)
        return clf__fail(CLF_MISSING_TENSOR, "argument 'k_lengths' is missing: a 'block_table' does not tell lengths");
    if (starts && io[FUSED_BLOCK_TABLE].rank == 0 && io[FUSED_K_STARTS].rank == 0 && k->shape[0] != sequences)
        return clf__fail(CLF_INVALID_SHAPE, "argument 'k': axis 0 is %lld, but there are %lld sequences and no 'k_starts'",
                         (long long)k->shape[0], (long long)sequences);
    return CLF_SUCCESS;
}

/* Names and tensors of what expressions read belong together. */
static clf_status check_extras(const state *kept, const clf_args *args)
{
    for (int i = 0; i < FUSED_EXTRAS; i++) {
        const clf_tensor *extra = &args->io[FUSED_EXTRA + i];
        if (extra->rank > 0 && i >= kept->extras)
            return clf__fail(CLF_MISSING_TENSOR, "argument 'extra_%d' is given, but 'extra_names' has %d names", i,
                             kept->extras);
        if (extra->rank == 0 && i < kept->extras)
            return clf__fail(CLF_MISSING_TENSOR, "argument 'extra_%d' is missing: 'extra_names' calls it '%s'", i,
                             kept->name[i]);
        if (extra->rank > 0 && extra->shape[0] > 1 && extra->strides[0] != 1)
            return clf__fail(CLF_INVALID_STRIDE, "argument 'extra_%d': the stride is %lld, it must be 1", i,
                             (long long)extra->strides[0]);
    }
    return CLF_SUCCESS;
}

static clf_status check_tensors(clf_plan *plan, const state *kept, const clf_args *args)
{
    clf_status status = check_extras(kept, args);

    for (int i = FUSED_Q_STARTS; i <= FUSED_BLOCK_TABLE && !status; i++)
        status = check_index(plan, &fused_attention_io[i], &args->io[i]);
    if (!status)
        status = check_heads(args);
    if (!status)
        status = check_keys(args, CLF_QKV_K, FUSED_K_SCALES, args->io[CLF_QKV_Q].shape[3]);
    if (!status)
        status = check_keys(args, CLF_QKV_V, FUSED_V_SCALES, args->io[CLF_QKV_OUT].shape[3]);
    if (!status && args->io[CLF_QKV_K].shape[3] * args->io[CLF_QKV_OUT].shape[3] !=
                       args->io[CLF_QKV_V].shape[3] * args->io[CLF_QKV_Q].shape[3])
        status = clf__fail(CLF_INVALID_SHAPE, "argument 'v': axis 3 is %lld: 'k' and 'v' are not packed alike",
                           (long long)args->io[CLF_QKV_V].shape[3]);
    return status ? status : check_sequences(args);
}

/* ---- the problem --------------------------------------------------------------------------------------- */

/* Causal order and window, from the two sides of what a query sees. */
static void set_order(const fused_attention_config *c, clf__fused_problem *p)
{
    const int64_t queries = p->q.shape[2], keys = p->k.shape[2];
    const bool by_sequence = p->q_starts.rank > 0 || p->k_lengths.rank > 0 || p->block_table.rank > 0;
    const int64_t pages = p->block_table.rank > 0 ? p->block_table.shape[1] : 1;
    const int64_t everything = pages * keys + queries;
    const int64_t left = c->window_left, right = c->base.causal ? 0 : c->window_right;

    p->bottom_right = by_sequence && c->causal_alignment == FUSED_BOTTOM_RIGHT;
    p->shift = !by_sequence && c->causal_alignment == FUSED_BOTTOM_RIGHT ? keys - queries : 0;
    if (left < 0 && right < 0)
        return;
    p->causal = true;
    p->ahead = right < 0 ? everything : right;
    p->shift += p->ahead;
    p->window = left < 0 ? 0 : left + 1 + p->ahead;
}

static const char *snippet_of(const state *kept, clf__snippet_sort sort)
{
    return kept->snippet[sort][0] ? kept->snippet[sort] : NULL;
}

/* [K], [Q, K], [B, Q, K] or [B, H, Q, K] with all four axes. */
static clf_tensor widen(const clf_tensor *mask)
{
    clf_tensor wide = *mask;

    for (int d = 0; d < 4 && mask->rank > 0; d++) {
        const int from = mask->rank == 3 ? (d == 1 ? -1 : d - (d > 1)) : d - (4 - mask->rank);
        wide.shape[d] = from < 0 ? 1 : mask->shape[from];
        wide.strides[d] = from < 0 ? 0 : mask->strides[from];
    }
    wide.rank = mask->rank > 0 ? 4 : 0;
    return wide;
}

static clf__fused_problem problem_of(const fused_attention_config *c, const state *kept, const clf_args *args)
{
    clf__fused_problem p = clf__fused_problem_qkv(args, c->scale, c->base.dropout);

    p.grad_mask = widen(&args->grad[CLF_QKV_ATT_MASK]);
    p.softcap = c->softcap;
    p.alibi = args->io[FUSED_ALIBI];
    if (c->alibi)
        p.alibi = clf_tensor_view(kept->slopes, CLF_F32, 1, &p.q.shape[1]);
    p.mask_mod = snippet_of(kept, CLF__SNIPPET_MASK);
    p.score_mod = snippet_of(kept, CLF__SNIPPET_SCORE);
    p.score_slope = snippet_of(kept, CLF__SNIPPET_SLOPE);
    for (int i = 0; i < kept->extras; i++) {
        p.extra[i] = args->io[FUSED_EXTRA + i];
        p.extra_name[i] = kept->name[i];
    }
    p.sinks = args->io[FUSED_SINKS];
    p.grad_sinks = args->grad[FUSED_SINKS];
    p.q_starts = args->io[FUSED_Q_STARTS];
    p.k_starts = args->io[FUSED_K_STARTS];
    p.k_lengths = args->io[FUSED_K_LENGTHS];
    p.block_table = args->io[FUSED_BLOCK_TABLE];
    p.k_scales = args->io[FUSED_K_SCALES];
    p.v_scales = args->io[FUSED_V_SCALES];
    p.bits = p.k.dtype == CLF_U8 ? (int)(8 * p.k.shape[3] / p.q.shape[3]) : 0;
    p.max_queries = c->max_queries;
    p.max_keys = c->max_keys;
    set_order(c, &p);
    return p;
}

/* ---- planning ------------------------------------------------------------------------------------------ */

/* "a,b,c" */
static clf_status keep_names(clf_plan *plan, const char *names, state *kept)
{
    char why[160], one[CLF__SNIPPET_NAME + 1];

    while (names && *names) {
        const size_t length = strcspn(names, ",");
        if (kept->extras == FUSED_EXTRAS)
            return clf_plan_refuse(plan, "'extra_names' has more than %d names", FUSED_EXTRAS);
        (void)snprintf(one, sizeof one, "%.*s", (int)(length < CLF__SNIPPET_NAME ? length : CLF__SNIPPET_NAME), names);
        if (!clf__snippet_name(one, kept->name[kept->extras], why, sizeof why))
            return clf_plan_refuse(plan, "'extra_names': %s", why);
        for (int i = 0; i < kept->extras; i++)
            if (strcmp(kept->name[i], one) == 0)
                return clf_plan_refuse(plan, "'extra_names' has '%s' twice", one);
        kept->extras++;
        names += length + (names[length] == ',');
    }
    return CLF_SUCCESS;
}

/* A score_mod by name brings its derivative. */
static clf_status keep_snippets(clf_plan *plan, const fused_attention_config *c, state *kept)
{
    const bool named = c->score_mod && c->score_mod[0] == '@';
    const struct { const char *field, *text; } snippets[] = {
        [CLF__SNIPPET_MASK] = { "mask_mod", c->mask_mod },
        [CLF__SNIPPET_SCORE] = { "score_mod", c->score_mod },
        [CLF__SNIPPET_SLOPE] = { "score_mod_slope", named && !c->score_mod_slope ? c->score_mod : c->score_mod_slope },
    };
    char why[256];

    for (int i = CLF__SNIPPET_MASK; i <= CLF__SNIPPET_SLOPE; i++)
        if (snippets[i].text && !clf__snippet((clf__snippet_sort)i, snippets[i].text, kept->snippet[i], why, sizeof why))
            return clf_plan_refuse(plan, "'%s': %s", snippets[i].field, why);
    if (c->score_mod_slope && !c->score_mod)
        return clf_plan_refuse(plan, "'score_mod_slope' is given, but 'score_mod' is not");
    return CLF_SUCCESS;
}

static clf_status keep_slopes(clf_plan *plan, const clf_args *args, state *kept)
{
    float slopes[256];
    const int64_t heads = args->io[CLF_QKV_Q].shape[1];

    if (args->io[FUSED_ALIBI].rank > 0)
        return clf_plan_refuse(plan, "'alibi' is true and 'alibi_slopes' is given: one of them is enough");
    if (heads > (int64_t)(sizeof slopes / sizeof slopes[0]))
        return clf_plan_refuse(plan, "'alibi' is true, but there are %lld heads: the usual slopes are for up to %zu, give "
                               "'alibi_slopes'", (long long)heads, sizeof slopes / sizeof slopes[0]);
    if (heads == 0)
        return CLF_SUCCESS;
    const clf_status status = clf_alibi_slopes(heads, slopes);
    return status ? status : clf_plan_constant(plan, slopes, (size_t)heads * sizeof slopes[0], &kept->slopes);
}

static clf_status fused_attention_plan(clf_plan *plan)
{
    const fused_attention_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    state *kept = clf_plan_state(plan, sizeof *kept);
    clf_status status = kept ? keep_names(plan, c->extra_names, kept) : CLF_OUT_OF_HOST_MEMORY;

    if (!status)
        status = keep_snippets(plan, c, kept);
    if (!status)
        status = check_tensors(plan, kept, args);
    if (!status && c->alibi)
        status = keep_slopes(plan, args, kept);
    if (status)
        return status;
    const clf__fused_problem problem = problem_of(c, kept, args);
    status = clf__fused_plan(plan, &problem, &kept->fused);
    if (status == CLF_BUILD_FAILED && (problem.mask_mod || problem.score_mod))
        return clf__fail_prefix(status, "compiled with mask_mod '%s', score_mod '%s', score_mod_slope '%s'",
                                kept->snippet[0], kept->snippet[1], kept->snippet[2]);
    return status;
}

static clf_status fused_attention_forward(clf_run *run)
{
    const state *kept = clf_plan_state(clf_run_plan(run), sizeof *kept);
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), kept, clf_run_args(run));

    return clf__fused_forward(run, &kept->fused, &problem);
}

static clf_status fused_attention_backward(clf_run *run)
{
    const state *kept = clf_plan_state(clf_run_plan(run), sizeof *kept);
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), kept, clf_run_args(run));

    return clf__fused_backward(run, &kept->fused, &problem);
}

/* All pairs, by the field's convention half of them when causal; a window counts what it sees at most. */
static void fused_attention_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const fused_attention_config *c = config;
    const double queries = (double)args->io[CLF_QKV_Q].shape[2], keys = (double)args->io[CLF_QKV_K].shape[2];
    double seen = c->base.causal ? keys / 2 : keys;

    if (c->window_left >= 0 && (c->base.causal || c->window_right >= 0)) {
        const double window = 1.0 + c->window_left + (c->base.causal ? 0 : c->window_right);
        seen = window < seen ? window : seen;
    }
    clf__fused_work(args, queries * seen, pass, work);
}

CLF_REGISTER_ATTENTION(fused_attention) = {
    .summary = "exact softmax attention with all that the fused kernels can do",
    .paper = "Dao et al. 2022, arXiv:2205.14135",
    .config = CLF_SCHEMA(fused_attention_config, fused_attention_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = fused_attention_io,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
              CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_DERIVED,
    .resolve = fused_attention_resolve,
    .plan = fused_attention_plan,
    .forward = fused_attention_forward,
    .backward = fused_attention_backward,
    .work = fused_attention_work,
    .feature = clf__fused_feature,
    .answer = { .forward = 0.1989987, .backward = 0.1593192 },
};
