/* An instance: a component with its resolved config, its parameters and its buffers on a device. */
#ifndef CLFORMERS_INSTANCE_H
#define CLFORMERS_INSTANCE_H

#include <clformers/component.h>

CLF_BEGIN

typedef struct clf_instance clf_instance;

typedef struct clf_instance_options {
    size_t    size;  /* sizeof(clf_instance_options) */
    clf_dtype dtype; /* of parameters and buffers; CLF_DTYPE_NONE = f32 */
    uint64_t  seed;  /* of the initialisers */
} clf_instance_options;

/* `config` is a parsed config of the component; it is copied. `options` may be NULL. Parameters and
 * buffers are allocated from the device's pool and initialised. The instance retains the device.
 * Release with clf_instance_release. */
CLF_API clf_status clf_instance_create(clf_device *device, const clf_component *component, const void *config,
                                       const clf_instance_options *options, clf_instance **instance);
CLF_API void       clf_instance_release(clf_instance *instance); /* NULL is allowed */

CLF_API clf_device          *clf_instance_device(const clf_instance *instance);
CLF_API const clf_component *clf_instance_component(const clf_instance *instance);
CLF_API const void          *clf_instance_config(const clf_instance *instance);

/* Views on a parameter, on its gradient (written by backward, not accumulated) or on a buffer by
 * name; the memory belongs to the instance. A parameter that this config does not have is CLF_UNKNOWN_TENSOR. */
CLF_API clf_status clf_instance_parameter(clf_instance *instance, const char *name, clf_tensor *tensor);
CLF_API clf_status clf_instance_gradient(clf_instance *instance, const char *name, clf_tensor *tensor);
CLF_API clf_status clf_instance_buffer(clf_instance *instance, const char *name, clf_tensor *tensor);

CLF_END
#endif
