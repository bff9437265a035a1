/* <clformers/fused.h>: buffers and a queue of the caller, answers without compiling, snippets that are refused. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Several tiles of every family. */
enum { HEADS = 2, QUERIES = 70, KEYS = 75, WIDTH = 8, ROWS = HEADS * KEYS * WIDTH };

typedef struct job {
    clf_device         *device;
    cl_command_queue    queue;
    clf_fused_attention problem;
    clf_buffer          workspace, saved;
    float               results[4][ROWS]; /* out, grad_q, grad_k, grad_v */
} job;

static void fill(clf_device *device, int number, int64_t rows, clf_tensor *tensor)
{
    const int64_t shape[] = { 1, HEADS, rows, WIDTH };
    float         data[ROWS];

    for (int64_t i = 0; i < HEADS * rows * WIDTH; i++)
        data[i] = (float)((i * (number + 7) + number) % 17) / 8 - 1;
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, tensor), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_write(device, tensor, data), CLF_SUCCESS);
}

static void begin(clf_device *device, job *j)
{
    cl_int status;

    memset(j, 0, sizeof *j);
    j->device = device;
    j->problem.size = sizeof j->problem;
    fill(device, 0, QUERIES, &j->problem.q);
    fill(device, 1, KEYS, &j->problem.k);
    fill(device, 2, KEYS, &j->problem.v);
    fill(device, 3, QUERIES, &j->problem.out);
    fill(device, 4, QUERIES, &j->problem.grad_out);
    fill(device, 5, QUERIES, &j->problem.grad_q);
    fill(device, 6, KEYS, &j->problem.grad_k);
    fill(device, 7, KEYS, &j->problem.grad_v);
    j->queue = clCreateCommandQueue(clf_device_context(device), clf_device_get_info(device)->device_id, 0, &status);
    cr_assert_eq(status, CL_SUCCESS);
}

static void end(job *j)
{
    clf_tensor *const tensors[] = { &j->problem.q, &j->problem.k, &j->problem.v, &j->problem.out, &j->problem.grad_out,
                                    &j->problem.grad_q, &j->problem.grad_k, &j->problem.grad_v };

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        clf_tensor_free(j->device, tensors[i]);
    clReleaseCommandQueue(j->queue);
}

static clf_buffer room(job *j, uint64_t bytes)
{
    clf_buffer buffer = { .bytes = bytes };

    if (bytes)
        cr_assert_eq(clf_pool_acquire(j->device, bytes, &buffer.mem), CLF_SUCCESS);
    return buffer;
}

/* Forward, and maybe backward, in the caller's queue. */
static void run(job *j, bool backward)
{
    const clf_plan_options options = { .size = sizeof options, .passes = backward ? CLF_FORWARD | CLF_BACKWARD : 0 };
    const clf_tensor *const results[] = { &j->problem.out, &j->problem.grad_q, &j->problem.grad_k, &j->problem.grad_v };
    clf_plan *plan = NULL;
    cl_event  done = NULL, last = NULL;

    cr_assert_eq(clf_fused_attention_plan(j->device, &j->problem, &options, &plan), CLF_SUCCESS, "%s", clf_error_message());
    const clf_plan_info info = clf_plan_get_info(plan);
    const clf_buffer    workspace = room(j, info.workspace_bytes), saved = room(j, info.saved_bytes);
    cr_assert_eq(clf_fused_attention_forward(plan, &j->problem, workspace, saved, j->queue, 0, NULL, &done), CLF_SUCCESS,
                 "%s", clf_error_message());
    if (backward)
        cr_assert_eq(clf_fused_attention_backward(plan, &j->problem, workspace, saved, j->queue, 1, &done, &last),
                     CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clWaitForEvents(1, backward ? &last : &done), CL_SUCCESS);
    for (int i = 0; i < 4; i++) {
        memset(j->results[i], 0, sizeof j->results[i]);
        cr_assert_eq(clf_tensor_read(j->device, results[i], j->results[i]), CLF_SUCCESS);
    }
    clReleaseEvent(done);
    if (last)
        clReleaseEvent(last);
    if (workspace.mem)
        clf_pool_release(j->device, workspace.mem, NULL);
    if (saved.mem)
        clf_pool_release(j->device, saved.mem, NULL);
    clf_plan_release(plan);
}

