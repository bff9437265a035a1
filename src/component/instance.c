/* Instances: config, parameters and buffers on a device. */
#include "component/instance.h"
#include "component/check.h"
#include "component/module.h"
#include "core/status.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const clf_parameter none = { .name = NULL };
static _Atomic(clf__gate *) gate;

void clf__instance_set_gate(clf__gate *asked)
{
    atomic_store(&gate, asked);
}

const clf_parameter *clf__parameters(const clf_component *component)
{
    return component->descriptor->parameters ? component->descriptor->parameters : &none;
}

const clf_parameter *clf__buffers(const clf_component *component)
{
    return component->descriptor->buffers ? component->descriptor->buffers : &none;
}

/* One parameter or buffer with its initial values; stays absent where the config has none. */
static clf_status make_tensor(clf_instance *instance, const clf_parameter *what, bool buffer, clf_tensor *tensor)
{
    const clf_dtype dtype = what->dtype ? what->dtype : instance->dtype;
    int64_t shape[CLF_MAX_RANK] = {0};
    void *values = NULL;
    int rank = 0;

    what->shape(instance->config, &rank, shape);
    if (rank == 0)
        return CLF_SUCCESS;
    clf_status status = clf_tensor_alloc(instance->device, dtype, rank, shape, tensor);
    const int64_t elements = status ? 0 : clf_tensor_elements(tensor);
    if (elements > 0) {
        status = clf__initial_values(instance->component, instance->config, what, buffer, dtype, rank, shape, elements,
                                     instance->seed, &values);
        if (status == CLF_SUCCESS)
            status = clf_tensor_write(instance->device, tensor, values);
        free(values);
    }
    return status ? clf__fail_prefix(status, "%s '%s'", buffer ? "buffer" : "parameter", what->name) : CLF_SUCCESS;
}

static clf_status make_tensors(clf_instance *instance)
{
    clf_status status = CLF_SUCCESS;
    int i = 0;

    for (const clf_parameter *p = clf__parameters(instance->component); !status && p->name; p++, i++) {
        if (i == CLF_MAX_PARAMETERS)
            return clf__fail(CLF_INVALID_VALUE, "%s has more than %d parameters", instance->component->name,
                             CLF_MAX_PARAMETERS);
        status = make_tensor(instance, p, false, &instance->parameters[i]);
    }
    i = 0;
    for (const clf_parameter *p = clf__buffers(instance->component); !status && p->name; p++, i++) {
        if (i == CLF_MAX_PARAMETERS)
            return clf__fail(CLF_INVALID_VALUE, "%s has more than %d buffers", instance->component->name,
                             CLF_MAX_PARAMETERS);
        status = make_tensor(instance, p, true, &instance->buffers[i]);
    }
    return status;
}

static clf_status check_arguments(clf_device *device, const clf_component *component, const void *config,
                                  clf_dtype dtype, clf_instance **instance)
{
    if (!device || !component || !config || !instance)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL",
                         !device ? "device" : !component ? "component" : !config ? "config" : "instance");
    if (!component->descriptor || component->size < sizeof(clf_descriptor))
        return clf__fail(CLF_INVALID_VALUE, "component '%s' was built for another version of clformers: its descriptor "
                         "has %zu bytes, not %zu", component->name, component->size, sizeof(clf_descriptor));
    if (dtype != CLF_F32 && dtype != CLF_F16 && dtype != CLF_BF16)
        return clf__fail(CLF_INVALID_DTYPE, "options.dtype is %s: parameters are F32, F16 or BF16",
                         clf_dtype_size(dtype) ? clf_dtype_name(dtype) : "unknown");
    if (dtype != CLF_F32 && !(component->descriptor->traits & CLF_TRAIT_LOW_PRECISION))
        return clf__fail(CLF_UNSUPPORTED, "%s works in F32 only, not in %s", component->name, clf_dtype_name(dtype));
    return CLF_SUCCESS;
}

static void destroy(clf_instance *instance)
{
    const clf_schema *schema = &instance->component->descriptor->config;

    clf__apply_clear(instance);
    for (int i = 0; i < CLF_MAX_PARAMETERS; i++) {
        clf_tensor_free(instance->device, &instance->parameters[i]);
        clf_tensor_free(instance->device, &instance->gradients[i]);
        clf_tensor_free(instance->device, &instance->buffers[i]);
    }
    clf__process_lock(CLF__LOCK_REGISTRY); /* the schema is the part's, whose plugin may go once it is not used */
    if (instance->counted)
        clf__module_use(instance->component, instance->given, -1);
    clf_config_free(schema, instance->given);
    clf_config_free(schema, instance->config);
    clf__process_unlock(CLF__LOCK_REGISTRY);
    clf__mutex_destroy(&instance->mutex);
    clf__mutex_destroy(&instance->apply);
    clf_device_release(instance->device);
    free(instance);
}

