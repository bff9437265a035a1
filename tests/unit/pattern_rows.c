/* Patterns given or drawn row by row, sparse rows, and layouts made of patterns. */
#include "patterns.h"
#include "component/random.h"
#include <math.h>

Test(pattern_rows, mask)
{
    const uint8_t mask[12] = { 0, 1, 0, 0, 0, 0, 255, 2, 1, 1, 1, 1 };
    clf_pattern  *p;
    made(clf_pattern_mask(1, 3, 4, mask, &p));
    expect_pattern(p, "0100 0011 1111");
    made(clf_pattern_mask(2, 2, 3, mask, &p));
    expect_head(p, 0, "010 000");
    expect_head(p, 1, "111 111");
    cr_expect_not(clf_pattern_sees(p, 0, 2, 0, 0), "there is no third head");
    refused(clf_pattern_count(p, 0, 2, &(int64_t){ 0 }), CLF_OUT_OF_RANGE, "head 2");
    clf_pattern_free(p);
    made(clf_pattern_mask(1, 2, 0, NULL, &p));
    cr_expect_eq(count_of(p), 0);
    refused(clf_pattern_mask(1, 2, 2, NULL, &p), CLF_INVALID_VALUE, "mask is NULL");
    refused(clf_pattern_mask(0, 2, 2, mask, &p), CLF_INVALID_SHAPE, "0 heads");
    cr_expect_null(p);
}

/* ---- sparse rows ---------------------------------------------------------------------------------- */

Test(pattern_rows, sparse_rows)
{
    const uint8_t mask[] = { 1, 0, 1, 0,  0, 0, 0, 0,  1, 1, 1, 1,  0, 0, 0, 1 };
    const int32_t offsets[] = { 0, 2, 2, 6, 7 }, columns[] = { 0, 2, 0, 1, 2, 3, 3 }, order[] = { 2, 0, 3, 1 };
    const int32_t shipped[] = { 0, 2, 2, 4, 4 };
    const int32_t back_offsets[] = { 0, 2, 3, 5, 7 }, back_columns[] = { 0, 2, 2, 0, 2, 2, 3 },
                  origin[] = { 0, 2, 3, 1, 4, 5, 6 }, back_order[] = { 0, 2, 3, 1 };
    clf_pattern *p;
    clf_csr      csr, back;

    made(clf_pattern_mask(1, 4, 4, mask, &p));
    made(clf_pattern_csr(p, 0, 0, CLF_SEMANTICS_PAPER, &csr));
    cr_expect(csr.rows == 4 && csr.width == 4 && csr.entries == 7 && !csr.origin);
    cr_expect_arr_eq(csr.offsets, offsets, sizeof offsets);
    cr_expect_arr_eq(csr.columns, columns, sizeof columns);
    cr_expect_arr_eq(csr.order, order, sizeof order);
    made(clf_csr_transpose(&csr, &back));
    cr_expect_arr_eq(back.offsets, back_offsets, sizeof back_offsets);
    cr_expect_arr_eq(back.columns, back_columns, sizeof back_columns);
    cr_expect_arr_eq(back.origin, origin, sizeof origin);
    cr_expect_arr_eq(back.order, back_order, sizeof back_order);
    clf_csr_free(&back);
    clf_csr_free(&csr);
    made(clf_pattern_csr(p, 0, 0, CLF_SEMANTICS_XFORMERS, &csr)); /* the last three are lost */
    cr_expect_eq(csr.entries, 4);
    cr_expect_arr_eq(csr.offsets, shipped, sizeof shipped);
    cr_expect_arr_eq(csr.columns, columns, 4 * sizeof columns[0]);
    clf_csr_free(&csr);
    clf_csr_free(&csr);
    clf_csr_free(NULL);
    refused(clf_pattern_csr(p, 0, 0, CLF_SEMANTICS_PAPER, NULL), CLF_INVALID_VALUE, "csr is NULL");
    refused(clf_csr_transpose(NULL, &back), CLF_INVALID_VALUE, "csr is NULL");
    clf_pattern_free(p);
    made(clf_pattern_causal(1 << 17, 1 << 17, 0, &p));
    refused(clf_pattern_csr(p, 0, 0, CLF_SEMANTICS_PAPER, &csr), CLF_OUT_OF_RANGE, "8590000128 entries");
    clf_pattern_free(p);
}

/* ---- random ---------------------------------------------------------------------------------------- */

