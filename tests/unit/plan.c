/* Planning: what is refused before a part sees it, and what a part is shown. */
#include "toy.h"
#include <criterion/criterion.h>

static clf_device   *device;
static clf_instance *instance;

static void open_device(void)
{
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &instance), CLF_SUCCESS, "%s", clf_error_message());
}

static void close_device(void)
{
    clf_instance_release(instance);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
    clf_device_release(device);
}

TestSuite(plan, .init = open_device, .fini = close_device);

static void refuse_as(const clf_component *component, const char *json, clf_args args, int passes, clf_status wanted,
                      const char *message)
{
    const clf_plan_options options = { .size = sizeof options, .passes = passes };
    clf_instance *other = NULL;
    clf_plan *plan = NULL;
    const int planned = toy_planned;

    cr_assert_eq(toy_instance(device, component, json, NULL, &other), CLF_SUCCESS, "%s", clf_error_message());
    const clf_status status = clf_plan_create(other, &args, &options, &plan);
    cr_expect_eq(status, wanted, "%s, not %s: %s", clf_status_name(status), clf_status_name(wanted),
                 clf_error_message());
    cr_expect(strstr(clf_error_message(), message) != NULL, "'%s' lacks '%s'", clf_error_message(), message);
    cr_expect_null(plan);
    cr_expect_eq(toy_planned, planned, "the part was asked");
    clf_plan_release(plan);
    clf_instance_release(other);
}

static void refuse(clf_args args, clf_status wanted, const char *message)
{
    refuse_as(&toy, "{}", args, CLF_FORWARD, wanted, message);
}

Test(plan, missing_and_unexpected_tensors)
{
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_K].rank = 0;
    refuse(args, CLF_MISSING_TENSOR, "argument 'k' is missing: keys");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_OUT].rank = 0;
    refuse(args, CLF_MISSING_TENSOR, "argument 'out' is missing");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[7] = shape4(1, 1, 1, 1);
    refuse(args, CLF_UNKNOWN_TENSOR, "argument 7 is given, but toy has only 7 tensors");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.size = 0;
    refuse(args, CLF_INVALID_VALUE, "args.size is 0");
    args.size = sizeof args + 8;
    refuse(args, CLF_INVALID_VALUE, "args.size is");
}

Test(plan, ranks_and_shapes)
{
    const int64_t shape[5] = { 2, 3, 4, 5, 6 };
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_Q] = clf_tensor_view(NULL, CLF_F32, 3, shape);
    refuse(args, CLF_INVALID_RANK, "argument 'q': rank is 3, not 4 (axes BHQD)");
    args.io[CLF_QKV_Q] = clf_tensor_view(NULL, CLF_F32, 5, shape);
    refuse(args, CLF_INVALID_RANK, "argument 'q': rank is 5");
    args.io[CLF_QKV_Q].rank = -1;
    refuse(args, CLF_INVALID_RANK, "argument 'q'");
    args.io[CLF_QKV_Q].rank = 6;
    refuse(args, CLF_INVALID_RANK, "argument 'q'");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_V] = shape4(2, 3, 9, 7);
    refuse(args, CLF_INVALID_SHAPE, "argument 'v': axis 2 (K) is 9, but 5 in 'k'");
    args.io[CLF_QKV_V] = shape4(1, 3, 5, 7);
    refuse(args, CLF_INVALID_SHAPE, "argument 'v': axis 0 (B) is 1, but 2 in 'q'");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_Q].shape[0] = -2;
    refuse(args, CLF_INVALID_SHAPE, "argument 'q'");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_U8, 4, (int64_t[]){ 2, 2, 4, 5 });
    refuse(args, CLF_INVALID_SHAPE, "argument 'att_mask': axis 1 (H) is 2, but 3 in 'q'");
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_U8, 3, (int64_t[]){ 3, 4, 5 });
    refuse(args, CLF_INVALID_SHAPE, "argument 'att_mask': axis 0 (B) is 3, but 2 in 'q'");
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_U8, 3, (int64_t[]){ 4, 4, 5 });
    refuse_as(&toy, "{\"semantics\": \"xformers\"}", args, CLF_FORWARD, CLF_INVALID_SHAPE,
              "4 masks cannot be tiled over 6");
}

