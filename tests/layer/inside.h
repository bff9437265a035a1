/* What the files of the layer share. */
#ifndef CLF_TESTS_LAYER_INSIDE_H
#define CLF_TESTS_LAYER_INSIDE_H

#include "layer.h"
#include <CL/cl_icd.h>

extern cl_icd_dispatch layer__next; /* the driver's side */
extern cl_icd_dispatch layer__ours;

/* faults.c: counts the call; true when it shall fail, with the code. */
bool layer__fails(layer_call call, cl_int *code);
void layer__blocks(void);

/* objects.c */
void layer__made(layer_object kind, void *handle);
void layer__retained(layer_object kind, void *handle);
void layer__released(layer_object kind, void *handle);
void layer__buffer_made(cl_mem buffer, size_t bytes);
void layer__program_from_source(cl_program program);
void layer__program_built(cl_program program);
void layer__device_retained(int difference);

/* Counts, under one lock. */
layer_counts *layer__lock(void);
void          layer__unlock(void);

/* calls.c: fills layer__ours. */
void layer__fill(void);

const layer *layer__self(void);

#endif
