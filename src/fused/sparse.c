/* Sparse rows of a pattern for the device, and which of the two forms is cheaper. */
#include "fused/sparse.h"
#include "core/status.h"
#include "pattern/pattern.h"
#include <stdlib.h>
#include <string.h>

void clf__fused_bind_lists(clf_binder *binder, const clf_run *run, const clf__fused_lists *lists)
{
    const clf_buffer workspace = clf_run_workspace(run);
    const uint64_t at = (workspace.offset + lists->offset) / sizeof(cl_int);
    cl_int8 place = lists->at;

    if (!lists->mem && !lists->make)
        return;
    if (lists->make) {
        place.s[6] = (cl_int)(at & 0xffffffff);
        place.s[7] = (cl_int)(at >> 32);
    }
    clf_bind_mem(binder, lists->make ? workspace.mem : lists->mem);
    clf_bind_value(binder, &place, sizeof place);
}

clf_status clf__fused_plan_lists(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                 clf__fused_lists *lists)
{
    switch (clf__fused_listing_of(problem, tile)) {
    case CLF__FUSED_LISTED_PATTERN:
        return clf__fused_lists_of_tiles(plan, problem, tile, lists);
    case CLF__FUSED_LISTED_SNIPPET:
        return clf__fused_plan_mask_lists(plan, problem, tile, lists);
    default:
        return CLF_SUCCESS;
    }
}

/* ---- sparse rows ------------------------------------------------------------------------------------------- */

/* The rows of one head, or its columns. */
static clf_status rows_of(const clf_pattern *pattern, int64_t b, int64_t h, bool by_keys, clf_csr *csr)
{
    clf_csr rows = { 0 };
    clf_status status = clf_pattern_csr(pattern, b, h, CLF_SEMANTICS_PAPER, by_keys ? &rows : csr);

    if (status == CLF_SUCCESS && by_keys)
        status = clf_csr_transpose(&rows, csr);
    clf_csr_free(&rows);
    return status;
}

/* Numbers that grow. */
typedef struct numbers {
    int32_t *data;
    size_t   count, capacity;
} numbers;

static clf_status append(numbers *to, const int32_t *data, size_t count)
{
    if (to->count + count > to->capacity) {
        const size_t capacity = to->count + count > 2 * to->capacity ? to->count + count : 2 * to->capacity;
        int32_t *grown = realloc(to->data, capacity * sizeof *grown);
        if (!grown)
            return clf__no_memory(capacity * sizeof *grown);
        to->data = grown;
        to->capacity = capacity;
    }
    if (count > 0)
        memcpy(to->data + to->count, data, count * sizeof *data);
    to->count += count;
    return CLF_SUCCESS;
}

/* Rows of one head behind those before: `head` gets starts and order of all. */
static clf_status add_head(const clf_csr *csr, int64_t item, int64_t rows, int64_t heads_rows, int64_t limit,
                           int32_t *head, numbers *entries)
{
    const int64_t before = (int64_t)entries->count;
    clf_status status;

    if (before + csr->offsets[rows] > INT32_MAX - 2 * heads_rows - 1)
        return clf__fail(CLF_OUT_OF_RANGE, "a pattern of more than 2^31 pairs in %lld rows", (long long)heads_rows);
    if ((status = append(entries, csr->columns, (size_t)csr->offsets[rows])))
        return status;
    for (int64_t i = before; i < (int64_t)entries->count; i++)
        if (entries->data[i] >= limit)
            entries->data[i] = -1; /* a key of zeros */
    int32_t *order = head + heads_rows + 1 + item * rows;
    for (int64_t i = 0; i < rows; i++)
        head[item * rows + i + 1] = (int32_t)(before + csr->offsets[i + 1]);
    for (int64_t i = 0, n = 0; i < csr->rows; i++) /* the transposed rows of keys that are not there are left out */
        if (csr->order[i] < rows)
            order[n++] = csr->order[i];
    return CLF_SUCCESS;
}

