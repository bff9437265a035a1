/* Choosing the style of a kernel over channels, its options, arguments and grid. */
#include "ops/lanes.h"
#include "tensor/tensor.h"
#include <stdio.h>
#include <string.h>

enum { GROUP = 64 }; /* work-items, where they are scalars */

const char *const clf__lanes_families[] = { "vector", "portable", NULL };

int clf__lanes_choose(clf_plan *plan)
{
    const char *wanted = clf_plan_get_options(plan)->family;
    bool vector = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;

    if (wanted && strcmp(wanted, clf__lanes_families[0]) == 0)
        vector = true;
    else if (wanted && strcmp(wanted, clf__lanes_families[1]) == 0)
        vector = false;
    clf_plan_set_family(plan, clf__lanes_families[vector ? 0 : 1]);
    return vector ? 16 : 1;
}

void clf__lanes_options(int lanes, clf_dtype storage, const char *more, char *options, size_t size)
{
    (void)snprintf(options, size, "-DCLF_LANES=%d -DCLF_STORAGE=%d %s", lanes, clf__storage_number(storage), more);
}

int64_t clf__lanes_blocks(int lanes, int64_t channels)
{
    return (channels + lanes - 1) / lanes;
}

void clf__lanes_bind(clf_binder *binder, const clf_tensor *tensor)
{
    const cl_long4 at = { { clf__tensor_start(tensor), tensor->strides[0], tensor->strides[1], tensor->strides[2] } };

    clf_bind_mem(binder, tensor->mem);
    clf_bind_value(binder, &at, sizeof at);
}

clf_status clf__lanes_launch(clf_run *run, clf_binder *binder, int lanes, int64_t items)
{
    const size_t local = lanes == 1 ? GROUP : 1, global = ((size_t)items + local - 1) / local * local;
    const cl_ulong count = (cl_ulong)items;

    clf_bind_value(binder, &count, sizeof count);
    return clf_launch(run, binder, 1, &global, &local);
}
