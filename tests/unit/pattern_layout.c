/* Layouts of blocks, and what goes from patterns to layouts and back. */
#include "patterns.h"

static void expect_layout(const clf_layout_options *options, int64_t head, const char *text)
{
    const int64_t n = options->seq_len / options->block_size;
    uint8_t       blocks[4096];

    cr_assert((size_t)(options->heads * n * n) < sizeof blocks);
    memset(blocks, 7, sizeof blocks);
    made(clf_layout_make(options, blocks));
    expect_rows("layout", blocks + head * n * n, n, n, text);
    cr_expect_eq(blocks[options->heads * n * n], 7, "written behind the end");
}

static void expect_refused(const clf_layout_options *options, clf_status status, const char *words)
{
    uint8_t blocks[4096];
    refused(clf_layout_make(options, blocks), status, words);
}

#define LONGFORMER_CAUSAL "10000000 11000000 11100000 10110000 10011000 10001100 10000110 10000011"

Test(pattern_layout, dense)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_DENSE, 2, 8, 24);
    expect_layout(&o, 1, "111 111 111");
    o.unidirectional = true;
    expect_layout(&o, 1, "100 110 111");
    o.seq_len = 25;
    expect_refused(&o, CLF_INVALID_SHAPE, "seq_len = 25");
    o = clf_layout_defaults(CLF_LAYOUT_DENSE, 0, 8, 24);
    expect_refused(&o, CLF_INVALID_SHAPE, "heads = 0");
    o = clf_layout_defaults((clf_layout_kind)5, 1, 8, 24);
    expect_refused(&o, CLF_OUT_OF_RANGE, "kind = 5");
    refused(clf_layout_make(NULL, NULL), CLF_INVALID_VALUE, "options");
    o = clf_layout_defaults(CLF_LAYOUT_DENSE, 1, 8, 24);
    refused(clf_layout_make(&o, NULL), CLF_INVALID_VALUE, "layout is NULL");
}

Test(pattern_layout, fixed)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_FIXED, 4, 16, 128);
    expect_layout(&o, 3, "11110001 11110001 11110001 11110001 00011111 00011111 00011111 00011111");
    o.unidirectional = true;
    expect_layout(&o, 0, "10000000 11000000 11100000 11110000 00011000 00011100 00011110 00011111");
    o = clf_layout_defaults(CLF_LAYOUT_FIXED, 1, 16, 112);
    o.horizontal_global = true;
    expect_layout(&o, 0, "1111001 1111001 1111001 1111111 0001111 0001111 1111111");
    o = clf_layout_defaults(CLF_LAYOUT_FIXED, 4, 16, 128);
    o.different_per_head = true;
    o.global_patterns = 4;
    const char *first[] = { "11110001", "11110010", "11110100", "11111000" };
    uint8_t     blocks[4 * 64];
    made(clf_layout_make(&o, blocks));
    for (int h = 0; h < 4; h++)
        expect_rows("first row", blocks + h * 64, 1, 8, first[h]);
}

/* A pair of global blocks: as shipped, the row of the first one sees the second. */
Test(pattern_layout, fixed_in_both_semantics)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_FIXED, 1, 1, 6);
    o.global_blocks = 2;
    o.unidirectional = true;
    expect_layout(&o, 0, "100000 110000 111000 111100 001110 001111");
    o.semantics = CLF_SEMANTICS_XFORMERS;
    expect_layout(&o, 0, "100000 110000 111100 111100 001111 001111");
}

Test(pattern_layout, fixed_refused)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_FIXED, 1, 16, 128);
    o.global_blocks = 3;
    expect_refused(&o, CLF_OUT_OF_RANGE, "local_blocks = 4");
    o.global_blocks = 0;
    expect_refused(&o, CLF_OUT_OF_RANGE, "global_blocks = 0");
    o.global_blocks = 2;
    o.global_patterns = 3;
    expect_refused(&o, CLF_OUT_OF_RANGE, "global_patterns = 3");
    o.global_patterns = 2;
    expect_refused(&o, CLF_UNSUPPORTED, "global_patterns = 2");
    o.global_patterns = 1;
    o.horizontal_global = o.unidirectional = true;
    expect_refused(&o, CLF_UNSUPPORTED, "horizontal_global");
}

