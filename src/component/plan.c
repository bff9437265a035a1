/* Making plans, and what a part asks and tells while it plans. */
#include "component/plan.h"
#include "component/instance.h"
#include "core/status.h"
#include "device/program.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256 };

static clf_tensor describe(const clf_tensor *tensor)
{
    clf_tensor plain = {0};

    if (tensor->rank < 0 || tensor->rank > CLF_MAX_RANK)
        return *tensor; /* to be refused */
    plain.dtype = tensor->rank ? tensor->dtype : CLF_DTYPE_NONE;
    plain.rank = tensor->rank;
    for (int d = 0; d < tensor->rank; d++) {
        plain.shape[d] = tensor->shape[d];
        plain.strides[d] = tensor->strides[d];
    }
    return plain;
}

clf_args clf__describe(const clf_args *args)
{
    clf_args plain = *args;

    for (int i = 0; i < CLF_MAX_IO; i++) {
        plain.io[i] = describe(&args->io[i]);
        plain.grad[i] = describe(&args->grad[i]);
    }
    return plain;
}

bool clf__same_layout(const clf_tensor *a, const clf_tensor *b)
{
    if (a->rank != b->rank || (a->rank && a->dtype != b->dtype))
        return false;
    for (int d = 0; d < a->rank; d++)
        if (a->shape[d] != b->shape[d] || (a->shape[d] > 1 && a->strides[d] != b->strides[d]))
            return false;
    return true;
}

static void destroy(clf_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->kernel_count; i++)
        clReleaseKernel(plan->kernels[i]);
    free(plan->kernels);
    for (size_t i = 0; i < plan->constant_count; i++)
        clReleaseMemObject(plan->constants[i]);
    free(plan->constants);
    free(plan->state);
    free(plan->wanted_family);
    clf__text_free(&plan->reasons);
    clf_config_free(&plan->instance->component->descriptor->config, plan->config);
    free(plan);
}

static clf_status check_options(const clf_component *component, const clf_plan_options *options)
{
    if (options->passes != CLF_FORWARD && options->passes != (CLF_FORWARD | CLF_BACKWARD))
        return clf__fail(CLF_INVALID_VALUE, "options.passes is %d, not CLF_FORWARD or CLF_FORWARD | CLF_BACKWARD",
                         options->passes);
    if (!component->descriptor->forward)
        return clf__fail(CLF_UNSUPPORTED, "%s has no forward pass", component->name);
    if ((options->passes & CLF_BACKWARD) && !component->descriptor->backward)
        return clf__fail(CLF_UNSUPPORTED, "%s has no backward pass", component->name);
    return CLF_SUCCESS;
}

/* What the part planned must be what was asked for, and must fit the device. */
static clf_status check_result(const clf_plan *plan)
{
    const char *name = plan->instance->component->name;
    const uint64_t limit = clf_device_get_capabilities(plan->instance->device)->max_allocation;

    if (plan->wanted_family && strcmp(plan->wanted_family, plan->family) != 0)
        return clf__fail(CLF_UNSUPPORTED, "%s: family '%s' was asked for, only '%s' can do this", name,
                         plan->wanted_family, plan->family);
    if (plan->workspace > limit || plan->saved > limit)
        return clf__fail(
            CLF_OUT_OF_DEVICE_MEMORY,
            "%s needs a workspace of %llu bytes and saves %llu bytes, the device's largest buffer has %llu", name,
            (unsigned long long)plan->workspace, (unsigned long long)plan->saved, (unsigned long long)limit);
    if (plan->reasons.failed)
        return clf__no_memory(plan->reasons.length);
    return CLF_SUCCESS;
}

/* `only_asked`: *plan is made even when the part refuses, for its reasons. */
static clf_status make(clf_instance *instance, const clf_args *args, const clf_plan_options *options, bool only_asked,
                       clf_plan **plan)
{
    const clf_component *component = instance->component;
    const clf_descriptor *descriptor = component->descriptor;
    clf_status status = check_options(component, options);
    if (status)
        return status;

    clf_plan *made = calloc(1, sizeof *made);
    if (!made)
        return clf__no_memory(sizeof *made);
    made->instance = instance;
    made->options = *options;
    made->options.size = sizeof made->options;
    made->family = "default";
    made->only_asked = only_asked;
    if (options->family && !(made->wanted_family = clf__strdup(options->family))) {
        status = clf__no_memory(strlen(options->family) + 1);
        goto fail;
    }
    made->options.family = made->wanted_family;
    if ((status = clf__check_args(component, instance->config, args, options->passes, &made->extents)))
        goto fail;
    made->semantics = clf__semantics(component, instance->config);
    made->given = made->args = clf__describe(args);
    clf__expand(component, made->semantics, &made->extents, &made->args);
    if ((status = clf_config_copy(&descriptor->config, instance->given, &made->config)) ||
        (status = clf__resolve(component, made->config, &made->args)))
        goto fail;
    if ((options->passes & CLF_BACKWARD) && !only_asked && (status = clf__instance_gradients(instance)))
        goto fail;
    if ((descriptor->plan && (status = descriptor->plan(made))) || (status = check_result(made)))
        goto fail;
    *plan = made;
    return CLF_SUCCESS;

fail:
    if (only_asked && status == CLF_UNSUPPORTED)
        *plan = made;
    else
        destroy(made);
    return status;
}

