/* The tolerance rule: a result may be `factor` times as far from the double reference as a host computation
 * with the same storage type and f32 sums is, plus four units in the last place of the row's largest value.
 *
 * The baseline's error of one row can be tiny by luck, above all where the true value is 0 and only rounding
 * noise is left (dq of a query with one visible key). So there are several baselines, and a row may always
 * have the root mean square error of all rows; where reference and baselines are exactly 0, nothing else passes.
 */
#include "kit.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

double clf__kit_eps(clf_dtype dtype)
{
    return dtype == CLF_F16 ? 0x1p-10 : dtype == CLF_BF16 ? 0x1p-7 : dtype == CLF_F64 ? DBL_EPSILON : 0x1p-23;
}

/* Equal infinities do not differ. */
static double difference(double a, double b)
{
    return a == b ? 0 : fabs(a - b);
}

/* Error of element i; none where the storage type overflows for the baseline, too. */
static double difference_at(const clf__kit_measure *m, int64_t i)
{
    for (int b = 0; b < KIT_BASELINES && m->base[b] && isinf(m->out[i]); b++)
        if (m->base[b][i] == m->out[i])
            return 0;
    return difference(m->out[i], m->ref[i]);
}

typedef struct row_scale {
    double largest; /* |ref|, finite values only */
    double base;    /* largest error of the baselines */
    bool   zero;    /* reference and baselines are exactly 0 */
} row_scale;

static row_scale scale_of_row(const clf__kit_measure *m, int64_t row)
{
    row_scale scale = { 0, 0, true };
    for (int64_t i = row * m->width; i < (row + 1) * m->width; i++) {
        if (isfinite(m->ref[i]))
            scale.largest = fmax(scale.largest, fabs(m->ref[i]));
        scale.zero = scale.zero && m->ref[i] == 0;
        for (int b = 0; b < KIT_BASELINES && m->base[b]; b++) {
            const double error = difference(m->base[b][i], m->ref[i]);
            if (isfinite(error)) /* a baseline that overflowed excuses nothing */
                scale.base = fmax(scale.base, error);
            scale.zero = scale.zero && m->base[b][i] == 0;
        }
    }
    return scale;
}

/* Root mean square over the rows of the baselines' largest errors. */
static double usual_error(const clf__kit_measure *m)
{
    double sum = 0;
    for (int64_t row = 0; row < m->rows; row++) {
        const double base = scale_of_row(m, row).base;
        sum += base * base;
    }
    return m->rows ? sqrt(sum / (double)m->rows) : 0;
}

static bool compare_row(const clf__kit_measure *m, int64_t row, double usual, char *why, size_t why_size)
{
    const row_scale scale = scale_of_row(m, row);
    const double    tolerance =
        scale.zero ? 0 : m->factor * fmax(scale.base, usual) + 4 * m->eps * scale.largest;
    for (int64_t i = row * m->width; i < (row + 1) * m->width; i++) {
        const double error = difference_at(m, i);
        if (!(error <= tolerance)) {
            snprintf(why, why_size, "row %lld column %lld is %.9g, expected %.9g: error %.3g > %.3g", (long long)row,
                     (long long)(i - row * m->width), m->out[i], m->ref[i], error, tolerance);
            return false;
        }
    }
    return true;
}

static bool compare_norm(const clf__kit_measure *m, char *why, size_t why_size)
{
    double error = 0, size = 0, base[KIT_BASELINES] = { 0 }, largest = 0;
    for (int64_t i = 0; i < m->rows * m->width; i++) {
        error += difference_at(m, i) * difference_at(m, i);
        size += isfinite(m->ref[i]) ? m->ref[i] * m->ref[i] : 0;
        for (int b = 0; b < KIT_BASELINES && m->base[b]; b++) {
            const double off = difference(m->base[b][i], m->ref[i]);
            base[b] += isfinite(off) ? off * off : 0;
        }
    }
    for (int b = 0; b < KIT_BASELINES; b++)
        largest = fmax(largest, sqrt(base[b]));
    if (!(sqrt(error) <= m->factor * largest + 4 * m->eps * sqrt(size))) {
        snprintf(why, why_size, "L2 error %.3g of %.3g, baseline's %.3g", sqrt(error), sqrt(size), largest);
        return false;
    }
    return true;
}

/* Nothing computed must not look like a small error; a reference of nothing but rounding noise counts as 0. */
static bool compare_zero(const clf__kit_measure *m, char *why, size_t why_size)
{
    bool out_zero = true, ref_zero = true;
    for (int64_t i = 0; i < m->rows * m->width; i++) {
        out_zero = out_zero && m->out[i] == 0;
        ref_zero = ref_zero && fabs(m->ref[i]) <= 1e-12;
    }
    if (out_zero && !ref_zero)
        snprintf(why, why_size, "everything is 0");
    return !out_zero || ref_zero;
}

bool clf__kit_compare(const clf__kit_measure *m, char *why, size_t why_size)
{
    for (int64_t i = 0; i < m->rows * m->width; i++)
        if (isnan(m->ref[i])) {
            snprintf(why, why_size, "the reference is NaN at element %lld", (long long)i);
            return false;
        }
    const double usual = usual_error(m);
    for (int64_t row = 0; row < m->rows; row++)
        if (!compare_row(m, row, usual, why, why_size))
            return false;
    return compare_norm(m, why, why_size) && compare_zero(m, why, why_size);
}
