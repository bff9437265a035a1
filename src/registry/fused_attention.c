/* The typed face of the part fused_attention: its struct becomes a config and arguments. */
#include "attention/fused_attention.h"
#include "component/check.h"
#include "component/plan.h"
#include "core/status.h"
#include "core/text.h"
#include <clformers/fused.h>
#include <clformers/registry.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static clf_status find(const clf_component **component)
{
    return clf_component_find(CLF_ATTENTION, "fused_attention", component);
}

/* ---- the config ------------------------------------------------------------------------------------------ */

static clf_status copy_text(char **to, const char *from)
{
    if (from && !(*to = clf__strdup(from)))
        return clf__no_memory(strlen(from) + 1);
    return CLF_SUCCESS;
}

/* "a,b,c" */
static clf_status join_names(const clf_fused_attention *p, char **to)
{
    clf__text names = { 0 };
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < CLF_FUSED_EXTRAS && p->extra_name[i]; i++)
        clf__text_add(&names, "%s%s", i ? "," : "", p->extra_name[i]);
    status = names.failed ? clf__no_memory(names.length) : copy_text(to, names.data);
    clf__text_free(&names);
    return status;
}

static clf_status check_number(const char *name, double value, double low, double high)
{
    if (value >= low && value <= high)
        return CLF_SUCCESS;
    return clf__fail(CLF_OUT_OF_RANGE, "problem.%s is %g, not in %g .. %g", name, value, low, high);
}

static clf_status check_numbers(const clf_fused_attention *p)
{
    const struct { const char *name; double value, low, high; } numbers[] = {
        { "scale", (double)p->scale, -3e38, 3e38 }, { "softcap", (double)p->softcap, 0, 3e38 },
        { "dropout", (double)p->dropout, 0, 1 }, { "alignment", (double)p->alignment, CLF_BOTTOM_RIGHT, CLF_TOP_LEFT },
        { "window_left", p->window_left, -1, 1 << 29 }, { "window_right", p->window_right, -1, 1 << 29 },
        { "max_queries", p->max_queries, 0, 1 << 30 }, { "max_keys", p->max_keys, 0, 1 << 30 },
    };
    clf_status status = CLF_SUCCESS;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !status; i++)
        status = check_number(numbers[i].name, numbers[i].value, numbers[i].low, numbers[i].high);
    return status;
}

static clf_status make_config(const clf_component *component, const clf_fused_attention *p, void **config)
{
    fused_attention_config *c;
    clf_status status = check_numbers(p);

    if (!status)
        status = clf_config_parse(&component->descriptor->config, NULL, NULL, config);
    if (status)
        return status;
    c = *config;
    c->base.causal = p->causal;
    c->base.dropout = p->dropout;
    c->causal_alignment = p->alignment == CLF_TOP_LEFT ? FUSED_TOP_LEFT : FUSED_BOTTOM_RIGHT;
    c->scale = p->scale;
    c->softcap = p->softcap;
    c->alibi = p->alibi;
    c->window_left = p->window ? p->window_left : -1;
    c->window_right = p->window ? p->window_right : -1;
    c->max_queries = p->max_queries;
    c->max_keys = p->max_keys;
    if ((status = copy_text(&c->mask_mod, p->mask_mod)) || (status = copy_text(&c->score_mod, p->score_mod)) ||
        (status = copy_text(&c->score_mod_slope, p->score_mod_slope)) || (status = join_names(p, &c->extra_names)))
        clf_config_free(&component->descriptor->config, c);
    return status;
}

/* ---- the arguments --------------------------------------------------------------------------------------- */

/* Gradients only for plans with a backward pass. */
static clf_args args_of(const clf_fused_attention *p, int passes)
{
    clf_args args = { .size = sizeof args, .training = p->dropout > 0, .seed = p->seed, .offset = p->offset };

    args.io[CLF_QKV_Q] = p->q;
    args.io[CLF_QKV_K] = p->k;
    args.io[CLF_QKV_V] = p->v;
    args.io[CLF_QKV_ATT_MASK] = p->mask;
    args.io[CLF_QKV_KEY_PADDING_MASK] = p->key_padding_mask;
    args.io[CLF_QKV_OUT] = p->out;
    args.io[CLF_QKV_LSE] = p->lse;
    args.io[FUSED_ALIBI] = p->alibi_slopes;
    args.io[FUSED_SINKS] = p->sinks;
    args.io[FUSED_Q_STARTS] = p->q_starts;
    args.io[FUSED_K_STARTS] = p->k_starts;
    args.io[FUSED_K_LENGTHS] = p->k_lengths;
    args.io[FUSED_BLOCK_TABLE] = p->block_table;
    args.io[FUSED_K_SCALES] = p->k_scales;
    args.io[FUSED_V_SCALES] = p->v_scales;
    for (int i = 0; i < FUSED_EXTRAS; i++)
        args.io[FUSED_EXTRA + i] = p->extra[i];
    if (!(passes & CLF_BACKWARD))
        return args;
    args.grad[CLF_QKV_OUT] = p->grad_out;
    args.grad[CLF_QKV_Q] = p->grad_q;
    args.grad[CLF_QKV_K] = p->grad_k;
    args.grad[CLF_QKV_V] = p->grad_v;
    args.grad[CLF_QKV_ATT_MASK] = p->grad_mask;
    args.grad[FUSED_SINKS] = p->grad_sinks;
    return args;
}