Test(pattern_layout, longformer)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_LONGFORMER, 2, 16, 128);
    expect_layout(&o, 1, "11111111 11100000 11110000 10111000 10011100 10001110 10000111 10000011");
    o.unidirectional = true;
    expect_layout(&o, 1, LONGFORMER_CAUSAL);
    o = clf_layout_defaults(CLF_LAYOUT_LONGFORMER, 1, 1, 5);
    o.sliding_blocks = 0; /* still itself */
    o.global_first = (int64_t[2]){ 1, 4 };
    o.global_end = (int64_t[2]){ 3, 9 };
    o.global_count = 2;
    expect_layout(&o, 0, "11101 11111 11111 01111 11111");
    o.global_end = (int64_t[2]){ 3, 4 };
    expect_refused(&o, CLF_OUT_OF_RANGE, "global_end[1] = 4");
    o.global_first = (int64_t[2]){ 1, -4 };
    expect_refused(&o, CLF_OUT_OF_RANGE, "global_first[1] = -4");
    o.sliding_blocks = 6;
    expect_refused(&o, CLF_OUT_OF_RANGE, "sliding_blocks = 6");
}

Test(pattern_layout, variable)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_VARIABLE, 2, 16, 128);
    expect_layout(&o, 1, "11110000 11110000 11110000 11110000 10001111 10001111 10001111 10001111");
    o.unidirectional = true;
    expect_layout(&o, 1, "10000000 11000000 11100000 11110000 10001000 10001100 10001110 10001111");
    o.unidirectional = false;
    o.windows = (int64_t[2]){ 2, 3 };
    o.window_count = 2;
    o.global_first = (int64_t[2]){ 0, 5 };
    o.global_count = 2;
    o.horizontal_global = true;
    expect_layout(&o, 0, "11111111 11000100 10111100 10111100 10111100 11111111 10000111 10000111");
    o.unidirectional = true;
    expect_refused(&o, CLF_UNSUPPORTED, "horizontal_global");
    o.unidirectional = false;
    o.windows = (int64_t[2]){ 2, 0 };
    expect_refused(&o, CLF_OUT_OF_RANGE, "windows[1] = 0");
    o.window_count = 0;
    expect_refused(&o, CLF_INVALID_VALUE, "windows");
    o.random_blocks = 9;
    expect_refused(&o, CLF_OUT_OF_RANGE, "random_blocks = 9");
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

typedef struct recipe {
    int64_t calls, last_range, last_count;
} recipe;

/* The last blocks of the range. */
static void draw_last(void *user, int64_t head, int64_t row, int64_t range, int64_t count, int64_t *drawn)
{
    recipe *r = user;
    (void)head;
    cr_expect_eq(row, r->calls % 4);
    r->calls++;
    r->last_range = range;
    r->last_count = count;
    for (int64_t i = 0; i < count; i++)
        drawn[i] = range - 1 - i;
}

Test(pattern_layout, drawn_by_the_caller)
{
    recipe             r = { 0 };
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_BIGBIRD, 2, 1, 4);
    o.sliding_blocks = 1;
    o.draw = draw_last;
    o.user = &r;
    expect_layout(&o, 1, "1111 1101 1011 1001");
    cr_expect(r.calls == 4 && r.last_range == 4 && r.last_count == 1);
    o.different_per_head = true;
    expect_layout(&o, 1, "1111 1101 1011 1001");
    cr_expect_eq(r.calls, 12);
}

static int64_t ones(const uint8_t *blocks, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += blocks[i];
    return sum;
}

Test(pattern_layout, random_blocks)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_BIGBIRD, 2, 1, 12);
    uint8_t            a[288], b[288];
    o.sliding_blocks = 0;
    o.global_blocks = 0;
    o.random_blocks = 4;
    o.different_per_head = true;
    made(clf_layout_make(&o, a));
    made(clf_layout_make(&o, b));
    cr_expect_arr_eq(a, b, sizeof a);
    cr_expect(memcmp(a, a + 144, 144) != 0, "heads draw for themselves");
    for (int row = 0; row < 24; row++) { /* the diagonal is there anyway */
        const int64_t seen = ones(a + 12 * row, 12), own = a[12 * row + row % 12];
        cr_expect(own == 1 && (seen == 4 || seen == 5), "row %d has %d", row, (int)seen);
    }
    o.seed = 1;
    made(clf_layout_make(&o, b));
    cr_expect(memcmp(a, b, sizeof a) != 0);
    o.unidirectional = true; /* as many as there are */
    made(clf_layout_make(&o, b));
    for (int row = 0; row < 12; row++) {
        const int64_t seen = ones(b + 12 * row, row + 1);
        cr_expect_eq(ones(b + 12 * row, 12), seen);
        cr_expect(row < 4 ? seen == row + 1 : seen >= 4);
    }
    o.semantics = CLF_SEMANTICS_XFORMERS;
    expect_refused(&o, CLF_UNSUPPORTED, "random_blocks = 4");
    o.random_blocks = 13;
    expect_refused(&o, CLF_OUT_OF_RANGE, "random_blocks = 13");
    o.random_blocks = 0;
    o.global_blocks = 13;
    expect_refused(&o, CLF_OUT_OF_RANGE, "global_blocks = 13");
}

