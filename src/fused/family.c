/* Which family runs, and what every family needs of a plan. */
#include "fused/family.h"
#include "core/log.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

const char *const clf__fused_families[] = { "vector", "portable", "nvidia_wgmma", "nvidia_mma", "reference", NULL };

static const clf__fused_family *const vectors_first[] = { &clf__fused_vector, &clf__fused_portable, &clf__fused_nvidia_wgmma,
                                                          &clf__fused_nvidia_mma, &clf__fused_reference, NULL };
static const clf__fused_family *const items_first[] = { &clf__fused_portable, &clf__fused_vector, &clf__fused_nvidia_wgmma,
                                                        &clf__fused_nvidia_mma, &clf__fused_reference, NULL };
static const clf__fused_family *const matrix_first[] = { &clf__fused_nvidia_wgmma, &clf__fused_nvidia_mma,
                                                         &clf__fused_portable, &clf__fused_vector, &clf__fused_reference, NULL };

static const char *const feature_names[] = {
    "windows", "masks", "key padding", "mask snippets", "dropout", "fewer heads of keys than of queries",
    "the gradient of a mask", "softcap", "ALiBi", "sinks", "score snippets", "tensors for snippets",
    "sequences of different lengths", "lengths of keys", "pages", "block lists", "an output of another type",
};

unsigned clf__fused_features_of(const clf__fused_problem *p)
{
    const bool asked[] = {
        p->causal && p->window > 0, p->mask.rank > 0, p->padding.rank > 0, p->mask_mod != NULL, p->dropout > 0,
        p->k.shape[1] != p->q.shape[1], p->grad_mask.rank > 0, p->softcap != 0, p->alibi.rank > 0, p->sinks.rank > 0,
        p->score_mod != NULL, p->extra_name[0] != NULL, p->q_starts.rank > 0 || p->k_starts.rank > 0,
        p->k_lengths.rank > 0, p->block_table.rank > 0, p->blocks != NULL, p->out.dtype != p->q.dtype,
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

/* Has the family everything that the problem asks for? */
static bool has_features(const clf__fused_family *family, unsigned asked, int passes, char *why, size_t size)
{
    const unsigned lacks_forward = asked & ~family->forward_features;
    const unsigned lacks_backward = passes & CLF_BACKWARD ? asked & ~family->backward_features : 0;
    int bit = 0;

    if (!(lacks_forward | lacks_backward))
        return true;
    while (!((lacks_forward | lacks_backward) >> bit & 1))
        bit++;
    (void)snprintf(why, size, "cannot do %s%s", feature_names[bit], lacks_forward >> bit & 1 ? "" : " backward");
    return false;
}

clf__fused_shape clf__fused_shape_of(const clf__fused_problem *problem)
{
    return (clf__fused_shape){
        .batch = problem->q.shape[0],   .heads = problem->q.shape[1], .queries = problem->q.shape[2],
        .keys = problem->k.shape[2],    .width = problem->q.shape[3], .value_width = problem->v.shape[3],
    };
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

/* What no family can do. */
static bool is_possible(const clf__fused_problem *p, char *why, size_t size)
{
    const struct { const clf_tensor *tensor; const char *name; } tensors[] = {
        { &p->q, "q" }, { &p->k, "k" }, { &p->v, "v" }, { &p->out, "out" }, { &p->lse, "lse" },
        { &p->grad_out, "grad.out" }, { &p->grad_q, "grad.q" }, { &p->grad_k, "grad.k" }, { &p->grad_v, "grad.v" },
    };
    const clf__fused_shape s = clf__fused_shape_of(p);

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        if (!fits_head(tensors[i].tensor, tensors[i].name, why, size))
            return false;
    if (s.width < 1 || s.width > 256 || s.value_width < 1 || s.value_width > 256) {
        (void)snprintf(why, size, "a head is %lld wide and its values %lld: 1 to 256 are possible",
                       (long long)s.width, (long long)s.value_width);
        return false;
    }
    if (s.batch > INT_MAX || s.heads > INT_MAX || s.batch * s.heads > INT_MAX) {
        (void)snprintf(why, size, "there are %lld x %lld heads, more than 2^31 - 1", (long long)s.batch,
                       (long long)s.heads);
        return false;
    }
    if (p->causal && (p->shift > INT_MAX / 4 || p->shift < -INT_MAX / 4 || p->window < 0 || p->window > INT_MAX / 2)) {
        (void)snprintf(why, size, "the causal shift is %lld, the window %lld", (long long)p->shift,
                       (long long)p->window);
        return false;
    }
    return true;
}

/* Saved and scratch memory that every family uses alike. */
static void reserve(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const uint64_t bytes = (uint64_t)(s.batch * s.heads) * (uint64_t)s.queries * sizeof(float);

    if (!(clf_plan_passes(plan) & CLF_BACKWARD))
        return;
    fused->saves_lse = problem->lse.rank == 0;
    if (fused->saves_lse)
        fused->lse = clf_plan_saved(plan, bytes);
    fused->delta_sums = clf_plan_workspace(plan, bytes);
}

static clf_status refuse_family(clf_plan *plan, const char *asked)
{
    char names[256] = "";
    size_t used = 0;

    for (int i = 0; clf__fused_families[i] && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", clf__fused_families[i]);
    return clf_plan_refuse(plan, "there is no kernel family '%s'; there is: %s", asked, names);
}

clf_status clf__fused_plan(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf_device *device = clf_plan_device(plan);
    const clf_plan_options *options = clf_plan_get_options(plan);
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const clf__fused_family *const *family = has->style == CLF_STYLE_VECTORS ? vectors_first
                                             : has->nvidia_matrix            ? matrix_first
                                                                             : items_first;
    bool named = false;
    char why[256] = "";

    *fused = (clf__fused){ 0 };
    if (!is_possible(problem, why, sizeof why))
        return clf_plan_refuse(plan, "%s", why);
    for (; *family; family++) {
        const bool asked = options->family && strcmp(options->family, (*family)->name) == 0;
        if (options->family && !asked)
            continue;
        named = true;
        if (*family == &clf__fused_reference && !asked && !options->allow_reference) {
            clf_plan_add_reason(plan, (*family)->name, "runs only when the plan's options allow or name it");
            continue;
        }
        if (has_features(*family, clf__fused_features_of(problem), clf_plan_passes(plan), why, sizeof why) &&
            (*family)->supports(device, problem, clf_plan_passes(plan), why, sizeof why))
            break;
        clf_plan_add_reason(plan, (*family)->name, why);
    }
    if (!named)
        return refuse_family(plan, options->family);
    if (!*family)
        return clf_plan_refuse(plan, "no kernel family can do this on %s", clf_device_get_info(device)->name);

    fused->family = *family;
    reserve(plan, problem, fused);
    clf_plan_set_family(plan, (*family)->name);
    return (*family)->plan(plan, problem, fused);
}

clf_status clf__fused_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    return fused->family->forward(run, fused, problem);
}

clf_status clf__fused_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    return fused->family->backward(run, fused, problem);
}
