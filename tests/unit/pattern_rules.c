/* Patterns that follow a rule: along one axis, by label, on a grid, global tokens. */
#include "patterns.h"
#include <math.h>

/* ---- along one axis ------------------------------------------------------------------------------ */

Test(pattern_rules, causal)
{
    clf_pattern *p;
    made(clf_pattern_causal(4, 6, 0, &p));
    expect_pattern(p, "100000 110000 111000 111100");
    made(clf_pattern_causal(4, 6, 2, &p));
    expect_pattern(p, "111000 111100 111110 111111");
    made(clf_pattern_causal(6, 4, -2, &p));
    expect_pattern(p, "0000 0000 1000 1100 1110 1111");
    made(clf_pattern_causal(16, 16, 0, &p));
    cr_expect_eq(count_of(p), 136);
}

Test(pattern_rules, local)
{
    clf_pattern *p;
    made(clf_pattern_local(5, 3, &p));
    expect_pattern(p, "11000 11100 01110 00111 00011");
    made(clf_pattern_local(16, 5, &p));
    cr_expect_eq(count_of(p), 74);
    made(clf_pattern_local(3, 1, &p));
    expect_pattern(p, "100 010 001");
    made(clf_pattern_local(3, 99, &p));
    expect_pattern(p, "111 111 111");
    p = (clf_pattern *)&p;
    refused(clf_pattern_local(8, 4, &p), CLF_OUT_OF_RANGE, "window = 4");
    cr_expect_null(p);
    refused(clf_pattern_local(-1, 3, &p), CLF_INVALID_SHAPE, "-1 queries");
    refused(clf_pattern_local(8, 3, NULL), CLF_INVALID_VALUE, "pattern is NULL");
}

Test(pattern_rules, window)
{
    clf_pattern *p;
    made(clf_pattern_window(4, 4, 0, 1, 0, 0, &p));
    expect_pattern(p, "1000 1100 0110 0011");
    made(clf_pattern_window(4, 6, 2, 2, 0, 0, &p));
    expect_pattern(p, "111000 011100 001110 000111");
    made(clf_pattern_window(4, 5, 1, 1, 2, 0, &p));
    expect_pattern(p, "11110 01111 00111 00011");
    made(clf_pattern_window(4, 4, 0, -1, 0, 2, &p)); /* prefix language model */
    expect_pattern(p, "1100 1100 1110 1111");
    made(clf_pattern_window(6, 6, 0, 1, 0, 1, &p)); /* a sink and a window */
    expect_pattern(p, "100000 110000 111000 101100 100110 100011");
    made(clf_pattern_window(3, 3, 0, 1, -1, 0, &p));
    expect_pattern(p, "111 111 011");
    made(clf_pattern_window(2, 3, -9, 1, 1, 99, &p));
    expect_pattern(p, "111 111");
    made(clf_pattern_window(2, 0, 0, 1, 1, 3, &p));
    cr_expect_eq(count_of(p), 0);
    refused(clf_pattern_window(2, 2, 0, 1, 1, -1, &p), CLF_OUT_OF_RANGE, "prefix = -1");
    cr_expect_null(p);
    refused(clf_pattern_window(INT64_C(1) << 30, 2, 0, 1, 1, 0, &p), CLF_INVALID_SHAPE, "1073741824 queries");
}

