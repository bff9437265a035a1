/* Patterns on a grid that depend on how far apart two points are along each axis, and nothing else.
 *
 * Own numbers: 6 axes. Table: 4 sizes; a bit for each vector of distances |d_0|, |d_1| ..., numbered like the points
 * of the grid; then {least, most} along the last axis for each |d_0| ... |d_(n-2)| (least > most: none). */
#include "pattern/pattern.h"
#include "core/status.h"
#include <math.h>

enum { AXES = 4, SIZES = CLF__PATTERN_TABLE, BITS = SIZES + AXES };

/* ---- the kind ------------------------------------------------------------------------------------- */

/* |a - b| of two points, as the number of a point. */
static int32_t apart(const int32_t *words, int32_t a, int32_t b)
{
    int32_t number = 0, unit = 1;

    for (int axis = words[CLF__PATTERN_OWN] - 1; axis >= 0; axis--) {
        const int32_t size = words[SIZES + axis], d = a % size - b % size;
        number += unit * (d < 0 ? -d : d);
        unit *= size;
        a /= size;
        b /= size;
    }
    return number;
}

static bool sees(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t k)
{
    (void)b;
    (void)h;
    return clf__bit(words + BITS, (uint64_t)apart(words, q, k));
}

static const int32_t *spans(const int32_t *words)
{
    return words + BITS + clf__bit_words((uint64_t)words[CLF__PATTERN_KEYS]);
}

/* The keys of one line along the last axis: line `line`, where the query's is `own` at `place`. */
static int32_t line_of(const int32_t *words, int32_t slab, int32_t line, int32_t place, int32_t size, int32_t *keys)
{
    const int32_t *span = spans(words) + 2 * (ptrdiff_t)slab;
    const int32_t least = span[0], most = span[1];
    const int32_t first = place - most > 0 ? place - most : 0, end = place + most < size ? place + most + 1 : size;
    int32_t count = 0;

    for (int32_t x = first; x < end; x++) {
        const int32_t d = x < place ? place - x : x - place;
        if (d < least)
            x = place + least - 1; /* nothing nearer than that: on to the other side */
        else if (clf__bit(words + BITS, (uint64_t)slab * (uint64_t)size + (uint64_t)d))
            keys[count++] = line * size + x;
    }
    return count;
}

/* apart() without the last axis. */
static int32_t slab_of(const int32_t *words, int32_t a, int32_t b)
{
    int32_t number = 0, unit = 1;

    for (int axis = words[CLF__PATTERN_OWN] - 2; axis >= 0; axis--) {
        const int32_t size = words[SIZES + axis], d = a % size - b % size;
        number += unit * (d < 0 ? -d : d);
        unit *= size;
        a /= size;
        b /= size;
    }
    return number;
}

static int32_t row(const int32_t *words, int32_t b, int32_t h, int32_t q, int32_t *keys)
{
    const int32_t size = words[SIZES + words[CLF__PATTERN_OWN] - 1], lines = words[CLF__PATTERN_KEYS] / size;
    int32_t count = 0;

    (void)b;
    (void)h;
    for (int32_t line = 0; line < lines; line++)
        count += line_of(words, slab_of(words, q / size, line), line, q % size, size, keys + count);
    return count;
}

static clf__pattern_hull hull(const int32_t *words)
{
    int32_t most = -1;

    for (int32_t d = 0; d < words[CLF__PATTERN_KEYS]; d++)
        if (clf__bit(words + BITS, (uint64_t)d))
            most = d; /* the numbers of two points differ by no more than the number of their distance */
    return (clf__pattern_hull){ -most, most, 0 };
}

const clf__pattern_kind clf__pattern_grid = { "grid", 3, sees, row, hull };

/* ---- making one --------------------------------------------------------------------------------------- */

static clf_status check_grid(int rank, const int64_t *sizes, int64_t *points)
{
    *points = 1;
    if (!sizes)
        return clf__fail(CLF_INVALID_VALUE, "sizes is NULL");
    if (rank < 1 || rank > AXES)
        return clf__fail(CLF_INVALID_SHAPE, "a grid of %d axes; 1 to %d are possible", rank, AXES);
    for (int axis = 0; axis < rank; axis++) {
        if (sizes[axis] < 1 || sizes[axis] > CLF__PATTERN_LARGEST / *points)
            return clf__fail(CLF_INVALID_SHAPE, "sizes[%d] = %lld; at least 1, and at most %d points in all", axis,
                             (long long)sizes[axis], CLF__PATTERN_LARGEST);
        *points *= sizes[axis];
    }
    return CLF_SUCCESS;
}

/* Coordinates of a point, the last axis fastest. */
static void coordinates(int rank, const int64_t *sizes, int64_t point, int64_t *x)
{
    for (int axis = rank - 1; axis >= 0; axis--) {
        x[axis] = point % sizes[axis];
        point /= sizes[axis];
    }
}

/* Which distances are in the pattern. */
typedef struct rule {
    bool        (*in)(const struct rule *rule, int rank, const int64_t *d);
    const double *weights;
    double        p;
    float         limit;
    int64_t       step;
} rule;

static void fill_spans(int32_t *words, int64_t points)
{
    const int32_t size = words[SIZES + words[CLF__PATTERN_OWN] - 1];
    int32_t *span = words + BITS + clf__bit_words((uint64_t)points);

    for (int64_t slab = 0; slab < points / size; slab++) {
        span[2 * slab] = size;
        span[2 * slab + 1] = -1;
        for (int32_t d = 0; d < size; d++)
            if (clf__bit(words + BITS, (uint64_t)(slab * size + d))) {
                span[2 * slab] = d < span[2 * slab] ? d : span[2 * slab];
                span[2 * slab + 1] = d;
            }
    }
}

