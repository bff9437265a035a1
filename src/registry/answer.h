/* The known-answer problem of a part: small, fixed, the same on every machine. */
#ifndef CLF_REGISTRY_ANSWER_H
#define CLF_REGISTRY_ANSWER_H

#include <clformers/author.h>
#include <clformers/registry.h>

/* The problem on the host: descriptions and double arrays; NULL or rank 0 = absent. Inputs and upstream gradients
 * are filled, outputs and other gradients are to be. */
typedef struct clf__problem {
    const clf_component *component;
    void                *config;    /* as an instance takes it */
    void                *resolved;  /* as an instance has it: shapes of parameters come from this */
    int                  passes;
    clf_args             args;
    double              *io[CLF_MAX_IO], *grad[CLF_MAX_IO];
    clf_tensor           shape[CLF_MAX_PARAMETERS];         /* of the parameters */
    double              *parameter_grad[CLF_MAX_PARAMETERS];
} clf__problem;

clf_status clf__problem_make(const clf_component *component, clf__problem *problem);
void       clf__problem_free(clf__problem *problem);

enum { CLF__PROBLEM_SEED = 5 }; /* of the instance */

/* What a pass gave, in a number: the sum of all results with fixed random weights over the root of their count. *rms
 * gets the root of their mean square. */
double clf__problem_sum(const clf__problem *problem, int pass, double *rms);

/* Fills outputs and gradients by the reference in double, or on a device. */
clf_status clf__problem_refer(clf__problem *problem, clf_status (*reference)(const clf_reference *reference));
clf_status clf__problem_run(clf__problem *problem, clf_device *device);

#endif
