/* Random features of favor: directions that are normal vectors one by one, and orthogonal in blocks.
 *
 * As published, blocks of `width` features are orthogonal to each other. xFormers draws square blocks as wide as there
 * are features and keeps `width` rows, so that rows are orthogonal instead; with sm_reg its features then have the
 * length width / sqrt(drawn) instead of sqrt(width), which is another temperature.
 */
#include "attention/favor_draw.h"
#include "component/random.h"
#include "core/status.h"
#include <math.h>
#include <stdlib.h>

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Takes the directions of the first `count` vectors out of the next one and gives it length 1; answers the length
 * that was left. */
static double turn(double *vectors, int count, int n)
{
    double *last = vectors + (size_t)count * (size_t)n;

    for (int i = 0; i < count; i++) {
        const double *other = vectors + (size_t)i * (size_t)n, along = dot(last, other, n);
        for (int d = 0; d < n; d++)
            last[d] -= along * other[d];
    }
    const double left = sqrt(dot(last, last, n));
    for (int d = 0; d < n && left > 0; d++)
        last[d] /= left;
    return left;
}

/* Normal vectors number `first` and on, turned to be orthogonal; then each has its old length, or `length`. */
static void make_block(const clf__stream *stream, int64_t first, int count, int n, double length, double *vectors)
{
    for (int i = 0; i < count; i++) {
        double *vector = vectors + (size_t)i * (size_t)n;
        for (int d = 0; d < n; d++)
            vector[d] = clf__stream_normal(stream, (uint64_t)((first + i) * n + d));
        const double before = sqrt(dot(vector, vector, n));
        if (turn(vectors, i, n) < 0.5 * before) /* much was lost, and digits with it */
            (void)turn(vectors, i, n);
        vectors[(size_t)count * (size_t)n + (size_t)i] = length > 0 ? length : before;
    }
    for (int i = 0; i < count; i++)
        for (int d = 0; d < n; d++)
            vectors[(size_t)i * (size_t)n + (size_t)d] *= vectors[(size_t)count * (size_t)n + (size_t)i];
}

clf_status clf__favor_draw(int width, int drawn, int map, bool xformers, const char *name, uint64_t seed, double *data)
{
    const clf__stream stream = clf__stream_open(seed, name, true);
    const double length = map == FAVOR_SM_REG ? sqrt(width) : 0;
    const int n = xformers ? drawn : width, vectors = xformers ? width : drawn; /* of n numbers each */
    const int most = vectors < n ? vectors : n;
    double *block = malloc((size_t)most * ((size_t)n + 1) * sizeof *block);

    if (!block)
        return clf__no_memory((size_t)most * ((size_t)n + 1) * sizeof *block);
    for (int first = 0; first < vectors; first += n) {
        const int count = vectors - first < n ? vectors - first : n;
        make_block(&stream, first, count, n, length, block);
        for (int i = 0; i < count; i++)
            for (int d = 0; d < n; d++) {
                const int row = xformers ? first + i : d, column = xformers ? d : first + i;
                data[(size_t)row * (size_t)drawn + (size_t)column] = block[(size_t)i * (size_t)n + (size_t)d];
            }
    }
    free(block);
    return CLF_SUCCESS;
}
