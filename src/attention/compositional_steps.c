/* Shapes and places of everything that compositional attention computes; see compositional_steps.h. */
#include "attention/compositional_steps.h"
#include <math.h>

steps clf__steps_of(clf_plan *plan, clf_run *run)
{
    steps s = { .plan = plan,
                .run = run,
                .config = clf_plan_config(plan),
                .state = clf_plan_state(plan, sizeof *s.state),
                .args = run ? clf_run_args(run) : clf_plan_args(plan),
                .backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0 };
    const compositional_config *c = s.config;

    if (run) {
        s.workspace = clf_run_workspace(run);
        s.saved = clf_run_saved(run);
    }
    s.batch = s.args->io[CLF_QKV_Q].shape[0];
    s.queries = s.args->io[CLF_QKV_Q].shape[2];
    s.keys = s.args->io[CLF_QKV_K].shape[2];
    s.model = c->base.dim_model;
    s.heads = c->base.num_heads;
    s.rules = c->num_rules;
    s.width = c->dim_attn / c->num_rules;
    s.selection = c->dim_selection;
    s.head = s.model / s.heads;
    s.qk = c->qk_rule;
    s.network = !c->qk_rule && c->nonlinear;
    s.linear = !c->qk_rule && !c->nonlinear;
    s.turned = c->q_compose && c->base.semantics == CLF_SEMANTICS_XFORMERS && s.batch > 1 && !s.linear;
    s.masked = s.args->io[CLF_QKV_ATT_MASK].rank > 0 || s.args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    return s;
}

/* ---- buffers ----------------------------------------------------------------------------------------- */

typedef struct form {
    int64_t   rows, columns;
    clf_dtype dtype;
} form;

static form form_of(const steps *s, step_buffer which)
{
    const int64_t q = s->batch * s->queries, k = s->batch * s->keys, rows = q * s->heads, all = s->rules * s->width;
    const clf_dtype storage = s->args->io[CLF_QKV_Q].dtype;

    switch (which) {
    case BUFFER_XQ: case BUFFER_OUT:        return (form){ q, s->model, storage };
    case BUFFER_XK: case BUFFER_XV:         return (form){ k, s->model, storage };
    case BUFFER_Q: case BUFFER_TURNED: case BUFFER_PART_Q: return (form){ q, s->heads * s->head, storage };
    case BUFFER_K: case BUFFER_PART_K:      return (form){ k, s->heads * s->head, storage };
    case BUFFER_V:                          return (form){ k, all, storage };
    case BUFFER_LSE:                        return (form){ rows, 1, CLF_F32 };
    case BUFFER_RETRIEVED: case BUFFER_D_RETRIEVED: return (form){ rows, all, storage };
    case BUFFER_SELECT: case BUFFER_D_SELECT: case BUFFER_SHIFT: case BUFFER_D_SHIFT: case BUFFER_D_TOP:
                                            return (form){ rows, s->selection, CLF_F32 };
    case BUFFER_U:                          return (form){ s->linear ? 1 : rows, s->width, CLF_F32 };
    case BUFFER_D_U:                        return (form){ rows, s->width, CLF_F32 };
    case BUFFER_HIDDEN: case BUFFER_D_HIDDEN: return (form){ rows * s->rules, s->selection, CLF_F32 };
    case BUFFER_TOP:                        return (form){ 1, s->selection, CLF_F32 };
    case BUFFER_WEIGHT: case BUFFER_D_WEIGHT: return (form){ rows, s->rules, CLF_F32 };
    case BUFFER_COMPOSED: case BUFFER_D_COMPOSED: return (form){ q, s->heads * s->width, CLF_F32 };
    case BUFFER_D_TURNED: case BUFFER_D_Q:  return (form){ q, s->heads * s->head, CLF_F32 };
    case BUFFER_PART_V:                     return (form){ k, s->heads * clf__steps_chunks(s, true)->columns, storage };
    case BUFFER_D_K:                        return (form){ k, s->heads * s->head, CLF_F32 };
    case BUFFER_D_V:                        return (form){ k, all, CLF_F32 };
    case BUFFER_SEEN_K: case BUFFER_SEEN_V: return (form){ k, 1, CLF_U8 };
    default:                                return (form){ 0, 0, CLF_F32 };
    }
}

