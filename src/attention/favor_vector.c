/* favor over all keys on CPUs: two kernels, no matrices of features (cl/attention/favor_vector.cl). */
#include "attention/favor_pass.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

/* As in the kernels: rows of a tile, rows of a group at most, numbers of an operand and of all features of a group's
 * rows, widths. */
enum { TILE = 13, ROWS = 104, PANEL = 64, PACKED = ROWS * 144, LOGITS = 32768, WIDTH = 512, CHANNELS = 256 };
enum { GROUPS = 4 }; /* for each core, where there are rows enough */
enum { SPREAD = 8 }; /* groups for each that works, as in the kernels */

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t blocks_of(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static int panels_of(const favor_state *s)
{
    return (int)blocks_of(s->drawn_padded, PANEL / s->signs);
}

/* Whole tiles. */
static int64_t tiles(int64_t rows)
{
    return rows / TILE * TILE;
}

void clf__favor_vector_choose(favor_state *s, const clf_device_info *device)
{
    const int64_t items = s->batch * s->heads, width = blocks_of(s->width, 16) * 16 + 16;
    const int64_t channels = blocks_of(s->value_width, 32) * 32, panels = panels_of(s);
    const int64_t fit = less(ROWS, tiles(PACKED / (width > channels ? width : channels)));

    s->rows_keys = fit;
    s->rows_queries = less(fit, tiles(LOGITS / (panels * (PANEL / s->signs))));
    const bool caches = device->type & CL_DEVICE_TYPE_CPU; /* hundreds of KiB of private memory a work-item */

    s->vector = s->lanes > 1 && caches && !s->causal && !s->mean && s->width <= WIDTH && s->value_width <= CHANNELS &&
                items > 0 && s->rows_queries > 0;
    if (!s->vector)
        return;
    const int64_t wanted = blocks_of(GROUPS * (int64_t)device->compute_units, items);
    s->segments = less(blocks_of(wanted, panels), blocks_of(s->keys, 2 * s->rows_keys));
    if (s->segments < 1)
        s->segments = 1;
    s->rows_queries = less(s->rows_queries, blocks_of(blocks_of(s->queries, wanted), TILE) * TILE);
    if (s->rows_queries < TILE)
        s->rows_queries = TILE;
}

/* W: its first element and the step of its rows. */
static void bind_drawn(clf_binder *binder, const favor_chunk *chunk)
{
    const cl_long2 at = { { clf__tensor_start(&chunk->drawn), chunk->drawn.strides[0] } };

    clf_bind_mem(binder, chunk->drawn.mem);
    clf_bind_value(binder, &at, sizeof at);
}

/* Channels and cl_int8 of favor_vector.cl. */
static void bind_shape(clf_binder *binder, const favor_chunk *chunk, int64_t rows)
{
    const favor_state *s = chunk->state;
    const cl_int8 shape = { { (cl_int)rows, s->drawn, s->drawn_padded, s->signs, (cl_int)chunk->heads, s->width, 0,
                              (cl_int)s->segments } };

    clf__favor_bind_int(binder, s->value_width);
    clf_bind_value(binder, &shape, sizeof shape);
}

static void bind_state(clf_binder *binder, const favor_chunk *chunk, int first)
{
    for (int i = 0; i < 3; i++) /* top, sum, state */
        clf__favor_bind_array(binder, chunk, first + i);
}

/* `count` groups of every item that work. */
static clf_status launch(favor_chunk *chunk, clf_binder *binder, int64_t count)
{
    const cl_ulong items = (cl_ulong)(clf__favor_items(chunk) * count);
    const size_t global = (size_t)items * SPREAD, local = 1;

    clf_bind_value(binder, &items, sizeof items);
    return clf_launch(chunk->run, binder, 1, &global, &local);
}

static clf_status make_keys(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *mask = &chunk->args.io[CLF_QKV_KEY_PADDING_MASK];
    const cl_long4 mask_at = { { (cl_long)mask->offset, mask->strides[0], mask->strides[1] } };
    const cl_int2 rows = { { (cl_int)s->rows_keys, (cl_int)blocks_of(s->keys, s->segments) } };
    clf_binder binder = clf_bind(s->kernel[FAVOR_VECTOR_KEYS]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_K]);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_V]);
    clf_bind_mem(&binder, s->padded ? mask->mem : NULL);
    clf_bind_value(&binder, &mask_at, sizeof mask_at);
    clf__favor_bind_int(&binder, s->padded);
    bind_drawn(&binder, chunk);
    bind_state(&binder, chunk, s->segments > 1 ? FAVOR_TOPS : FAVOR_TOP);
    bind_shape(&binder, chunk, s->keys);
    clf_bind_value(&binder, &rows, sizeof rows);
    clf__favor_bind_float(&binder, s->scale);
    return launch(chunk, &binder, s->segments * panels_of(s));
}

static clf_status merge(favor_chunk *chunk)
{
    clf_binder binder = clf_bind(chunk->state->kernel[FAVOR_VECTOR_MERGE]);

    bind_state(&binder, chunk, FAVOR_TOPS);
    bind_state(&binder, chunk, FAVOR_TOP);
    bind_shape(&binder, chunk, chunk->state->keys);
    return clf__favor_columns(chunk, &binder);
}

static clf_status make_results(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const cl_int2 rows = { { (cl_int)s->rows_queries } };
    clf_binder binder = clf_bind(s->kernel[FAVOR_VECTOR_QUERIES]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_Q]);
    bind_drawn(&binder, chunk);
    bind_state(&binder, chunk, FAVOR_TOP);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_OUT]);
    bind_shape(&binder, chunk, s->queries);
    clf_bind_value(&binder, &rows, sizeof rows);
    clf__favor_bind_float(&binder, s->scale);
    clf__favor_bind_float(&binder, s->drops ? s->keep_scale : 1);
    return launch(chunk, &binder, blocks_of(s->queries, s->rows_queries));
}

clf_status clf__favor_vector_forward(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_status status;

    if ((status = make_keys(chunk)) || (s->segments > 1 && (status = merge(chunk))) || (status = make_results(chunk)))
        return status;
    return s->drops ? clf__favor_drop(chunk, &chunk->args.io[CLF_QKV_OUT], s->queries, true) : CLF_SUCCESS;
}