/* ---- the four calls -------------------------------------------------------------------------------------- */

static clf_status check_problem(const clf_fused_attention *given, clf_fused_attention *problem)
{
    if (!given)
        return clf__fail(CLF_INVALID_VALUE, "argument 'problem' is NULL");
    return clf__copy_sized(problem, sizeof *problem, given, given->size, "problem");
}

/* An instance with the problem's config. */
static clf_status make_instance(clf_device *device, const clf_fused_attention *p, clf_instance **instance)
{
    const clf_component *component = NULL;
    void *config = NULL;
    clf_status status = find(&component);

    if (!status)
        status = make_config(component, p, &config);
    if (status)
        return status;
    status = clf_instance_create(device, component, config, NULL, instance);
    clf_config_free(&component->descriptor->config, config);
    return status;
}

clf_status clf_fused_attention_plan(clf_device *device, const clf_fused_attention *problem,
                                    const clf_plan_options *options, clf_plan **plan)
{
    clf_fused_attention p = { 0 };
    clf_plan_options wanted = { .passes = CLF_FORWARD };
    clf_instance *instance = NULL;
    clf_status status;

    if (plan)
        *plan = NULL;
    if (!device || !plan)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !device ? "device" : "plan");
    if ((status = check_problem(problem, &p)) ||
        (options && (status = clf__copy_sized(&wanted, sizeof wanted, options, options->size, "options"))) ||
        (status = make_instance(device, &p, &instance)))
        return status;
    const clf_args args = args_of(&p, wanted.passes);
    status = clf_plan_create(instance, &args, options, plan);
    clf_instance_release(instance); /* the plan keeps it */
    return status;
}

clf_status clf_fused_attention_supported(clf_device *device, const clf_fused_attention *problem, int passes, char **why)
{
    clf_fused_attention p = { 0 };
    clf_instance *instance = NULL;
    clf__text reasons = { 0 };
    clf_status status;

    if (why)
        *why = NULL;
    if (!device)
        return clf__fail(CLF_INVALID_VALUE, "argument 'device' is NULL");
    if ((status = check_problem(problem, &p)) || (status = make_instance(device, &p, &instance)))
        return status;
    const clf_args args = args_of(&p, passes);
    status = clf__plan_ask(instance, &args, passes, &reasons);
    clf_instance_release(instance);
    if (reasons.failed)
        status = clf__no_memory(reasons.length);
    if (why && !reasons.failed) {
        *why = reasons.data;
        reasons.data = NULL;
    }
    clf__text_free(&reasons);
    return status;
}

static clf_status run(clf_plan *plan, const clf_fused_attention *problem, int pass, clf_buffer workspace,
                      clf_buffer saved, cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    const clf_component *component = NULL;
    clf_fused_attention p = { 0 };
    clf_status status = check_problem(problem, &p);

    if (!status)
        status = find(&component);
    if (status)
        return status;
    if (!plan || clf_instance_component(clf_plan_instance(plan)) != component)
        return clf__fail(CLF_INVALID_VALUE, "argument 'plan' is %s",
                         plan ? "not of clf_fused_attention_plan" : "NULL");
    const clf_args args = args_of(&p, clf_plan_passes(plan));
    if (pass == CLF_FORWARD)
        return clf_forward(plan, &args, workspace, saved, queue, n_wait, wait, event);
    return clf_backward(plan, &args, workspace, saved, queue, n_wait, wait, event);
}

clf_status clf_fused_attention_forward(clf_plan *plan, const clf_fused_attention *problem, clf_buffer workspace,
                                       clf_buffer saved, cl_command_queue queue, cl_uint n_wait, const cl_event *wait,
                                       cl_event *event)
{
    return run(plan, problem, CLF_FORWARD, workspace, saved, queue, n_wait, wait, event);
}

clf_status clf_fused_attention_backward(clf_plan *plan, const clf_fused_attention *problem, clf_buffer workspace,
                                        clf_buffer saved, cl_command_queue queue, cl_uint n_wait, const cl_event *wait,
                                        cl_event *event)
{
    return run(plan, problem, CLF_BACKWARD, workspace, saved, queue, n_wait, wait, event);
}
