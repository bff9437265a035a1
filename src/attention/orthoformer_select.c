/* Landmarks by orthogonality, by k-means or at random: what is enqueued for it. */
#include "attention/orthoformer_select.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"
#include <limits.h>

static int64_t items_of(const orthoformer_selection *s)
{
    return s->batch * s->heads;
}

static bool is_kmeans(const orthoformer_selection *s)
{
    return s->selection == SELECT_KMEANS || s->selection == SELECT_KMEANS_SPHERICAL;
}

static bool has_columns(const orthoformer_selection *s)
{
    return s->selection != SELECT_RANDOM;
}

/* ---- planning ------------------------------------------------------------------------------------------- */

static uint64_t words(clf_plan *plan, int64_t count)
{
    return clf_plan_workspace(plan, (uint64_t)count * sizeof(float));
}

static void reserve(clf_plan *plan, orthoformer_selection *s)
{
    const int64_t items = items_of(s);

    if (s->padded) {
        s->lists = words(plan, s->batch * s->keys);
        s->counts = words(plan, s->batch);
    }
    s->picks = words(plan, items * s->candidates);
    s->sizes = words(plan, items);
    s->key_picks = words(plan, items * s->landmarks);
    s->key_sizes = words(plan, items);
    if (!has_columns(s))
        return;
    s->column = words(plan, items * s->columns * s->width);
    s->best = words(plan, items * s->columns);
    s->chunks = (s->columns + ORTHOFORMER_CHUNK - 1) / ORTHOFORMER_CHUNK;
    if (is_kmeans(s)) {
        s->nearest = words(plan, items * s->columns);
        s->partial = words(plan, items * s->chunks * s->landmarks * (s->width + 1));
    } else {
        s->least = words(plan, 4 * items * s->chunks);
        s->chosen = words(plan, items * s->landmarks);
    }
}

static clf_status make_kernels(clf_plan *plan, orthoformer_selection *s)
{
    const bool kmeans = is_kmeans(s), steps = s->selection == SELECT_ORTHOGONAL;
    const struct { const char *name; cl_kernel *kernel; bool wanted; } kernels[] = {
        { "clf_orthoformer_list", &s->list, s->padded },
        { "clf_orthoformer_draw", &s->draw, true },
        { "clf_orthoformer_columns", &s->columns_of, has_columns(s) },
        { "clf_orthoformer_step", &s->step, steps },
        { "clf_orthoformer_assign", &s->assign, kmeans },
        { "clf_orthoformer_sums", &s->sums, kmeans },
        { "clf_orthoformer_centres", &s->centres, kmeans },
        { "clf_orthoformer_unit", &s->unit, s->selection == SELECT_KMEANS_SPHERICAL },
        { "clf_orthoformer_gather", &s->gather, true },
    };
    char options[CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    clf__lanes_options(s->lanes, clf_plan_args(plan)->io[CLF_QKV_Q].dtype, "", options, sizeof options);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && !status; i++)
        if (kernels[i].wanted)
            status = clf_plan_kernel(plan, "attention/orthoformer.cl", options, kernels[i].name, kernels[i].kernel);
    return status;
}

clf_status clf__orthoformer_select_plan(clf_plan *plan, orthoformer_selection *s)
{
    const int64_t items = items_of(s);

    s->columns = (s->candidates + 15) / 16 * 16;
    if (s->candidates > INT_MAX / 2 || s->keys > INT_MAX / 2 || items > INT_MAX / 64 ||
        (s->columns + ORTHOFORMER_CHUNK - 1) / ORTHOFORMER_CHUNK > INT_MAX / 64 / (items > 0 ? items : 1))
        return clf_plan_refuse(plan,
                               "landmarks are to be chosen among %lld rows in each of %lld heads, which is too large "
                               "a grid",
                               (long long)s->candidates, (long long)items);
    reserve(plan, s);
    return make_kernels(plan, s);
}

/* ---- running -------------------------------------------------------------------------------------------- */

typedef struct selecting {
    clf_run                     *run;
    const orthoformer_selection *s;
    const clf_args              *args;
    const clf_tensor            *marks;
    cl_uint8                     random;
} selecting;

/* A piece of the workspace: mem, first element in words of `size` bytes. */
static void bind_piece(clf_binder *binder, const selecting *c, uint64_t piece, size_t size)
{
    const clf_buffer workspace = clf_run_workspace(c->run);
    const cl_long at = (cl_long)((workspace.offset + piece) / size);

    clf_bind_mem(binder, workspace.mem);
    clf_bind_value(binder, &at, sizeof at);
}

static void bind_words(clf_binder *binder, const selecting *c, uint64_t piece)
{
    bind_piece(binder, c, piece, sizeof(float));
}

static void bind_nothing(clf_binder *binder)
{
    const cl_long at = 0;

    clf_bind_mem(binder, NULL);
    clf_bind_value(binder, &at, sizeof at);
}

