/* Every two features of fused attention together, in forward and backward and, with pages, quantised keys and few
 * queries, in forward alone: rows of a covering array in the family that planning chooses and in the naive one. */
#include "fused_any.h"

enum { CAUSAL, WINDOW, MASKED, PADDED, ALIBI, WITH_SINKS, SOFTCAP, SCORE_MOD, MASK_MOD, DROPOUT, GROUPED, WIDE, PLACE,
       DTYPE, RESULT, BITS, FEW, THINGS, MOST_LEVELS = 5, MOST_ROWS = 64 };

static const int training[THINGS] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 1, 1 };
static const int inference[THINGS] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 5, 3, 3, 3, 2 };

typedef struct array {
    const int *levels;
    bool       covered[THINGS][MOST_LEVELS][THINGS][MOST_LEVELS];
    int        row[MOST_ROWS][THINGS], rows;
    uint32_t   state;
} array;

/* A mask belongs to whole tensors, padding to queries and keys that lie alike. */
static bool is_possible(int a, int level_a, int b, int level_b)
{
    const bool rows = b == PLACE && (level_b == IN_A_ROW || level_b == ROWS_ON_PAGES);

    return !(a == MASKED && level_a == 1 && rows) && !(a == PADDED && level_a == 1 && rows && level_b == ROWS_ON_PAGES);
}

static int gain(const array *x, const int *row)
{
    int count = 0;

    for (int a = 0; a < THINGS; a++)
        for (int b = a + 1; b < THINGS; b++) {
            if (!is_possible(a, row[a], b, row[b]))
                return -1;
            count += !x->covered[a][row[a]][b][row[b]];
        }
    return count;
}

static void keep_row(array *x, const int *row)
{
    cr_assert_lt(x->rows, MOST_ROWS);
    memcpy(x->row[x->rows++], row, sizeof x->row[0]);
    for (int a = 0; a < THINGS; a++)
        for (int b = a + 1; b < THINGS; b++)
            x->covered[a][row[a]][b][row[b]] = true;
}

static void draw_row(array *x, int *row)
{
    for (int a = 0; a < THINGS; a++) {
        x->state = 1664525u * x->state + 1013904223u;
        row[a] = (int)((x->state >> 16) % (unsigned)x->levels[a]);
    }
}

/* A pair that no row has yet. */
static bool find_pair(const array *x, int *row)
{
    for (int a = 0; a < THINGS; a++)
        for (int b = a + 1; b < THINGS; b++)
            for (int pair = 0; pair < x->levels[a] * x->levels[b]; pair++) {
                const int i = pair / x->levels[b], j = pair % x->levels[b];
                if (x->covered[a][i][b][j] || !is_possible(a, i, b, j))
                    continue;
                row[2 * THINGS] = a, row[2 * THINGS + 1] = b;
                row[a] = i, row[b] = j;
                return true;
            }
    return false;
}

/* Always the row, of many drawn around a pair that is missing, that brings most new pairs. */
static void cover(array *x, const int *levels)
{
    int missing[2 * THINGS + 2];

    *x = (array){ .levels = levels, .state = 1 };
    while (find_pair(x, missing)) {
        const int a = missing[2 * THINGS], b = missing[2 * THINGS + 1];
        int best[THINGS], most = -1;
        for (int i = 0; i < 300; i++) {
            int row[THINGS];
            draw_row(x, row);
            row[a] = missing[a], row[b] = missing[b];
            if (gain(x, row) > most) {
                most = gain(x, row);
                memcpy(best, row, sizeof best);
            }
        }
        cr_assert_gt(most, 0);
        keep_row(x, best);
    }
}

