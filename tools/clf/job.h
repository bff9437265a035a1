/* One `clf run`: options, the job that is made from them, and its steps in order. */
#ifndef CLF_TOOL_JOB_H
#define CLF_TOOL_JOB_H

#include "tool.h"

enum { CLF__JOB_MAX_SETS = 64 };

typedef struct clf__job_options {
    const char *input, *output, *config, *kind, *device, *family;
    const char *sets[CLF__JOB_MAX_SETS];
    int         set_count;
    clf_dtype   dtype;           /* CLF_DTYPE_NONE: as in the file */
    uint64_t    seed;
    bool        allow_reference, all_outputs, json;
} clf__job_options;

typedef struct clf__job {
    const clf__job_options *options;
    clf_safetensors        *file;
    cJSON                  *json;      /* the config as given, with "name" and the --set entries */
    const clf_component    *component;
    void                   *config;    /* parsed */
    cJSON                  *aliases;   /* the file's names of parameters that are others by another name, or NULL */
    int64_t                 heads;     /* to unfold (B*H, N, D) */
    bool                    folded[CLF_MAX_IO]; /* rank 3 in the file where the part has axes BH.. */
    clf_dtype               dtype;     /* of floating inputs and outputs */
    int                     passes;

    clf_device             *device;
    clf_instance           *instance;
    clf_plan               *plan;
    clf_args                args;
    clf_host_tensor         borrowed;  /* the config's tensor that was looked up last */
    cl_mem                  workspace, saved;
    double                  seconds[2]; /* forward, backward */
} clf__job;

/* Every step returns an exit code after printing what went wrong. */

/* Reads the config and finds the part; parses the config. */
int clf__job_configure(clf__job *job);
/* Every tensor of the file must belong to the part's tables. */
int clf__job_check_names(const clf__job *job);
/* Shapes, dtypes and passes from what the file holds. Touches no device. */
int clf__job_describe(clf__job *job);
/* Opens the device, makes the instance and fills everything that is read. */
int clf__job_load(clf__job *job);
/* Plans, runs and waits. */
int clf__job_compute(clf__job *job);
/* Writes the output file. */
int clf__job_store(clf__job *job);
void clf__job_free(clf__job *job);

/* For those steps: the file's tensor <prefix><name>, or NULL. */
const clf_safetensors_entry *clf__job_find(const clf__job *job, const char *prefix, const char *name);
bool clf__job_is_floating(clf_dtype dtype);
/* The parameter that `name` is another name of in the file, where the part itself has it once; or NULL. */
const char *clf__job_alias(const clf__job *job, const char *name);

#endif