/* Packed documents by a snippet that reads a table, and the same as a mask: to the bit. */
static void check_documents(clf_device *device)
{
    static job    by_snippet, by_mask;
    static const float nothing[4];
    const int64_t length = KEYS, shape[] = { QUERIES, KEYS };
    int32_t       labels[KEYS];
    uint8_t       mask[QUERIES * KEYS];

    for (int i = 0; i < KEYS; i++)
        labels[i] = (i / 5) << 26; /* more than a float tells apart */
    for (int i = 0; i < QUERIES * KEYS; i++)
        mask[i] = labels[i / KEYS] == labels[i % KEYS];
    begin(device, &by_snippet);
    by_snippet.problem.mask_mod = "@document(labels)";
    by_snippet.problem.extra_name[0] = "labels";
    cr_assert_eq(clf_tensor_alloc(device, CLF_I32, 1, &length, &by_snippet.problem.extra[0]), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(device, &by_snippet.problem.extra[0], labels), CLF_SUCCESS);
    run(&by_snippet, true);
    begin(device, &by_mask);
    cr_assert_eq(clf_tensor_alloc(device, CLF_U8, 2, shape, &by_mask.problem.mask), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(device, &by_mask.problem.mask, mask), CLF_SUCCESS);
    run(&by_mask, true);
    for (int i = 0; i < 4; i++) {
        cr_expect_arr_eq(by_snippet.results[i], by_mask.results[i], sizeof by_mask.results[i], "%s: result %d",
                         clf_device_get_info(device)->name, i);
        cr_expect(memcmp(by_snippet.results[i], nothing, sizeof nothing) != 0, "result %d is 0", i);
    }
    clf_tensor_free(device, &by_snippet.problem.extra[0]);
    clf_tensor_free(device, &by_mask.problem.mask);
    end(&by_snippet);
    end(&by_mask);
}

Test(fused, documents)
{
    for_each_device(check_documents);
}

static void expect_unsupported(const clf_fused_attention *problem, clf_device *device, const char *reason)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };
    clf_plan  *plan = NULL;
    const clf_status status = clf_fused_attention_plan(device, problem, &options, &plan);

    cr_expect_neq(status, CLF_SUCCESS, "planned, without: %s", reason);
    cr_expect_null(plan);
    cr_expect(strstr(clf_error_message(), reason), "'%s' is not in: %s", reason, clf_error_message());
    clf_plan_release(plan);
}

Test(fused, refused_snippets)
{
    static const struct { const char *mask_mod, *score_mod, *slope, *name, *reason; } wrong[] = {
        { "k<=q; return 1", NULL, NULL, NULL, "character 5, code 59" },
        { "k<=q\n", NULL, NULL, NULL, "code 10" },
        { "k<=\"q\"", NULL, NULL, NULL, "code 34" },
        { "k<=q\\", NULL, NULL, NULL, "code 92" },
        { "#k", NULL, NULL, NULL, "code 35" },
        { "{k<=q}", NULL, NULL, NULL, "code 123" },
        { "k<=(q", NULL, NULL, NULL, "never closed" },
        { "k<=q)", NULL, NULL, NULL, "closes nothing" },
        { "(k<=q]", NULL, NULL, NULL, "closes nothing" },
        { "k<=q,1", NULL, NULL, NULL, "comma" },
        { "k=q", NULL, NULL, NULL, "would change a variable" },
        { "(k+=q)>0", NULL, NULL, NULL, "would change a variable" },
        { "k<=q--", NULL, NULL, NULL, "'--'" },
        { "k<=q//", NULL, NULL, NULL, "'//'" },
        { "k<=q/*", NULL, NULL, NULL, "'/*'" },
        { "k<q<%1", NULL, NULL, NULL, "'<%'" },
        { "k & &q", NULL, NULL, NULL, "between two operators" },
        { "k q", NULL, NULL, NULL, "between two words" },
        { "", NULL, NULL, NULL, "empty" },
        { "return k", NULL, NULL, NULL, "between two words" },
        { "(return)", NULL, NULL, NULL, "'return'" },
        { "barrier(1)", NULL, NULL, NULL, "'barrier'" },
        { "atomic_inc(t)", NULL, NULL, NULL, "'atomic_inc'" },
        { "__x(k)", NULL, NULL, NULL, "'__x'" },
        { "@nothing", NULL, NULL, NULL, "there is no '@nothing'" },
        { "@prefix_lm", NULL, NULL, NULL, "@prefix_lm(prefix)" },
        { "@prefix_lm(1,2)", NULL, NULL, NULL, "@prefix_lm(prefix)" },
        { "@prefix_lm(1,)", NULL, NULL, NULL, "@prefix_lm(prefix)" },
        { "@prefix_lm((1)", NULL, NULL, NULL, "@prefix_lm(prefix)" },
        { "@softcap(30)", NULL, NULL, NULL, "'@softcap' is not a mask_mod" },
        { NULL, "@causal", NULL, NULL, "'@causal' is not a score_mod" },
        { NULL, NULL, "1", NULL, "'score_mod' is not" },
        { NULL, "score*2", NULL, NULL, "score_mod_slope" },
        { NULL, NULL, NULL, "k", "'k' is taken" },
        { NULL, NULL, NULL, "clf_x", "'clf_x' is taken" },
        { NULL, NULL, NULL, "a b", "a name has" },
        { NULL, NULL, NULL, "table", "'extra_0' is missing" },
    };
    clf_device *device = NULL;
    static job  j;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS);
    begin(device, &j);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        clf_fused_attention problem = j.problem;
        problem.mask_mod = wrong[i].mask_mod;
        problem.score_mod = wrong[i].score_mod;
        problem.score_mod_slope = wrong[i].slope;
        problem.extra_name[0] = wrong[i].name;
        expect_unsupported(&problem, device, wrong[i].reason);
    }
    end(&j);
    clf_device_release(device);
}