static any any_of(const int *row, bool backward)
{
    static const clf_dtype types[] = { CLF_F32, CLF_F16, CLF_BF16 };
    static const int bits[] = { 0, 8, 4 };

    return (any){ .causal = row[CAUSAL], .window = row[WINDOW], .mask = row[MASKED], .padding = row[PADDED],
                  .alibi = row[ALIBI], .sinks = row[WITH_SINKS], .softcap = row[SOFTCAP], .score_mod = row[SCORE_MOD],
                  .mask_mod = row[MASK_MOD], .dropout = row[DROPOUT], .groups = row[GROUPED], .wide_values = row[WIDE],
                  .place = (place)row[PLACE], .dtype = types[row[DTYPE]], .out = types[row[RESULT]],
                  .bits = bits[row[BITS]], .few = row[FEW], .backward = backward };
}

static void describe(const int *row, char *text)
{
    static const char *const names[THINGS] = { "causal", "window", "mask", "padding", "alibi", "sinks", "softcap",
        "score_mod", "mask_mod", "dropout", "groups", "wide", "place", "dtype", "out", "bits", "few" };

    *text = '\0';
    for (int a = 0; a < THINGS; a++)
        if (row[a])
            (void)snprintf(text + strlen(text), 16, "%s %d ", names[a], row[a]);
}

/* Two runs: right, and the same. */
static void check_row(clf_device *device, const int *row, bool backward, const char *family)
{
    static const char *const names[TENSORS] = { [OUT] = "out", [LSE] = "lse", [GRAD_Q] = "grad.q", [GRAD_K] = "grad.k",
                                                [GRAD_V] = "grad.v", [GRAD_SINKS] = "grad.sinks" };
    const any a = any_of(row, backward);
    float *before[TENSORS] = { NULL };
    char about[512];
    any_run r;

    describe(row, about);
    begin(&r, device, &a, clf_device_get_info(device)->simulator);
    want_all(&r);
    cr_assert_eq(plan_any(&r, family), CLF_SUCCESS, "%s: %s", about, clf_error_message());
    for (int turn = 0; turn < 2; turn++) {
        run_any(&r);
        for (int i = 0; i < TENSORS; i++) {
            const size_t bytes = is_result(&r, i) ? (size_t)clf_tensor_elements(tensor_at(&r, i)) * sizeof(float) : 0;
            if (!bytes)
                continue;
            const int64_t wrong = first_wrong(&r, i);
            cr_expect_lt(wrong, 0, "%s, %s: %s: %s [%lld] is %g, not %g", clf_device_get_info(device)->name,
                         clf_plan_get_info(r.plan).family, about, names[i], (long long)wrong,
                         (double)r.host[i][wrong < 0 ? 0 : wrong], r.want[i][wrong < 0 ? 0 : wrong]);
            if (turn)
                cr_expect(memcmp(before[i], r.host[i], bytes) == 0, "%s: %s differs from run to run", about, names[i]);
            else
                before[i] = memcpy(malloc(bytes), r.host[i], bytes);
        }
    }
    for (int i = 0; i < TENSORS; i++)
        free(before[i]);
    unplan(&r);
    end(&r);
}

static void check_array(clf_device *device, const int *levels, bool backward)
{
    static array x;

    cover(&x, levels);
    for (int i = 0; i < x.rows; i++) {
        check_row(device, x.row[i], backward, NULL);
        check_row(device, x.row[i], backward, "reference");
    }
}

static void check_training(clf_device *device)
{
    check_array(device, training, true);
}

static void check_inference(clf_device *device)
{
    check_array(device, inference, false);
}

Test(fused_pairs, training)
{
    for_each_device(check_training);
}

Test(fused_pairs, inference)
{
    for_each_device(check_inference);
}

/* Few queries in a row, keys in pages: the families for few queries. */
static void check_decoding(clf_device *device)
{
    const bool vectors = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;
    int row[THINGS] = { [CAUSAL] = 1, [WITH_SINKS] = 1, [GROUPED] = 1, [PLACE] = ROWS_ON_PAGES, [FEW] = 1 };

    for (row[BITS] = 0; row[BITS] < 2; row[BITS]++)
        check_row(device, row, false, vectors ? "vector_decode" : "portable_decode");
}

Test(fused_pairs, decoding_in_a_row)
{
    for_each_device(check_decoding);
}
