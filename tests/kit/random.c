/* Random inputs: splitmix64's finaliser over (stream, counter), Box-Muller for normal numbers. */
#include "kit.h"

#include <math.h>

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t clf__kit_bits(uint64_t stream, uint64_t counter)
{
    return mix(mix(stream) ^ (counter * 0xD1342543DE82EF95u));
}

double clf__kit_uniform(uint64_t stream, uint64_t counter)
{
    return ((double)(clf__kit_bits(stream, counter) >> 12) + 0.5) * 0x1p-52;
}

double clf__kit_normal(uint64_t stream, uint64_t counter)
{
    const double radius = sqrt(-2 * log(clf__kit_uniform(stream, 2 * counter)));
    const double x = radius * cos(6.283185307179586 * clf__kit_uniform(stream, 2 * counter + 1));
    return fabs(x) > 1e-3 ? x : 1e-3; /* small ones would vanish in half precision */
}
