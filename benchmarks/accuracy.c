/* How near a part comes to exact attention: both on the same normal numbers, the part at several values of the field that
 * its descriptor calls its knob. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char exact_part[] = "scaled_dot_product";

static const clf_io *find(const clf_io *table, const char *name, int *place)
{
    for (*place = 0; table[*place].name; ++*place) {
        if (strcmp(table[*place].name, name) == 0) {
            return &table[*place];
        }
    }
    return NULL;
}

/* The forward pass of a case; *out is to be freed. */
static clf_status result_of(clf_device *device, const clf__bench_options *options, const clf__bench_case *what,
                            float **out, int64_t *count)
{
    clf__bench_fixture fixture;
    clf_status         status = clf__bench_setup(device, options, what, &fixture);
    int                place;
    *out = NULL;
    if (status != CLF_SUCCESS) {
        return status;
    }
    const clf_tensor *tensor = NULL;
    if (find(what->component->descriptor->io, "out", &place)) {
        tensor = &fixture.args.io[place];
        *count = clf_tensor_elements(tensor);
        *out = malloc((size_t)*count * sizeof **out + 1);
    }
    status = !tensor ? CLF_UNSUPPORTED : *out ? clf__bench_enqueue(&fixture, NULL) : CLF_OUT_OF_HOST_MEMORY;
    if (status == CLF_SUCCESS) {
        status = clf_tensor_read_floats(device, tensor, *out); /* waits for it */
    }
    clf__bench_teardown(&fixture);
    if (status != CLF_SUCCESS) {
        free(*out);
        *out = NULL;
    }
    return status;
}

clf_status clf__bench_exact(clf_device *device, const clf__bench_options *options, const clf__bench_case *what,
                            float **exact)
{
    clf__bench_options plain = *options;
    clf__bench_case    same = *what;
    int64_t            count;
    clf_status         status = clf_component_find(CLF_ATTENTION, exact_part, &same.component);
    plain.config = NULL;
    plain.family = NULL;
    *exact = NULL;
    return status == CLF_SUCCESS ? result_of(device, &plain, &same, exact, &count) : status;
}

clf_status clf__bench_approximate(clf_device *device, const clf__bench_options *options, const float *exact,
                                  clf__bench_row *row)
{
    double     difference = 0, length = 0;
    int64_t    count = 0;
    float     *out;
    clf_status status = result_of(device, options, &row->what, &out, &count);
    if (status != CLF_SUCCESS) {
        return status;
    }
    for (int64_t i = 0; i < count; i++) {
        const double off = (double)out[i] - (double)exact[i];
        difference += off * off;
        length += (double)exact[i] * (double)exact[i];
    }
    row->distance = length > 0 ? sqrt(difference / length) : sqrt(difference);
    free(out);
    return CLF_SUCCESS;
}
