/* Block lists built on every device against a loop over all pairs on the host. */
#include "devices.h"
#include "pattern/block_list.h"
#include "patterns.h"
#include "toy.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a part that builds lists and reads them as a consumer would ----------------------------------------- */

static const char probe_text[] =
    "#include \"prelude/blocks.cl\"\n"
    "__kernel void probe_read(__global const int *lists, long8 lists_at, __global int *seen, long seen_at)\n"
    "{ /* grid (tiles, H, B): the count and all entries of each head's lists, tile and kind apart */\n"
    "    const int tile = get_global_id(0), h = get_global_id(1), b = get_global_id(2);\n"
    "    const long list = clf_block_list(lists_at, b, h, tile);\n"
    "    const long at = seen_at + (((long)b * get_global_size(1) + h) * get_global_size(0) + tile) *\n"
    "                    (1 + 2 * lists_at.s4);\n"
    "    seen[at] = lists[clf_block_count_at(lists_at, list)];\n"
    "    for (int i = 0; i < lists_at.s4; i++) {\n"
    "        const int entry = lists[clf_block_entries_at(lists_at, list) + i];\n"
    "        seen[at + 1 + 2 * i] = clf_block_tile(entry);\n"
    "        seen[at + 2 + 2 * i] = clf_block_is_partial(entry);\n"
    "    }\n"
    "}\n";
static const struct clf_source probe_sources[] = { { "attention/probe.cl", probe_text }, { NULL, NULL } };

static clf__block_problem asked; /* what the next plan and run are about; tensors come from the arguments */

typedef struct probe_state {
    clf__block_lists lists;
    cl_kernel        read;
    uint64_t         at, seen; /* bytes into the workspace: the lists, and what was read */
} probe_state;

static clf__block_problem problem_of(const clf_args *args)
{
    clf__block_problem problem = asked;
    problem.batch = args->io[CLF_QKV_Q].shape[0];
    problem.heads = args->io[CLF_QKV_Q].shape[1];
    problem.queries = args->io[CLF_QKV_Q].shape[2];
    problem.keys = args->io[CLF_QKV_K].shape[2];
    problem.mask = args->io[CLF_QKV_ATT_MASK];
    problem.padding = args->io[CLF_QKV_KEY_PADDING_MASK];
    return problem;
}

static clf_status probe_plan(clf_plan *plan)
{
    const clf__block_problem problem = problem_of(clf_plan_args(plan));
    probe_state *state = clf_plan_state(plan, sizeof *state);
    clf_status status;
    if (!state)
        return CLF_OUT_OF_HOST_MEMORY;
    clf_plan_set_family(plan, "probe");
    if ((status = clf__block_lists_plan(plan, &problem, &state->lists)))
        return status;
    clf_plan_workspace(plan, 4);
    state->at = clf_plan_workspace(plan, state->lists.bytes);
    const int64_t list = 1 + 2 * state->lists.capacity;
    state->seen = clf_plan_workspace(plan, (uint64_t)(problem.batch * problem.heads * state->lists.tiles * list) * 4);
    return clf_plan_kernel(plan, "attention/probe.cl", "", "probe_read", &state->read);
}

static clf_status probe_forward(clf_run *run)
{
    const probe_state *state = clf_plan_state(clf_run_plan(run), sizeof *state);
    const clf__block_problem problem = problem_of(clf_run_args(run));
    const clf_buffer workspace = clf_run_workspace(run);
    const uint64_t lists_at = workspace.offset + state->at;
    const cl_long seen_at = (cl_long)((workspace.offset + state->seen) / 4);
    const size_t grid[3] = { (size_t)state->lists.tiles, (size_t)problem.heads, (size_t)problem.batch };
    clf_status status = clf__block_lists_build(run, &state->lists, &problem, workspace.mem, lists_at);
    if (status)
        return status;
    clf_binder binder = clf_bind(state->read);
    clf__block_lists_bind(&binder, &state->lists, workspace.mem, lists_at);
    clf_bind_mem(&binder, workspace.mem);
    clf_bind_value(&binder, &seen_at, sizeof seen_at);
    return clf_launch(run, &binder, 3, grid, NULL);
}

