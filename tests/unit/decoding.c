/* Merging attention over chunks of the keys, and keys and values in 8 and 4 bits, against the formulas on the host. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <string.h>

enum { CHUNKS = 3, BATCH = 2, HEADS = 2, ROWS = 5, WIDTH = 7, ITEMS = BATCH * HEADS * ROWS };

static uint64_t state;

static float next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 40) / 8388608.0 - 1);
}

static void alloc(clf_device *device, clf_dtype dtype, int rank, const int64_t *shape, clf_tensor *tensor)
{
    cr_assert_eq(clf_tensor_alloc(device, dtype, rank, shape, tensor), CLF_SUCCESS, "%s", clf_error_message());
}

/* ---- merging ----------------------------------------------------------------------------------------- */

typedef struct chunks {
    float      out[CHUNKS * ITEMS * WIDTH], lse[CHUNKS * ITEMS];
    clf_tensor outs, lses, merged, merged_lse;
} chunks;

/* Rows that no chunk sees, that one sees, and with scores of all sizes. What no key gave is NaN. */
static void make_chunks(clf_device *device, clf_dtype dtype, chunks *c)
{
    static const int64_t shape[] = { CHUNKS, BATCH, HEADS, ROWS, WIDTH };

    state = 5;
    for (int i = 0; i < CHUNKS * ITEMS; i++) {
        const int chunk = i / ITEMS, row = i % ITEMS;
        const bool nothing = row == 3 || (row == 8 && chunk != 1);
        c->lse[i] = nothing ? -INFINITY : 40 * next();
        for (int e = 0; e < WIDTH; e++)
            c->out[i * WIDTH + e] = nothing ? NAN : dtype == CLF_F32 ? next() : clf_half_to_float(clf_float_to_half(next()));
    }
    alloc(device, dtype, 5, shape, &c->outs);
    alloc(device, CLF_F32, 4, shape, &c->lses);
    alloc(device, CLF_F32, 4, shape + 1, &c->merged);
    alloc(device, CLF_F32, 3, shape + 1, &c->merged_lse);
    cr_assert_eq(clf_tensor_write_floats(device, &c->outs, c->out), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write_floats(device, &c->lses, c->lse), CLF_SUCCESS);
}

static void free_chunks(clf_device *device, chunks *c)
{
    clf_tensor_free(device, &c->outs);
    clf_tensor_free(device, &c->lses);
    clf_tensor_free(device, &c->merged);
    clf_tensor_free(device, &c->merged_lse);
}

static void expect_row(const chunks *c, int row, const float *out, float lse)
{
    double sum = 0, values[WIDTH] = { 0 };

    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        const int at = chunk * ITEMS + row;
        const double weight = exp((double)c->lse[at]);
        sum += weight;
        for (int e = 0; e < WIDTH && weight > 0; e++)
            values[e] += weight * (double)c->out[at * WIDTH + e];
    }
    if (sum == 0)
        cr_expect_eq(lse, -INFINITY);
    else
        cr_expect(fabs(log(sum) - (double)lse) <= 1e-5, "row %d: lse %g, not %g", row, (double)lse, log(sum));
    for (int e = 0; e < WIDTH; e++)
        cr_expect(fabs((sum > 0 ? values[e] / sum : 0) - (double)out[e]) <= 1e-6, "row %d: %g, not %g", row,
                  (double)out[e], values[e] / sum);
}

static void check_merge(clf_device *device)
{
    static const clf_dtype dtypes[] = { CLF_F32, CLF_F16 };
    chunks *c = malloc(sizeof *c);
    float   out[ITEMS * WIDTH], lse[ITEMS];

    cr_assert_not_null(c);
    for (int i = 0; i < 2; i++) {
        cl_event event = NULL;
        make_chunks(device, dtypes[i], c);
        cr_expect_eq(clf_merge_attentions(device, &c->outs, &c->lses, &c->merged, NULL, NULL, 0, NULL, NULL), CLF_SUCCESS);
        cr_assert_eq(clf_merge_attentions(device, &c->outs, &c->lses, &c->merged, &c->merged_lse, NULL, 0, NULL, &event),
                     CLF_SUCCESS, "%s", clf_error_message());
        clReleaseEvent(event);
        cr_assert_eq(clf_tensor_read_floats(device, &c->merged, out), CLF_SUCCESS);
        cr_assert_eq(clf_tensor_read_floats(device, &c->merged_lse, lse), CLF_SUCCESS);
        for (int row = 0; row < ITEMS; row++)
            expect_row(c, row, out + row * WIDTH, lse[row]);
        free_chunks(device, c);
    }
    free(c);
}

Test(decoding, merge)
{
    for_each_device(check_merge);
}

static clf_status merge(clf_device *device, const chunks *c)
{
    return clf_merge_attentions(device, &c->outs, &c->lses, &c->merged, &c->merged_lse, NULL, 0, NULL, NULL);
}

