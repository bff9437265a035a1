/* The choice of orthoformer's landmarks on the device. */
#ifndef CLF_ATTENTION_ORTHOFORMER_SELECT_H
#define CLF_ATTENTION_ORTHOFORMER_SELECT_H

#include "attention/orthoformer.h"
#include <clformers/author.h>

typedef struct orthoformer_selection {
    int       lanes;
    int       selection;
    bool      any;             /* rows are drawn as xFormers does: with replacement, for the whole batch */
    bool      padded, alike;   /* there is padding; queries are the keys' positions */
    int64_t   batch, heads, queries, keys, width;
    int64_t   landmarks;       /* of a head */
    int64_t   candidates, columns, chunks; /* most of a head; padded to blocks of 16; in chunks */
    int64_t   from_q;          /* landmarks that are rows of q, when they are random rows of q and k */
    uint32_t  fraction;        /* of the rows that are candidates in 2^-24, 0 = as many as there is room for */
    cl_mem    first, rows, key_rows; /* given draws, NULL = none */
    cl_kernel list, draw, columns_of, step, assign, sums, centres, unit, gather;
    uint64_t lists, counts, picks, key_picks, sizes, key_sizes, column, best, least, chosen, nearest,
        partial; /* bytes */
} orthoformer_selection;

/* Reserves memory and makes the kernels. */
clf_status clf__orthoformer_select_plan(clf_plan *plan, orthoformer_selection *selection);

/* marks [B, H, landmarks, width] f32, some [B, landmarks] bytes: which of them there are. */
clf_status clf__orthoformer_select(clf_run *run, const orthoformer_selection *selection, const clf_tensor *marks,
                              const clf_tensor *some);

#endif
