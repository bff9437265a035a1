/* Loading the layer, and what it tells when the process ends. */
#include "inside.h"
#include <CL/cl_layer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cl_icd_dispatch layer__next, layer__ours;

/* The symbol that layer_find looks for. */
CL_API_ENTRY const layer *clf_layer(void);

const layer *clf_layer(void)
{
    return layer__self();
}

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *needed)
{
    static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    static const char                 name[] = "clformers test layer";
    const void                       *answer = what == CL_LAYER_API_VERSION ? (const void *)&version : name;
    const size_t                      length = what == CL_LAYER_API_VERSION ? sizeof version : sizeof name;

    if (what != CL_LAYER_API_VERSION && what != CL_LAYER_NAME)
        return CL_INVALID_VALUE;
    if (value && size < length)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, answer, length);
    if (needed)
        *needed = length;
    return CL_SUCCESS;
}

/* clCreateBuffer:2:-4:always */
static void read_fault(const char *text)
{
    char name[64], always[8] = "";
    int n, code;

    if (sscanf(text, "%63[^:]:%d:%d:%7s", name, &n, &code, always) < 3)
        return;
    for (int call = 0; call < LAYER_CALLS; call++)
        if (!strcmp(layer__self()->name((layer_call)call), name))
            layer__self()->fail((layer_call)call, n, code, always[0] != '\0');
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint entries, const cl_icd_dispatch *target, cl_uint *count,
                                            const cl_icd_dispatch **ours)
{
    const size_t size = entries * sizeof(void *);

    if (!target || !count || !ours)
        return CL_INVALID_VALUE;
    memcpy(&layer__next, target, size < sizeof layer__next ? size : sizeof layer__next);
    layer__ours = layer__next;
    layer__fill();
    *count = sizeof layer__ours / sizeof(void *);
    *ours = &layer__ours;
    if (getenv("CLF_LAYER_FAIL"))
        read_fault(getenv("CLF_LAYER_FAIL"));
    return CL_SUCCESS;
}

static void print(FILE *out, const char *before, const layer_counts *c, const char *behind)
{
    fprintf(out,
            "%s%d contexts %d queues %d buffers %d programs %d kernels %d events %d device references, %d strangers%s",
            before, c->alive[LAYER_CONTEXT], c->alive[LAYER_QUEUE], c->alive[LAYER_BUFFER], c->alive[LAYER_PROGRAM],
            c->alive[LAYER_KERNEL], c->alive[LAYER_EVENT], c->device_references, c->strangers, behind);
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("CLF_LAYER_REPORT"), *strict = getenv("CLF_LAYER_STRICT");
    const layer_counts c = layer__self()->count();
    FILE *file = path && path[0] ? fopen(path, "a") : NULL;

    if (file) {
        print(file, "alive: ", &c, "; ");
        fprintf(file, "bytes %llu, peak %llu; source builds %d; failed %d; launches %d\n", (unsigned long long)c.bytes,
                (unsigned long long)c.peak, c.source_builds, c.failed, c.calls[LAYER_LAUNCH]);
        fclose(file);
    }
    if (strict && (layer_alive(&c) || c.device_references || c.strangers))
        print(stderr, "layer: ", &c, " alive at exit\n");
}