static bool is_direct(const clf_tensor *tensor)
{
    return clf__rows_matrix(tensor).rank > 0;
}

/* Inputs and their gradients share a buffer: a gradient comes when its input has been read for the last time. */
static bool by_way(const steps *s, int slot, bool filtered)
{
    const clf_tensor *gradient = &s->args->grad[slot];
    return !is_direct(&s->args->io[slot]) ||
           (s->backward && (filtered || (gradient->rank > 0 && !is_direct(gradient))));
}

static bool exists(const steps *s, step_buffer which)
{
    switch (which) {
    case BUFFER_XQ:
        return by_way(s, CLF_QKV_Q, false);
    case BUFFER_XK:
        return by_way(s, CLF_QKV_K, s->masked);
    case BUFFER_XV:
        return by_way(s, CLF_QKV_V, s->masked);
    case BUFFER_OUT:
        return !is_direct(&s->args->io[CLF_QKV_OUT]) || (s->backward && !is_direct(&s->args->grad[CLF_QKV_OUT]));
    case BUFFER_LSE:
        return s->backward;
    case BUFFER_TURNED:
        return s->turned;
    case BUFFER_SELECT:
        return !s->linear;
    case BUFFER_U:
        return s->linear || s->qk;
    case BUFFER_SHIFT: case BUFFER_HIDDEN: case BUFFER_TOP:
        return s->network;
    case BUFFER_D_SHIFT: case BUFFER_D_HIDDEN: case BUFFER_D_TOP:
        return s->backward && s->network;
    case BUFFER_D_U:
        return s->backward && !s->network;
    case BUFFER_D_SELECT:
        return s->backward && !s->linear;
    case BUFFER_D_TURNED:
        return s->backward && s->turned;
    case BUFFER_SEEN_K: case BUFFER_SEEN_V:
        return s->backward && s->masked;
    default:
        return which <= SAVED_BUFFERS_END || s->backward;
    }
}

static bool is_saved(const steps *s, step_buffer which)
{
    return s->backward && which >= BUFFER_Q && which <= SAVED_BUFFERS_END;
}

void clf__steps_reserve(const steps *s)
{
    for (int i = 0; i < BUFFERS; i++) {
        const step_buffer which = (step_buffer)i;
        const form f = form_of(s, which);
        const uint64_t bytes = (uint64_t)f.rows * (uint64_t)f.columns * clf_dtype_size(f.dtype);
        s->state->used[i] = exists(s, which);
        if (s->state->used[i])
            s->state->at[i] = is_saved(s, which) ? clf_plan_saved(s->plan, bytes) : clf_plan_workspace(s->plan, bytes);
    }
}

clf_tensor clf__steps_buffer(const steps *s, step_buffer which)
{
    const form f = form_of(s, which);
    const clf_buffer memory = is_saved(s, which) ? s->saved : s->workspace;
    clf_tensor matrix = clf_tensor_view(memory.mem, f.dtype, 2, (const int64_t[]){ f.rows, f.columns });

    matrix.offset = memory.offset + s->state->at[which];
    return matrix;
}

clf_tensor clf__steps_heads(const steps *s, step_buffer which, int64_t rows, int64_t heads)
{
    const clf_tensor matrix = clf__steps_buffer(s, which);
    const clf_buffer memory = { .mem = matrix.mem, .offset = matrix.offset };

    return clf__rows_at(memory, 0, matrix.dtype,
                        (const int64_t[]){ s->batch, heads, rows, matrix.shape[1] / heads });
}

clf_tensor clf__steps_tokens(const steps *s, const clf_tensor *tensor, step_buffer by_way_of)
{
    const clf_tensor matrix = clf__rows_matrix(tensor);
    return matrix.rank > 0 ? matrix : clf__steps_buffer(s, by_way_of);
}

