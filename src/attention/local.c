/* Sliding-window attention: a band of fused attention, in time proportional to the window. */
#include "attention/local.h"
#include "core/status.h"
#include "fused/fused.h"
#include <stdio.h>

static const clf_field local_fields[] = {
    CLF_ATTENTION_FIELDS(local_config),
    CLF_INT(local_config, window_size, 5, .min = 1,
            .doc = "keys that a query sees; odd, itself in the middle, unless causal, where it is the last of them"),
    CLF_BOOL(local_config, force_sparsity, false, .field_class = CLF_HINT,
             .doc = "xformers semantics: the sparse path at any density, whose pattern loses its last nnz mod 4 entries"),
    CLF_FIELDS_END
};

static bool is_xformers(const local_config *c)
{
    return c->base.semantics == CLF_SEMANTICS_XFORMERS;
}

static clf_status local_resolve(void *config, const clf_args *args)
{
    const local_config *c = config;

    (void)args;
    if (!c->base.causal && c->window_size % 2 == 0)
        return clf__fail(CLF_UNSUPPORTED, "'window_size' is %d, it must be odd unless 'causal' is true",
                         c->window_size);
    return CLF_SUCCESS;
}

/* Keys before and after a query's own place that it sees. xFormers' causal window has one key more. */
static int64_t left_of(const local_config *c)
{
    return !c->base.causal ? c->window_size / 2 : is_xformers(c) ? c->window_size : c->window_size - 1;
}

static int64_t right_of(const local_config *c)
{
    return c->base.causal ? 0 : c->window_size / 2;
}

static clf__fused_problem problem_of(const local_config *c, const clf_args *args)
{
    clf__fused_problem problem = clf__fused_problem_qkv(args, 0, c->base.dropout);

    /* With more or fewer keys than queries the last ones belong together. */
    problem.causal = true;
    problem.shift = problem.k.shape[2] - problem.q.shape[2] + right_of(c);
    problem.window = left_of(c) + 1 + right_of(c);
    return problem;
}

/* Keys of row i in a square of n. */
static int64_t row_begin(const local_config *c, int64_t i)
{
    return i > left_of(c) ? i - left_of(c) : 0;
}

static int64_t row_end(const local_config *c, int64_t i, int64_t n)
{
    return i + right_of(c) < n ? i + right_of(c) + 1 : n;
}

static int64_t pairs_of(const local_config *c, int64_t n)
{
    int64_t pairs = 0;

    for (int64_t i = 0; i < n; i++)
        pairs += row_end(c, i, n) - row_begin(c, i);
    return pairs;
}

/* Does xFormers take its sparse path? */
static bool is_sparse(const local_config *c, int64_t n)
{
    return c->force_sparsity || (double)pairs_of(c, n) <= 0.3 * (double)n * (double)n;
}

/* That path keeps a multiple of four entries in row-major order: the last row loses its end, and where it has hardly
 * any, the row before it, too. Writes what then holds for the rest. */
static void drop_last_entries(const local_config *c, int64_t n, char *mask_mod, size_t size)
{
    int64_t row = n - 1, dropped = pairs_of(c, n) % 4;

    if (dropped == 0)
        return;
    while (row > 0 && dropped >= row_end(c, row, n) - row_begin(c, row)) {
        dropped -= row_end(c, row, n) - row_begin(c, row);
        row--;
    }
    const long long end = (long long)(row_end(c, row, n) - dropped);
    (void)snprintf(mask_mod, size, "(k)<(clf_int)((q)<%lld?INT_MAX:(q)==%lld?%lld:0)", (long long)row, (long long)row, end);
}

static clf_status local_plan(clf_plan *plan)
{
    const local_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    clf__fused_problem problem = problem_of(c, args);
    char mask_mod[128] = "";

    if (is_xformers(c)) {
        const long long queries = (long long)problem.q.shape[2], keys = (long long)problem.k.shape[2];
        if (queries != keys)
            return clf_plan_refuse(plan, "there are %lld queries and %lld keys: in xformers semantics the window needs "
                                   "as many", queries, keys);
        if (problem.padding.rank > 0)
            return clf_plan_refuse(plan, "'key_padding_mask' is given, but in xformers semantics this mechanism takes "
                                   "none: merge it into 'att_mask'");
        if (is_sparse(c, queries)) {
            const clf_status status = clf__fused_lose_under_mask(plan, &problem);
            if (status)
                return status;
            drop_last_entries(c, queries, mask_mod, sizeof mask_mod);
        }
    }
    problem.mask_mod = mask_mod[0] ? mask_mod : NULL;
    return clf__fused_plan_window(plan, &problem);
}

static clf_status local_forward(clf_run *run)
{
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), clf_run_args(run));

    return clf__fused_forward_part(run, &problem);
}

static clf_status local_backward(clf_run *run)
{
    const clf__fused_problem problem = problem_of(clf_plan_config(clf_run_plan(run)), clf_run_args(run));

    return clf__fused_backward_part(run, &problem);
}

static void local_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const local_config *c = config;
    const int64_t queries = args->io[CLF_QKV_Q].shape[2], keys = args->io[CLF_QKV_K].shape[2];

    clf__fused_work(args, (double)pairs_of(c, queries < keys ? queries : keys), pass, work);
}

CLF_REGISTER_ATTENTION(local) = {
    .summary = "sliding window: each query sees its neighbours",
    .paper = "Beltagy et al. 2020, arXiv:2004.05150",
    .config = CLF_SCHEMA(local_config, local_fields),
    .programs = CLF__FUSED_PROGRAMS,
    .families = clf__fused_families,
    .io = clf_attention_io_qkv,
    .traits = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
              CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_DERIVED,
    .resolve = local_resolve,
    .plan = local_plan,
    .forward = local_forward,
    .backward = local_backward,
    .work = local_work,
    .answer = { .forward = 0.2471639, .backward = 0.280471 },
};
