#include <clformers/clformers.h>
#include <stdio.h>

enum { HEADS = 2, ROWS = 64, WIDTH = 32 };

/* Packed documents, causal inside each, on buffers and in a queue of the caller. */
int main(void)
{
    static float        data[HEADS * ROWS * WIDTH];
    static int32_t      labels[ROWS]; /* which document a row belongs to */
    const int64_t       shape[] = { 1, HEADS, ROWS, WIDTH }, rows = ROWS;
    clf_fused_attention problem = { .size = sizeof problem };
    clf_tensor *const   tensors[] = { &problem.q, &problem.k, &problem.v, &problem.out };
    clf_buffer          workspace = { 0 }, saved = { 0 };
    clf_device         *device = NULL;
    clf_plan           *plan = NULL;
    char               *why = NULL;
    clf_status          status = clf_device_open(NULL, &device);

    for (int i = 0; i < ROWS; i++)
        labels[i] = i / 24;
    for (int i = 0; i < 4 && !status; i++) {
        for (int j = 0; j < HEADS * ROWS * WIDTH; j++)
            data[j] = (float)(j * (i + 7) % 13) / 13;
        if (!(status = clf_tensor_alloc(device, CLF_F32, 4, shape, tensors[i])))
            status = clf_tensor_write(device, tensors[i], data);
    }
    if (!status && !(status = clf_tensor_alloc(device, CLF_I32, 1, &rows, &problem.extra[0])))
        status = clf_tensor_write(device, &problem.extra[0], labels);
    problem.extra_name[0] = "labels";
    problem.mask_mod = "@document(labels)"; /* or an expression: "labels[q] == CLF_GATHER(labels, k)" */
    problem.causal = true;
    problem.softcap = 20;

    if (!status && !(status = clf_fused_attention_supported(device, &problem, CLF_FORWARD, &why)))
        printf("%s", why);
    if (!status)
        status = clf_fused_attention_plan(device, &problem, NULL, &plan);
    if (!status) {
        workspace.bytes = clf_plan_get_info(plan).workspace_bytes;
        if (workspace.bytes)
            status = clf_pool_acquire(device, workspace.bytes, &workspace.mem);
    }
    if (!status)
        status = clf_fused_attention_forward(plan, &problem, workspace, saved, clf_device_queue(device), 0, NULL, NULL);
    if (!status && !(status = clf_tensor_read(device, &problem.out, data)))
        printf("%s: the last row begins with %g %g\n", clf_plan_get_info(plan).family, data[(ROWS - 1) * WIDTH],
               data[(ROWS - 1) * WIDTH + 1]);
    if (status)
        fprintf(stderr, "%s: %s\n", clf_status_name(status), clf_error_message());

    clf_free(why);
    clf_plan_release(plan);
    for (int i = 0; i < 4 && device; i++)
        clf_tensor_free(device, tensors[i]);
    if (problem.extra[0].mem)
        clf_tensor_free(device, &problem.extra[0]);
    if (workspace.mem)
        clf_pool_release(device, workspace.mem, NULL);
    clf_device_release(device);
    return status != CLF_SUCCESS;
}