Test(pattern_rules, slopes)
{
    static const struct { int heads; float slopes[16]; } cases[] = {
        { 1, { 0x1p-8f } },
        { 4, { 0x1p-2f, 0x1p-4f, 0x1p-6f, 0x1p-8f } },
        { 6, { 0x1p-2f, 0x1p-4f, 0x1p-6f, 0x1p-8f, 0.5f, 0.125f } },
        { 8, { 0x1p-1f, 0x1p-2f, 0x1p-3f, 0x1p-4f, 0x1p-5f, 0x1p-6f, 0x1p-7f, 0x1p-8f } },
        { 12, { 0x1p-1f, 0x1p-2f, 0x1p-3f, 0x1p-4f, 0x1p-5f, 0x1p-6f, 0x1p-7f, 0x1p-8f, 0.707106781f, 0.353553391f,
                0.176776695f, 0.0883883476f } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float slopes[16];
        made(clf_alibi_slopes(cases[i].heads, slopes));
        for (int h = 0; h < cases[i].heads; h++)
            cr_expect_float_eq(slopes[h], cases[i].slopes[h], 1e-9f, "%d heads: slope %d", cases[i].heads, h);
    }
    refused(clf_alibi_slopes(0, (float[1]){ 0 }), CLF_OUT_OF_RANGE, "heads = 0");
    refused(clf_alibi_slopes(1, NULL), CLF_INVALID_VALUE, "slopes");
}

Test(pattern_rules, alibi)
{
    clf_pattern *p;
    int64_t      pairs, sum = 0;

    made(clf_pattern_alibi(2, 4, 0.1f, CLF_SEMANTICS_PAPER, &p)); /* slopes 1/16, 1/256 */
    expect_head(p, 0, "1100 1110 0111 0011");
    expect_head(p, 1, "1111 1111 1111 1111");
    clf_pattern_free(p);
    made(clf_pattern_alibi(2, 4, 0.1f, CLF_SEMANTICS_XFORMERS, &p));
    expect_head(p, 0, "1100 1100 1100 1100");
    clf_pattern_free(p);
    made(clf_pattern_alibi(1, 3, 0, CLF_SEMANTICS_PAPER, &p));
    expect_pattern(p, "000 000 000");
    made(clf_pattern_alibi(8, 64, 0.5f, CLF_SEMANTICS_XFORMERS, &p));
    for (int h = 0; h < 8; h++) {
        made(clf_pattern_count(p, 0, h, &pairs));
        sum += pairs / 64;
    }
    cr_expect_eq(sum, 191);
    clf_pattern_free(p);
}

/* ---- labels and global tokens ------------------------------------------------------------------------ */

Test(pattern_rules, documents)
{
    clf_pattern *p;
    uint8_t     *mask;
    made(clf_pattern_documents(2, 5, (int32_t[10]){ 7, 7, -1, 7, -1, 0, 1, 2, 2, 2 }, &p));
    expect_head(p, 3, "11010 11010 00101 11010 00101");
    mask = mask_of(p, 1, 0);
    expect_rows("second batch", mask, 5, 5, "10000 01000 00111 00111 00111");
    free(mask);
    cr_expect_not(clf_pattern_sees(p, 2, 0, 0, 0), "there is no third batch");
    cr_expect_not(clf_pattern_sees(p, 0, 0, 0, 5));
    cr_expect_not(clf_pattern_sees(p, 0, 0, -1, 0));
    clf_pattern_free(p);
    refused(clf_pattern_documents(1, 5, NULL, &p), CLF_INVALID_VALUE, "labels");
    refused(clf_pattern_documents(0, 5, (int32_t[1]){ 0 }, &p), CLF_INVALID_SHAPE, "0 batch");
}

Test(pattern_rules, swin)
{
    clf_pattern *p;
    made(clf_pattern_swin(2, 4, 2, 0, &p));
    expect_pattern(p, "11001100 11001100 00110011 00110011 11001100 11001100 00110011 00110011");
    made(clf_pattern_swin(2, 4, 2, 1, &p)); /* corners of one point, no wrapping round */
    expect_pattern(p, "10000000 01100000 01100000 00010000 00001000 00000110 00000110 00000001");
    made(clf_pattern_swin(8, 8, 4, 0, &p));
    cr_expect_eq(count_of(p), 1024);
    made(clf_pattern_swin(8, 8, 4, 2, &p));
    cr_expect_eq(count_of(p), 576);
    made(clf_pattern_swin(8, 8, 4, 1, &p));
    cr_expect_eq(count_of(p), 676);
    refused(clf_pattern_swin(8, 6, 4, 0, &p), CLF_INVALID_SHAPE, "windows of 4");
    refused(clf_pattern_swin(8, 8, 4, 4, &p), CLF_OUT_OF_RANGE, "shift = 4");
    cr_expect_null(p);
}

Test(pattern_rules, global)
{
    clf_pattern  *p;
    const uint8_t tokens[40] = { [2] = 1 }, late[40] = { [37] = 9 };
    made(clf_pattern_global(4, tokens, &p));
    expect_pattern(p, "0010 0010 1111 0010");
    made(clf_pattern_global(4, tokens, &p));
    made(clf_pattern_keep_diagonal(p, 0));
    expect_head(p, 0, "1010 0110 1111 0011");
    made(clf_pattern_make_causal(p, 0));
    expect_pattern(p, "1000 0100 1110 0011");
    made(clf_pattern_global(40, late, &p));
    cr_expect_eq(count_of(p), 39 + 40);
    made(clf_pattern_global(3, (uint8_t[3]){ 0 }, &p));
    expect_pattern(p, "000 000 000");
    refused(clf_pattern_global(3, NULL, &p), CLF_INVALID_VALUE, "is_global");
}

/* ---- causal order and diagonal go with every kind --------------------------------------------------------- */

Test(pattern_rules, causal_order_and_diagonal)
{
    clf_pattern *p;
    made(clf_pattern_documents(1, 4, (int32_t[4]){ 1, 2, 1, 2 }, &p));
    made(clf_pattern_make_causal(p, 1));
    made(clf_pattern_make_causal(p, 2)); /* the tighter one stays */
    made(clf_pattern_make_causal(p, 0));
    expect_head(p, 0, "1000 0100 1010 0101");
    made(clf_pattern_keep_diagonal(p, -1));
    expect_head(p, 0, "1000 1100 1110 0111");
    made(clf_pattern_keep_diagonal(p, 1)); /* taken away again by the order */
    expect_head(p, 0, "1000 0100 1010 0101");
    refused(clf_pattern_make_causal(p, INT64_C(1) << 30), CLF_OUT_OF_RANGE, "shift = 1073741824");
    refused(clf_pattern_keep_diagonal(NULL, 0), CLF_INVALID_VALUE, "pattern");
    clf_pattern_free(p);
    clf_pattern_free(NULL);
}

/* ---- grids ----------------------------------------------------------------------------------------------- */

Test(pattern_rules, grids)
{
    clf_pattern *p;
    made(clf_pattern_grid_local(2, (int64_t[2]){ 2, 3 }, NULL, 2, 1.2, &p));
    expect_pattern(p, "110100 111010 011001 100110 010111 001011");
    made(clf_pattern_grid_local(2, (int64_t[2]){ 4, 4 }, NULL, 2, 2, &p));
    cr_expect_eq(count_of(p), 100);
    made(clf_pattern_grid_local(2, (int64_t[2]){ 4, 4 }, NULL, 1, 2, &p));
    cr_expect_eq(count_of(p), 64);
    made(clf_pattern_grid_local(1, (int64_t[1]){ 5 }, NULL, 2, 2, &p));
    expect_pattern(p, "11000 11100 01110 00111 00011");
    made(clf_pattern_grid_local(2, (int64_t[2]){ 2, 2 }, (double[2]){ 1, 0 }, 2, 1, &p)); /* rows of an image */
    expect_pattern(p, "1100 1100 0011 0011");
    made(clf_pattern_grid_axial(2, (int64_t[2]){ 4, 4 }, &p));
    cr_expect_eq(count_of(p), 112);
    made(clf_pattern_grid_axial(2, (int64_t[2]){ 5, 7 }, &p));
    cr_expect_eq(count_of(p), 385);
    made(clf_pattern_grid_axial(3, (int64_t[3]){ 2, 2, 2 }, &p));
    expect_pattern(p, "11101000 11010100 10110010 01110001 10001110 01001101 00101011 00010111");
    made(clf_pattern_grid_dilated(2, (int64_t[2]){ 8, 8 }, 2, &p));
    cr_expect_eq(count_of(p), 1024);
    made(clf_pattern_grid_dilated(2, (int64_t[2]){ 8, 15 }, 3, &p));
    cr_expect_eq(count_of(p), 1650);
    made(clf_pattern_grid_dilated(1, (int64_t[1]){ 5 }, 2, &p));
    expect_pattern(p, "10101 01010 10101 01010 10101");
}

/* Neighbourhoods of a volume against the distances themselves. */
Test(pattern_rules, neighbourhoods_are_small_distances)
{
    static const double  weights[4] = { 1, 2.5, 0.5, 1 };
    static const int64_t sizes[4] = { 3, 2, 5, 4 };
    static const struct { double p, limit; bool weighted; } cases[] = {
        { 2, 2.3, false }, { 1, 3, true }, { 0, 2, false }, { INFINITY, 1.5, true }, { 3, 2, true }, { 2, 0, false },
    };
    for (int rank = 1; rank <= 4; rank++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const double *w = cases[i].weighted ? weights : NULL;
            static float  distances[120 * 120];
            clf_pattern  *p;
            made(clf_grid_distances(rank, sizes, w, cases[i].p, distances));
            made(clf_pattern_grid_local(rank, sizes, w, cases[i].p, cases[i].limit, &p));
            const int64_t n = clf_pattern_get_info(p).keys;
            uint8_t      *mask = mask_of(p, 0, 0);
            for (int64_t j = 0; j < n * n; j++)
                cr_assert_eq(mask[j], distances[j] < (float)cases[i].limit, "rank %d, p %g, pair %d", rank, cases[i].p,
                             (int)j);
            free(mask);
            clf_pattern_free(p);
        }
}

Test(pattern_rules, distances)
{
    float d[16];
    made(clf_grid_distances(2, (int64_t[2]){ 2, 2 }, NULL, 2, d));
    cr_expect_float_eq(d[3], sqrtf(2), 1e-7f);
    cr_expect_eq(d[1], 1);
    cr_expect_eq(d[5], 0);
    made(clf_grid_distances(2, (int64_t[2]){ 2, 2 }, NULL, 0, d));
    cr_expect_eq(d[3], 2);
    made(clf_grid_distances(2, (int64_t[2]){ 2, 2 }, (double[2]){ 0, 3 }, 1, d));
    cr_expect_eq(d[3], 3);
    cr_expect_eq(d[2], 0);
    made(clf_grid_gaussian(1, (int64_t[1]){ 4 }, 2, d));
    cr_expect_float_eq(d[2], expf(-0.5f), 1e-7f);
    cr_expect_eq(d[0], 1);
    refused(clf_grid_gaussian(1, (int64_t[1]){ 4 }, 0, d), CLF_OUT_OF_RANGE, "sigma = 0");
    refused(clf_grid_distances(1, (int64_t[1]){ 4 }, NULL, -1, d), CLF_OUT_OF_RANGE, "p = -1");
    refused(clf_grid_distances(1, (int64_t[1]){ 4 }, (double[1]){ NAN }, 1, d), CLF_OUT_OF_RANGE, "weights[0]");
    refused(clf_grid_distances(5, (int64_t[5]){ 1, 1, 1, 1, 1 }, NULL, 1, d), CLF_INVALID_SHAPE, "5 axes");
    refused(clf_grid_distances(2, (int64_t[2]){ 4, 0 }, NULL, 1, d), CLF_INVALID_SHAPE, "sizes[1] = 0");
    refused(clf_grid_distances(2, NULL, NULL, 1, d), CLF_INVALID_VALUE, "sizes");
    refused(clf_grid_distances(1, (int64_t[1]){ 4 }, NULL, 1, NULL), CLF_INVALID_VALUE, "NULL");
}

Test(pattern_rules, refused_grids)
{
    clf_pattern *p;
    refused(clf_pattern_grid_local(9, (int64_t[1]){ 4 }, NULL, 2, 1, &p), CLF_INVALID_SHAPE, "9 axes");
    refused(clf_pattern_grid_local(1, (int64_t[1]){ 4 }, NULL, NAN, 1, &p), CLF_OUT_OF_RANGE, "p = nan");
    refused(clf_pattern_grid_dilated(1, (int64_t[1]){ 4 }, 0, &p), CLF_OUT_OF_RANGE, "step = 0");
    refused(clf_pattern_grid_axial(2, (int64_t[2]){ 1 << 20, 1 << 20 }, &p), CLF_INVALID_SHAPE, "sizes[1] = 1048576");
    cr_expect_null(p);
}

/* What is never square in memory: a window over a million positions. */
Test(pattern_rules, long_sequences)
{
    clf_pattern *p;
    int64_t      pairs;
    made(clf_pattern_window(1000000, 1000000, 0, 2, 0, 0, &p));
    made(clf_pattern_count(p, 0, 0, &pairs));
    cr_expect_eq(pairs, 3000000 - 3);
    clf_csr csr, back;
    made(clf_pattern_csr(p, 0, 0, CLF_SEMANTICS_PAPER, &csr));
    made(clf_csr_transpose(&csr, &back));
    cr_expect_eq(back.entries, pairs);
    cr_expect_eq(csr.order[0], 2);
    cr_expect_eq(csr.order[999999], 0);
    clf_csr_free(&csr);
    clf_csr_free(&back);
    clf_pattern_free(p);
}