Test(pattern_layout, random_blocks_of_variable_layouts)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_VARIABLE, 1, 1, 12);
    uint8_t            a[144];
    o.random_blocks = 3;
    o.unidirectional = true;
    made(clf_layout_make(&o, a));
    for (int row = 0; row < 12; row++)
        cr_expect_eq(ones(a + 12 * row + row + 1, 11 - row), 0);
    o.semantics = CLF_SEMANTICS_XFORMERS; /* draws from all */
    made(clf_layout_make(&o, a));
    cr_expect_gt(ones(a, 12), 1);
}

Test(pattern_layout, bigbird)
{
    clf_layout_options o = clf_layout_defaults(CLF_LAYOUT_BIGBIRD, 1, 16, 128);
    o.random_blocks = 0;
    expect_layout(&o, 0, "11111111 11100000 11110000 10111000 10011100 10001110 10000111 10000011");
    o.unidirectional = true;
    expect_layout(&o, 0, LONGFORMER_CAUSAL);
    o.sliding_blocks = 4; /* as 5 */
    o.unidirectional = false;
    o.global_blocks = 2;
    expect_layout(&o, 0, "11111111 11111111 11111000 11111100 11111110 11011111 11001111 11000111");
}

/* ---- layouts and patterns ------------------------------------------------------------------------------------ */

Test(pattern_layout, blocks_of_pairs)
{
    const uint8_t layout[12] = { 1, 0, 1,  0, 1, 0,  0, 0, 0,  1, 1, 1 };
    clf_pattern  *p;
    uint8_t       back[6];
    made(clf_pattern_blocks(2, 2, 3, 2, layout, &p));
    expect_head(p, 0, "110011 110011 001100 001100");
    expect_head(p, 1, "000000 000000 111111 111111");
    made(clf_pattern_layout(p, 0, 0, 2, back));
    cr_expect_arr_eq(back, layout, 6);
    made(clf_pattern_layout(p, 0, 0, 1, (uint8_t[24]){ 0 }));
    refused(clf_pattern_layout(p, 0, 0, 4, back), CLF_INVALID_SHAPE, "blocks of 4");
    refused(clf_pattern_layout(p, 0, 0, 2, NULL), CLF_INVALID_VALUE, "layout");
    refused(clf_pattern_layout(p, 0, 5, 2, back), CLF_OUT_OF_RANGE, "head 5");
    clf_pattern_free(p);
    made(clf_pattern_causal(6, 6, 0, &p));
    made(clf_pattern_layout(p, 0, 0, 3, back));
    expect_rows("causal", back, 2, 2, "10 11");
    clf_pattern_free(p);
    made(clf_pattern_window(4, 6, 0, 0, 0, 0, &p));
    made(clf_pattern_layout(p, 0, 0, 2, back));
    expect_rows("diagonal", back, 2, 3, "100 010");
    clf_pattern_free(p);
    refused(clf_pattern_blocks(1, 2, 3, 0, layout, &p), CLF_INVALID_SHAPE, "blocks of 0");
    refused(clf_pattern_blocks(1, 2, 3, INT64_C(1) << 29, layout, &p), CLF_INVALID_SHAPE, "blocks of 536870912");
    refused(clf_pattern_blocks(1, 2, 3, 4, NULL, &p), CLF_INVALID_VALUE, "layout");
    cr_expect_null(p);
}

Test(pattern_layout, gather)
{
    const uint8_t layout[4] = { 0, 1, 1, 0 };
    uint16_t      x[2][4][4], blocks[2][2][2][2];
    int64_t       present = 0;
    for (int i = 0; i < 32; i++)
        x[i / 16][i / 4 % 4][i % 4] = (uint16_t)i;
    made(clf_layout_gather(2, 1, 4, 2, layout, sizeof x[0][0][0], x, NULL, &present));
    cr_expect_eq(present, 2);
    made(clf_layout_gather(2, 1, 4, 2, layout, sizeof x[0][0][0], x, blocks, NULL));
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 4; i++) {
            cr_expect_eq(blocks[b][0][i / 2][i % 2], x[b][i / 2][2 + i % 2]);
            cr_expect_eq(blocks[b][1][i / 2][i % 2], x[b][2 + i / 2][i % 2]);
        }
    refused(clf_layout_gather(2, 1, 5, 2, layout, 2, x, blocks, NULL), CLF_INVALID_SHAPE, "length = 5");
    refused(clf_layout_gather(2, 1, 4, 2, NULL, 2, x, blocks, NULL), CLF_INVALID_VALUE, "layout");
    refused(clf_layout_gather(2, 1, 4, 2, layout, 2, NULL, blocks, NULL), CLF_INVALID_VALUE, "array");
}