clf_status clf__fused_lists_of_rows(clf_plan *plan, const clf__fused_problem *problem, bool by_keys,
                                    clf__fused_lists *lists)
{
    const clf_pattern *pattern = problem->blocks->pattern;
    const clf_pattern_info info = clf_pattern_get_info(pattern);
    const int64_t rows = problem->q.shape[2], keys = problem->k.shape[2], lines = by_keys ? keys : rows;
    const int64_t items = info.batch * info.heads, all = items * lines;
    numbers entries = { 0 };
    clf_status status = CLF_SUCCESS;
    int32_t *head = NULL;

    if (all > INT32_MAX / 4)
        return clf__fail(CLF_OUT_OF_RANGE, "sparse rows of %lld heads x %lld rows", (long long)items, (long long)lines);
    if (!(head = calloc((size_t)(2 * all + 1), sizeof *head)))
        return clf__no_memory((size_t)(2 * all + 1) * sizeof *head);
    for (int64_t item = 0; status == CLF_SUCCESS && item < items; item++) {
        clf_csr csr = { 0 };
        status = rows_of(pattern, item / info.heads, item % info.heads, by_keys, &csr);
        if (status == CLF_SUCCESS)
            status = add_head(&csr, item, lines, all, by_keys ? INT64_MAX : keys, head, &entries);
        clf_csr_free(&csr);
    }
    const size_t count = (size_t)(2 * all + 1) + entries.count;
    int32_t *data = status ? NULL : realloc(head, count * sizeof *head);
    if (data) {
        head = data;
        if (entries.count > 0)
            memcpy(data + 2 * all + 1, entries.data, entries.count * sizeof *data);
        lists->at = (cl_int8){ { (cl_int)lines, (cl_int)info.heads, (cl_int)info.batch, (cl_int)(all + 1),
                                 (cl_int)(2 * all + 1) } };
        status = clf_plan_constant(plan, data, count * sizeof *data, &lists->mem);
    } else if (status == CLF_SUCCESS) {
        status = clf__no_memory(count * sizeof *head);
    }
    free(head);
    free(entries.data);
    return status;
}

/* ---- the choice ----------------------------------------------------------------------------------------------- */

enum { PART_KEYS = 64 };

/* Pairs that the pattern has, and those in the parts of tiles that a family of tiles would compute. */
typedef struct survey {
    int    rows; /* of a part */
    double pairs, in_tiles;
} survey;

/* One head. */
static clf_status look_at(const clf_pattern *pattern, int64_t b, int64_t h, survey *found)
{
    const clf_pattern_info info = clf_pattern_get_info(pattern);
    int32_t *row = malloc(((size_t)info.keys + 1) * sizeof *row);
    int32_t *seen = calloc((size_t)info.keys / PART_KEYS + 1, sizeof *seen); /* 1 + the last part that touched it */

    if (!row || !seen) {
        free(row);
        free(seen);
        return clf__no_memory((size_t)info.keys * sizeof *row);
    }
    for (int64_t q = 0; q < info.queries; q++) {
        const int32_t count = clf__pattern_row(pattern, b, h, q, row), part = (int32_t)(q / found->rows) + 1;
        found->pairs += count;
        for (int32_t i = 0; i < count; i++) {
            int32_t *touched = &seen[row[i] / PART_KEYS];
            found->in_tiles += *touched != part ? found->rows * PART_KEYS : 0;
            *touched = part;
        }
    }
    free(row);
    free(seen);
    return CLF_SUCCESS;
}

/* What a gathered pair costs, in pairs inside of tiles. Measured: 4 with vectors on a CPU (patterns of every kind, N =
 * 2048 and 4096, D = 64), 25 on a software rasteriser, where what a few work-items read costs as much as what many do.
 * GPUs lie between. */
static double cost_of_gathering(const clf_device *device)
{
    const bool vectors = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;

    return vectors ? 4 : clf_device_get_info(device)->software ? 25 : 8;
}

clf_status clf__fused_prefers_rows(const clf_device *device, const clf__fused_problem *problem, bool *prefers)
{
    const bool vectors = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;
    const clf_pattern_info info = clf_pattern_get_info(problem->blocks->pattern);
    survey found = { .rows = vectors ? 8 : 64 };
    clf_status status = CLF_SUCCESS;

    for (int64_t item = 0; status == CLF_SUCCESS && item < info.batch * info.heads; item++)
        status = look_at(problem->blocks->pattern, item / info.heads, item % info.heads, &found);
    *prefers = found.pairs * cost_of_gathering(device) < found.in_tiles;
    return status;
}