Test(plan, dtypes)
{
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_K].dtype = CLF_I32;
    refuse(args, CLF_INVALID_DTYPE, "argument 'k': dtype is I32, not F32, F16 or BF16");
    args.io[CLF_QKV_K].dtype = CLF_F16;
    refuse(args, CLF_INVALID_DTYPE, "argument 'k': dtype is F16, but 'q' is F32");
    args.io[CLF_QKV_K].dtype = (clf_dtype)77;
    refuse(args, CLF_INVALID_DTYPE, "argument 'k'");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_I32, 2, (int64_t[]){ 4, 5 });
    refuse(args, CLF_INVALID_DTYPE, "argument 'att_mask': dtype is I32, not BOOL, U8, F32, F16 or BF16");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_KEY_PADDING_MASK] = clf_tensor_view(NULL, CLF_F32, 2, (int64_t[]){ 2, 5 });
    refuse(args, CLF_INVALID_DTYPE, "argument 'key_padding_mask': dtype is F32, not BOOL or U8");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_LSE] = clf_tensor_view(NULL, CLF_F16, 3, (int64_t[]){ 2, 3, 4 });
    refuse(args, CLF_INVALID_DTYPE, "argument 'lse': dtype is F16, not F32");
}

Test(plan, strides)
{
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_Q].strides[3] = 2;
    refuse(args, CLF_INVALID_STRIDE, "argument 'q': the last stride is 2, it must be 1");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_OUT].strides[2] = 3;
    refuse(args, CLF_INVALID_STRIDE, "argument 'out': its strides give several elements the same memory");
    args.io[CLF_QKV_OUT].strides[2] = -7;
    refuse(args, CLF_INVALID_STRIDE, "argument 'out'");
    args = toy_args(2, 3, 4, 5, 6, 7);
    args.io[CLF_QKV_Q].offset = 3;
    refuse(args, CLF_INVALID_VALUE, "argument 'q': offset 3");
}

Test(plan, gradients)
{
    const int both = CLF_FORWARD | CLF_BACKWARD;
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    refuse_as(&toy, "{}", args, both, CLF_MISSING_TENSOR, "argument 'grad.out' is missing: backward needs it");
    args.grad[CLF_QKV_OUT] = args.io[CLF_QKV_OUT];
    refuse(args, CLF_INVALID_VALUE, "argument 'grad.out' is given, but CLF_BACKWARD is not among the passes");
    args.grad[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_F32, 2, (int64_t[]){ 4, 5 });
    refuse_as(&toy, "{}", args, both, CLF_UNSUPPORTED, "argument 'grad.att_mask': no gradient goes through 'att_mask'");
    args.grad[CLF_QKV_ATT_MASK].rank = 0;
    args.grad[CLF_QKV_Q] = shape4(2, 3, 4, 9);
    refuse_as(&toy, "{}", args, both, CLF_INVALID_SHAPE, "argument 'grad.q': axis 3 is 9, but 6 in 'q'");
    args.grad[CLF_QKV_Q] = args.io[CLF_QKV_Q];
    args.grad[CLF_QKV_Q].strides[0] = 0;
    refuse_as(&toy, "{}", args, both, CLF_INVALID_STRIDE, "argument 'grad.q': its strides give several elements");
    args.grad[CLF_QKV_Q] = args.io[CLF_QKV_Q];
    args.grad[CLF_QKV_Q].dtype = CLF_F16;
    refuse_as(&toy, "{}", args, both, CLF_INVALID_DTYPE, "argument 'grad.q': dtype is F16, but 'q' is F32");
    args.grad[CLF_QKV_Q] = clf_tensor_view(NULL, CLF_F32, 2, (int64_t[]){ 4, 9 });
    refuse_as(&toy, "{}", args, both, CLF_INVALID_RANK, "argument 'grad.q': rank is 2, but 'q' has 4");
    refuse_as(&toy, "{}", args, CLF_BACKWARD, CLF_INVALID_VALUE, "options.passes is 2");
    refuse_as(&toy, "{}", args, 8, CLF_INVALID_VALUE, "options.passes is 8");
}