clf_status clf__plan_make(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                          clf_plan **plan)
{
    return make(instance, args, options, false, plan);
}

clf_status clf__plan_ask(clf_instance *instance, const clf_args *args, int passes, clf__text *answers)
{
    static const char *const one[] = { NULL, NULL };
    const char *const *families = instance->component->descriptor->families ? instance->component->descriptor->families : one;
    bool can = false;

    do {
        const clf_plan_options options = { .size = sizeof options, .passes = passes, .family = *families };
        clf_plan *plan = NULL;
        const clf_status status = make(instance, args, &options, true, &plan);
        const char *name = *families ? *families : "default";
        if (status == CLF_SUCCESS)
            clf__text_add(answers, "%s: yes\n", name);
        else if (plan && plan->reasons.length)
            clf__text_add(answers, "%s\n", plan->reasons.data);
        else if (status == CLF_UNSUPPORTED)
            clf__text_add(answers, "%s: %s\n", name, clf_error_message());
        can = can || (status == CLF_SUCCESS && strcmp(name, "reference") != 0);
        destroy(plan);
        if (status != CLF_SUCCESS && status != CLF_UNSUPPORTED)
            return status;
    } while (*families && *++families);
    if (can)
        return CLF_SUCCESS;
    return clf__fail(CLF_UNSUPPORTED, "%s: no kernel family can do this on %s: %s", instance->component->name,
                     clf_device_get_info(instance->device)->name, answers->data ? answers->data : "");
}

clf_status clf_plan_create(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                           clf_plan **plan)
{
    clf_plan_options wanted = { .passes = CLF_FORWARD };
    clf_args known;
    clf_status status;

    if (plan)
        *plan = NULL;
    if (!instance || !args || !plan)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !instance ? "instance" : !args ? "args" : "plan");
    if ((status = clf__copy_sized(&known, sizeof known, args, args->size, "args")) ||
        (options && (status = clf__copy_sized(&wanted, sizeof wanted, options, options->size, "options"))))
        return status;
    if (wanted.passes == 0)
        wanted.passes = CLF_FORWARD;
    if ((status = clf__plan_make(instance, &known, &wanted, plan)))
        return status;
    clf__instance_retain(instance);
    (*plan)->holds_instance = true;
    return CLF_SUCCESS;
}

void clf_plan_release(clf_plan *plan)
{
    if (!plan)
        return;
    clf_instance *held = plan->holds_instance ? plan->instance : NULL;
    destroy(plan);
    clf_instance_release(held);
}

clf_plan_info clf_plan_get_info(const clf_plan *plan)
{
    return (clf_plan_info){ .size = sizeof(clf_plan_info), .family = plan->family,
                            .reasons = plan->reasons.data ? plan->reasons.data : "",
                            .workspace_bytes = plan->workspace, .saved_bytes = plan->saved };
}

/* ---- for the part's `plan` callback --------------------------------------------------------------- */

clf_device *clf_plan_device(const clf_plan *plan)
{
    return plan->instance->device;
}

const void *clf_plan_config(const clf_plan *plan)
{
    return plan->config;
}

const clf_args *clf_plan_args(const clf_plan *plan)
{
    return &plan->args;
}

int clf_plan_passes(const clf_plan *plan)
{
    return plan->options.passes;
}

clf_instance *clf_plan_instance(const clf_plan *plan)
{
    return plan->instance;
}

const clf_plan_options *clf_plan_get_options(const clf_plan *plan)
{
    return &plan->options;
}

void clf_plan_set_family(clf_plan *plan, const char *family)
{
    plan->family = family ? family : "default";
}

