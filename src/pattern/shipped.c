/* What xFormers makes of a pattern. */
#include "pattern/rows.h"
#include "core/status.h"
#include <string.h>

static double density_of(int64_t pairs, int64_t rows, int64_t keys)
{
    return rows * keys > 0 ? (double)pairs / ((double)rows * (double)keys) : 0;
}

clf_status clf__pattern_as_shipped(clf_pattern **pattern, int64_t rows, bool force, bool *sparse)
{
    const clf_pattern_info info = clf_pattern_get_info(*pattern);
    int32_t *offsets, *columns;
    clf_pattern *made = NULL;
    clf_csr csr = { 0 };
    int64_t pairs;
    clf_status status;

    *sparse = false;
    if (info.batch != 1 || info.heads != 1 || rows > info.queries)
        return clf__fail(CLF_INVALID_SHAPE, "%lld rows of a pattern for %lld batches, %lld heads, %lld queries",
                         (long long)rows, (long long)info.batch, (long long)info.heads, (long long)info.queries);
    if ((status = clf_pattern_count(*pattern, 0, 0, &pairs)))
        return status;
    *sparse = force || density_of(pairs, info.queries, info.keys) <= CLF_PATTERN_SPARSE_DENSITY;
    if (!*sparse && rows == info.queries)
        return CLF_SUCCESS;
    status = clf_pattern_csr(*pattern, 0, 0, *sparse ? CLF_SEMANTICS_XFORMERS : CLF_SEMANTICS_PAPER, &csr);
    if (status == CLF_SUCCESS)
        status = clf__pattern_rows_new(1, rows, info.keys, (uint64_t)csr.offsets[rows], &made, &offsets, &columns);
    if (status == CLF_SUCCESS) {
        memcpy(offsets, csr.offsets, ((size_t)rows + 1) * sizeof *offsets);
        memcpy(columns, csr.columns, (size_t)csr.offsets[rows] * sizeof *columns);
        clf_pattern_free(*pattern);
        *pattern = made;
    }
    clf_csr_free(&csr);
    return status;
}
