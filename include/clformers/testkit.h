/* The tests that every part gets from its descriptor alone: library clformers_testkit.
 *
 * From a part's io table, traits and config schema the kit generates cases (odd shapes, head widths, causal
 * order, masks, padding, dropout, storage types, strides, large logits, bad configs, bad arguments ...), runs
 * each on a device with every kernel family that can do it, and checks values and gradients against the part's
 * double-precision reference, causality, memory around and between the rows, NaN in hidden rows, and that two
 * runs agree to the bit. A part without a reference gets everything except the values, and a line says so.
 *
 * Nothing here ends the process or prints; lines go to a callback. Link clformers_testkit and clformers.
 */
#ifndef CLFORMERS_TESTKIT_H
#define CLFORMERS_TESTKIT_H

#include <clformers/registry.h>

CLF_BEGIN

/* What to run. Zero-initialise and set size. */
typedef struct clf_testkit_options {
    size_t      size;      /* sizeof(clf_testkit_options) */
    clf_device *device;    /* an opened device; NULL = the first that `selector` matches */
    const char *selector;  /* see <clformers/device.h>; also named in the commands that repeat a case */
    const char *program;   /* how those commands begin; NULL = "clf_sweep" */
    int         only;      /* the number of the one case to run, from 1; 0 = all */
    const char *family;    /* only this kernel family; NULL = the one that planning chooses, in some cases all */
    bool        slow;      /* all families in all cases, and random combinations of everything; not on simulators */
    bool        verbose;   /* a line for each case, not only for failures */
    void      (*line)(const char *line, void *user); /* gets each line without newline; NULL = none */
    void       *user;
} clf_testkit_options;

/* A case passes, fails or is refused: the part answered CLF_UNSUPPORTED with a reason to something that
 * its traits do not claim. */
typedef struct clf_testkit_counts {
    int passed, failed, refused;
} clf_testkit_counts;

/* Runs the cases of one part on one device. CLF_SUCCESS means that they ran: look at the counts, where a
 * run without any case is a mistake too. The last line sums up: "NAME DEVICE: N passed, N failed, N refused".
 * Errors: those of clf_device_open; CLF_INVALID_VALUE when there is no case `only`; CLF_OUT_OF_HOST_MEMORY. */
CLF_API clf_status clf_testkit_run(const clf_component *component, const clf_testkit_options *options,
                                   clf_testkit_counts *counts);

/* Relative L2 error of the first output against the double reference on one small problem.
 * Errors: CLF_UNSUPPORTED when the part has no reference or refuses the problem; those of planning and running. */
CLF_API clf_status clf_testkit_accuracy(clf_device *device, const clf_component *component, clf_dtype dtype,
                                        bool causal, double *relative_error);

CLF_END
#endif
