/* Element types and the conversions of 16-bit floats. */
#include <clformers/tensor.h>
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

Test(dtype, sizes_and_names)
{
    static const struct {
        clf_dtype   dtype;
        const char *name;
        size_t      size;
    } rows[] = { { CLF_F32, "F32", 4 }, { CLF_F16, "F16", 2 }, { CLF_BF16, "BF16", 2 }, { CLF_F64, "F64", 8 },
                 { CLF_I8, "I8", 1 },   { CLF_I16, "I16", 2 }, { CLF_I32, "I32", 4 },   { CLF_I64, "I64", 8 },
                 { CLF_U8, "U8", 1 },   { CLF_BOOL8, "BOOL", 1 } };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(clf_dtype_size(rows[i].dtype), rows[i].size);
        cr_expect_str_eq(clf_dtype_name(rows[i].dtype), rows[i].name);
        cr_expect_eq(clf_dtype_from_name(rows[i].name), rows[i].dtype);
    }
    cr_expect_eq(clf_dtype_from_name("bf16"), CLF_BF16);
    cr_expect_eq(clf_dtype_from_name("U32"), CLF_DTYPE_NONE);
    cr_expect_eq(clf_dtype_from_name(""), CLF_DTYPE_NONE);
    cr_expect_eq(clf_dtype_from_name(NULL), CLF_DTYPE_NONE);
    cr_expect_eq(clf_dtype_size(CLF_DTYPE_NONE), 0);
    cr_expect_eq(clf_dtype_size((clf_dtype)11), 0);
    cr_expect_eq(clf_dtype_size((clf_dtype)-1), 0);
    cr_expect_not_null(clf_dtype_name((clf_dtype)77));
}

/* What a format with `bits` stored mantissa bits and this smallest normal exponent makes of x. */
static double rounded(double x, int bits, int smallest, double overflow)
{
    if (fabs(x) >= overflow) {
        return copysign(INFINITY, x);
    }
    const int    exponent = x == 0 || ilogb(x) < smallest ? smallest : ilogb(x);
    const double unit = ldexp(1, exponent - bits);
    return rint(x / unit) * unit; /* to even, the default mode */
}

static void check_value(float x)
{
    const float half = clf_half_to_float(clf_float_to_half(x));
    const float bfloat = clf_bfloat16_to_float(clf_float_to_bfloat16(x));

    if (isnan(x)) {
        cr_assert(isnan(half) && isnan(bfloat), "NaN %08x was lost", bits_of(x));
        cr_assert_eq(signbit(half), signbit(x));
        cr_assert_eq(signbit(bfloat), signbit(x));
        return;
    }
    cr_assert_eq(bits_of(half), bits_of((float)rounded(x, 10, -14, 65520)), "half of %a is %a", x, half);
    cr_assert_eq(bits_of(bfloat), bits_of((float)rounded(x, 7, -126, ldexp(511, 119))), "bfloat16 of %a is %a", x,
                 bfloat);
}

Test(dtype, halves_are_exact)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        const uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023;
        const double   sign = h & 0x8000 ? -1 : 1;
        const float    value = clf_half_to_float((uint16_t)h);
        if (exponent == 31) {
            cr_assert(mantissa ? isnan(value) : isinf(value));
        } else {
            const double expected = exponent ? ldexp(1024 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24);
            cr_assert_eq(bits_of(value), bits_of((float)(sign * expected)));
        }
        if (exponent != 31 || mantissa == 0 || mantissa & 0x200) {
            cr_assert_eq(clf_float_to_half(value), h); /* a signalling NaN comes back quiet */
        }
    }
}

Test(dtype, bfloats_are_exact)
{
    for (uint32_t b = 0; b < 0x10000; b++) {
        const float value = clf_bfloat16_to_float((uint16_t)b);
        cr_assert_eq(bits_of(value), b << 16);
        if (!isnan(value) || b & 0x40) {
            cr_assert_eq(clf_float_to_bfloat16(value), b);
        }
    }
}

/* Around every representable value, and around the middle between neighbours. */
Test(dtype, rounds_to_nearest_even)
{
    for (uint32_t h = 0; h < 0xffff; h++) {
        const float a = clf_half_to_float((uint16_t)h), b = clf_half_to_float((uint16_t)(h + 1));
        const float middle = (a + b) / 2;
        check_value(a);
        check_value(nextafterf(a, INFINITY));
        check_value(nextafterf(a, -INFINITY));
        check_value(middle);
        check_value(nextafterf(middle, INFINITY));
        check_value(nextafterf(middle, -INFINITY));
        check_value(float_of(h << 16 | 0x7fff));
        check_value(float_of(h << 16 | 0x8000));
        check_value(float_of(h << 16 | 0x8001));
    }
    check_value(65519.996f);
    check_value(65520);
    check_value(-65520);
    check_value(3.4028235e38f);
    check_value(0x1p-25f);
    check_value(0x1.000002p-25f);
    check_value(-0.0f);
    check_value(0x1p-149f);
}

Test(dtype, all_over_the_floats)
{
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 9973) {
        check_value(float_of((uint32_t)bits));
    }
}
