/* Parts over the table clf_attention_io_qkv that add nothing to fused attention but an order. */
#include "fused/fused.h"
#include "tensor/tensor.h"
#include <math.h>

clf__fused_problem clf__fused_problem_qkv(const clf_args *args, float scale, float dropout)
{
    return (clf__fused_problem){
        .q = args->io[CLF_QKV_Q],
        .k = args->io[CLF_QKV_K],
        .v = args->io[CLF_QKV_V],
        .out = args->io[CLF_QKV_OUT],
        .lse = args->io[CLF_QKV_LSE],
        .mask = args->io[CLF_QKV_ATT_MASK],
        .padding = args->io[CLF_QKV_KEY_PADDING_MASK],
        .grad_out = args->grad[CLF_QKV_OUT],
        .grad_q = args->grad[CLF_QKV_Q],
        .grad_k = args->grad[CLF_QKV_K],
        .grad_v = args->grad[CLF_QKV_V],
        .scale = scale != 0 ? scale : (float)(1 / sqrt((double)args->io[CLF_QKV_Q].shape[3])),
        .dropout = args->training ? dropout : 0,
        .seed = args->seed,
        .offset = args->offset,
    };
}

clf_status clf__fused_plan_part(clf_plan *plan, const clf__fused_problem *problem)
{
    clf__fused *fused = clf_plan_state(plan, sizeof *fused);

    return fused ? clf__fused_plan(plan, problem, fused) : CLF_OUT_OF_HOST_MEMORY;
}

clf_status clf__fused_forward_part(clf_run *run, const clf__fused_problem *problem)
{
    const clf__fused *fused = clf_plan_state(clf_run_plan(run), sizeof *fused);

    return clf__fused_forward(run, fused, problem);
}

clf_status clf__fused_backward_part(clf_run *run, const clf__fused_problem *problem)
{
    const clf__fused *fused = clf_plan_state(clf_run_plan(run), sizeof *fused);

    return clf__fused_backward(run, fused, problem);
}

void clf__fused_work(const clf_args *args, double pairs, int pass, clf_work *work)
{
    const int64_t *q = args->io[CLF_QKV_Q].shape, *v = args->io[CLF_QKV_V].shape;

    work->flops = 2 * (double)q[0] * (double)q[1] * pairs * (double)(q[3] + v[3]) * (pass == CLF_BACKWARD ? 2.5 : 1);
    work->bytes = 0;
    for (int i = 0; i <= CLF_QKV_LSE; i++)
        work->bytes += (double)clf__tensor_bytes(&args->io[i]) +
                       (pass == CLF_BACKWARD ? (double)clf__tensor_bytes(&args->grad[i]) : 0);
}
