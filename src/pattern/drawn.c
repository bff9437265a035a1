/* Random sets of keys, drawn once and kept as rows. */
#include "pattern/rows.h"
#include "core/status.h"
#include <math.h>
#include <stdlib.h>

/* ---- the same number in every row -------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Entries of one head; too many to store are INT32_MAX. */
static uint64_t total(int64_t queries, int64_t keys, int64_t count, bool causal)
{
    uint64_t sum = 0;

    for (int64_t q = 0; q < queries && sum < INT32_MAX; q++)
        sum += (uint64_t)least(count, causal ? q + 1 : keys);
    return sum < INT32_MAX ? sum : INT32_MAX;
}

static clf_status check_keys(int64_t queries, int64_t keys, int64_t count, bool causal, clf_pattern **pattern)
{
    if (pattern)
        *pattern = NULL;
    if (queries < 0 || queries > CLF__PATTERN_LARGEST || keys < 0 || keys > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_INVALID_SHAPE, "%lld queries x %lld keys", (long long)queries, (long long)keys);
    if (count < 0 || count > keys)
        return clf__fail(CLF_OUT_OF_RANGE, "count = %lld; 0 to %lld keys are possible", (long long)count,
                         (long long)keys);
    if (causal && queries != keys)
        return clf__fail(CLF_INVALID_SHAPE, "causal order with %lld queries and %lld keys", (long long)queries,
                         (long long)keys);
    return CLF_SUCCESS;
}

clf_status clf_pattern_random_keys(int64_t heads, int64_t queries, int64_t keys, int64_t count, bool causal,
                                   uint64_t seed, clf_pattern **pattern)
{
    const clf__stream stream = clf__stream_open(seed, "pattern", true);
    int32_t *offsets, *columns, at = 0;
    int64_t *drawn = NULL;
    clf_status status = check_keys(queries, keys, count, causal, pattern);

    if (status == CLF_SUCCESS)
        status = clf__pattern_rows_new(heads, queries, keys, heads > 0 ? (uint64_t)heads *
                                       total(queries, keys, count, causal) : 0, pattern, &offsets, &columns);
    if (status)
        return status;
    drawn = malloc((size_t)(count + 1) * sizeof *drawn);
    if (!drawn) {
        clf_pattern_free(*pattern);
        *pattern = NULL;
        return clf__no_memory((size_t)count * sizeof *drawn);
    }
    for (int64_t i = 0; i < heads * queries; i++) {
        const int64_t range = causal ? i % queries + 1 : keys, take = least(count, range);
        clf__draw_distinct(&stream, (uint64_t)i * (uint64_t)count, range, take, drawn);
        for (int64_t j = 0; j < take; j++)
            columns[at++] = (int32_t)drawn[j];
        offsets[i + 1] = at;
    }
    free(drawn);
    return CLF_SUCCESS;
}

/* ---- by weight ------------------------------------------------------------------------------------------- */

/* A pair and when its turn comes: exponentially distributed with its weight as the rate. The first `count` arrivals
 * are distributed like `count` draws without replacement. */
typedef struct arrival {
    double  time;
    int64_t pair;
} arrival;

static int by_time(const void *a, const void *b)
{
    const arrival *x = a, *y = b;

    return x->time < y->time ? -1 : x->time > y->time ? 1 : x->pair < y->pair ? -1 : 1;
}

static int by_pair(const void *a, const void *b)
{
    const arrival *x = a, *y = b;

    return x->pair < y->pair ? -1 : 1;
}

/* The pairs of positive weight; *arrivals is the caller's. */
static clf_status wait_for_all(int64_t pairs, const float *weights, uint64_t seed, arrival **arrivals,
                               int64_t *positive)
{
    const clf__stream stream = clf__stream_open(seed, "pattern", true);

    *positive = 0;
    for (int64_t i = 0; i < pairs; i++) {
        if (!(weights[i] >= 0) || isinf(weights[i]))
            return clf__fail(CLF_OUT_OF_RANGE, "weights[%lld] = %g; weights are finite and not negative", (long long)i,
                             (double)weights[i]);
        *positive += weights[i] > 0;
    }
    *arrivals = malloc((size_t)(*positive + 1) * sizeof **arrivals);
    if (!*arrivals)
        return clf__no_memory((size_t)*positive * sizeof **arrivals);
    for (int64_t i = 0, n = 0; i < pairs; i++)
        if (weights[i] > 0)
            (*arrivals)[n++] = (arrival){ clf__stream_exponential(&stream, (uint64_t)i) / (double)weights[i], i };
    return CLF_SUCCESS;
}

clf_status clf_pattern_random_weighted(int64_t queries, int64_t keys, const float *weights, int64_t count,
                                       uint64_t seed, clf_pattern **pattern)
{
    arrival *arrivals = NULL;
    int64_t positive = 0;
    int32_t *offsets, *columns;
    clf_status status = check_keys(queries, keys, 0, false, pattern);

    if (status)
        return status;
    if (!weights && queries * keys > 0)
        return clf__fail(CLF_INVALID_VALUE, "weights is NULL");
    if ((status = wait_for_all(queries * keys, weights, seed, &arrivals, &positive)))
        goto done;
    if (count < 0 || count > positive) {
        status = clf__fail(CLF_OUT_OF_RANGE, "count = %lld; %lld weights are positive", (long long)count,
                           (long long)positive);
        goto done;
    }
    if ((status = clf__pattern_rows_new(1, queries, keys, (uint64_t)count, pattern, &offsets, &columns)))
        goto done;
    qsort(arrivals, (size_t)positive, sizeof *arrivals, by_time);
    qsort(arrivals, (size_t)count, sizeof *arrivals, by_pair);
    for (int64_t i = 0; i < count; i++) {
        columns[i] = (int32_t)(arrivals[i].pair % keys);
        offsets[arrivals[i].pair / keys + 1]++;
    }
    for (int64_t q = 0; q < queries; q++)
        offsets[q + 1] += offsets[q];
done:
    free(arrivals);
    return status;
}
