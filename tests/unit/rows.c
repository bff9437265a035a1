/* In the rows that a default sweep compiles every pair of features meets. */
#include "kit.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { DTYPE, MASK, PADDING, CAUSAL, DROPOUT, FEATURES, MOST = 5 };
static const char *const names[] = { "dtype", "mask", "padding", "causal", "dropout" };
static const int levels[] = { 3, MOST, 2, 2, 2 };

static const clf_component *attention(const char *name)
{
    const clf_component *component = NULL;
    cr_assert_eq(clf_component_find(CLF_ATTENTION, name, &component), CLF_SUCCESS);
    return component;
}

static int level_of(clf_dtype dtype)
{
    return dtype == CLF_F32 ? 0 : dtype == CLF_F16 ? 1 : 2;
}

/* A level for each feature of a case. */
static void look(const clf__kit_case *c, int *level)
{
    const bool masked = c->present & 1u << CLF_QKV_ATT_MASK;
    level[DTYPE] = level_of(c->dtype);
    level[MASK] = !masked ? 0 : c->mask_dtype == CLF_BOOL8 ? 1 : 2 + level_of(c->mask_dtype);
    level[PADDING] = (c->present & 1u << CLF_QKV_KEY_PADDING_MASK) != 0;
    level[CAUSAL] = c->causal;
    level[DROPOUT] = c->training && c->dropout > 0;
}

/* A mask of the other half type is the one thing that is left to slow runs. */
static bool is_left_out(int a, int b, int x, int y)
{
    return a == DTYPE && b == MASK && ((x == 1 && y == 4) || (x == 2 && y == 3));
}

Test(rows, every_pair_meets)
{
    static bool         seen[FEATURES][FEATURES][MOST][MOST];
    const clf_component *component = attention("scaled_dot_product");
    const clf_device_info device = { .type = CL_DEVICE_TYPE_CPU };
    clf__kit_cases      cases = { .list = NULL };
    int                 level[FEATURES];

    clf__kit_generate(component, &device, &cases);
    for (size_t i = 0; i < cases.count; i++) {
        if (cases.list[i].slow || cases.list[i].what != KIT_PROBLEM)
            continue;
        look(&cases.list[i], level);
        for (int a = 0; a < FEATURES; a++)
            for (int b = 0; b < FEATURES; b++)
                seen[a][b][level[a]][level[b]] = true;
    }
    for (int a = 0; a < FEATURES; a++)
        for (int b = a + 1; b < FEATURES; b++)
            for (int x = 0; x < levels[a]; x++)
                for (int y = 0; y < levels[b]; y++)
                    cr_expect(seen[a][b][x][y] || is_left_out(a, b, x, y), "%s %d never meets %s %d", names[a], x,
                              names[b], y);
    free(cases.list);
}

/* Programs of a default run: each costs seconds on some driver. */
static int programs_of(const char *name, const clf_device_info *device)
{
    const clf_component *component = attention(name);
    clf__kit_cases       cases = { .list = NULL };
    int                  count = 0;

    clf__kit_generate(component, device, &cases);
    for (size_t i = 0; i < cases.count; i++) {
        bool known = cases.list[i].slow || cases.list[i].what != KIT_PROBLEM ||
                     (clf__kit_needs(component, &cases.list[i]) & ~component->descriptor->traits);
        for (size_t before = 0; before < i && !known; before++)
            known = !cases.list[before].slow &&
                    clf__kit_same_program(component, &cases.list[i], &cases.list[before]);
        count += !known;
    }
    free(cases.list);
    return count;
}

Test(rows, programs_are_few)
{
    const clf_device_info device = { .type = CL_DEVICE_TYPE_GPU }, rasteriser = { .software = true };

    cr_expect_leq(programs_of("scaled_dot_product", &device), 17);
    cr_expect_leq(programs_of("scaled_dot_product", &rasteriser), 9);
    cr_expect_leq(programs_of("local", &device), 5);
    cr_expect_leq(programs_of("local", &rasteriser), 4);
}