static clf_status make(int rank, const int64_t *sizes, const rule *r, clf_pattern **pattern)
{
    int64_t points, d[AXES];
    clf_status status;

    if (pattern)
        *pattern = NULL;
    if ((status = check_grid(rank, sizes, &points)) ||
        (status = clf__pattern_new(&clf__pattern_grid, 1, 1, points, points,
                                   AXES + clf__bit_words((uint64_t)points) +
                                       2 * (uint64_t)(points / sizes[rank - 1]), pattern)))
        return status;
    int32_t *words = (*pattern)->words;
    words[CLF__PATTERN_OWN] = rank;
    for (int axis = 0; axis < AXES; axis++)
        words[SIZES + axis] = axis < rank ? (int32_t)sizes[axis] : 1;
    for (int64_t point = 0; point < points; point++) {
        coordinates(rank, sizes, point, d);
        if (r->in(r, rank, d))
            clf__bit_set(words + BITS, (uint64_t)point);
    }
    fill_spans(words, points);
    return CLF_SUCCESS;
}

/* ---- distances ------------------------------------------------------------------------------------------ */

static double distance(int rank, const int64_t *d, const double *weights, double p)
{
    double sum = 0;

    for (int axis = 0; axis < rank; axis++) {
        const double x = fabs((double)d[axis] * (weights ? weights[axis] : 1));
        if (isinf(p))
            sum = fmax(sum, x);
        else
            sum += p == 0 ? x != 0 : p == 1 ? x : p == 2 ? x * x : pow(x, p);
    }
    return isinf(p) || p == 0 || p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1 / p);
}

static clf_status check_norm(int rank, const double *weights, double p)
{
    if (!(p >= 0))
        return clf__fail(CLF_OUT_OF_RANGE, "p = %g; a norm has p >= 0", p);
    for (int axis = 0; weights && axis < rank; axis++)
        if (!isfinite(weights[axis]))
            return clf__fail(CLF_OUT_OF_RANGE, "weights[%d] = %g", axis, weights[axis]);
    return CLF_SUCCESS;
}

/* `values` of all pairs: the distance, or with sigma > 0 a Gaussian of it. */
static clf_status write_pairs(int rank, const int64_t *sizes, const double *weights, double p, double sigma,
                              float *values)
{
    int64_t points, x[AXES], y[AXES];
    clf_status status;

    if (!values)
        return clf__fail(CLF_INVALID_VALUE, "there is nowhere to write to: NULL");
    if ((status = check_grid(rank, sizes, &points)) || (status = check_norm(rank, weights, p)))
        return status;
    for (int64_t i = 0; i < points; i++) {
        coordinates(rank, sizes, i, x);
        for (int64_t j = 0; j < points; j++) {
            coordinates(rank, sizes, j, y);
            for (int axis = 0; axis < rank; axis++)
                y[axis] -= x[axis];
            const double d = distance(rank, y, weights, p);
            *values++ = (float)(sigma > 0 ? exp(-0.5 * d * d / (sigma * sigma)) : d);
        }
    }
    return CLF_SUCCESS;
}

clf_status clf_grid_distances(int rank, const int64_t *sizes, const double *weights, double p, float *distances)
{
    return write_pairs(rank, sizes, weights, p, 0, distances);
}

clf_status clf_grid_gaussian(int rank, const int64_t *sizes, double sigma, float *values)
{
    if (!(sigma > 0))
        return clf__fail(CLF_OUT_OF_RANGE, "sigma = %g; it is positive", sigma);
    return write_pairs(rank, sizes, NULL, 2, sigma, values);
}

/* ---- the patterns ----------------------------------------------------------------------------------------- */

static bool is_near(const rule *r, int rank, const int64_t *d)
{
    return (float)distance(rank, d, r->weights, r->p) < r->limit;
}

clf_status clf_pattern_grid_local(int rank, const int64_t *sizes, const double *weights, double p, double limit,
                                  clf_pattern **pattern)
{
    const rule r = { .in = is_near, .weights = weights, .p = p, .limit = (float)limit };
    const clf_status status = rank < 1 || rank > AXES ? CLF_SUCCESS : check_norm(rank, weights, p);

    if (status && pattern)
        *pattern = NULL;
    return status ? status : make(rank, sizes, &r, pattern);
}

static bool is_axial(const rule *r, int rank, const int64_t *d)
{
    int differ = 0;

    (void)r;
    for (int axis = 0; axis < rank; axis++)
        differ += d[axis] != 0;
    return differ < 2;
}

clf_status clf_pattern_grid_axial(int rank, const int64_t *sizes, clf_pattern **pattern)
{
    return make(rank, sizes, &(rule){ .in = is_axial }, pattern);
}

static bool is_dilated(const rule *r, int rank, const int64_t *d)
{
    for (int axis = 0; axis < rank; axis++)
        if (d[axis] % r->step)
            return false;
    return true;
}

clf_status clf_pattern_grid_dilated(int rank, const int64_t *sizes, int64_t step, clf_pattern **pattern)
{
    if (pattern)
        *pattern = NULL;
    if (step < 1)
        return clf__fail(CLF_OUT_OF_RANGE, "step = %lld; at least 1", (long long)step);
    return make(rank, sizes, &(rule){ .in = is_dilated, .step = step }, pattern);
}