Test(decoding, merge_refusals)
{
    clf_device *device = NULL;
    chunks     *c = malloc(sizeof *c), wrong;

    cr_assert_not_null(c);
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    make_chunks(device, CLF_F32, c);
    wrong = *c;
    wrong.merged.shape[2]--;
    cr_expect_eq(merge(device, &wrong), CLF_INVALID_SHAPE);
    cr_expect(strstr(clf_error_message(), "'out': axis 2 is 4, not 5"), "%s", clf_error_message());
    wrong = *c;
    wrong.lses.rank = 3;
    cr_expect_eq(merge(device, &wrong), CLF_INVALID_RANK);
    wrong = *c;
    wrong.merged.mem = c->outs.mem;
    cr_expect_eq(merge(device, &wrong), CLF_BUFFER_OVERLAP);
    wrong = *c;
    wrong.merged_lse.dtype = CLF_F16;
    cr_expect_eq(merge(device, &wrong), CLF_INVALID_DTYPE);
    wrong = *c;
    wrong.merged.strides[1] = 0;
    cr_expect_eq(merge(device, &wrong), CLF_INVALID_STRIDE);
    wrong = *c;
    wrong.outs.offset = (uint64_t)1 << 40;
    cr_expect_eq(merge(device, &wrong), CLF_BUFFER_TOO_SMALL);
    free_chunks(device, c);
    free(c);
    clf_device_release(device);
}

/* ---- fewer bits ------------------------------------------------------------------------------------------ */

enum { COLUMNS = 48, GROUP = 16, GROUPS = COLUMNS / GROUP };

/* Numbers of one group as they should be. */
static void expect_group(const float *x, int bits, const uint8_t *packed, const float *scales)
{
    const int levels = (1 << bits) - 1;
    float least = x[0], most = x[0];

    for (int n = 1; n < GROUP; n++) {
        least = fminf(least, x[n]);
        most = fmaxf(most, x[n]);
    }
    cr_expect_eq(scales[0], clf_half_to_float(clf_float_to_half((most - least) / (float)levels)));
    cr_expect_eq(scales[1], clf_half_to_float(clf_float_to_half(least)));
    for (int n = 0; n < GROUP; n++) {
        const int number = bits == 8 ? packed[n] : packed[n / 2] >> (4 * (n % 2)) & 15;
        const float back = (float)number * scales[0] + scales[1];
        /* Half a step, a little more at the ends, which rounding the scale and the shift moves. */
        cr_expect(fabsf(back - x[n]) <= 0.5f * scales[0] + 0x1p-10f * (fabsf(least) + (most - least)) + 1e-6f,
                  "%d bits: %g became %g", bits, (double)x[n], (double)back);
    }
}

static void check_bits(clf_device *device, int bits, clf_dtype dtype)
{
    const int64_t shape[] = { BATCH, HEADS, ROWS, COLUMNS }, packed_shape[] = { BATCH, HEADS, ROWS, COLUMNS * bits / 8 };
    const int64_t scales_shape[] = { BATCH, HEADS, ROWS, 2 * GROUPS };
    float      x[ITEMS * COLUMNS], scales[ITEMS * GROUPS * 2];
    uint8_t    packed[ITEMS * COLUMNS];
    clf_tensor from, to, to_scales;

    state = 9;
    for (int i = 0; i < ITEMS * COLUMNS; i++) /* one group is all the same */
        x[i] = i < GROUP ? 0.25f : clf_half_to_float(clf_float_to_half((float)(i % 5) * next()));
    alloc(device, dtype, 4, shape, &from);
    alloc(device, CLF_U8, 4, packed_shape, &to);
    alloc(device, CLF_F16, 4, scales_shape, &to_scales);
    cr_assert_eq(clf_tensor_write_floats(device, &from, x), CLF_SUCCESS);
    cr_assert_eq(clf_quantise(device, &from, bits, GROUP, &to, &to_scales, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                 clf_error_message());
    cr_assert_eq(clf_tensor_read(device, &to, packed), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_read_floats(device, &to_scales, scales), CLF_SUCCESS);
    for (int g = 0; g < ITEMS * GROUPS; g++)
        expect_group(x + g * GROUP, bits, packed + g * GROUP * bits / 8, scales + 2 * g);
    cr_expect_eq(clf_quantise(device, &from, 6, GROUP, &to, &to_scales, NULL, 0, NULL, NULL), CLF_OUT_OF_RANGE);
    cr_expect_eq(clf_quantise(device, &from, bits, 32, &to, &to_scales, NULL, 0, NULL, NULL), CLF_OUT_OF_RANGE);
    cr_expect_eq(clf_quantise(device, &from, 12 - bits, GROUP, &to, &to_scales, NULL, 0, NULL, NULL), CLF_INVALID_SHAPE);
    clf_tensor_free(device, &from);
    clf_tensor_free(device, &to);
    clf_tensor_free(device, &to_scales);
}

static void check_quantise(clf_device *device)
{
    check_bits(device, 8, CLF_F16);
    check_bits(device, 4, CLF_F32);
}

Test(decoding, quantise)
{
    for_each_device(check_quantise);
}