Test(pattern_rows, random_pairs)
{
    clf_pattern *p, *again;
    int64_t      pairs[2];
    made(clf_pattern_random(2, 101, 203, 0.7, 77, &p));
    made(clf_pattern_random(2, 101, 203, 0.7, 77, &again));
    for (int h = 0; h < 2; h++) {
        uint8_t *one = mask_of(p, 0, h), *two = mask_of(again, 0, h);
        cr_expect_arr_eq(one, two, 101 * 203);
        made(clf_pattern_count(p, 0, h, &pairs[h]));
        cr_expect(fabs((double)pairs[h] / (101 * 203) - 0.3) < 0.02, "density %g", (double)pairs[h] / (101 * 203));
        for (uint32_t q = 0; q < 101; q += 10)
            for (uint32_t k = 0; k < 203; k++) { /* as documented */
                uint32_t words[4];
                clf__philox((uint32_t[4]){ k / 4, q, (uint32_t)h, 0x70617474u }, (uint32_t[2]){ 77, 0 }, words);
                cr_assert_eq(one[q * 203 + k], words[k % 4] >= 3006477107u);
            }
        free(one);
        free(two);
    }
    cr_expect_neq(pairs[0], pairs[1], "heads draw for themselves");
    clf_pattern_free(again);
    clf_pattern_free(p);
    refused(clf_pattern_random(1, 4, 4, 1, 0, &p), CLF_OUT_OF_RANGE, "sparsity = 1");
    refused(clf_pattern_random(1, 4, 4, 0, 0, &p), CLF_OUT_OF_RANGE, "sparsity = 0");
    refused(clf_pattern_random(1, 4, 4, NAN, 0, &p), CLF_OUT_OF_RANGE, "sparsity = nan");
    cr_expect_null(p);
}

Test(pattern_rows, random_keys)
{
    clf_pattern *p;
    int          hits[10] = { 0 };
    made(clf_pattern_random_keys(300, 4, 10, 3, false, 5, &p));
    for (int h = 0; h < 300; h++) {
        uint8_t *mask = mask_of(p, 0, h);
        for (int q = 0; q < 4; q++) {
            int sum = 0;
            for (int k = 0; k < 10; k++) {
                sum += mask[q * 10 + k];
                hits[k] += mask[q * 10 + k];
            }
            cr_assert_eq(sum, 3);
        }
        free(mask);
    }
    for (int k = 0; k < 10; k++) /* 360 expected, deviation 16 */
        cr_expect(abs(hits[k] - 360) < 70, "key %d is drawn %d times", k, hits[k]);
    clf_pattern_free(p);
    made(clf_pattern_random_keys(1, 6, 6, 3, true, 5, &p));
    for (int q = 0; q < 6; q++) {
        int sum = 0;
        for (int k = 0; k < 6; k++) {
            sum += clf_pattern_sees(p, 0, 0, q, k);
            cr_expect(k <= q || !clf_pattern_sees(p, 0, 0, q, k));
        }
        cr_expect_eq(sum, q < 2 ? q + 1 : 3);
    }
    clf_pattern_free(p);
    made(clf_pattern_random_keys(1, 2, 5, 5, false, 5, &p));
    expect_pattern(p, "11111 11111");
    refused(clf_pattern_random_keys(1, 2, 5, 6, false, 5, &p), CLF_OUT_OF_RANGE, "count = 6");
    refused(clf_pattern_random_keys(1, 2, 5, 1, true, 5, &p), CLF_INVALID_SHAPE, "2 queries");
    refused(clf_pattern_random_keys(0, 2, 5, 1, false, 5, &p), CLF_INVALID_SHAPE, "0 heads");
    refused(clf_pattern_random_keys(1 << 29, 1 << 20, 5, 1, false, 5, &p), CLF_OUT_OF_RANGE, "words");
    cr_expect_null(p);
}

Test(pattern_rows, random_by_weight)
{
    const float  weights[6] = { 0, 1, 3, 0, 4, 0 }, bad[2] = { 1, -1 };
    int          first[6] = { 0 };
    clf_pattern *p;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        made(clf_pattern_random_weighted(2, 3, weights, 1, seed, &p));
        for (int i = 0; i < 6; i++)
            first[i] += clf_pattern_sees(p, 0, 0, i / 3, i % 3);
        clf_pattern_free(p);
    }
    cr_expect(!first[0] && !first[3] && !first[5]);
    cr_expect(abs(first[1] - 500) < 80 && abs(first[2] - 1500) < 120 && abs(first[4] - 2000) < 120, "%d %d %d",
              first[1], first[2], first[4]);
    made(clf_pattern_random_weighted(2, 3, weights, 3, 9, &p));
    expect_pattern(p, "011 010");
    refused(clf_pattern_random_weighted(2, 3, weights, 4, 9, &p), CLF_OUT_OF_RANGE, "count = 4");
    refused(clf_pattern_random_weighted(1, 2, bad, 1, 9, &p), CLF_OUT_OF_RANGE, "weights[1] = -1");
    refused(clf_pattern_random_weighted(1, 2, NULL, 1, 9, &p), CLF_INVALID_VALUE, "weights");
    cr_expect_null(p);
}

/* Other builds and machines must draw the same. */
Test(pattern_rows, draws_never_change)
{
    clf_pattern *p;
    made(clf_pattern_random(1, 3, 16, 0.5, 1, &p));
    expect_pattern(p, "1011101011000100 1111111111000010 1101011000000111");
    made(clf_pattern_random_keys(1, 3, 16, 4, false, 1, &p));
    expect_pattern(p, "1000000001000011 1010100000100000 0010000100100001");
    made(clf_pattern_random_weighted(1, 8, (float[8]){ 1, 2, 1, 2, 1, 2, 1, 2 }, 4, 1, &p));
    expect_pattern(p, "10101100");
}