void clf_plan_add_reason(clf_plan *plan, const char *family, const char *reason)
{
    clf__text_add(&plan->reasons, "%s%s: %s", plan->reasons.length ? "; " : "", family, reason);
}

clf_status clf_plan_refuse(clf_plan *plan, const char *format, ...)
{
    const char *name = plan->instance->component->name;
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (plan->reasons.length)
        return clf__fail(CLF_UNSUPPORTED, "%s: %s (%s)", name, text, plan->reasons.data);
    return clf__fail(CLF_UNSUPPORTED, "%s: %s", name, text);
}

clf_status clf__plan_refuse_name(clf_plan *plan, const char *what, const char *asked, const char *const *names)
{
    char all[256] = "";
    size_t used = 0;

    for (int i = 0; names[i] && used < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    return clf_plan_refuse(plan, "there is no %s '%s'; there is: %s", what, asked, all);
}

/* The next aligned piece; sums that overflow stay at the maximum and are refused at the end. */
static uint64_t reserve(uint64_t *total, uint64_t bytes)
{
    if (*total > UINT64_MAX - ALIGNMENT || bytes > UINT64_MAX - ALIGNMENT - *total) {
        *total = UINT64_MAX;
        return 0;
    }
    const uint64_t offset = (*total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > 0)
        *total = offset + bytes;
    return offset;
}

uint64_t clf_plan_workspace(clf_plan *plan, uint64_t bytes)
{
    return reserve(&plan->workspace, bytes);
}

uint64_t clf_plan_saved(clf_plan *plan, uint64_t bytes)
{
    return reserve(&plan->saved, bytes);
}

void *clf_plan_state(clf_plan *plan, size_t bytes)
{
    if (!plan->state && !(plan->state = calloc(1, bytes ? bytes : 1)))
        clf__no_memory(bytes);
    return plan->state;
}

/* Room for one more element behind `count`. */
static clf_status grow(void **list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return CLF_SUCCESS;
    const size_t wanted = *capacity ? 2 * *capacity : 8;
    void *more = realloc(*list, wanted * size);
    if (!more)
        return clf__no_memory(wanted * size);
    *list = more;
    *capacity = wanted;
    return CLF_SUCCESS;
}

static clf_status add_kernel(clf_plan *plan, const clf_source *sources, const char *program, const char *options,
                             const char *name, cl_kernel *kernel)
{
    cl_kernel made = NULL;
    void *list = plan->kernels;

    *kernel = NULL;
    if (plan->only_asked)
        return CLF_SUCCESS;
    clf_status status = grow(&list, plan->kernel_count, &plan->kernel_capacity, sizeof *plan->kernels);

    plan->kernels = list;
    if (status == CLF_SUCCESS)
        status = clf__program_kernel(plan->instance->device, sources, program, options ? options : "",
                                     name, &made);
    if (status)
        return status;
    plan->kernels[plan->kernel_count++] = made;
    *kernel = made;
    return CLF_SUCCESS;
}

clf_status clf_plan_kernel(clf_plan *plan, const char *program, const char *options, const char *name,
                           cl_kernel *kernel)
{
    return add_kernel(plan, plan->instance->component->sources, program, options, name, kernel);
}

clf_status clf__plan_kernel(clf_plan *plan, const char *program, const char *options, const char *name,
                            cl_kernel *kernel)
{
    return add_kernel(plan, NULL, program, options, name, kernel);
}

/* Not from the pool: a plan may go while kernels on a queue of the caller still read the table, and only OpenCL's own
 * reference counts know of those. */
clf_status clf_plan_constant(clf_plan *plan, const void *data, size_t bytes, cl_mem *mem)
{
    union { const void *from; void *to; } host = { .from = data }; /* read only all the same */
    void *list = plan->constants;
    cl_int code = CL_SUCCESS;

    *mem = NULL;
    if (plan->only_asked)
        return CLF_SUCCESS;
    if (!data || bytes == 0)
        return clf__fail(CLF_INVALID_VALUE, "a constant of a plan needs data: there are %zu bytes", data ? bytes : 0);
    clf_status status = grow(&list, plan->constant_count, &plan->constant_capacity, sizeof *plan->constants);
    plan->constants = list;
    if (status)
        return status;
    cl_mem made = clCreateBuffer(clf_device_context(plan->instance->device), CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                 bytes, host.to, &code);
    if (!made || code)
        return clf__fail_opencl(code ? code : CL_OUT_OF_RESOURCES, "a constant of %zu bytes", bytes);
    plan->constants[plan->constant_count++] = made;
    *mem = made;
    return CLF_SUCCESS;
}
