/* What an instance and its cache of plans hold, for src/component only. */
#ifndef CLF_COMPONENT_INSTANCE_H
#define CLF_COMPONENT_INSTANCE_H

#include "core/os.h"
#include <clformers/plan.h>

enum { CLF__CACHED_PLANS = 8 };

struct clf_instance {
    clf_device          *device;
    const clf_component *component;
    void                *given;     /* config as the caller gave it: every plan resolves a copy of this */
    void                *config;    /* resolved without a problem */
    clf_dtype            dtype;
    uint64_t             seed;
    clf_tensor           parameters[CLF_MAX_PARAMETERS];
    clf_tensor           gradients[CLF_MAX_PARAMETERS];
    clf_tensor           buffers[CLF_MAX_PARAMETERS];
    bool                 counted;   /* among the uses of its plugin */
    int                  references; /* the caller's, and one for each plan of the caller */

    clf__mutex           mutex;      /* guards references and gradients */
    clf__mutex           apply;      /* held through clf_apply*: guards what follows */
    clf_plan            *plans[CLF__CACHED_PLANS]; /* last used first; they hold no reference */
    clf_plan            *waiting;    /* its forward waits for clf_apply_backward */
    cl_mem               saved;      /* what that forward saved */
};

/* Asked before every instance is created: the registry's known-answer check. */
typedef clf_status clf__gate(clf_device *device, const clf_component *component);
void       clf__instance_set_gate(clf__gate *asked);

void       clf__instance_retain(clf_instance *instance);
/* Gradients of all parameters, so that running a plan needs no allocation. */
clf_status clf__instance_gradients(clf_instance *instance);
/* Frees what apply.c keeps. */
void       clf__apply_clear(clf_instance *instance);

/* The first rows of the two tables; never NULL. */
const clf_parameter *clf__parameters(const clf_component *component);
const clf_parameter *clf__buffers(const clf_component *component);

/* Contiguous initial values of a parameter (`buffer` false) or a buffer, as `dtype`; free() them.
 * `elements` > 0. */
clf_status clf__initial_values(const clf_component *component, const void *config, const clf_parameter *what,
                               bool buffer, clf_dtype dtype, int rank, const int64_t *shape, int64_t elements,
                               uint64_t seed, void **values);

#endif