Test(plan, traits)
{
    clf_args args = toy_args(2, 3, 4, 5, 6, 6);
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED,
              "bare needs as many queries as keys: there are 4 queries and 5 keys");
    args = toy_args(2, 3, 5, 5, 6, 7);
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED,
              "bare needs values as wide as the keys: widths are 7 and 6");
    args = toy_args(2, 3, 5, 5, 6, 6);
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_U8, 2, (int64_t[]){ 5, 5 });
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED,
              "bare does not support an attention mask: argument 'att_mask' is given");
    args.io[CLF_QKV_ATT_MASK].rank = 0;
    args.io[CLF_QKV_KEY_PADDING_MASK] = clf_tensor_view(NULL, CLF_U8, 2, (int64_t[]){ 2, 5 });
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED, "bare does not support a key padding mask");
    args.io[CLF_QKV_KEY_PADDING_MASK].rank = 0;
    args.io[CLF_QKV_LSE] = clf_tensor_view(NULL, CLF_F32, 3, (int64_t[]){ 2, 3, 5 });
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED, "bare does not support the log-sum-exp");
    args.io[CLF_QKV_LSE].rank = 0;
    for (int i = 0; i < CLF_QKV_LSE; i++)
        args.io[i].dtype = CLF_F16;
    refuse_as(&bare, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED, "bare works in F32 only: argument 'q' is F16");
    args = toy_args(2, 3, 5, 5, 6, 6);
    refuse_as(&square, "{}", args, CLF_FORWARD, CLF_UNSUPPORTED,
              "square needs a square image: the sequence has 5 entries");
}

Test(plan, arguments)
{
    const clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    const clf_plan_options sizeless = { .passes = CLF_FORWARD };
    clf_plan *plan = NULL;
    cr_expect_eq(clf_plan_create(NULL, &args, NULL, &plan), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plan_create(instance, NULL, NULL, &plan), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plan_create(instance, &args, NULL, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plan_create(instance, &args, &sizeless, &plan), CLF_INVALID_VALUE);
    clf_plan_release(NULL);
}

Test(plan, families_and_reasons)
{
    const clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    clf_plan_options options = { .size = sizeof options, .family = "simple" };
    clf_plan *plan = NULL;
    cr_assert_eq(clf_plan_create(instance, &args, &options, &plan), CLF_SUCCESS, "%s", clf_error_message());
    const clf_plan_info info = clf_plan_get_info(plan);
    cr_expect_eq(info.size, sizeof info);
    cr_expect_str_eq(info.family, "simple");
    cr_expect_str_eq(info.reasons, "better: not on this device");
    cr_expect_eq(info.workspace_bytes, 256 + 4 * 2 * 3 * 4 * 7);
    cr_expect_eq(info.saved_bytes, 0);
    cr_expect_eq(((const toy_config *)clf_plan_config(plan))->computed, 105, "resolved for the problem");
    cr_expect_eq(((const toy_config *)clf_instance_config(instance))->computed, 1);
    clf_plan_release(plan);

    options.family = "better";
    cr_expect_eq(clf_plan_create(instance, &args, &options, &plan), CLF_UNSUPPORTED);
    cr_expect(strstr(clf_error_message(), "family 'better' was asked for, only 'simple' can") != NULL);
    toy_refuses = true;
    cr_expect_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_UNSUPPORTED);
    cr_expect_str_eq(clf_error_message(), "toy: nothing can do 4 queries (better: not on this device)");
    toy_refuses = false;
}

/* A plan keeps its instance, and the instance its device. */
Test(plan, lifetimes)
{
    const clf_args args = toy_args(1, 1, 1, 1, 1, 1);
    clf_instance *other = NULL;
    clf_plan *plan = NULL;
    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &other), CLF_SUCCESS);
    cr_assert_eq(clf_plan_create(other, &args, NULL, &plan), CLF_SUCCESS);
    clf_instance_release(other);
    cr_expect_eq(clf_plan_instance(plan), other);
    cr_expect_eq(clf_instance_component(clf_plan_instance(plan)), &toy);
    clf_plan_release(plan);
}

static const clf_tensor *seen_mask(const char *json, clf_dtype dtype, int rank, const int64_t *shape)
{
    clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    clf_instance *other = NULL;
    clf_plan *plan = NULL;
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, dtype, rank, shape);
    cr_assert_eq(toy_instance(device, &toy, json, NULL, &other), CLF_SUCCESS);
    cr_assert_eq(clf_plan_create(other, &args, NULL, &plan), CLF_SUCCESS, "%s", clf_error_message());
    clf_plan_release(plan);
    clf_instance_release(other);
    return &toy_seen.io[CLF_QKV_ATT_MASK];
}

