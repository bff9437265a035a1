/* The kernels' common argument list, and their -D options. */
#include "component/random.h"
#include "fused/family.h"
#include "pattern/bind.h"
#include "tensor/tensor.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static clf_tensor row_sums(const clf_buffer *buffer, uint64_t offset, const clf__fused_problem *problem)
{
    clf_tensor tensor = clf_tensor_view(buffer->mem, CLF_F32, 3, problem->q.shape);

    tensor.offset = buffer->offset + offset;
    return tensor;
}

clf_tensor clf__fused_lse(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_buffer saved = clf_run_saved(run);
    return fused->saves_lse ? row_sums(&saved, fused->lse, problem) : problem->lse;
}

clf_tensor clf__fused_delta(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_buffer workspace = clf_run_workspace(run);
    return row_sums(&workspace, fused->delta_sums, problem);
}

static void append(char *text, size_t size, const char *format, ...) CLF_PRINTF(3, 4);
static void append(char *text, size_t size, const char *format, ...)
{
    const size_t length = strlen(text);
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text + length, size - length, format, list);
    va_end(list);
}

static int mask_of(const clf_tensor *mask)
{
    if (mask->rank == 0)
        return 0;
    return mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8 ? 1 : 2 + clf__storage_number(mask->dtype);
}

/* What may become of a score (cl/prelude/change.cl). Expressions come without spaces. */
static void add_changes(const clf__fused_problem *problem, char *options, size_t size)
{
    const struct { const char *macro, *text; } snippets[] = {
        { "CLF_MASK_MOD(b,h,q,k)", problem->mask_mod },
        { "CLF_SCORE_MOD(score,b,h,q,k)", problem->score_mod },
        { "CLF_SCORE_SLOPE(score,b,h,q,k)", problem->score_mod ? problem->score_slope : NULL },
    };

    append(options, size, "%s%s", problem->softcap != 0 ? " -DCLF_SOFTCAP=1" : "",
           problem->alibi.rank > 0 ? " -DCLF_ALIBI=1" : "");
    for (size_t i = 0; i < sizeof snippets / sizeof snippets[0]; i++)
        if (snippets[i].text)
            append(options, size, " -D%s=%s", snippets[i].macro, snippets[i].text);
    for (int i = 0; i < CLF__FUSED_EXTRA; i++)
        if (problem->extra_name[i])
            append(options, size, " -DCLF_EXTRA_%d=%s -DCLF_EXTRA_%d_TYPE=%s", i, problem->extra_name[i], i,
                   problem->extra[i].dtype == CLF_I32 ? "int" : "float");
}

void clf__fused_options(const clf__fused_problem *problem, int width, int value_width, const char *more, char *options,
                        size_t size)
{
    char sequences[96];

    clf__fused_sequence_options(problem, sequences, sizeof sequences);
    (void)snprintf(options, size,
                   "-DCLF_D=%d -DCLF_E=%d -DCLF_STORAGE=%d -DCLF_RESULT=%d -DCLF_CAUSAL=%d -DCLF_MASK=%d "
                   "-DCLF_KEY_PADDING=%d -DCLF_DROPOUT=%d -DCLF_WINDOW=%d -DCLF_GROUPS=%d -DCLF_SINKS=%d %s %s",
                   width, value_width, clf__storage_number(problem->q.dtype),
                   clf__storage_number(problem->out.dtype), problem->causal,
                   mask_of(&problem->mask), problem->padding.rank > 0, problem->dropout > 0,
                   problem->causal && problem->window > 0, clf__fused_groups(problem), problem->sinks.rank > 0,
                   sequences, more);
    add_changes(problem, options, size);
}

void clf__fused_bind(clf_binder *binder, const clf_tensor *tensor)
{
    cl_long4 at = { { 0 } };

    if (tensor->rank > 0)
        at = (cl_long4){ { clf__tensor_start(tensor), tensor->strides[0], tensor->strides[1], tensor->strides[2] } };
    clf_bind_mem(binder, tensor->rank == 0 ? NULL : tensor->mem);
    clf_bind_value(binder, &at, sizeof at);
}

void clf__fused_bind_inputs(clf_binder *binder, const clf__fused_problem *problem)
{
    clf__fused_bind(binder, &problem->q);
    clf__fused_bind(binder, &problem->k);
    clf__fused_bind(binder, &problem->v);
    clf__bind_mask(binder, &problem->mask);
    clf__bind_padding(binder, &problem->padding);
}

void clf__fused_bind_shape(clf_binder *binder, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const bool known = problem->bottom_right && !clf__fused_has_sequences(problem); /* otherwise kernels add it */
    const int64_t shift = problem->shift + (known ? s.keys - s.queries : 0);
    const cl_int8 shape = { { (cl_int)s.batch, (cl_int)s.heads, (cl_int)s.queries, (cl_int)s.keys,
                              (cl_int)shift, (cl_int)s.width, (cl_int)s.value_width,
                              (cl_int)problem->window } };

    clf_bind_value(binder, &shape, sizeof shape);
    clf__fused_bind_sequences(binder, problem);
}

/* CLF_EXTRA_PARAMETERS of cl/prelude/change.cl. */
void clf__fused_bind_changes(clf_binder *binder, const clf__fused_problem *problem)
{
    const clf_tensor *alibi = &problem->alibi;

    if (problem->softcap != 0)
        clf_bind_value(binder, &problem->softcap, sizeof problem->softcap);
    if (alibi->rank > 0) {
        const cl_long2 at = { { clf__tensor_start(alibi), alibi->strides[0] } };
        const cl_int ahead = (cl_int)problem->ahead;
        clf_bind_mem(binder, alibi->mem);
        clf_bind_value(binder, &at, sizeof at);
        clf_bind_value(binder, &ahead, sizeof ahead);
    }
    for (int i = 0; i < CLF__FUSED_EXTRA; i++)
        if (problem->extra_name[i]) {
            const cl_long at = clf__tensor_start(&problem->extra[i]);
            clf_bind_mem(binder, problem->extra[i].mem);
            clf_bind_value(binder, &at, sizeof at);
        }
}

void clf__fused_bind_numbers(clf_binder *binder, const clf__fused_problem *problem)
{
    const cl_float4 factor = { { problem->scale, problem->dropout < 1 ? 1 / (1 - problem->dropout) : 0 } };
    const cl_uint8 random = { { (cl_uint)problem->seed, (cl_uint)(problem->seed >> 32), (cl_uint)problem->offset,
                                (cl_uint)(problem->offset >> 32), clf__dropout_threshold(problem->dropout) } };

    clf__fused_bind_shape(binder, problem);
    clf_bind_value(binder, &factor, sizeof factor);
    clf_bind_value(binder, &random, sizeof random);
    clf__fused_bind_changes(binder, problem);
}

void clf__fused_bind_maps(clf_binder *binder, const clf_run *run, const clf__fused *fused)
{
    const clf_buffer workspace = clf_run_workspace(run);
    const cl_long at = (cl_long)(workspace.offset + fused->scratch);

    clf_bind_mem(binder, workspace.mem);
    clf_bind_value(binder, &at, sizeof at);
}