static const clf_descriptor probe_descriptor = {
    .summary = "block lists", .paper = "none", .config = CLF_SCHEMA(toy_config, toy_fields),
    .programs = { "pattern/block_list.cl" }, .io = clf_attention_io_qkv, .traits = TOY_TRAITS,
    .plan = probe_plan, .forward = probe_forward,
};
static const clf_component probe = { sizeof(clf_descriptor), CLF_ATTENTION, "probe", &probe_descriptor, probe_sources };

/* ---- a case ---------------------------------------------------------------------------------------------- */

enum mask_kind { NO_MASK, SHARED, PER_BATCH, PER_HEAD, FULL, TILED };

typedef struct block_case {
    int            batch, heads, queries, keys, rows, columns;
    bool           causal;
    int            shift;
    enum mask_kind mask;
    clf_dtype      dtype;   /* of the mask */
    bool           padding;
    clf_status   (*pattern)(const struct block_case *c, clf_pattern **pattern);
    int            window;
    bool           snippet; /* SNIPPET beside all that */
} block_case;

static uint32_t noise(uint32_t x)
{
    x = (x ^ x >> 15) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Patches that are all hidden, all visible or mixed. */
static bool mask_keeps(uint32_t item, uint32_t q, uint32_t k)
{
    const uint32_t patch = noise(item * 977 + q / 9 * 31 + k / 11) % 4;
    return patch == 0 ? false : patch < 3 ? true : noise(item + q * 1009 + k) % 2 != 0;
}

static bool padding_keeps(const block_case *c, int b, int k)
{
    return !c->padding || (k < c->keys - 3 - 5 * b && k != 2);
}

static int mask_item(const block_case *c, int b, int h)
{
    return c->mask == PER_BATCH ? b : c->mask == PER_HEAD ? h : c->mask == FULL ? b * c->heads + h
         : c->mask == TILED ? (b * c->heads + h) % 2 : 0;
}

#define SNIPPET "(k*5+q+b*3)%7<4"

static bool snippet_keeps(int b, int q, int k)
{
    return (k * 5 + q + b * 3) % 7 < 4;
}

static bool sees(const block_case *c, const clf_pattern *pattern, int b, int h, int q, int k)
{
    return (!c->causal || (k <= q + c->shift && (!c->window || k > q + c->shift - c->window))) &&
           (!c->snippet || snippet_keeps(b, q, k)) && (!pattern || clf_pattern_sees(pattern, b, h, q, k)) &&
           padding_keeps(c, b, k) &&
           (c->mask == NO_MASK || mask_keeps((uint32_t)mask_item(c, b, h), (uint32_t)q, (uint32_t)k));
}

/* The list of a tile, as documented: entries, then -1. Returns how many. */
static int expected_list(const block_case *c, const clf_pattern *pattern, bool by_keys, int b, int h, int tile,
                         int *entries)
{
    const int others = by_keys ? (c->queries + c->rows - 1) / c->rows : (c->keys + c->columns - 1) / c->columns;
    int count = 0;
    for (int other = 0; other < others; other++) {
        const int q0 = (by_keys ? other : tile) * c->rows, k0 = (by_keys ? tile : other) * c->columns;
        bool some = false, every = k0 + c->columns <= c->keys;
        for (int q = q0; q < q0 + c->rows && q < c->queries; q++)
            for (int k = k0; k < k0 + c->columns && k < c->keys; k++) {
                const bool seen = sees(c, pattern, b, h, q, k);
                some |= seen;
                every &= seen;
            }
        if (some)
            entries[count++] = 2 * other + !every;
    }
    return count;
}

static void fill_mask(clf_device *device, const block_case *c, clf_tensor *mask)
{
    const int64_t all[4] = { c->mask == PER_BATCH || c->mask == FULL ? c->batch : 1,
                             c->mask == PER_HEAD || c->mask == FULL ? c->heads : 1, c->queries, c->keys };
    const int64_t tiled[3] = { 2, c->queries, c->keys };
    const int items = (int)(c->mask == TILED ? 2 : all[0] * all[1]);
    const size_t size = clf_dtype_size(c->dtype), count = (size_t)items * (size_t)(c->queries * c->keys);
    uint8_t *data = calloc(count + 1, size);
    float *floats = calloc(count + 1, sizeof *floats);

    for (size_t i = 0; i < count; i++) {
        const uint32_t k = (uint32_t)(i % (size_t)c->keys), q = (uint32_t)(i / (size_t)c->keys % (size_t)c->queries);
        const bool keep = mask_keeps((uint32_t)(i / (size_t)(c->keys * c->queries)), q, k);
        data[i] = keep ? (uint8_t)(1 + k % 200) : 0;
        floats[i] = keep ? (float)k - 7 : -INFINITY;
    }
    made(c->mask == TILED ? clf_tensor_alloc(device, c->dtype, 3, tiled, mask)
                          : clf_tensor_alloc(device, c->dtype, 4, all, mask));
    made(size == 1 ? clf_tensor_write(device, mask, data) : clf_tensor_write_floats(device, mask, floats));
    free(floats);
    free(data);
}

static void fill_padding(clf_device *device, const block_case *c, clf_tensor *padding)
{
    uint8_t *data = calloc((size_t)(c->batch * c->keys) + 1, 1);
    for (int b = 0; b < c->batch; b++)
        for (int k = 0; k < c->keys; k++)
            data[b * c->keys + k] = padding_keeps(c, b, k);
    made(clf_tensor_alloc(device, CLF_BOOL8, 2, (int64_t[2]){ c->batch, c->keys }, padding));
    made(clf_tensor_write(device, padding, data));
    free(data);
}

static void fill_args(clf_device *device, const block_case *c, clf_args *args)
{
    *args = toy_args(c->batch, c->heads, c->queries, c->keys, 1, 1);
    for (int i = 0; i < CLF_MAX_IO; i++)
        if (args->io[i].rank) {
            const clf_tensor plain = args->io[i];
            made(clf_tensor_alloc(device, CLF_F32, 4, plain.shape, &args->io[i]));
        }
    if (c->mask != NO_MASK)
        fill_mask(device, c, &args->io[CLF_QKV_ATT_MASK]);
    if (c->padding)
        fill_padding(device, c, &args->io[CLF_QKV_KEY_PADDING_MASK]);
}

enum { GUARD = 1024 };

/* The pattern alone, on the host. */
static void check_host(const block_case *c, const clf_pattern *pattern, bool by_keys, const clf__block_lists *lists,
                       const int32_t *data)
{
    const block_case bare = { .batch = (int)lists->batch, .heads = (int)lists->heads, .queries = c->queries,
                              .keys = c->keys, .rows = c->rows, .columns = c->columns };
    const int64_t count = lists->batch * lists->heads * lists->tiles;
    int entries[512];
    cr_assert_eq(lists->bytes, (uint64_t)(count * (1 + lists->capacity)) * sizeof *data);
    for (int64_t list = 0; list < count; list++) {
        const int64_t item = list / lists->tiles;
        const int n = expected_list(&bare, pattern, by_keys, (int)(item / lists->heads), (int)(item % lists->heads),
                                    (int)(list % lists->tiles), entries);
        cr_assert_eq(data[list], n, "list %d has %d entries, expected %d", (int)list, data[list], n);
        for (int i = 0; i < lists->capacity; i++)
            cr_assert_eq(data[count + list * lists->capacity + i], i < n ? entries[i] : -1, "list %d", (int)list);
    }
}

/* Lists of the pattern as the base of the problem. */
static void give_base(clf_device *device, const block_case *c, const clf_pattern *pattern, bool by_keys,
                      clf__block_lists *base)
{
    int32_t *data;
    made(clf__block_lists_make(pattern, c->rows, c->columns, by_keys, base, &data));
    check_host(c, pattern, by_keys, base, data);
    const int64_t count = (int64_t)(base->bytes / sizeof *data);
    made(clf_tensor_alloc(device, CLF_I32, 1, &count, &asked.base_data));
    made(clf_tensor_write(device, &asked.base_data, data));
    free(data);
}

/* Runs the plan on a workspace between guards and returns what lies there, guards checked. */
static int *run_once(clf_device *device, clf_plan *plan, const clf_args *args, size_t bytes)
{
    const int64_t total = (int64_t)(bytes + 2 * GUARD);
    uint8_t *host = malloc((size_t)total);
    int *lists = malloc(bytes + 4);
    clf_tensor all;
    memset(host, 0xa5, (size_t)total);
    made(clf_tensor_alloc(device, CLF_U8, 1, &total, &all));
    made(clf_tensor_write(device, &all, host));
    made(clf_forward(plan, args, (clf_buffer){ all.mem, GUARD, bytes }, (clf_buffer){ 0 }, NULL, 0, NULL, NULL));
    made(clf_tensor_read(device, &all, host));
    for (size_t i = 0; i < GUARD; i++)
        cr_assert(host[i] == 0xa5 && host[GUARD + bytes + i] == 0xa5, "written outside the lists");
    memcpy(lists, host + GUARD, bytes);
    clf_tensor_free(device, &all);
    free(host);
    return lists;
}

static void check_lists(const block_case *c, const clf_pattern *pattern, bool by_keys, const clf__block_lists *lists,
                        const int *seen)
{
    int entries[512];
    for (int b = 0; b < c->batch; b++)
        for (int h = 0; h < c->heads; h++)
            for (int tile = 0; tile < lists->tiles; tile++, seen += 1 + 2 * lists->capacity) {
                const int count = expected_list(c, pattern, by_keys, b, h, tile, entries);
                cr_assert_eq(seen[0], count, "batch %d, head %d, tile %d: %d entries, expected %d", b, h, tile, seen[0],
                             count);
                cr_assert(count <= lists->capacity);
                for (int i = 0; i < lists->capacity; i++)
                    cr_assert_eq(2 * seen[1 + 2 * i] + seen[2 + 2 * i], i < count ? entries[i] : -1,
                                 "batch %d, head %d, tile %d: entry %d", b, h, tile, i);
            }
}

static void run_case(clf_device *device, clf_instance *instance, const block_case *c, bool by_keys,
                     bool with_base)
{
    clf__block_lists base;
    clf_pattern     *pattern = NULL;
    clf_plan        *plan;
    clf_args         args;

    asked = (clf__block_problem){ .rows = c->rows, .columns = c->columns, .by_keys = by_keys, .causal = c->causal,
                                  .shift = c->shift, .window = c->window, .mask_mod = c->snippet ? SNIPPET : NULL,
                                  .by_batch = true };
    if (c->pattern) {
        made(c->pattern(c, &pattern));
        asked.pattern = pattern;
        made(clf__pattern_upload(device, pattern, &asked.words));
        give_base(device, c, pattern, by_keys, &base);
        asked.base = with_base ? &base : NULL;
    }
    fill_args(device, c, &args);
    made(clf_plan_create(instance, &args, NULL, &plan));
    const probe_state *state = clf_plan_state(plan, sizeof *state);
    const size_t bytes = clf_plan_get_info(plan).workspace_bytes;
    int *once = run_once(device, plan, &args, bytes), *again = run_once(device, plan, &args, bytes);
    check_lists(c, pattern, by_keys, &state->lists, once + state->seen / 4);
    cr_expect(memcmp(once + state->at / 4, again + state->at / 4, state->lists.bytes) == 0, "not repeatable");
    free(once);
    free(again);
    clf_plan_release(plan);
    for (int i = 0; i < CLF_MAX_IO; i++)
        clf_tensor_free(device, &args.io[i]);
    clf_tensor_free(device, &asked.words);
    clf_tensor_free(device, &asked.base_data);
    clf_pattern_free(pattern);
}

/* ---- patterns for any case ---------------------------------------------------------------------------------- */

static clf_status window(const block_case *c, clf_pattern **p)
{
    return clf_pattern_window(c->queries, c->keys, c->keys - c->queries, 9, 4, 0, p);
}
static clf_status sinks(const block_case *c, clf_pattern **p)
{
    return clf_pattern_window(c->queries, c->keys, 0, 6, 0, 3, p);
}
static clf_status prefix(const block_case *c, clf_pattern **p)
{
    return clf_pattern_window(c->queries, c->keys, 0, -1, 0, 20, p);
}
static clf_status future(const block_case *c, clf_pattern **p)
{
    return clf_pattern_window(c->queries, c->keys, 3, 0, -1, 0, p);
}
static clf_status nothing(const block_case *c, clf_pattern **p)
{
    const clf_status status = clf_pattern_window(c->queries, c->keys, 0, -1, -1, 0, p);
    return status ? status : clf_pattern_make_causal(*p, -c->keys);
}
static clf_status alibi(const block_case *c, clf_pattern **p)
{
    return clf_pattern_alibi(c->heads, c->queries, 1.5f, CLF_SEMANTICS_PAPER, p);
}
static clf_status documents(const block_case *c, clf_pattern **p)
{
    int32_t labels[1024];
    for (int i = 0; i < c->batch * c->keys; i++)
        labels[i] = i % c->keys / (7 + 33 * (i / c->keys));
    return clf_pattern_documents(c->batch, c->keys, labels, p);
}
static clf_status swin(const block_case *c, clf_pattern **p)
{
    return clf_pattern_swin(6, c->queries / 6, 3, 1, p);
}
static clf_status ball(const block_case *c, clf_pattern **p)
{
    return clf_pattern_grid_local(3, (int64_t[3]){ c->queries / 18, 3, 6 }, NULL, 1, 3, p);
}
static clf_status axial(const block_case *c, clf_pattern **p)
{
    const clf_status status = clf_pattern_grid_axial(2, (int64_t[2]){ 6, c->queries / 6 }, p);
    return status ? status : clf_pattern_make_causal(*p, 0);
}
static clf_status dilated(const block_case *c, clf_pattern **p)
{
    return clf_pattern_grid_dilated(1, (int64_t[1]){ c->queries }, 3, p);
}
static clf_status tokens(const block_case *c, clf_pattern **p)
{
    uint8_t is_global[256] = { [5] = 1, [33] = 1, [34] = 1 };
    const clf_status status = clf_pattern_global(c->keys, is_global, p);
    return status ? status : clf_pattern_keep_diagonal(*p, 0);
}
static clf_status dice(const block_case *c, clf_pattern **p)
{
    return clf_pattern_random(c->heads, c->queries, c->keys, 0.98, 12345678901u, p);
}
static clf_status blocks(const block_case *c, clf_pattern **p)
{
    uint8_t layout[2 * 16 * 16];
    for (uint32_t i = 0; i < sizeof layout; i++)
        layout[i] = noise(i) % 3 == 0;
    return clf_pattern_blocks(c->heads, c->queries / 6, c->keys / 6, 6, layout, p);
}
static clf_status drawn(const block_case *c, clf_pattern **p)
{
    return clf_pattern_random_keys(c->heads, c->queries, c->keys, 3, false, 99, p);
}

/* ---- the cases ---------------------------------------------------------------------------------------------- */

static const block_case cases[] = {
    { 1, 1, 70, 70, 16, 16, true, 0, NO_MASK, 0, false, NULL, 0, false },
    { 2, 3, 50, 81, 16, 32, true, 31, NO_MASK, 0, true, NULL, 0, false },
    { 2, 2, 37, 45, 8, 20, false, 0, SHARED, CLF_BOOL8, false, NULL, 0, false },
    { 2, 2, 37, 45, 5, 7, true, 8, PER_BATCH, CLF_U8, true, NULL, 0, false },
    { 2, 2, 33, 70, 64, 16, false, 0, PER_HEAD, CLF_F32, false, NULL, 0, false },
    { 2, 2, 33, 40, 16, 16, true, 0, FULL, CLF_F16, true, NULL, 0, false },
    { 2, 3, 21, 40, 1, 1, false, 0, TILED, CLF_BF16, false, NULL, 0, false },
    { 1, 2, 90, 75, 16, 16, false, 0, NO_MASK, 0, false, window, 0, false },
    { 2, 2, 60, 60, 32, 16, false, 0, NO_MASK, 0, true, sinks, 0, false },
    { 1, 1, 61, 67, 16, 16, true, 30, FULL, CLF_BOOL8, true, window, 0, false },
    { 1, 1, 66, 66, 16, 16, false, 0, NO_MASK, 0, false, prefix, 0, false },
    { 1, 1, 40, 50, 8, 8, false, 0, NO_MASK, 0, false, future, 0, false },
    { 1, 2, 40, 50, 8, 8, false, 0, NO_MASK, 0, false, nothing, 0, false },
    { 1, 6, 66, 66, 8, 16, false, 0, NO_MASK, 0, false, alibi, 0, false },
    { 2, 1, 70, 70, 16, 16, true, 0, NO_MASK, 0, false, documents, 0, false },
    { 1, 1, 72, 72, 16, 16, false, 0, NO_MASK, 0, false, swin, 0, false },
    { 1, 1, 72, 72, 16, 8, false, 0, NO_MASK, 0, false, ball, 0, false },
    { 1, 1, 66, 66, 3, 4, false, 0, NO_MASK, 0, false, axial, 0, false },
    { 1, 1, 66, 66, 2, 2, false, 0, NO_MASK, 0, false, dilated, 0, false },
    { 1, 1, 70, 70, 4, 8, false, 0, NO_MASK, 0, false, tokens, 0, false },
    { 2, 2, 65, 70, 8, 16, false, 0, NO_MASK, 0, false, dice, 0, false },
    { 1, 2, 72, 60, 16, 16, false, 0, NO_MASK, 0, false, blocks, 0, false },
    { 1, 2, 72, 60, 6, 12, true, 0, NO_MASK, 0, false, blocks, 0, false },
    { 1, 2, 50, 70, 8, 8, false, 0, SHARED, CLF_BOOL8, false, drawn, 0, false },
    { 2, 2, 300, 131, 256, 64, true, -100, NO_MASK, 0, true, window, 0, false },
    { 2, 2, 100, 90, 16, 8, true, 3, NO_MASK, 0, true, NULL, 21, false },
    { 2, 2, 60, 60, 16, 16, true, -2, SHARED, CLF_BOOL8, false, sinks, 9, false },
    { 2, 2, 50, 40, 3, 4, false, 0, NO_MASK, 0, false, NULL, 0, true },
    { 2, 1, 40, 40, 3, 2, true, 0, NO_MASK, 0, false, documents, 0, true },
    { 1, 1, 5, 0, 16, 16, false, 0, NO_MASK, 0, false, NULL, 0, false },
};

/* What a simulator gets: the same, cut to a few hundred pairs, and not all. */
static bool shrink(block_case *c, size_t i)
{
    c->batch = c->padding || c->snippet || c->mask == PER_BATCH || c->mask == TILED ? c->batch : 1;
    c->heads = c->heads > 2 && c->mask != TILED ? 2 : c->heads;
    c->queries = c->queries > 18 ? 18 : c->queries;
    c->keys = c->pattern && c->keys != c->queries ? 18 : c->keys > 20 ? 18 + (c->mask != NO_MASK) : c->keys;
    c->rows = c->rows > 8 ? 8 : c->rows;
    c->columns = c->columns > 8 ? 8 : c->columns;
    return i != 11 && i != 18 && i != 22 && i != 24;
}

/* Each case is two programs, which native CPUs optimise for half a second each: three in four are compiled without. */
static void spare_optimising(const clf_device_info *info, size_t i)
{
    if ((info->type & CL_DEVICE_TYPE_CPU) && !info->software && i % 4)
        setenv("CLF_BUILD_OPTIONS", "-cl-opt-disable", 1);
    else
        unsetenv("CLF_BUILD_OPTIONS");
}

static void run_all(clf_device *device)
{
    const bool simulator = clf_device_get_info(device)->simulator;
    clf_instance *instance, *tiling;

    made(toy_instance(device, &probe, "{}", NULL, &instance));
    made(toy_instance(device, &probe, "{\"semantics\": \"xformers\"}", NULL, &tiling));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int by_keys = 0; by_keys < 2; by_keys++) {
            block_case c = cases[i];
            if (simulator && (!shrink(&c, i) || (by_keys && i % 3)))
                continue;
            spare_optimising(clf_device_get_info(device), i);
            run_case(device, c.mask == TILED ? tiling : instance, &c, by_keys, false);
            if (c.pattern && (c.mask != NO_MASK || c.padding || c.causal))
                run_case(device, instance, &c, by_keys, true);
        }
    unsetenv("CLF_BUILD_OPTIONS");
    clf_instance_release(tiling);
    clf_instance_release(instance);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(pattern_blocks, every_pair_on_every_device)
{
    char  path[] = "/tmp/clf_blocks_XXXXXX", text[2000];
    FILE *log;
    close(mkstemp(path));
    setenv("OCLGRIND_LOG", path, 1);
    setenv("OCLGRIND_DATA_RACES", "1", 1);
    for_each_device(run_all);
    log = fopen(path, "r");
    cr_assert(log);
    text[fread(text, 1, sizeof text - 1, log)] = '\0';
    fclose(log);
    remove(path);
    cr_expect(text[0] == '\0', "%s", text);
}

/* ---- sizes without a device -------------------------------------------------------------------------------- */

static clf__block_lists measured(const clf__block_problem *problem)
{
    clf__block_lists lists;
    made(clf__block_lists_measure(problem, &lists));
    return lists;
}

Test(pattern_blocks, room_is_linear_where_the_width_is_bounded)
{
    uint64_t bytes[2][2];
    for (int i = 0; i < 2; i++) {
        const int64_t n = INT64_C(1) << (16 + i);
        clf__block_problem problem = { .batch = 4, .heads = 16, .queries = n, .keys = n, .rows = 64, .columns = 64 };
        clf_pattern *pattern;
        made(clf_pattern_window(n, n, 0, 255, 0, 0, &pattern));
        problem.pattern = pattern;
        for (int by_keys = 0; by_keys < 2; by_keys++) {
            problem.by_keys = by_keys;
            const clf__block_lists lists = measured(&problem);
            cr_expect(lists.batch == 1 && lists.heads == 1 && lists.tiles == n / 64);
            cr_expect(lists.capacity >= 5 && lists.capacity <= 7, "%d", (int)lists.capacity);
            bytes[i][by_keys] = lists.bytes;
        }
        clf_pattern_free(pattern);
    }
    cr_expect_eq(bytes[1][0], 2 * bytes[0][0]);
    cr_expect_eq(bytes[1][1], 2 * bytes[0][1]);
}

/* Lists made on the host know no hull: a layout whose rows hold few blocks has short lists wherever those are. */
Test(pattern_blocks, host_lists_are_as_long_as_the_fullest)
{
    static uint8_t   layout[512 * 512];
    clf_pattern     *pattern;
    clf__block_lists lists;
    int32_t         *data;
    for (int row = 0; row < 512; row++)
        layout[row * 512 + row * 37 % 512] = layout[row * 512 + row] = 1;
    made(clf_pattern_blocks(1, 512, 512, 16, layout, &pattern));
    for (int by_keys = 0; by_keys < 2; by_keys++) {
        made(clf__block_lists_make(pattern, 16, 16, by_keys, &lists, &data));
        cr_expect(lists.tiles == 512 && lists.capacity == 2, "%d", (int)lists.capacity);
        cr_expect_eq(data[1], 2);
        cr_expect_eq(data[512 + 2], 2 * 1, "the diagonal block is whole");
        free(data);
    }
    made(clf__block_lists_make(pattern, 64, 32, false, &lists, &data));
    cr_expect(lists.tiles == 128 && lists.capacity <= 6, "%d", (int)lists.capacity);
    cr_expect_eq(data[128] & 1, 1, "half of it is empty");
    free(data);
    refused(clf__block_lists_make(pattern, 0, 32, false, &lists, &data), CLF_OUT_OF_RANGE, "0 queries x 32 keys");
    cr_expect_null(data);
    clf_pattern_free(pattern);
}

Test(pattern_blocks, refused)
{
    clf__block_problem problem = { .batch = 1, .heads = 1, .queries = 64, .keys = 64, .rows = 16, .columns = 16 };
    clf__block_lists   lists;
    clf_pattern       *pattern;
    made(clf_pattern_causal(64, 63, 0, &pattern));
    problem.pattern = pattern;
    refused(clf__block_lists_measure(&problem, &lists), CLF_INVALID_SHAPE, "64 queries, 63 keys");
    clf_pattern_free(pattern);
    problem.pattern = NULL;
    problem.base = &(clf__block_lists){ .rows = 16, .columns = 8, .batch = 1, .heads = 1, .tiles = 4, .capacity = 1 };
    refused(clf__block_lists_measure(&problem, &lists), CLF_INVALID_SHAPE, "16 x 8 by queries");
    problem.base = &(clf__block_lists){ .rows = 16, .columns = 16, .batch = 1, .heads = 3, .tiles = 4, .capacity = 1 };
    refused(clf__block_lists_measure(&problem, &lists), CLF_INVALID_SHAPE, "3 heads");
    problem.base = NULL;
    problem.rows = 0;
    refused(clf__block_lists_measure(&problem, &lists), CLF_OUT_OF_RANGE, "0 queries x 16 keys");
    problem.rows = 1;
    problem.columns = 1;
    problem.queries = problem.keys = INT64_C(1) << 20;
    refused(clf__block_lists_measure(&problem, &lists), CLF_UNSUPPORTED, "grid");
    problem.keys = INT64_C(1) << 40;
    refused(clf__block_lists_measure(&problem, &lists), CLF_OUT_OF_RANGE, "1099511627776 keys");
}
