/* What a problem of fused attention asks for, how large it is, and whether any family could do it. */
#include "fused/family.h"
#include <limits.h>
#include <stdio.h>

static const char *const feature_names[] = {
    "windows", "masks", "key padding", "mask snippets", "dropout", "fewer heads of keys than of queries",
    "the gradient of a mask", "softcap", "ALiBi", "sinks", "score snippets", "tensors for snippets",
    "sequences of different lengths", "lengths of keys", "pages", "block lists", "an output of another type",
    "quantised keys and values", "a pattern over more keys than there are",
};

static bool has_zero_keys(const clf__fused_problem *p)
{
    return p->blocks && p->blocks->pattern && clf_pattern_get_info(p->blocks->pattern).keys > p->k.shape[2];
}

unsigned clf__fused_features_of(const clf__fused_problem *p)
{
    const bool asked[] = {
        p->causal && p->window > 0, p->mask.rank > 0, p->padding.rank > 0, p->mask_mod != NULL, p->dropout > 0,
        p->k.shape[1] != p->q.shape[1], p->grad_mask.rank > 0, p->softcap != 0, p->alibi.rank > 0, p->sinks.rank > 0,
        p->score_mod != NULL, p->extra_name[0] != NULL, p->q_starts.rank > 0 || p->k_starts.rank > 0,
        p->k_lengths.rank > 0, p->block_table.rank > 0, p->blocks != NULL, p->out.dtype != p->q.dtype,
        p->bits != 0, has_zero_keys(p),
    };
    unsigned features = 0;

    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        features |= asked[i] ? 1u << i : 0;
    return features;
}

const char *clf__fused_feature_name(int bit)
{
    return bit >= 0 && (size_t)bit < sizeof feature_names / sizeof feature_names[0] ? feature_names[bit] : NULL;
}

static int64_t at_most(int64_t rows, int64_t promised)
{
    return promised > 0 && promised < rows ? promised : rows;
}

clf__fused_shape clf__fused_shape_of(const clf__fused_problem *problem)
{
    const clf_tensor *q = &problem->q, *k = &problem->k, *v = &problem->v, *starts = &problem->q_starts;
    clf__fused_shape s = { .batch = q->shape[0], .heads = q->shape[1], .queries = q->shape[2], .keys = k->shape[2],
                           .width = q->shape[3],
                           .value_width = problem->bits ? v->shape[3] * 8 / problem->bits : v->shape[3] };

    if (problem->block_table.rank > 0) /* k has the rows of a page */
        s.keys = at_most(problem->block_table.shape[1] * k->shape[2], problem->max_keys);
    if (starts->rank > 0) {
        s.batch = starts->shape[0] - 1;
        s.queries = at_most(s.queries, problem->max_queries);
    }
    if (problem->k_starts.rank > 0)
        s.keys = at_most(s.keys, problem->max_keys);
    return s;
}

int clf__fused_passes(const clf_plan *plan, const clf__fused_problem *problem)
{
    return problem->forward_only ? CLF_FORWARD : clf_plan_passes(plan);
}

int clf__fused_groups(const clf__fused_problem *problem)
{
    return problem->k.shape[1] > 0 ? (int)(problem->q.shape[1] / problem->k.shape[1]) : 1;
}

/* Kernels count in int inside one head: rows * stride + width. */
static bool fits_head(const clf_tensor *tensor, const char *name, char *why, size_t size)
{
    int64_t rows, stride, width;

    if (tensor->rank == 0)
        return true;
    rows = tensor->shape[2];
    stride = tensor->strides[2] < 0 ? -tensor->strides[2] : tensor->strides[2];
    width = tensor->rank > 3 ? tensor->shape[3] : 1;
    if (rows < INT_MAX && (rows <= 1 || stride <= (INT_MAX - width) / (rows - 1)))
        return true;
    (void)snprintf(why, size, "one head of '%s' spans more than 2^31 - 1 elements: %lld rows of stride %lld", name,
                   (long long)rows, (long long)tensor->strides[2]);
    return false;
}

