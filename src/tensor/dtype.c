/* Element types: sizes, names, and the conversions of the two 16-bit formats on the host. */
#include "core/text.h"
#include "tensor/tensor.h"

#include <string.h>

static const struct {
    const char *name;
    size_t      size;
} dtypes[] = {
    [CLF_DTYPE_NONE] = { NULL, 0 },
    [CLF_F32] = { "F32", 4 },
    [CLF_F16] = { "F16", 2 },
    [CLF_BF16] = { "BF16", 2 },
    [CLF_F64] = { "F64", 8 },
    [CLF_I8] = { "I8", 1 },
    [CLF_I16] = { "I16", 2 },
    [CLF_I32] = { "I32", 4 },
    [CLF_I64] = { "I64", 8 },
    [CLF_U8] = { "U8", 1 },
    [CLF_BOOL8] = { "BOOL", 1 },
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t clf_dtype_size(clf_dtype dtype)
{
    return (unsigned)dtype < DTYPES ? dtypes[dtype].size : 0;
}

const char *clf_dtype_name(clf_dtype dtype)
{
    return clf_dtype_size(dtype) ? dtypes[dtype].name : "NONE";
}

clf_dtype clf_dtype_from_name(const char *name)
{
    if (name) {
        for (unsigned i = 1; i < DTYPES; i++) {
            if (clf__equal_ignore_case(name, dtypes[i].name)) {
                return (clf_dtype)i;
            }
        }
    }
    return CLF_DTYPE_NONE;
}

bool clf__is_floating(clf_dtype dtype)
{
    return dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16;
}

int clf__storage_number(clf_dtype dtype)
{
    return dtype == CLF_F16 ? 1 : dtype == CLF_BF16 ? 2 : 0;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t clf_float_to_half(float value)
{
    const uint32_t bits = bits_of(value);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;

    if (magnitude > 0x7f800000) { /* NaN: quiet, with the upper bits of its payload */
        return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
    }
    if (magnitude >= 0x477ff000) { /* 65520, half way between the largest half and 2^16 */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude >= 0x38800000) { /* 2^-14: normal */
        const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
        return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
    }
    if (magnitude <= 0x33000000) { /* 2^-25, half of the smallest subnormal */
        return (uint16_t)sign;
    }
    /* Subnormal: count in units of 2^-24. */
    const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t even = (mantissa >> shift) & 1;
    return (uint16_t)(sign | ((mantissa + (1u << (shift - 1)) - 1 + even) >> shift));
}

float clf_half_to_float(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1f;
    const uint32_t mantissa = bits & 0x3ff;

    if (exponent == 0) { /* zero or subnormal */
        return float_of(bits_of((float)mantissa * 0x1p-24f) | sign);
    }
    if (exponent == 0x1f) { /* infinity or NaN */
        return float_of(sign | 0x7f800000 | mantissa << 13);
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t clf_float_to_bfloat16(float value)
{
    const uint32_t bits = bits_of(value);

    if ((bits & 0x7fffffff) > 0x7f800000) { /* rounding could carry a NaN into infinity */
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float clf_bfloat16_to_float(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}
