/* scaled_dot_product by parts: two matrix products and a softmax between them that takes one pass over a row. The
 * matrix of scores lies in memory. On the host by OpenBLAS, on the device by one of ops/gemm's providers. */
#include "ops/gemm.h"
#include "peers.h"
#include "tensor/tensor.h"

#include <math.h>

/* ---- on the host: a task is some rows of a head ------------------------------------------------ */

static void attend(const peer_problem *p, int task, float *scores)
{
    const int block = task % peer_blocks(p), rows = peer_rows_of(p, block), d = p->width, n = p->length;
    const size_t head = (size_t)(task / peer_blocks(p)) * (size_t)n * (size_t)d;
    const size_t at = head + (size_t)block * PEER_ROWS * (size_t)d;

    peer_gemm(TURN_B, rows, n, d, p->scale, p->q + at, d, p->k + head, d, 0, scores, n);
    peer_softmax(scores, rows, n, n);
    peer_gemm(PLAIN, rows, d, n, 1, scores, n, p->v + head, d, 0, p->out + at, d);
}

static size_t scores_size(const peer_problem *p)
{
    return PEER_ROWS * (size_t)p->length;
}

const peer peer_exact;
const peer peer_exact = {
    .part = "scaled_dot_product", .form = "OpenBLAS + softmax", .scratch = scores_size,
    .stages = { { peer_blocks_of_heads, attend } }
};

/* ---- on the device ----------------------------------------------------------------------------- */

typedef struct decomposed_config {
    clf_attention_config base;
    const char          *provider;
} decomposed_config;

static const clf_field decomposed_fields[] = {
    CLF_ATTENTION_FIELDS(decomposed_config), CLF_STRING(decomposed_config, provider, NULL, .doc = "of both products"),
    CLF_FIELDS_END
};

/* A work-item for each row, which stays in the cache. */
static const clf_source sources[] = {
    { "decomposed/softmax.cl",
      "#define CLF_LANES 16\n"
      "#include \"prelude/math.cl\"\n"
      "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\n"
      "void clf_decomposed_softmax(__global float *scores, ulong at, int columns, float scale)\n"
      "{\n"
      "    scores += at + get_global_id(0) * columns;\n"
      "    float16 top = (float16)(-INFINITY), sum = (float16)(0.0f);\n"
      "    int n = 0;\n"
      "    for (; n + 16 <= columns; n += 16)\n"
      "        top = clf_max(vload16(0, scores + n), top);\n"
      "    float most = clf_max16(top), rest = 0.0f;\n"
      "    for (; n < columns; n++)\n"
      "        most = max(most, scores[n]);\n"
      "    for (n = 0; n + 16 <= columns; n += 16) {\n"
      "        const float16 p = clf_exp2((vload16(0, scores + n) - most) * (scale * CLF_LOG2E));\n"
      "        vstore16(p, 0, scores + n);\n"
      "        sum += p;\n"
      "    }\n"
      "    for (int i = n; i < columns; i++)\n"
      "        rest += scores[i] = exp2((scores[i] - most) * (scale * CLF_LOG2E));\n"
      "    const float inverse = 1.0f / (clf_sum16(sum) + rest);\n"
      "    for (n = 0; n < columns; n++)\n"
      "        scores[n] *= inverse;\n"
      "}\n" },
    { NULL, NULL }
};

typedef struct decomposed_state {
    clf__gemm_choice product[2];
    cl_kernel        softmax;
    uint64_t         scores; /* place in the workspace */
} decomposed_state;