/* What the compiler says names the snippet. */
static void check_compiler(clf_device *device)
{
    static job j;

    begin(device, &j);
    j.problem.mask_mod = "k<=unheard_of";
    expect_unsupported(&j.problem, device, "unheard_of");
    cr_expect(strstr(clf_error_message(), "mask_mod 'k<=unheard_of'"), "%s", clf_error_message());
    cr_expect(strstr(clf_error_message(), "prelude/mask_mod.cl"), "%s", clf_error_message());
    end(&j);
}

Test(fused, compiler_names_the_snippet)
{
    for_each_device(check_compiler);
}

Test(fused, bad_arguments)
{
    clf_device *device = NULL;
    clf_plan   *plan = NULL;
    static job  j;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS);
    begin(device, &j);
    cr_expect_eq(clf_fused_attention_plan(NULL, &j.problem, NULL, &plan), CLF_INVALID_VALUE);
    cr_expect_eq(clf_fused_attention_plan(device, NULL, NULL, &plan), CLF_INVALID_VALUE);
    cr_expect_eq(clf_fused_attention_plan(device, &j.problem, NULL, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_fused_attention_forward(NULL, &j.problem, j.workspace, j.saved, NULL, 0, NULL, NULL), CLF_INVALID_VALUE);
    j.problem.size = 1 << 20;
    cr_expect_eq(clf_fused_attention_plan(device, &j.problem, NULL, &plan), CLF_INVALID_VALUE);
    j.problem.size = sizeof j.problem;
    j.problem.softcap = -1;
    expect_unsupported(&j.problem, device, "problem.softcap is -1");
    j.problem.softcap = NAN;
    expect_unsupported(&j.problem, device, "problem.softcap is nan");
    j.problem.softcap = 0;
    j.problem.window = true;
    j.problem.window_left = -2;
    expect_unsupported(&j.problem, device, "problem.window_left is -2");
    end(&j);
    clf_device_release(device);
}

/* Every family answers, and nothing is compiled for it. */
Test(fused, supported)
{
    clf_device *device = NULL;
    char       *why = NULL;
    static job  j;

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS);
    begin(device, &j);
    j.problem.mask_mod = "k<=unheard_of"; /* nobody compiles it */
    cr_expect_eq(clf_fused_attention_supported(device, &j.problem, CLF_FORWARD, &why), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_not_null(why);
    for (const char *const *name = (const char *const[]){ "vector: ", "portable: ", "nvidia_mma: ", "reference: ", NULL };
         *name; name++)
        cr_expect(strstr(why, *name), "no '%s' in %s", *name, why);
    cr_expect(strstr(why, ": yes\n"), "%s", why);
    clf_free(why);
    j.problem.mask_mod = ";";
    cr_expect_eq(clf_fused_attention_supported(device, &j.problem, CLF_FORWARD, &why), CLF_UNSUPPORTED);
    cr_expect(why && strstr(why, "code 59"), "%s", why ? why : "NULL");
    clf_free(why);
    end(&j);
    clf_device_release(device);
}