static void bind_tensor(clf_binder *binder, const clf_tensor *tensor)
{
    const cl_long at = clf__tensor_start(tensor);

    clf_bind_mem(binder, tensor->mem);
    clf_bind_value(binder, &at, sizeof at);
}

static clf_status list(const selecting *c)
{
    const orthoformer_selection *s = c->s;
    const clf_tensor *keep = &c->args->io[CLF_QKV_KEY_PADDING_MASK];
    const cl_int rows = (cl_int)s->keys;
    clf_binder binder = clf_bind(s->list);

    clf__lanes_bind(&binder, keep);
    bind_words(&binder, c, s->lists);
    bind_words(&binder, c, s->counts);
    clf_bind_value(&binder, &rows, sizeof rows);
    return clf__lanes_launch(c->run, &binder, 1, s->batch * ((s->keys + ORTHOFORMER_CHUNK - 1) / ORTHOFORMER_CHUNK));
}

/* picks = `capacity` rows out of `rows`, or so many of them as `fraction` says. */
static clf_status draw(const selecting *c, bool keys, int64_t capacity, uint32_t fraction, int mode, int stream,
                       cl_mem given, uint64_t picks, uint64_t sizes)
{
    const orthoformer_selection *s = c->s;
    const bool listed = s->padded && (keys || s->alike);
    const cl_int8 shape = { { (cl_int)s->heads, (cl_int)(keys ? s->keys : s->queries), (cl_int)capacity,
                              (cl_int)s->landmarks, mode, stream } };
    const cl_uint part = fraction;
    clf_binder binder = clf_bind(s->draw);

    if (listed) {
        bind_words(&binder, c, s->lists);
        bind_words(&binder, c, s->counts);
    } else {
        bind_nothing(&binder);
        bind_nothing(&binder);
    }
    clf_bind_mem(&binder, given);
    bind_words(&binder, c, picks);
    bind_words(&binder, c, sizes);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &part, sizeof part);
    clf_bind_value(&binder, &c->random, sizeof c->random);
    return clf__lanes_launch(c->run, &binder, 1, items_of(s) * capacity);
}

static clf_status make_columns(const selecting *c, bool unit)
{
    const orthoformer_selection *s = c->s;
    const cl_int8 shape = { { (cl_int)s->heads, (cl_int)s->width, (cl_int)s->candidates, (cl_int)s->columns, unit } };
    clf_binder binder = clf_bind(s->columns_of);

    clf__lanes_bind(&binder, &c->args->io[CLF_QKV_Q]);
    bind_words(&binder, c, s->picks);
    bind_words(&binder, c, s->sizes);
    bind_words(&binder, c, s->column);
    bind_words(&binder, c, s->best);
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(c->run, &binder, 1, items_of(s) * s->columns);
}

/* Landmarks `first` .. of every head from rows of x. */
static clf_status gather(const selecting *c, const clf_tensor *x, uint64_t picks, uint64_t sizes, bool chosen,
                         int64_t capacity, int64_t first, int64_t count, const clf_tensor *some)
{
    const orthoformer_selection *s = c->s;
    const cl_int8 shape = { { (cl_int)s->heads, (cl_int)s->width, (cl_int)s->landmarks, (cl_int)first, (cl_int)count,
                              (cl_int)capacity } };
    clf_binder binder = clf_bind(s->gather);

    clf__lanes_bind(&binder, x);
    bind_words(&binder, c, picks);
    bind_words(&binder, c, sizes);
    if (chosen)
        bind_words(&binder, c, s->chosen);
    else
        bind_nothing(&binder);
    bind_tensor(&binder, c->marks);
    bind_tensor(&binder, some);
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(c->run, &binder, 1, items_of(s) * count * s->width);
}

static clf_status step(const selecting *c, int64_t number)
{
    const orthoformer_selection *s = c->s;
    const cl_int8 shape = { { (cl_int)s->width, (cl_int)s->columns, (cl_int)number, (cl_int)s->landmarks,
                              (cl_int)s->chunks, (cl_int)items_of(s) } };
    const size_t local = s->lanes == 1 ? 64 : 1, global = (size_t)(items_of(s) * s->chunks) * local;
    clf_binder binder = clf_bind(s->step);

    bind_words(&binder, c, s->column);
    bind_words(&binder, c, s->best);
    bind_words(&binder, c, s->sizes);
    clf_bind_mem(&binder, s->first);
    bind_piece(&binder, c, s->least, 2 * sizeof(float));
    bind_words(&binder, c, s->chosen);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &c->random, sizeof c->random);
    return clf_launch(c->run, &binder, 1, &global, &local);
}

static clf_status select_orthogonal(const selecting *c, const clf_tensor *some)
{
    const orthoformer_selection *s = c->s;
    const int mode = s->fraction == 0 ? DRAW_ALL : s->any ? DRAW_ANY : DRAW_STRETCHES;
    clf_status status = draw(c, false, s->candidates, s->fraction, mode, STREAM_ROWS, s->rows, s->picks, s->sizes);

    if (!status)
        status = make_columns(c, true);
    for (int64_t i = 0; i < s->landmarks && !status; i++)
        status = step(c, i);
    return status ? status
                  : gather(c, &c->args->io[CLF_QKV_Q], s->picks, s->sizes, true, s->candidates, 0, s->landmarks, some);
}

