/* What xFormers' sparse path loses under a mask: outputs and gradients are those of exact attention under the pairs that
 * are left, which are written down here one by one. */
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADS = 2, LENGTH = 17, WIDTH = 4, PAIRS = LENGTH * LENGTH, COUNT = HEADS * LENGTH * WIDTH };
enum { TENSORS = 4 }; /* out and the gradients of q, k and v */

static uint32_t next(uint32_t *state)
{
    *state = 1664525u * *state + 1013904223u;
    return *state >> 8;
}

static void generate(uint32_t seed, int count, float *to)
{
    for (int i = 0; i < count; i++)
        to[i] = (float)next(&seed) / 4194304.0f - 2;
}

/* ---- patterns and masks --------------------------------------------------------------------------- */

/* Each writes the pattern and a config of at most 0.3 of all pairs. */
static void write_local(bool causal, uint8_t *pattern, char *config, size_t size)
{
    for (int i = 0; i < PAIRS; i++) {
        const int distance = i / LENGTH - i % LENGTH;
        pattern[i] = causal ? distance >= 0 && distance <= 3 : distance >= -1 && distance <= 1;
    }
    (void)snprintf(config, size, "{\"name\": \"local\", \"window_size\": 3, \"causal\": %s, \"semantics\": \"xformers\"}",
                   causal ? "true" : "false");
}

static void write_global(uint8_t *pattern, char *config, size_t size)
{
    for (int i = 0; i < PAIRS; i++)
        pattern[i] = i / LENGTH < 2 || i % LENGTH < 2;
    (void)snprintf(config, size, "{\"name\": \"global\", \"num_global_tokens\": 2, \"semantics\": \"xformers\"}");
}

static void write_random(uint8_t *pattern, char *config, size_t size)
{
    uint32_t state = 77;
    size_t   used = (size_t)snprintf(config, size, "{\"name\": \"random\", \"semantics\": \"xformers\", \"pattern\": ");

    for (int i = 0; i < PAIRS; i++) {
        pattern[i] = next(&state) % 5 == 0;
        used += (size_t)snprintf(config + used, size - used, "%s%d%s", i == 0 ? "[[" : i % LENGTH == 0 ? "], [" : ", ",
                                 pattern[i], i == PAIRS - 1 ? "]]}" : "");
    }
}

static void write_pattern(int kind, uint8_t *pattern, char *config, size_t size)
{
    if (kind < 2)
        write_local(kind == 1, pattern, config, size);
    else if (kind == 2)
        write_global(pattern, config, size);
    else
        write_random(pattern, config, size);
}

static int left_of(const uint8_t *pattern, const uint8_t *mask)
{
    int count = 0;

    for (int i = 0; i < PAIRS; i++)
        count += pattern[i] && mask[i];
    return count;
}

/* The last pairs go until a multiple of 4 is left. Returns how many rows lost one. */
static int lose(uint8_t *pairs)
{
    int last = -1, rows = 0;

    for (int i = PAIRS - 1, left = left_of(pairs, pairs); left % 4 != 0; i--) {
        if (!pairs[i])
            continue;
        pairs[i] = 0;
        left--;
        rows += last != i / LENGTH;
        last = i / LENGTH;
    }
    return rows;
}

/* What the last rows have: one pair each, one each and other rows none, or as many as other rows. */
typedef enum ending { THIN, ALONE, FULL } ending;

/* A mask under which `rest` pairs beyond a multiple of 4 are left. */
static void write_mask(const uint8_t *pattern, int rest, ending ending, uint8_t *mask)
{
    uint32_t state = 1234 + (uint32_t)rest;
    int      own = 0, all;

    for (int i = 0; i < PAIRS; i++) {
        own = i % LENGTH == 0 ? 0 : own;
        mask[i] = next(&state) % 3 > 0 || (ending == FULL && i / LENGTH == LENGTH - 1);
        if (ending != FULL && i / LENGTH >= LENGTH - 3)
            mask[i] = pattern[i] && own++ == 0;
        else if (ending == ALONE)
            mask[i] = 0;
    }
    all = left_of(pattern, mask);
    for (int i = 0; i < PAIRS && all % 4 != rest; i++)
        if (pattern[i] && mask[i]) {
            mask[i] = 0;
            all--;
        }
}

/* ---- running --------------------------------------------------------------------------------------- */

static void upload(clf_device *device, clf_tensor *tensor, const float *values)
{
    const int64_t shape[] = { 1, HEADS, LENGTH, WIDTH };

    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, shape, tensor), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write_floats(device, tensor, values), CLF_SUCCESS);
}

static void upload_mask(clf_device *device, clf_tensor *tensor, const uint8_t *mask)
{
    const int64_t shape[] = { LENGTH, LENGTH };

    cr_assert_eq(clf_tensor_alloc(device, CLF_BOOL8, 2, shape, tensor), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(device, tensor, mask), CLF_SUCCESS);
}