static void expect_strides(const clf_tensor *tensor, int64_t s0, int64_t s1, int64_t s2, int64_t s3)
{
    const int64_t shape[4] = { 2, 3, 4, 5 }, strides[4] = { s0, s1, s2, s3 };
    cr_expect_eq(tensor->rank, 4);
    for (int d = 0; d < 4; d++) {
        cr_expect_eq(tensor->shape[d], shape[d], "extent %d is %d", d, (int)tensor->shape[d]);
        cr_expect_eq(tensor->strides[d], strides[d], "stride %d is %d", d, (int)tensor->strides[d]);
    }
}

/* Parts see broadcast tensors at full rank. */
Test(plan, broadcast)
{
    static const char xformers[] = "{\"semantics\": \"xformers\"}";
    expect_strides(seen_mask("{}", CLF_U8, 4, (int64_t[]){ 2, 3, 4, 5 }), 60, 20, 5, 1);
    expect_strides(seen_mask("{}", CLF_F32, 4, (int64_t[]){ 1, 3, 1, 5 }), 0, 5, 0, 1);
    expect_strides(seen_mask("{}", CLF_BOOL8, 2, (int64_t[]){ 4, 5 }), 0, 0, 5, 1);
    expect_strides(seen_mask("{}", CLF_BF16, 1, (int64_t[]){ 5 }), 0, 0, 0, 1);
    expect_strides(seen_mask("{}", CLF_U8, 3, (int64_t[]){ 2, 4, 5 }), 20, 0, 5, 1); /* item b for all its heads */
    expect_strides(seen_mask(xformers, CLF_U8, 3, (int64_t[]){ 6, 4, 5 }), 60, 20, 5, 1);
    expect_strides(seen_mask(xformers, CLF_U8, 3, (int64_t[]){ 1, 4, 5 }), 0, 0, 5, 1);
    expect_strides(seen_mask(xformers, CLF_U8, 2, (int64_t[]){ 4, 5 }), 0, 0, 5, 1);
    const clf_tensor *tiled = seen_mask(xformers, CLF_U8, 3, (int64_t[]){ 2, 4, 5 });
    cr_expect_eq(tiled->rank, 3, "matrix (3 b + h) mod 2 has no strides");
    cr_expect_eq(tiled->shape[0], 2);
}

Test(plan, workspace_beyond_the_device)
{
    const clf_args args = toy_args(1 << 20, 1 << 10, 1 << 10, 1, 1, 1);
    clf_plan *plan = NULL;
    cr_expect_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_OUT_OF_DEVICE_MEMORY);
    cr_expect(strstr(clf_error_message(), "needs a workspace of 4398046511360 bytes") != NULL, "%s",
              clf_error_message());
}

/* Constants of a plan: copied, readable, gone with the plan and not before. */
Test(plan, constants)
{
    const clf_args args = toy_args(2, 3, 4, 5, 6, 7);
    clf_plan *plan = NULL;
    cl_mem mem[20] = { NULL };
    cl_uint references = 0;
    float values[3] = { 1, 2, 3 };

    cr_assert_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < 20; i++) {
        values[0] = (float)i;
        cr_assert_eq(clf_plan_constant(plan, values, sizeof values, &mem[i]), CLF_SUCCESS, "%s", clf_error_message());
    }
    cr_expect_eq(clf_plan_constant(plan, NULL, 4, &mem[0]), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plan_constant(plan, values, 0, &mem[0]), CLF_INVALID_VALUE);
    cr_assert_eq(clEnqueueReadBuffer(clf_device_queue(device), mem[7], CL_TRUE, 0, sizeof values, values, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_expect_eq(values[0], 7);
    cr_expect_eq(values[2], 3);
    cr_assert_eq(clRetainMemObject(mem[7]), CL_SUCCESS);
    clf_plan_release(plan);
    cr_assert_eq(clGetMemObjectInfo(mem[7], CL_MEM_REFERENCE_COUNT, sizeof references, &references, NULL), CL_SUCCESS);
    cr_expect_eq(references, 1);
    clReleaseMemObject(mem[7]);
}