clf_status clf_instance_create(clf_device *device, const clf_component *component, const void *config,
                               const clf_instance_options *options, clf_instance **instance)
{
    clf_instance_options wanted = {0};
    clf_status status = CLF_SUCCESS;

    if (instance)
        *instance = NULL;
    if (options && (status = clf__copy_sized(&wanted, sizeof wanted, options, options->size, "options")))
        return status;
    if (wanted.dtype == CLF_DTYPE_NONE)
        wanted.dtype = CLF_F32;
    if ((status = check_arguments(device, component, config, wanted.dtype, instance)))
        return status;

    clf__gate *const asked = atomic_load(&gate);
    if (asked && (status = asked(device, component)))
        return status;
    const clf_descriptor *descriptor = component->descriptor;
    clf_instance *made = calloc(1, sizeof *made);
    if (!made)
        return clf__no_memory(sizeof *made);
    clf_device_retain(device);
    *made = (clf_instance){ .device = device, .component = component, .dtype = wanted.dtype, .seed = wanted.seed,
                            .references = 1 };
    if ((status = clf__mutex_init(&made->mutex)) || (status = clf__mutex_init(&made->apply)) ||
        (status = clf_config_copy(&descriptor->config, config, &made->given)))
        goto fail;
    clf__module_use(component, made->given, 1);
    made->counted = true;
    if ((status = clf_config_copy(&descriptor->config, config, &made->config)) ||
        (status = clf__resolve(component, made->config, NULL)) || (status = make_tensors(made)))
        goto fail;
    *instance = made;
    return CLF_SUCCESS;

fail:
    destroy(made);
    return status;
}

void clf__instance_retain(clf_instance *instance)
{
    clf__mutex_lock(&instance->mutex);
    instance->references++;
    clf__mutex_unlock(&instance->mutex);
}

void clf_instance_release(clf_instance *instance)
{
    if (!instance)
        return;
    clf__mutex_lock(&instance->mutex);
    const bool last = --instance->references == 0;
    clf__mutex_unlock(&instance->mutex);
    if (last)
        destroy(instance);
}

clf_device *clf_instance_device(const clf_instance *instance)
{
    return instance->device;
}

const clf_component *clf_instance_component(const clf_instance *instance)
{
    return instance->component;
}

const void *clf_instance_config(const clf_instance *instance)
{
    return instance->config;
}

/* The place of `name` in a table whose tensor exists. */
static clf_status find(const clf_instance *instance, const clf_parameter *table, const clf_tensor *tensors,
                       const char *what, const char *name, int *index)
{
    for (int i = 0; name && table[i].name; i++) {
        if (strcmp(table[i].name, name) == 0 && tensors[i].rank > 0) {
            *index = i;
            return CLF_SUCCESS;
        }
    }
    return clf__fail(CLF_UNKNOWN_TENSOR, "this %s has no %s '%s'", instance->component->name, what,
                     name ? name : "(NULL)");
}

clf_status clf_instance_parameter(clf_instance *instance, const char *name, clf_tensor *tensor)
{
    int i = 0;
    clf_status status = find(instance, clf__parameters(instance->component), instance->parameters, "parameter", name,
                             &i);
    if (status == CLF_SUCCESS)
        *tensor = instance->parameters[i];
    return status;
}

clf_status clf_instance_buffer(clf_instance *instance, const char *name, clf_tensor *tensor)
{
    int i = 0;
    clf_status status = find(instance, clf__buffers(instance->component), instance->buffers, "buffer", name, &i);
    if (status == CLF_SUCCESS)
        *tensor = instance->buffers[i];
    return status;
}

/* Gradients start at zero: a caller may read one before the first backward pass. */
static clf_status make_gradient(clf_instance *instance, int i)
{
    const clf_tensor *parameter = &instance->parameters[i];
    clf_tensor made = {0};

    if (parameter->rank == 0 || instance->gradients[i].rank > 0)
        return CLF_SUCCESS;
    clf_status status = clf_tensor_alloc(instance->device, parameter->dtype, parameter->rank, parameter->shape, &made);
    const int64_t elements = status ? 0 : clf_tensor_elements(&made);
    if (elements > 0) {
        void *zeros = calloc((size_t)elements, clf_dtype_size(made.dtype));
        status = zeros ? clf_tensor_write(instance->device, &made, zeros)
                       : clf__no_memory((size_t)elements * clf_dtype_size(made.dtype));
        free(zeros);
    }
    if (status)
        clf_tensor_free(instance->device, &made);
    else
        instance->gradients[i] = made;
    return status;
}

clf_status clf__instance_gradients(clf_instance *instance)
{
    clf_status status = CLF_SUCCESS;

    clf__mutex_lock(&instance->mutex);
    for (int i = 0; status == CLF_SUCCESS && i < CLF_MAX_PARAMETERS; i++)
        status = make_gradient(instance, i);
    clf__mutex_unlock(&instance->mutex);
    return status;
}

clf_status clf_instance_gradient(clf_instance *instance, const char *name, clf_tensor *tensor)
{
    int i = 0;
    clf_status status = find(instance, clf__parameters(instance->component), instance->parameters, "parameter", name,
                             &i);
    if (status)
        return status;
    clf__mutex_lock(&instance->mutex);
    status = make_gradient(instance, i);
    if (status == CLF_SUCCESS)
        *tensor = instance->gradients[i];
    clf__mutex_unlock(&instance->mutex);
    return status;
}