/* Both passes of a part under several masks, one after another through the same plan. */
static void run_part(clf_device *device, const char *config, int masks, const uint8_t (*mask)[PAIRS],
                     float (*results)[TENSORS][COUNT])
{
    static const int slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V };
    clf_instance *instance = NULL;
    clf_args      args = { .size = sizeof args };
    float         values[COUNT];

    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    for (uint32_t i = 0; i < 3; i++) {
        generate(100 + i, COUNT, values);
        upload(device, &args.io[slots[i]], values);
        upload(device, &args.grad[slots[i]], values);
    }
    upload(device, &args.io[CLF_QKV_OUT], values);
    generate(200, COUNT, values);
    upload(device, &args.grad[CLF_QKV_OUT], values);
    upload_mask(device, &args.io[CLF_QKV_ATT_MASK], mask[0]);
    const clf_tensor *read[] = { &args.io[CLF_QKV_OUT], &args.grad[CLF_QKV_Q], &args.grad[CLF_QKV_K],
                                 &args.grad[CLF_QKV_V] };
    for (int m = 0; m < masks; m++) {
        cr_assert_eq(clf_tensor_write(device, &args.io[CLF_QKV_ATT_MASK], mask[m]), CLF_SUCCESS);
        cr_assert_eq(clf_apply_training(instance, &args), CLF_SUCCESS, "%.60s: %s", config, clf_error_message());
        cr_assert_eq(clf_apply_backward(instance, &args), CLF_SUCCESS, "%.60s: %s", config, clf_error_message());
        for (int i = 0; i < 4; i++)
            cr_assert_eq(clf_tensor_read_floats(device, read[i], results[m][i]), CLF_SUCCESS);
    }
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf_tensor_free(device, &args.io[i]);
        clf_tensor_free(device, &args.grad[i]);
    }
    clf_instance_release(instance);
}

enum { MASKS = 8 };
static const struct { int rest; ending ending; int rows; /* that lose a pair, at least */ } masks[MASKS] = {
    { 0, THIN, 0 }, { 1, THIN, 1 }, { 2, THIN, 2 }, { 3, THIN, 3 }, { 3, ALONE, 3 }, { 1, FULL, 1 }, { 2, FULL, 1 },
    { 3, FULL, 1 },
};

static void check_kind(clf_device *device, int kind)
{
    static float got[MASKS][TENSORS][COUNT], expected[MASKS][TENSORS][COUNT];
    uint8_t      pattern[PAIRS], mask[MASKS][PAIRS], left[MASKS][PAIRS];
    char         config[2048];

    write_pattern(kind, pattern, config, sizeof config);
    cr_assert_leq(left_of(pattern, pattern), 3 * PAIRS / 10);
    lose(pattern);
    for (int m = 0; m < MASKS; m++) {
        write_mask(pattern, masks[m].rest, masks[m].ending, mask[m]);
        for (int i = 0; i < PAIRS; i++)
            left[m][i] = pattern[i] && mask[m][i];
        cr_assert_eq(left_of(pattern, mask[m]) % 4, masks[m].rest);
        cr_assert_geq(lose(left[m]), masks[m].rows, "%.60s: mask %d loses pairs of too few rows", config, m);
    }
    run_part(device, config, MASKS, (const uint8_t (*)[PAIRS])mask, got);
    run_part(device, "{\"name\": \"scaled_dot_product\"}", MASKS, (const uint8_t (*)[PAIRS])left, expected);
    for (int m = 0; m < MASKS; m++)
        for (int t = 0; t < TENSORS; t++)
            for (int i = 0; i < COUNT; i++)
                cr_assert(fabsf(got[m][t][i] - expected[m][t][i]) <= 2e-5f,
                          "%s, %.60s, mask %d, tensor %d: element %d is %.9g, expected %.9g",
                          clf_device_get_info(device)->name, config, m, t, i, (double)got[m][t][i],
                          (double)expected[m][t][i]);
}

static void check_kinds(clf_device *device)
{
    for (int kind = 0; kind < 4; kind++)
        check_kind(device, kind);
}

Test(zoo_lost, under_masks)
{
    for_each_device(check_kinds);
}

/* ---- what the path could not take ------------------------------------------------------------------ */

static void refuse(clf_device *device, const char *config, clf_dtype dtype, int rank, const int64_t *shape,
                   const char *reason)
{
    const int64_t qkv[] = { 1, HEADS, LENGTH, WIDTH };
    clf_args      args = { .size = sizeof args };
    clf_instance *instance = NULL;
    clf_plan     *plan = NULL;

    for (int slot = CLF_QKV_Q; slot <= CLF_QKV_V; slot++)
        args.io[slot] = clf_tensor_view(NULL, CLF_F32, 4, qkv);
    args.io[CLF_QKV_OUT] = args.io[CLF_QKV_Q];
    args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, dtype, rank, shape);
    cr_assert_eq(clf_build(device, CLF_ATTENTION, config, &instance), CLF_SUCCESS, "%s", clf_error_message());
    const clf_status status = clf_plan_create(instance, &args, NULL, &plan);
    if (reason) {
        cr_expect_eq(status, CLF_UNSUPPORTED, "%s: %s", config, clf_status_name(status));
        cr_expect(strstr(clf_error_message(), reason), "%s: %s", config, clf_error_message());
    } else {
        cr_expect_eq(status, CLF_SUCCESS, "%s: %s", config, clf_error_message());
    }
    clf_plan_release(plan);
    clf_instance_release(instance);
}

Test(zoo_lost, masks_of_the_path)
{
    static const int64_t matrix[] = { LENGTH, LENGTH }, one[] = { 1, LENGTH, LENGTH }, row[] = { 1, LENGTH },
                         heads[] = { HEADS, LENGTH, LENGTH }, both[] = { 1, HEADS, LENGTH, LENGTH };
    clf_device *device = NULL;
    char        config[2048];
    uint8_t     pattern[PAIRS];

    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    for (int kind = 0; kind < 4; kind++) {
        write_pattern(kind, pattern, config, sizeof config);
        refuse(device, config, CLF_U8, 2, matrix, NULL);
        refuse(device, config, CLF_BOOL8, 3, one, NULL);
        refuse(device, config, CLF_BOOL8, 2, row, NULL);
        refuse(device, config, CLF_F32, 2, matrix, "boolean");
        refuse(device, config, CLF_BOOL8, 3, heads, "each batch or head");
        refuse(device, config, CLF_BOOL8, 4, both, "each batch or head");
    }
    clf_device_release(device);
}
