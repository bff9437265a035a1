/* Philox4x32-10 and what is made of it. */
#include "component/random.h"
#include <math.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF /* the same bits with and without fused multiply-add */
#endif

void clf__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4])
{
    uint32_t c[4] = { counter[0], counter[1], counter[2], counter[3] };
    uint32_t k[2] = { key[0], key[1] };

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t high[2] = { (uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)(a >> 32) ^ c[3] ^ k[1] };
        c[0] = high[0];
        c[1] = (uint32_t)b;
        c[2] = high[1];
        c[3] = (uint32_t)a;
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++)
        words[i] = c[i];
}

clf__stream clf__stream_open(uint64_t seed, const char *name, bool buffer)
{
    clf__stream stream = { .key = { (uint32_t)seed, (uint32_t)(seed >> 32) }, .name = 2166136261u, .kind = buffer };

    for (; *name; name++)
        stream.name = (stream.name ^ (uint8_t)*name) * 16777619u;
    return stream;
}

static double uniform_of(uint32_t word)
{
    return ((double)word + 0.5) * 0x1p-32;
}

static void words_at(const clf__stream *stream, uint64_t i, uint32_t words[4])
{
    const uint32_t counter[4] = { (uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), stream->name, stream->kind };
    clf__philox(counter, stream->key, words);
}

double clf__stream_uniform(const clf__stream *stream, uint64_t i)
{
    uint32_t words[4];
    words_at(stream, i, words);
    return uniform_of(words[i % 4]);
}

/* log x = e log 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = m 2^e, m in [sqrt 1/2, sqrt 2) */
static double logarithm(double x)
{
    int exponent;
    double m = frexp(x, &exponent), sum = 0;

    if (m < 0.70710678118654752440) {
        m *= 2;
        exponent--;
    }
    const double s = (m - 1) / (m + 1), square = s * s;
    for (int n = 25; n >= 1; n -= 2)
        sum = sum * square + 1.0 / n;
    return exponent * 0.69314718055994530942 + 2 * s * sum;
}

/* sin and cos of 2 pi u by their series in the octant around the nearest quarter turn */
static void circle(double u, double *sine, double *cosine)
{
    const int quarter = (int)floor(4 * u + 0.5);
    const double x = 6.28318530717958647692 * (u - 0.25 * quarter), square = x * x;
    double s = 0, c = 0;

    for (int n = 19; n >= 3; n -= 2)
        s = (1 + s) * -square / (n * (n - 1));
    s = (1 + s) * x;
    for (int n = 20; n >= 2; n -= 2)
        c = (1 + c) * -square / (n * (n - 1));
    c = 1 + c;
    *sine = quarter % 4 == 0 ? s : quarter % 4 == 1 ? c : quarter % 4 == 2 ? -s : -c;
    *cosine = quarter % 4 == 0 ? c : quarter % 4 == 1 ? -s : quarter % 4 == 2 ? -c : s;
}

double clf__stream_normal(const clf__stream *stream, uint64_t i)
{
    uint32_t words[4];
    double sine, cosine;

    words_at(stream, i, words);
    const int pair = i % 4 >= 2 ? 2 : 0;
    const double radius = sqrt(-2 * logarithm(uniform_of(words[pair])));
    circle(uniform_of(words[pair + 1]), &sine, &cosine);
    return radius * (i % 2 ? sine : cosine);
}

double clf__stream_exponential(const clf__stream *stream, uint64_t i)
{
    return -logarithm(clf__stream_uniform(stream, i));
}

void clf__stream_fill(uint64_t seed, const char *name, double bound, int64_t count, double *data)
{
    const clf__stream stream = clf__stream_open(seed, name, false);

    for (int64_t i = 0; i < count; i++)
        data[i] = bound * (2 * clf__stream_uniform(&stream, (uint64_t)i) - 1);
}

uint32_t clf__dropout_threshold(float p)
{
    const double threshold = floor((double)p * 0x1p32 + 0.5);
    return threshold <= 0 ? 0 : threshold >= 4294967295.0 ? UINT32_MAX : (uint32_t)threshold;
}

bool clf__dropout_keep(float p, uint64_t seed, uint64_t offset, uint32_t item, uint32_t query, uint32_t key)
{
    const uint32_t counter[4] = { key / 4, query, item, (uint32_t)offset };
    const uint32_t secret[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) ^ (uint32_t)(offset >> 32) };
    uint32_t words[4];

    if (p >= 1)
        return false;
    clf__philox(counter, secret, words);
    return words[key % 4] >= clf__dropout_threshold(p);
}
