/* The random numbers of initialisers and dropout: known answers, statistics, bits that never change. */
#include "component/random.h"
#include <clformers/author.h>
#include <criterion/criterion.h>
#include <math.h>

/* Known answers of Random123's kat_vectors for philox4x32 with 10 rounds. */
Test(philox, known_answers)
{
    static const struct { uint32_t counter[4], key[2], words[4]; } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t words[4];
        clf__philox(cases[i].counter, cases[i].key, words);
        cr_expect_arr_eq(words, cases[i].words, sizeof words);
    }
}

Test(philox, thresholds)
{
    cr_expect_eq(clf__dropout_threshold(0), 0);
    cr_expect_eq(clf__dropout_threshold(0.5f), 0x80000000u);
    cr_expect_eq(clf__dropout_threshold(0.25f), 0x40000000u);
    cr_expect_eq(clf__dropout_threshold(1), UINT32_MAX);
    cr_expect_eq(clf__dropout_threshold(-1), 0);
}

Test(philox, dropout)
{
    clf_args args = {
        .size = sizeof args, .training = true, .seed = 0x123456789abcdef0u, .offset = 0x0fedcba987654321u
    };
    const clf_reference reference = { .size = sizeof reference, .args = &args };
    int kept = 0;

    for (int64_t item = 0; item < 4; item++)
        for (int64_t query = 0; query < 50; query++)
            for (int64_t key = 0; key < 50; key++) {
                uint32_t words[4];
                const uint32_t counter[4] = { (uint32_t)key / 4, (uint32_t)query, (uint32_t)item, 0x87654321u };
                const uint32_t secret[2] = { 0x9abcdef0u, 0x12345678u ^ 0x0fedcba9u };
                clf__philox(counter, secret, words);
                const bool keep = clf_reference_keep(&reference, 0.25f, item, query, key);
                cr_assert_eq(keep, words[key % 4] >= 0x40000000u);
                kept += keep;
            }
    cr_expect(fabs(kept / 10000.0 - 0.75) < 0.02, "kept %d of 10000", kept);
    cr_expect(clf_reference_keep(&reference, 0, 0, 0, 0));
    for (int64_t key = 0; key < 100; key++)
        cr_expect_not(clf_reference_keep(&reference, 1, 0, 0, key));
    args.training = false;
    cr_expect(clf_reference_keep(&reference, 1, 0, 0, 0));
}

Test(philox, streams)
{
    const clf__stream a = clf__stream_open(7, "weight", false), b = clf__stream_open(7, "bias", false);
    const clf__stream c = clf__stream_open(7, "weight", true), d = clf__stream_open(8, "weight", false);
    double sum = 0, squares = 0;
    enum { COUNT = 40000 };

    cr_expect_neq(clf__stream_uniform(&a, 0), clf__stream_uniform(&b, 0));
    cr_expect_neq(clf__stream_uniform(&a, 0), clf__stream_uniform(&c, 0));
    cr_expect_neq(clf__stream_uniform(&a, 0), clf__stream_uniform(&d, 0));
    for (uint64_t i = 0; i < COUNT; i++) {
        const double u = clf__stream_uniform(&a, i);
        cr_assert(u > 0 && u < 1);
        sum += u;
    }
    cr_expect(fabs(sum / COUNT - 0.5) < 0.01);
    sum = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        const double x = clf__stream_normal(&a, i);
        sum += x;
        squares += x * x;
    }
    cr_expect(fabs(sum / COUNT) < 0.02);
    cr_expect(fabs(squares / COUNT - 1) < 0.03);
}

/* Our logarithm and sine against the C library's, through what Box-Muller makes of them. */
Test(philox, normal_numbers_are_box_muller)
{
    const clf__stream stream = clf__stream_open(42, "w", false);
    double worst = 0;

    for (uint64_t i = 0; i < 20000; i += 2) {
        const double radius = sqrt(-2 * log(clf__stream_uniform(&stream, i)));
        const double angle = 2 * 3.14159265358979323846 * clf__stream_uniform(&stream, i + 1);
        worst = fmax(worst, fabs(clf__stream_normal(&stream, i) - radius * cos(angle)));
        worst = fmax(worst, fabs(clf__stream_normal(&stream, i + 1) - radius * sin(angle)));
    }
    cr_expect(worst < 1e-14, "off by %g", worst);
}

Test(philox, reference_arithmetic)
{
    clf_reference reference = { .size = sizeof reference, .storage = CLF_F64 };
    cr_expect_eq(clf_reference_add(&reference, 1, 1e-9, 1), 1 + 1e-9);
    cr_expect_eq(clf_reference_store(&reference, 1.0 / 3), 1.0 / 3);
    reference.storage = CLF_F32;
    cr_expect_eq(clf_reference_add(&reference, 1, 1e-9, 1), 1);
    cr_expect_eq(clf_reference_store(&reference, 1.0 / 3), (double)(1.0f / 3));
    reference.storage = CLF_F16;
    cr_expect_eq(clf_reference_add(&reference, 1, 1e-5, 1), (double)(1 + 1e-5f));
    cr_expect_eq(clf_reference_store(&reference, 2049), 2048);
    reference.storage = CLF_BF16;
    cr_expect_eq(clf_reference_store(&reference, 257), 256);
}