static bool pattern_fits(const clf__fused_problem *p, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(p);

    if (!p->blocks)
        return true;
    const clf_pattern_info info = clf_pattern_get_info(p->blocks->pattern);
    if (clf__fused_has_sequences(p)) {
        (void)snprintf(why, size, "a pattern belongs to whole tensors: sequences of different lengths cannot have one");
        return false;
    }
    if (info.queries == s.queries && info.keys >= s.keys && (info.heads == 1 || info.heads == s.heads) &&
        (info.batch == 1 || info.batch == s.batch))
        return true;
    (void)snprintf(why, size, "a pattern for %lld batches, %lld heads, %lld queries and %lld keys does not fit "
                   "%lld, %lld, %lld and %lld", (long long)info.batch, (long long)info.heads, (long long)info.queries,
                   (long long)info.keys, (long long)s.batch, (long long)s.heads, (long long)s.queries,
                   (long long)s.keys);
    return false;
}

bool clf__fused_is_possible(const clf__fused_problem *p, int passes, char *why, size_t size)
{
    const struct { const clf_tensor *tensor; const char *name; } tensors[] = {
        { &p->q, "q" }, { &p->k, "k" }, { &p->v, "v" }, { &p->out, "out" }, { &p->lse, "lse" },
        { &p->grad_out, "grad.out" }, { &p->grad_q, "grad.q" }, { &p->grad_k, "grad.k" }, { &p->grad_v, "grad.v" },
    };
    const clf__fused_shape s = clf__fused_shape_of(p);

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        if (!fits_head(tensors[i].tensor, tensors[i].name, why, size))
            return false;
    if (s.width < 1 || s.width > CLF__FUSED_WIDEST || s.value_width < 1) {
        (void)snprintf(why, size, "a head is %lld wide and its values %lld: 1 to %d are possible",
                       (long long)s.width, (long long)s.value_width, CLF__FUSED_WIDEST);
        return false;
    }
    if (s.batch > INT_MAX || s.heads > INT_MAX || s.batch * s.heads > INT_MAX) {
        (void)snprintf(why, size, "there are %lld x %lld heads, more than 2^31 - 1", (long long)s.batch,
                       (long long)s.heads);
        return false;
    }
    if (!clf__fused_grad_mask_fits(p, why, size))
        return false;
    if (p->score_mod && !p->score_slope && (passes & CLF_BACKWARD)) {
        (void)snprintf(why, size, "backward needs 'score_mod_slope', the derivative of 'score_mod'");
        return false;
    }
    if (p->v.shape[1] != p->k.shape[1] || s.heads != clf__fused_groups(p) * p->k.shape[1]) {
        (void)snprintf(why, size, "q has %lld heads, k %lld and v %lld: those of k and v must be as many and divide "
                       "q's", (long long)s.heads, (long long)p->k.shape[1], (long long)p->v.shape[1]);
        return false;
    }
    if (p->sinks.rank > 0 && (p->sinks.dtype != CLF_F32 || p->sinks.rank != 1 || p->sinks.shape[0] != s.heads)) {
        (void)snprintf(why, size, "there are %lld sinks of type %s for %lld heads: one F32 for each",
                       (long long)p->sinks.shape[0], clf_dtype_name(p->sinks.dtype), (long long)s.heads);
        return false;
    }
    if (!clf__fused_sequences_fit(p, why, size) || !pattern_fits(p, why, size))
        return false;
    if (p->causal && (p->shift > INT_MAX / 4 || p->shift < -INT_MAX / 4 || p->window < 0 || p->window > INT_MAX / 2)) {
        (void)snprintf(why, size, "the causal shift is %lld, the window %lld", (long long)p->shift,
                       (long long)p->window);
        return false;
    }
    return true;
}
