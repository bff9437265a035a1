#include <clformers/clformers.h>
#include <stdio.h>

int main(void)
{
    static float  data[2 * 128 * 64]; /* batch 1, 2 heads, 128 positions, width 64 */
    const int64_t shape[] = { 1, 2, 128, 64 };
    const int     slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V, CLF_QKV_OUT };
    clf_device   *device = NULL;
    clf_instance *attention = NULL;
    clf_args      args = { .size = sizeof args };
    clf_status    status = clf_device_open(NULL, &device); /* CLF_DEVICE, or the best one */

    if (!status)
        status = clf_build(device, CLF_ATTENTION, "{\"name\": \"scaled_dot_product\", \"causal\": true}", &attention);
    for (int i = 0; i < 4 && !status; i++) {
        for (int j = 0; j < 2 * 128 * 64; j++)
            data[j] = (float)(j * (i + 7) % 13) / 13;
        if (!(status = clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[slots[i]])))
            status = clf_tensor_write(device, &args.io[slots[i]], data);
    }
    if (!status && !(status = clf_apply(attention, &args)) &&
        !(status = clf_tensor_read(device, &args.io[CLF_QKV_OUT], data)))
        printf("%s: the last position gets %g %g ...\n", clf_device_get_info(device)->name, data[127 * 64],
               data[127 * 64 + 1]);
    if (status)
        fprintf(stderr, "%s: %s\n", clf_status_name(status), clf_error_message());
    for (int i = 0; i < 4 && device; i++)
        clf_tensor_free(device, &args.io[slots[i]]);
    clf_instance_release(attention);
    clf_device_release(device);
    return status != CLF_SUCCESS;
}
