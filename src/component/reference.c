/* Arithmetic of the references: exact in double, or as an honest kernel of the storage type would round. */
#include "component/random.h"
#include <clformers/author.h>

/* x in f32: to the nearest, or up to a unit in the last place beside it where the caller wants noise. Errors
 * that cancel in one run, such as those of two equal sums, then show in another. */
static double round_to_float(const clf_reference *reference, double x)
{
    if (!reference->noise)
        return (double)(float)x;
    const uint64_t bits = ++*reference->noise * 0x9E3779B97F4A7C15u;
    const double   shift = (double)((bits ^ (bits >> 32)) * 0xBF58476D1CE4E5B9u >> 11) * 0x1p-52 - 1; /* [-1, 1) */
    return (double)(float)(x * (1 + shift * 0x1p-24));
}

double clf_reference_add(const clf_reference *reference, double sum, double a, double b)
{
    if (reference->storage == CLF_F64)
        return sum + a * b;
    const float product = (float)a * (float)b;
    return round_to_float(reference, sum + (double)product);
}

double clf_reference_store(const clf_reference *reference, double x)
{
    switch (reference->storage) {
    case CLF_F16:
        return (double)clf_half_to_float(clf_float_to_half((float)x));
    case CLF_BF16:
        return (double)clf_bfloat16_to_float(clf_float_to_bfloat16((float)x));
    case CLF_F64:
        return x;
    default:
        return round_to_float(reference, x);
    }
}

bool clf_reference_keep(const clf_reference *reference, float dropout, int64_t item, int64_t query, int64_t key)
{
    const clf_args *args = reference->args;

    if (!args->training || !(dropout > 0))
        return true;
    return clf__dropout_keep(dropout, args->seed, args->offset, (uint32_t)item, (uint32_t)query, (uint32_t)key);
}