/* Scores [B, H, Nq, Nk] = q k^T, and out = scores v. */
static clf__gemm_problem problem_of(const clf_plan *plan, const clf_args *args, const decomposed_state *s,
                                    clf_buffer workspace, int i)
{
    const decomposed_config *config = clf_plan_config(plan);
    const clf_tensor *io = args->io;
    const int64_t    *q = io[CLF_QKV_Q].shape, keys = io[CLF_QKV_K].shape[2];
    const clf_tensor  scores = { .mem = workspace.mem, .offset = workspace.offset + s->scores, .dtype = CLF_F32, .rank = 4,
                                 .shape = { q[0], q[1], q[2], keys },
                                 .strides = { q[1] * q[2] * keys, q[2] * keys, keys, 1 } };

    return i == 0 ? (clf__gemm_problem){ .a = io[CLF_QKV_Q], .b = clf__gemm_transposed(&io[CLF_QKV_K]), .c = scores,
                                         .alpha = 1, .provider = config->provider }
                  : (clf__gemm_problem){ .a = scores, .b = io[CLF_QKV_V], .c = io[CLF_QKV_OUT], .alpha = 1,
                                         .provider = config->provider };
}

static clf_status decomposed_plan(clf_plan *plan)
{
    const clf_args   *args = clf_plan_args(plan);
    const int64_t    *q = args->io[CLF_QKV_Q].shape;
    decomposed_state *s = clf_plan_state(plan, sizeof *s);
    clf_status        status = s ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;

    if (!status)
        s->scores = clf_plan_workspace(plan, sizeof(float) * (uint64_t)(q[0] * q[1] * q[2] * args->io[CLF_QKV_K].shape[2]));
    for (int i = 0; i < 2 && !status; i++) {
        const clf__gemm_problem problem = problem_of(plan, args, s, (clf_buffer){ 0 }, i);
        status = clf__gemm_plan(plan, &problem, &s->product[i]);
    }
    return status ? status : clf_plan_kernel(plan, "decomposed/softmax.cl", "", "clf_decomposed_softmax", &s->softmax);
}

static clf_status decomposed_forward(clf_run *run)
{
    const clf_plan         *plan = clf_run_plan(run);
    const clf_args         *args = clf_run_args(run);
    const decomposed_state *s = clf_plan_state(clf_run_plan(run), 0);
    const int64_t          *q = args->io[CLF_QKV_Q].shape;
    const clf__gemm_problem first = problem_of(plan, args, s, clf_run_workspace(run), 0);
    const clf__gemm_problem last = problem_of(plan, args, s, clf_run_workspace(run), 1);
    const size_t            rows = (size_t)(q[0] * q[1] * q[2]), one = 1;
    const cl_ulong          at = (cl_ulong)clf__tensor_start(&first.c);
    const cl_int            columns = (cl_int)args->io[CLF_QKV_K].shape[2];
    const float             scale = 1 / sqrtf((float)q[3]);
    clf_binder              binder = clf_bind(s->softmax);
    clf_status              status = clf__gemm(run, &s->product[0], &first);

    clf_bind_mem(&binder, first.c.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &columns, sizeof columns);
    clf_bind_value(&binder, &scale, sizeof scale);
    if (!status)
        status = clf_launch(run, &binder, 1, &rows, &one);
    return status ? status : clf__gemm(run, &s->product[1], &last);
}

static const clf_descriptor descriptor = {
    .summary = "exact attention by two matrix products and a softmax",
    .config = CLF_SCHEMA(decomposed_config, decomposed_fields),
    .programs = { "decomposed/softmax.cl" },
    .io = clf_attention_io_qkv,
    .plan = decomposed_plan,
    .forward = decomposed_forward,
};
static const clf_component decomposed = { sizeof descriptor, CLF_ATTENTION, "decomposed", &descriptor, sources };

const peer peer_exact_products, peer_exact_clblast;
const peer peer_exact_products = { .part = "scaled_dot_product", .form = "our products + softmax",
                                   .rival = &decomposed, .rival_config = "{\"provider\": \"vector\"}" };
const peer peer_exact_clblast = { .part = "scaled_dot_product", .form = "CLBlast + softmax",
                                  .rival = &decomposed, .rival_config = "{\"provider\": \"clblast\"}" };
