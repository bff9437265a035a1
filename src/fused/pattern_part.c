/* Parts whose order is a pattern. */
#include "fused/fused.h"
#include "pattern/pattern.h"
#include <string.h>

/* Under xFormers' semantics: the pattern as it is used there, or why not. */
static clf_status ship(clf_plan *plan, clf__fused_problem *problem, bool force, clf_pattern **pattern)
{
    const long long queries = (long long)problem->q.shape[2], length = (long long)clf_pattern_get_info(*pattern).keys;
    bool sparse;
    clf_status status;

    if (problem->padding.rank > 0)
        return clf_plan_refuse(plan, "'key_padding_mask' is given, but in xformers semantics this mechanism takes none: "
                               "merge it into 'att_mask'");
    if (queries > length)
        return clf_plan_refuse(plan, "there are %lld queries, but the pattern ends at %lld", queries, length);
    if ((status = clf__pattern_as_shipped(pattern, queries, force, &sparse)))
        return status;
    if (problem->mask.rank > 0 && queries < length)
        return clf_plan_refuse(plan, "'att_mask' is given for %lld positions, but in xformers semantics sequences are "
                               "padded to the %lld of the pattern", queries, length);
    return sparse ? clf__fused_lose_under_mask(plan, problem) : CLF_SUCCESS;
}

clf_status clf__fused_plan_pattern(clf_plan *plan, clf_pattern *pattern, clf_semantics semantics, bool force,
                                   float dropout)
{
    clf__fused_problem problem = clf__fused_problem_qkv(clf_plan_args(plan), 0, dropout);
    clf_status status = CLF_SUCCESS;

    if (semantics == CLF_SEMANTICS_XFORMERS)
        status = ship(plan, &problem, force, &pattern);
    if (status == CLF_SUCCESS) {
        const clf__fused_blocks blocks = { .pattern = pattern };
        problem.blocks = &blocks;
        status = clf__fused_plan_part(plan, &problem);
    }
    clf_pattern_free(pattern);
    return status;
}

/* Measured (CPU, N = 2048, D = 64, H = 8): pair by pair a window of 5 takes 0.62 of the time of tiles forward and 0.85
 * backward, one of 17 takes 0.85 and 1.2. */
enum { NARROW = 12, MOST_QUERIES = 1 << 22 };

/* Not where another family is named. */
static bool gathers_window(clf_plan *plan, const clf__fused_problem *problem)
{
    const char *family = clf_plan_get_options(plan)->family;
    const bool vectors = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;

    return vectors && (!family || strncmp(family, "gather", strlen("gather")) == 0) && problem->window <= NARROW &&
           problem->q.shape[2] <= MOST_QUERIES;
}

clf_status clf__fused_plan_window(clf_plan *plan, const clf__fused_problem *problem)
{
    clf__fused_blocks blocks = { 0 };
    clf__fused_problem pairs = *problem;
    clf_pattern *pattern = NULL;

    if (!gathers_window(plan, problem))
        return clf__fused_plan_part(plan, problem);
    clf_status status = clf_pattern_window(problem->q.shape[2], problem->k.shape[2], problem->shift, problem->window - 1,
                                           0, 0, &pattern);
    if (status)
        return status;
    blocks.pattern = pattern;
    pairs.blocks = &blocks;
    pairs.causal = false;
    pairs.window = 0;
    status = clf__fused_plan_part(plan, &pairs);
    clf_pattern_free(pattern);
    return status;
}

clf_status clf__fused_complete_pattern(const clf_attention_config *config, clf_pattern *pattern)
{
    if (config->semantics != CLF_SEMANTICS_PAPER)
        return CLF_SUCCESS;
    const clf_status status = clf_pattern_keep_diagonal(pattern, 0);
    return status || !config->causal ? status : clf_pattern_make_causal(pattern, 0);
}

static clf__fused_problem problem_of(const clf_run *run)
{
    const clf_attention_config *config = clf_plan_config(clf_run_plan(run));
    return clf__fused_problem_qkv(clf_run_args(run), 0, config->dropout);
}

clf_status clf__fused_forward_pattern(clf_run *run)
{
    const clf__fused_problem problem = problem_of(run);
    return clf__fused_forward_part(run, &problem);
}

clf_status clf__fused_backward_pattern(clf_run *run)
{
    const clf__fused_problem problem = problem_of(run);
    return clf__fused_backward_part(run, &problem);
}

void clf__fused_work_pattern(const clf_args *args, const clf_pattern *pattern, int pass, clf_work *work)
{
    const int64_t heads = clf_pattern_get_info(pattern).heads;
    double sum = 0;
    int64_t pairs = 0;

    for (int64_t h = 0; h < heads && clf_pattern_count(pattern, 0, h, &pairs) == CLF_SUCCESS; h++)
        sum += (double)pairs;
    clf__fused_work(args, sum / (double)heads, pass, work);
}
