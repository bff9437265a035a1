/* The tolerance rule of the test kit: what must pass and what must not. */
#include "kit.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 3, WIDTH = 4, COUNT = ROWS * WIDTH };

static double ref[COUNT], base[COUNT], out[COUNT];
static char   why[256];

/* A reference of ordinary size whose baseline is off by 1e-6 everywhere. */
static clf__kit_measure setup(void)
{
    for (int i = 0; i < COUNT; i++) {
        ref[i] = 1 + 0.1 * i;
        base[i] = ref[i] + 1e-6;
        out[i] = ref[i];
    }
    why[0] = '\0';
    return (clf__kit_measure){ .out = out, .ref = ref, .base = { base }, .rows = ROWS, .width = WIDTH,
                               .eps = 0x1p-23, .factor = 2 };
}

static bool passes(const clf__kit_measure *m)
{
    return clf__kit_compare(m, why, sizeof why);
}

Test(compare, equal_and_nearly_equal)
{
    clf__kit_measure m = setup();
    cr_assert(passes(&m), "%s", why);
    out[5] += 1.9e-6;
    cr_assert(passes(&m), "%s", why);
}

Test(compare, error_beyond_the_baseline)
{
    clf__kit_measure m = setup();
    out[5] += 1e-5;
    cr_assert_not(passes(&m));
    cr_assert(strstr(why, "row 1 column 1"), "%s", why);
    m.factor = 20;
    cr_assert(passes(&m), "%s", why);
}

Test(compare, last_place_is_always_allowed)
{
    clf__kit_measure m = setup();
    memcpy(base, ref, sizeof ref);
    out[0] += 3 * m.eps * ref[3];
    cr_assert(passes(&m), "%s", why);
    out[0] += 3 * m.eps * ref[3];
    cr_assert_not(passes(&m));
}

Test(compare, many_small_errors)
{
    clf__kit_measure m = setup();
    memcpy(base, ref, sizeof ref);
    base[0] += 1e-3; /* one lucky row may not excuse the others */
    for (int i = WIDTH; i < COUNT; i++)
        out[i] += 1.9e-3;
    cr_assert_not(passes(&m));
}

Test(compare, nan_never_passes)
{
    clf__kit_measure m = setup();
    out[7] = NAN;
    cr_assert_not(passes(&m));
    m = setup();
    m.factor = INFINITY;
    out[7] = NAN;
    cr_assert_not(passes(&m));
}

Test(compare, reference_or_baseline_of_nan)
{
    clf__kit_measure m = setup();
    ref[2] = out[2] = NAN;
    cr_assert_not(passes(&m));
    m = setup();
    base[2] = NAN; /* excuses nothing */
    out[2] += 1e-3;
    cr_assert_not(passes(&m));
}

Test(compare, infinities)
{
    clf__kit_measure m = setup();
    ref[4] = base[4] = out[4] = -INFINITY;
    cr_assert(passes(&m), "%s", why);
    out[4] = INFINITY;
    cr_assert_not(passes(&m));
    out[4] = -1e30;
    cr_assert_not(passes(&m));
    m = setup();
    out[4] = INFINITY;
    cr_assert_not(passes(&m));
    m = setup();
    base[4] = INFINITY; /* an overflowing baseline excuses the same overflow and nothing else */
    out[4] += 1;
    cr_assert_not(passes(&m));
    out[4] = INFINITY;
    cr_assert(passes(&m), "%s", why);
    out[4] = -INFINITY;
    cr_assert_not(passes(&m));
}

Test(compare, zeros)
{
    clf__kit_measure m = setup();
    memset(out, 0, sizeof out);
    cr_assert_not(passes(&m));
    m.factor = 1e9; /* whatever the tolerance */
    cr_assert_not(passes(&m));
    memset(ref, 0, sizeof ref);
    memset(base, 0, sizeof base);
    cr_assert(passes(&m), "%s", why);
}

Test(compare, exact_zero_rows)
{
    clf__kit_measure m = setup();
    for (int i = 0; i < WIDTH; i++)
        ref[i] = base[i] = out[i] = 0;
    cr_assert(passes(&m), "%s", why);
    out[1] = 1e-9; /* small against the other rows, but nothing may be there */
    cr_assert_not(passes(&m));
    base[2] = 1e-6; /* rounding noise: then it may */
    cr_assert(passes(&m), "%s", why);
}

Test(compare, several_baselines)
{
    static double    other[COUNT];
    clf__kit_measure m = setup();
    memcpy(other, ref, sizeof ref);
    for (int i = 0; i < COUNT; i++)
        other[i] += 1e-4;
    out[3] += 1.5e-4;
    cr_assert_not(passes(&m));
    m.base[1] = other;
    cr_assert(passes(&m), "%s", why);
}

Test(compare, no_baseline_no_rows)
{
    clf__kit_measure m = setup();
    m.base[0] = NULL;
    cr_assert(passes(&m), "%s", why);
    m.rows = 0;
    cr_assert(passes(&m), "%s", why);
}

Test(compare, eps_of_types)
{
    cr_assert_eq(clf__kit_eps(CLF_F32), 0x1p-23);
    cr_assert_eq(clf__kit_eps(CLF_F16), 0x1p-10);
    cr_assert_eq(clf__kit_eps(CLF_BF16), 0x1p-7);
}

Test(random, numbers)
{
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        const double x = clf__kit_normal(3, i);
        cr_assert(x != 0 && isfinite(x));
        sum += x;
        squares += x * x;
    }
    cr_assert_lt(fabs(sum / 20000), 0.03);
    cr_assert_lt(fabs(squares / 20000 - 1), 0.05);
    cr_assert_eq(clf__kit_normal(3, 17), clf__kit_normal(3, 17));
    cr_assert_neq(clf__kit_normal(3, 17), clf__kit_normal(4, 17));
}
