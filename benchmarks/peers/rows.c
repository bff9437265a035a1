/* What peers do with rows between their products. The loops are what compilers turn into vectors. */
#include "peers.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x by 2^n times a polynomial of the rest, good to 2e-7; below -87 it is 0 or near. */
static inline float exponential(float x)
{
    const float clamped = x > -87.0f ? x : -87.0f, n = floorf(clamped * 1.44269504f + 0.5f);
    const float rest = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.9875691e-4f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float power;

    sum = sum * rest + 1.3981999e-3f;
    sum = sum * rest + 8.3334519e-3f;
    sum = sum * rest + 4.1665796e-2f;
    sum = sum * rest + 1.6666666e-1f;
    sum = sum * rest + 0.5f;
    memcpy(&power, &bits, sizeof power);
    return (sum * rest * rest + rest + 1.0f) * power;
}

float peer_largest(const float *x, float sign, int count)
{
    float largest = -INFINITY;

    for (int i = 0; i < count; i++)
        largest = sign * x[i] > largest ? sign * x[i] : largest;
    return largest;
}

float peer_exp(const float *x, float sign, float less, float *to, int count)
{
    float sum = 0;

    for (int i = 0; i < count; i++) {
        to[i] = exponential(sign * x[i] - less);
        sum += to[i];
    }
    return sum;
}

void peer_scale(float *to, float factor, int count)
{
    for (int i = 0; i < count; i++)
        to[i] *= factor;
}

void peer_add(float *to, float factor, const float *from, int count)
{
    for (int i = 0; i < count; i++)
        to[i] += factor * from[i];
}

float peer_dot(const float *a, const float *b, int count)
{
    float sum = 0;

    for (int i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

void peer_softmax(float *rows, int count, int columns, int pitch)
{
    for (int i = 0; i < count; i++) {
        float *row = rows + (size_t)i * (size_t)pitch;
        peer_scale(row, 1 / peer_exp(row, 1, peer_largest(row, 1, columns), row, columns), columns);
    }
}