clf_tensor clf__steps_parameter(const steps *s, int place, bool gradient)
{
    clf_instance *instance = clf_plan_instance(s->plan);
    const clf_parameter *what = &clf__compositional_parameters[place];
    clf_tensor tensor = { .rank = 0 };
    int64_t shape[CLF_MAX_RANK];
    int rank = 0;

    what->shape(s->config, &rank, shape);
    if (rank > 0 && (gradient ? clf_instance_gradient(instance, what->name, &tensor)
                              : clf_instance_parameter(instance, what->name, &tensor)))
        tensor.rank = 0;
    return tensor;
}

clf_tensor clf__steps_columns(clf_tensor matrix, int64_t first, int64_t end)
{
    matrix.offset += (uint64_t)first * clf_dtype_size(matrix.dtype);
    matrix.shape[matrix.rank - 1] = end - first;
    return matrix;
}

/* ---- retrieval --------------------------------------------------------------------------------------- */

/* Columns of a matrix of `heads` heads a row (0: the same for all heads), as [B, H, N, columns]. */
static clf_tensor chunk_of(const steps *s, step_buffer which, int64_t rows, int64_t heads, int64_t first,
                           int64_t columns)
{
    const clf_tensor matrix = clf__steps_buffer(s, which);
    const int64_t all = s->rules * s->width, pitch = all * (heads > 0 ? heads : 1);
    clf_tensor view = clf_tensor_view(matrix.mem, matrix.dtype, 4,
                                      (const int64_t[]){ s->batch, s->heads, rows, columns });

    view.offset = matrix.offset + (uint64_t)first * clf_dtype_size(matrix.dtype);
    view.strides[0] = rows * pitch;
    view.strides[1] = heads > 0 ? all : 0;
    view.strides[2] = pitch;
    return view;
}

step_chunks *clf__steps_chunks(const steps *s, bool backward)
{
    return &s->state->chunks[backward && s->state->chunks[1].count > 0];
}

clf__fused_problem clf__steps_attention(const steps *s, const step_chunks *chunks, int chunk)
{
    const int64_t first = chunk * chunks->columns, all = s->rules * s->width;
    const int64_t columns = all - first < chunks->columns ? all - first : chunks->columns;
    const bool top_left = s->config->base.semantics == CLF_SEMANTICS_XFORMERS;
    clf__fused_problem p = clf__fused_problem_qkv(s->args, (float)(1 / sqrt((double)s->head)), s->config->base.dropout);

    if (p.mask.rank == 4 && p.mask.shape[1] != s->heads)
        p.mask.shape[1] = s->heads; /* the same for all heads: the stride is 0, or will be refused */
    p.q = clf__steps_heads(s, BUFFER_Q, s->queries, s->heads);
    p.k = clf__steps_heads(s, BUFFER_K, s->keys, s->heads);
    p.v = chunk_of(s, BUFFER_V, s->keys, 0, first, columns);
    p.out = chunk_of(s, BUFFER_RETRIEVED, s->queries, s->heads, first, columns);
    p.causal = s->config->base.causal;
    p.shift = top_left ? 0 : s->keys - s->queries;
    p.forward_only = chunks != clf__steps_chunks(s, true);
    p.grad_q = p.grad_k = p.grad_v = p.grad_out = p.lse = (clf_tensor){ .rank = 0 };
    if (!s->backward)
        return p;
    p.lse = clf__steps_buffer(s, BUFFER_LSE);
    p.lse.rank = 3;
    p.lse.shape[0] = s->batch;
    p.lse.shape[1] = s->heads;
    p.lse.shape[2] = s->queries;
    p.lse.strides[0] = s->heads * s->queries;
    p.lse.strides[1] = s->queries;
    p.lse.strides[2] = 1;
    p.grad_out = chunk_of(s, BUFFER_D_RETRIEVED, s->queries, s->heads, first, columns);
    p.grad_q = clf__steps_heads(s, BUFFER_PART_Q, s->queries, s->heads);
    p.grad_k = clf__steps_heads(s, BUFFER_PART_K, s->keys, s->heads);
    const clf_tensor part = clf__steps_buffer(s, BUFFER_PART_V);
    p.grad_v = clf__rows_at((clf_buffer){ .mem = part.mem, .offset = part.offset }, 0, part.dtype, p.v.shape);
    return p;
}
