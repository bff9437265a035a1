/* Random numbers that come out the same on every host. */
#ifndef CLF_COMPONENT_RANDOM_H
#define CLF_COMPONENT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* Philox4x32-10 of Salmon et al. 2011: four words from a counter and a key. */
void clf__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/* A stream of numbers for initialisers, named so that adding a parameter changes no other: element i
 * comes from the words of Philox with key = seed and
 * counter = (i / 4 low, i / 4 high, 32-bit FNV-1a hash of the name, 0 parameter or 1 buffer). */
typedef struct clf__stream {
    uint32_t key[2];
    uint32_t name;
    uint32_t kind;
} clf__stream;
clf__stream clf__stream_open(uint64_t seed, const char *name, bool buffer);

/* (word i % 4 + 1/2) / 2^32, inside (0, 1). */
double clf__stream_uniform(const clf__stream *stream, uint64_t i);
/* Box-Muller: of the uniforms u0, u1, u2, u3 of elements 4n..4n+3 come r cos(2 pi u1), r sin(2 pi u1) with
 * r = sqrt(-2 log u0), then the same from u2, u3. Logarithm and sine are computed here from sums and
 * products, because those of C libraries differ in the last bit. */
double clf__stream_normal(const clf__stream *stream, uint64_t i);
/* -log of the uniform, by the same logarithm. */
double clf__stream_exponential(const clf__stream *stream, uint64_t i);

/* count uniforms in (-bound, bound): what CLF_INIT_UNIFORM gives a parameter of that name, for initialisers whose bound
 * is their own. */
void clf__stream_fill(uint64_t seed, const char *name, double bound, int64_t count, double *data);

/* The threshold that a word must reach for a weight to be kept: round(p 2^32), at most 2^32 - 1.
 * p = 1 drops everything whatever the word: ask for it first. */
uint32_t clf__dropout_threshold(float p);
/* Is the attention weight (item = b*H + h, query, key) kept? Word key % 4 of Philox with
 * key = (seed low, seed high ^ offset high), counter = (key / 4, query, item, offset low). */
bool clf__dropout_keep(float p, uint64_t seed, uint64_t offset, uint32_t item, uint32_t query, uint32_t key);

#endif
