/* Sizes, memory and chunks of favor. */
#include "attention/favor_pass.h"
#include "component/random.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>

enum { FEATURES = 16, PLACES = 8 }; /* features are padded to the one, places in causal order to the other */
/* Bytes of workspace beyond which items take turns: for each core of a CPU about twice its second cache (with four times
 * that the forward pass took 1.15 times as long), or enough for a GPU. */
enum { VECTOR_CHUNK = 1 << 22, PORTABLE_CHUNK = 1 << 28 };

static int64_t padded(int64_t n, int64_t block)
{
    return (n + block - 1) / block * block;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* In causal order: work-items that each core of a CPU or unit of a GPU should have, chunks of a segment at least (a
 * segment has a state more), segments at most. */
enum { VECTOR_ITEMS = 1, PORTABLE_ITEMS = 64, SEGMENT_CHUNKS = 4, MOST_SEGMENTS = 32 };

/* What an item needs of each array. */
static void set_sizes(favor_state *s, bool backward)
{
    const int64_t most = larger(s->queries, s->keys), places = padded(s->keys, PLACES), chunks = places / PLACES;

    if (s->vector) {
        s->size[FAVOR_TOP] = s->size[FAVOR_SUM] = s->features;
        s->size[FAVOR_STATE] = (int64_t)s->features * s->value_width;
        for (int i = FAVOR_TOPS; s->segments > 1 && i <= FAVOR_STATES; i++)
            s->size[i] = s->segments * s->size[i - FAVOR_TOPS + FAVOR_TOP];
        if (!backward)
            return;
    }
    s->size[FAVOR_U] = (s->causal ? s->keys : most) * s->drawn_padded;
    s->size[FAVOR_PHI] = (s->causal ? places : most) * s->features;
    s->size[FAVOR_NORM] = s->keys;
    if (s->padded || s->causal)
        s->size[FAVOR_V] = s->keys * s->value_padded;
    if (s->causal) {
        s->size[FAVOR_UQ] = s->keys * s->drawn_padded;
        s->size[FAVOR_COLUMN] = places * s->features;
        s->size[FAVOR_SHRINK] = s->size[FAVOR_PREFIX] = s->size[FAVOR_BEFORE] = chunks * s->features;
        s->size[FAVOR_SCAN] = s->segments * s->features * s->value_padded;
        s->size[FAVOR_TOPS] = s->size[FAVOR_SUMS] = s->segments * s->features;
        s->size[FAVOR_LARGEST] = s->size[FAVOR_SHARE] = s->keys;
        s->size[FAVOR_WEIGHTS] = s->keys * PLACES;
    } else {
        s->size[FAVOR_TOP] = s->size[FAVOR_SUM] = s->features;
        s->size[FAVOR_STATE] = (int64_t)s->features * s->value_width;
    }
    if (!backward)
        return;
    s->size[FAVOR_D] = (s->causal ? s->keys : most) * s->features;
    s->size[FAVOR_RHO] = s->causal ? s->keys : s->queries;
    s->size[FAVOR_SIGMA] = most;
    s->size[FAVOR_THROUGH] = s->keys * s->width;
    if (s->causal || s->drops)
        s->size[FAVOR_G] = (s->causal ? s->keys : s->queries) * s->value_padded;
    if (s->causal) {
        s->size[FAVOR_PAIRS] = s->keys * PLACES;
    } else {
        s->size[FAVOR_DSTATE] = s->size[FAVOR_STATE];
        s->size[FAVOR_DSUM] = s->features;
    }
}

/* Whole batches, or some heads of one. */
static void choose_chunk(favor_state *s, int64_t floats, int64_t cores)
{
    const int64_t limit = s->lanes == 1 ? PORTABLE_CHUNK : cores * VECTOR_CHUNK;
    const int64_t items = larger(1, limit / (int64_t)sizeof(float) / larger(1, floats));

    s->chunk_heads = items < s->heads ? items : s->heads;
    s->chunk_batches = larger(1, items / larger(1, s->heads));
    if (s->chunk_batches > s->batch)
        s->chunk_batches = s->batch;
}

/* So many segments in causal order that the scan, which has the fewest, has work-items enough. */
static void choose_segments(favor_state *s, int64_t cores)
{
    const int64_t chunks = padded(s->keys, PLACES) / PLACES;
    const int64_t wanted = cores * (s->lanes == 1 ? PORTABLE_ITEMS : VECTOR_ITEMS);
    int64_t floats = 0;

    for (int i = 0; i < FAVOR_TOPS; i++)
        floats += s->size[i];
    choose_chunk(s, floats, cores);
    const int64_t items = s->chunk_batches * s->chunk_heads * (s->value_padded / s->lanes);
    int64_t segments = (wanted + items - 1) / items;
    if (segments > chunks / SEGMENT_CHUNKS)
        segments = chunks / SEGMENT_CHUNKS;
    segments = segments > MOST_SEGMENTS ? MOST_SEGMENTS : larger(1, segments);
    s->segment_chunks = larger(1, (chunks + segments - 1) / segments);
    s->segments = larger(1, (chunks + s->segment_chunks - 1) / s->segment_chunks);
}

static void reserve(clf_plan *plan, favor_state *s)
{
    int64_t floats = 0, places[3] = { 0, 0, 0 };

    for (int i = 0; i < FAVOR_TOPS; i++)
        floats += s->size[i] = padded(s->size[i], FEATURES);
    choose_chunk(s, floats, clf_device_get_info(clf_plan_device(plan))->compute_units);
    for (int i = 0; i < FAVOR_ARRAYS; i++) {
        const int piece = i >= FAVOR_TOP ? 2 : i >= FAVOR_TOPS ? 1 : 0;
        s->start[i] = places[piece];
        places[piece] += s->size[i] * (piece ? s->batch * s->heads : s->chunk_batches * s->chunk_heads);
    }
    s->kept_is_saved = (clf_plan_passes(plan) & CLF_BACKWARD) != 0;
    s->workspace = clf_plan_workspace(plan, (uint64_t)places[0] * sizeof(float));
    s->parts = clf_plan_workspace(plan, (uint64_t)places[1] * sizeof(float));
    s->kept = s->kept_is_saved ? clf_plan_saved(plan, (uint64_t)places[2] * sizeof(float))
                               : clf_plan_workspace(plan, (uint64_t)places[2] * sizeof(float));
}

static void describe(clf_plan *plan, favor_state *s)
{
    const favor_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    const int64_t *q = args->io[CLF_QKV_Q].shape;
    const float dropout = args->training ? c->base.dropout : 0;

    s->lanes = clf__lanes_choose(plan);
    s->batch = q[0];
    s->heads = q[1];
    s->queries = q[2];
    s->width = (int)q[3];
    s->keys = args->io[CLF_QKV_K].shape[2];
    s->value_width = (int)args->io[CLF_QKV_V].shape[3];
    s->value_padded = (int)padded(s->value_width, FEATURES);
    s->mean = c->base.causal && c->base.semantics == CLF_SEMANTICS_XFORMERS;
    s->causal = c->base.causal && !s->mean;
    s->shift = s->causal ? s->keys - s->queries : 0;
    s->padded = args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    s->signs = clf__favor_map(c) == FAVOR_SM_ORF ? 1 : 2;
    s->drawn = clf__favor_features(c) / s->signs;
    s->drawn_padded = (int)padded(s->drawn, FEATURES);
    s->features = s->signs * s->drawn_padded;
    s->scale = (float)pow((double)s->width, -0.25);
    s->drops = dropout > 0;
    s->keep_scale = dropout < 1 ? 1 / (1 - dropout) : 0;
    s->chunk_batches = larger(1, s->batch);
    s->chunk_heads = larger(1, s->heads);
    s->segments = 1;
    clf__favor_vector_choose(s, clf_device_get_info(clf_plan_device(plan)));
}

static clf_status make_kernels(clf_plan *plan, favor_state *s)
{
    static const char *const names[] = {
        "clf_favor_norms", "clf_favor_keys", "clf_favor_queries", "clf_favor_fold", "clf_favor_columns",
        "clf_favor_rho", "clf_favor_copy", "clf_favor_drop", "clf_favor_finish", "clf_favor_mean",
        "clf_favor_prefix", "clf_favor_weights", "clf_favor_factors", "clf_favor_scan", "clf_favor_pairs",
        "clf_favor_gradient", "clf_favor_ends", "clf_favor_join", "clf_favor_vector_keys",
        "clf_favor_vector_merge", "clf_favor_vector_queries",
    };
    const clf_dtype storage = clf_plan_args(plan)->io[CLF_QKV_Q].dtype;
    char options[CLF__LANES_OPTIONS], vector_options[CLF__LANES_OPTIONS];
    clf_status status = CLF_SUCCESS;

    clf__lanes_options(s->lanes, storage, "", options, sizeof options);
    clf__lanes_options(s->lanes, storage, s->signs > 1 ? "-DCLF_SIGNS=2" : "-DCLF_SIGNS=1", vector_options,
                       sizeof vector_options);
    for (int i = 0; i < FAVOR_KERNELS && status == CLF_SUCCESS; i++) {
        const bool full = i < FAVOR_FULL_KERNELS, causal = !full && i < FAVOR_CAUSAL_KERNELS;
        if (full || (causal ? s->causal : s->vector))
            status = clf_plan_kernel(plan, full     ? "attention/favor.cl"
                                           : causal ? "attention/favor_causal.cl"
                                                    : "attention/favor_vector.cl",
                                     full || causal ? options : vector_options, names[i], &s->kernel[i]);
    }
    return status;
}

/* The view's batches and heads from (b, h) on. */
static void cut(clf_tensor *tensor, int64_t b, int64_t h, int64_t batches, int64_t heads)
{
    if (tensor->rank == 0)
        return;
    const int64_t elements = b * tensor->strides[0] + (tensor->rank == 4 ? h * tensor->strides[1] : 0);
    tensor->offset += (uint64_t)elements * clf_dtype_size(tensor->dtype);
    tensor->shape[0] = batches;
    if (tensor->rank == 4)
        tensor->shape[1] = heads;
}

/* From batch b and head h on, so many of both at most. */
typedef struct favor_items {
    int64_t b, h, batches, heads;
} favor_items;

static favor_chunk chunk_at(clf_run *run, const favor_state *s, const clf_args *args, favor_items at)
{
    favor_chunk chunk = { .run = run, .state = s, .args = *args };

    chunk.batches = s->batch - at.b < at.batches ? s->batch - at.b : at.batches;
    chunk.heads = s->heads - at.h < at.heads ? s->heads - at.h : at.heads;
    chunk.first = at.b * s->heads + at.h;
    for (int i = 0; i < CLF_MAX_IO; i++) {
        cut(&chunk.args.io[i], at.b, at.h, chunk.batches, chunk.heads);
        cut(&chunk.args.grad[i], at.b, at.h, chunk.batches, chunk.heads);
    }
    return chunk;
}

clf_status clf__favor_plan(clf_plan *plan)
{
    static const int full[] = { FAVOR_FEATURES_K, FAVOR_FEATURES_Q, FAVOR_MAKE_STATE, FAVOR_OUT, FAVOR_DPHI_Q, FAVOR_DQ,
                                FAVOR_MAKE_DSTATE, FAVOR_DPHI_K, FAVOR_DK, FAVOR_DV };
    static const int causal[] = { FAVOR_FEATURES_K, FAVOR_FEATURES_Q, FAVOR_DQ, FAVOR_DK };
    const bool backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0;
    favor_state *s = clf_plan_state(plan, sizeof *s);
    clf_status status;

    if (!s)
        return CLF_OUT_OF_HOST_MEMORY;
    describe(plan, s);
    if ((status = make_kernels(plan, s)) || s->mean)
        return status;
    set_sizes(s, backward);
    if (s->causal) {
        choose_segments(s, clf_device_get_info(clf_plan_device(plan))->compute_units);
        set_sizes(s, backward);
    }
    reserve(plan, s);
    favor_chunk chunk = chunk_at(NULL, s, clf_plan_args(plan), (favor_items){ 0, 0, s->chunk_batches, s->chunk_heads });
    if ((status = clf_instance_buffer(clf_plan_instance(plan), "feature_map.features", &chunk.drawn)))
        return status;
    const int *list = s->causal ? causal : full, count = s->causal ? 4 : 10, forward = s->causal ? 2 : 4;
    const int needed = backward ? count : s->vector ? 0 : forward;
    for (int i = 0; i < needed && status == CLF_SUCCESS; i++)
        status = clf__favor_plan_product(plan, &chunk, list[i], &s->product[list[i]]);
    return status;
}

clf_status clf__favor_run(clf_run *run, clf_status (*pass)(favor_chunk *chunk))
{
    clf_plan *plan = clf_run_plan(run);
    const favor_state *s = clf_plan_state(plan, sizeof *s);
    const favor_config *config = clf_plan_config(plan);
    const clf_args *args = clf_run_args(run);
    const float dropout = args->training ? config->base.dropout : 0;
    const bool at_once = pass == clf__favor_vector_forward; /* needs nothing of a chunk's workspace */
    const int64_t batches = at_once ? larger(1, s->batch) : s->chunk_batches;
    const int64_t heads = at_once ? larger(1, s->heads) : s->chunk_heads;
    clf_tensor drawn = { 0 };
    clf_status status = clf_instance_buffer(clf_plan_instance(plan), "feature_map.features", &drawn);

    for (int64_t b = 0; b < s->batch; b += batches)
        for (int64_t h = 0; h < s->heads && status == CLF_SUCCESS; h += heads) {
            favor_chunk chunk = chunk_at(run, s, args, (favor_items){ b, h, batches, heads });
            chunk.drawn = drawn;
            chunk.random = (cl_uint8){ { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                                         (cl_uint)(args->offset >> 32), clf__dropout_threshold(dropout) } };
            status = pass(&chunk);
        }
    return status;
}
