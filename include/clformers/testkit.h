/* The tests that every part gets from its descriptor alone: library clformers_testkit.
 *
 * From a part's io table, traits and config schema the kit generates cases (odd shapes, head widths, causal
 * order, masks, padding, dropout, storage types, strides, large logits, bad configs, bad arguments ...), runs
 * each on a device with every kernel family that can do it, and checks values and gradients against the part's
 * double-precision reference, causality, memory around and between the rows, NaN in hidden rows, and that two
 * runs agree to the bit. A part without a reference gets everything except the values, and a line says so.
 *
 * Nothing here ends the process or prints; lines go to a callback. Link clformers_testkit and clformers.
 * `clf selftest` is the command around it.
 */
#ifndef CLFORMERS_TESTKIT_H
#define CLFORMERS_TESTKIT_H

#include <clformers/registry.h>

CLF_BEGIN

/* A case passes, fails or is refused: the part answered CLF_UNSUPPORTED with a reason to something that
 * its traits do not claim. */
typedef enum clf_testkit_verdict {
    CLF_TESTKIT_PASSED  = 0,
    CLF_TESTKIT_FAILED  = 1,
    CLF_TESTKIT_REFUSED = 2
} clf_testkit_verdict;

/* What a case came to. The strings are valid during the call. */
typedef struct clf_testkit_case {
    int                 number;  /* from 1; the same from run to run on devices of one type */
    clf_testkit_verdict verdict;
    const char         *about;   /* the case in words */
    const char         *why;     /* what is wrong, or the reason of a refusal; "" when it passed */
    const char         *command; /* repeats this one case */
} clf_testkit_case;

/* What to run. Zero-initialise and set size. The callbacks may be NULL. */
typedef struct clf_testkit_options {
    size_t      size;      /* sizeof(clf_testkit_options) */
    clf_device *device;    /* an opened device; NULL = the first that `selector` matches */
    const char *selector;  /* see <clformers/device.h>; also named in the commands that repeat a case */
    const char *program;   /* how those commands begin; NULL = "clf selftest" */
    int         only;      /* the number of the one case to run, from 1; 0 = all */
    const char *family;    /* only this kernel family; NULL = the one that planning chooses, in some cases all */
    bool        slow;      /* all families in all cases, and random combinations of everything; not on simulators */
    bool        verbose;   /* a line for each case, not only for failures */
    void      (*line)(const char *line, void *user); /* gets each line without newline */
    void       *user;
    bool        quick;     /* the plain problem only, with the family that planning chooses: values, gradients,
                              config, bad arguments, convenience calls */
    void      (*begin)(int number, void *user);      /* a case begins */
    void      (*done)(const clf_testkit_case *result, void *user);
} clf_testkit_options;

typedef struct clf_testkit_counts {
    int passed, failed, refused;
} clf_testkit_counts;

/* Runs the cases of one part on one device. CLF_SUCCESS means that they ran: look at the counts, where a
 * run without any case is a mistake too. The last line sums up: "NAME DEVICE: N passed, N failed, N refused".
 * Errors: those of clf_device_open; CLF_INVALID_VALUE when there is no case `only`; CLF_OUT_OF_HOST_MEMORY. */
CLF_API clf_status clf_testkit_run(const clf_component *component, const clf_testkit_options *options,
                                   clf_testkit_counts *counts);

/* ---- many parts and devices, a process for each pair: a driver that crashes is one failure ------------ */

/* One part on one device. The strings are valid during the call. */
typedef struct clf_testkit_result {
    const clf_component   *component;
    const clf_device_info *device;
    const char            *selector; /* of the device, as "0:1" or as it was asked for */
    clf_testkit_counts     counts;
    bool                   passed;   /* at least one case, and nothing went wrong */
    const char            *trouble;  /* what went wrong outside the cases: the device cannot be opened, the process
                                        died in a case, a simulator saw an error; "" when nothing did */
    double                 seconds;
} clf_testkit_result;

typedef struct clf_testkit_sweep_options {
    size_t               size;       /* sizeof(clf_testkit_sweep_options) */
    const char          *selector;   /* which devices; NULL = the one that clf_device_open(NULL) takes */
    const char *const   *except;     /* selectors of devices to leave out, ended by NULL; may be NULL */
    const char          *limit;      /* another selector that a device has to match; NULL or "" = none */
    bool                 in_process; /* a single pair runs in the calling process, for debuggers */
    clf_testkit_options  run;        /* what to do on each; its device and selector are not used */
    void               (*start)(const clf_component *component, const clf_device_info *device, void *user);
    void               (*result)(const clf_testkit_result *result, void *user); /* `user` is that of `run` */
} clf_testkit_sweep_options;

/* Runs `components` (ended by NULL) on all devices that match. The processes are new ones of the same
 * executable, whose `main` has to begin with clf_testkit_child; parts of plugins are there only when CLF_PLUGINS
 * names the plugin. *pairs (may be NULL) tells how many (part, device) there were.
 * Errors: those of clf_devices; CLF_DEVICE_NOT_FOUND too when all are left out; CLF_OUT_OF_HOST_MEMORY. What goes
 * wrong on a device is in its result. */
CLF_API clf_status clf_testkit_sweep(const clf_component *const *components, const clf_testkit_sweep_options *options,
                                     int *pairs);

/* First thing in `main`: is this a process that clf_testkit_sweep started? Then it has done its work, and `main`
 * returns *exit_code. */
CLF_API bool clf_testkit_child(int argc, char **argv, int *exit_code);

/* Relative L2 error of the first output against the double reference on one small problem.
 * Errors: CLF_UNSUPPORTED when the part has no reference or refuses the problem; those of planning and running. */
CLF_API clf_status clf_testkit_accuracy(clf_device *device, const clf_component *component, clf_dtype dtype,
                                        bool causal, double *relative_error);

CLF_END
#endif