static clf_status iterate(const selecting *c, bool unit)
{
    const orthoformer_selection *s = c->s;
    const cl_int4 assign_shape = { { (cl_int)s->width, (cl_int)s->columns, (cl_int)s->landmarks, unit } };
    const cl_int4 sums_shape = { { (cl_int)s->width, (cl_int)s->columns, (cl_int)s->landmarks, (cl_int)s->chunks } };
    const cl_int4 centres_shape = { { (cl_int)s->width, (cl_int)s->landmarks, (cl_int)s->chunks } };
    clf_binder assign = clf_bind(s->assign), sums = clf_bind(s->sums), centres = clf_bind(s->centres);
    clf_status status;

    bind_words(&assign, c, s->column);
    bind_words(&assign, c, s->sizes);
    bind_tensor(&assign, c->marks);
    bind_words(&assign, c, s->nearest);
    clf_bind_value(&assign, &assign_shape, sizeof assign_shape);
    bind_words(&sums, c, s->column);
    bind_words(&sums, c, s->nearest);
    bind_words(&sums, c, s->partial);
    clf_bind_value(&sums, &sums_shape, sizeof sums_shape);
    bind_words(&centres, c, s->partial);
    bind_tensor(&centres, c->marks);
    clf_bind_value(&centres, &centres_shape, sizeof centres_shape);
    if ((status = clf__lanes_launch(c->run, &assign, s->lanes, items_of(s) * s->columns / s->lanes)) ||
        (status = clf__lanes_launch(c->run, &sums, 1, items_of(s) * s->chunks * (s->width + 1))))
        return status;
    return clf__lanes_launch(c->run, &centres, 1, items_of(s) * s->landmarks * s->width);
}

static clf_status make_unit(const selecting *c)
{
    const cl_int width = (cl_int)c->s->width;
    clf_binder binder = clf_bind(c->s->unit);

    bind_tensor(&binder, c->marks);
    clf_bind_value(&binder, &width, sizeof width);
    return clf__lanes_launch(c->run, &binder, 1, items_of(c->s) * c->s->landmarks);
}

static clf_status select_kmeans(const selecting *c, const clf_tensor *some)
{
    const orthoformer_selection *s = c->s;
    const bool unit = s->selection == SELECT_KMEANS_SPHERICAL;
    clf_status status = draw(c, false, s->landmarks, 0, DRAW_STRETCHES, STREAM_ROWS, s->rows, s->key_picks,
                             s->key_sizes);

    if (status ||
        (status = gather(c, &c->args->io[CLF_QKV_Q], s->key_picks, s->key_sizes, false, s->landmarks, 0, s->landmarks,
                         some)) ||
        (status = draw(c, false, s->candidates, 0, DRAW_ALL, STREAM_ROWS, NULL, s->picks, s->sizes)) ||
        (status = make_columns(c, unit)) || (unit && (status = make_unit(c))))
        return status;
    for (int i = 0; i < ORTHOFORMER_ITERATIONS && !status; i++) {
        status = iterate(c, unit);
        if (!status && unit)
            status = make_unit(c);
    }
    return status;
}

static clf_status select_random(const selecting *c, const clf_tensor *some)
{
    const orthoformer_selection *s = c->s;
    const int mode = s->any ? DRAW_ANY : DRAW_STRETCHES;
    const int64_t from_k = s->landmarks - s->from_q;
    clf_status status;

    if ((status = draw(c, false, s->from_q, 0, mode, STREAM_ROWS, s->rows, s->picks, s->sizes)) ||
        (status = gather(c, &c->args->io[CLF_QKV_Q], s->picks, s->sizes, false, s->from_q, 0, s->from_q, some)) ||
        (status = draw(c, true, from_k, 0, mode, STREAM_KEYS, s->key_rows, s->key_picks, s->key_sizes)))
        return status;
    return gather(c, &c->args->io[CLF_QKV_K], s->key_picks, s->key_sizes, false, from_k, s->from_q, from_k, some);
}

clf_status clf__orthoformer_select(clf_run *run, const orthoformer_selection *s, const clf_tensor *marks,
                                   const clf_tensor *some)
{
    const clf_args *args = clf_run_args(run);
    const selecting c = { .run = run, .s = s, .args = args, .marks = marks,
                          .random = { { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                                        (cl_uint)(args->offset >> 32) } } };
    const clf_status status = s->padded ? list(&c) : CLF_SUCCESS;

    if (status)
        return status;
    return is_kmeans(s) ? select_kmeans(&c, some) : s->selection == SELECT_RANDOM ? select_random(&c, some)
                                                                                  : select_orthogonal(&c, some);
}
