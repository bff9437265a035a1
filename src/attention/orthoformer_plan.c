/* What orthoformer needs for a problem: memory, two fused attentions, and what chooses the landmarks. */
#include "attention/orthoformer_run.h"
#include "ops/lanes.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- given draws ------------------------------------------------------------------------------------------- */

/* At least `count` rows below `limit`, on the device. */
static clf_status give(clf_plan *plan, const clf_host_tensor *draws, const char *name, int64_t count, int64_t limit,
                       cl_mem *mem)
{
    int64_t elements = 1;

    if (!draws || count == 0)
        return CLF_SUCCESS;
    for (int i = 0; i < draws->rank; i++)
        elements *= draws->shape[i];
    if (elements < count)
        return clf_plan_refuse(plan, "'%s' has %lld numbers, %lld are needed", name, (long long)elements,
                               (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const int32_t row = ((const int32_t *)draws->data)[i];
        if (row < 0 || row >= limit)
            return clf_plan_refuse(plan, "'%s': number %lld is %d, there are %lld rows", name, (long long)i, (int)row,
                                   (long long)limit);
    }
    return clf_plan_constant(plan, draws->data, (size_t)count * sizeof(int32_t), mem);
}

static clf_status give_all(clf_plan *plan, const orthoformer_config *c, orthoformer_selection *s)
{
    const clf_host_tensor *first = c->randint[s->fraction ? 1 : 0];
    clf_status status;

    switch (s->selection) {
    case SELECT_ORTHOGONAL:
        status = give(plan, first, s->fraction ? "rng.randint.1" : "rng.randint.0", s->batch * s->heads, s->candidates,
                      &s->first);
        return status || !s->fraction ? status
                                      : give(plan, c->randint[0], "rng.randint.0", s->candidates, s->queries, &s->rows);
    case SELECT_RANDOM:
        status = give(plan, c->randint[0], "rng.randint.0", s->from_q, s->queries, &s->rows);
        return status ? status
                      : give(plan, c->randint[1], "rng.randint.1", s->landmarks - s->from_q, s->keys, &s->key_rows);
    default:
        return give(plan, c->randperm, "rng.randperm.0", s->landmarks, s->queries, &s->rows);
    }
}

/* ---- which of the ways it goes --------------------------------------------------------------------------- */

static void describe_selection(const orthoformer_config *c, const clf_args *args, orthoformer_selection *s)
{
    const int64_t *q = args->io[CLF_QKV_Q].shape, wanted = c->num_landmarks;
    const bool sampled = c->landmark_selection == SELECT_ORTHOGONAL && c->subsample_fraction < 1;

    s->selection = c->landmark_selection;
    s->any = c->base.semantics == CLF_SEMANTICS_XFORMERS;
    s->padded = args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    s->batch = q[0];
    s->heads = q[1];
    s->queries = q[2];
    s->width = q[3];
    s->keys = args->io[CLF_QKV_K].shape[2];
    s->alike = s->queries == s->keys;
    s->candidates = s->queries;
    s->landmarks = smaller(wanted, s->queries);
    s->from_q = (wanted + 1) / 2;
    if (sampled) { /* rounded up by less than a row in 2^24, so that 0.7 of 10 rows are 7 */
        s->fraction = (uint32_t)((double)c->subsample_fraction * 0x1p24) + 1;
        s->candidates = (int64_t)(((uint64_t)s->queries * s->fraction) >> 24);
        s->candidates = s->candidates < wanted ? wanted : s->candidates;
        s->landmarks = wanted;
    }
    if (s->selection == SELECT_RANDOM) {
        s->from_q = s->any ? wanted / 2 : (wanted + 1) / 2;
        s->landmarks = s->any ? 2 * (wanted / 2) : wanted;
        s->candidates = s->from_q;
    }
}

static clf_status decide(clf_plan *plan, const orthoformer_config *c, const clf_args *args, orthoformer_state *s)
{
    const bool xformers = c->base.semantics == CLF_SEMANTICS_XFORMERS, masked = args->io[CLF_QKV_ATT_MASK].rank > 0;
    const int64_t queries = args->io[CLF_QKV_Q].shape[2], keys = args->io[CLF_QKV_K].shape[2],
                  wanted = c->num_landmarks;

    if (xformers && args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        return clf_plan_refuse(plan,
                               "'key_padding_mask' is given, but in xformers semantics this mechanism takes none");
    s->exact = xformers ? wanted == keys || queries == 0 || keys == 0 : wanted >= keys || wanted >= queries;
    s->masked = masked && s->exact;
    if (masked && !s->exact && !xformers)
        return clf_plan_refuse(plan, "'att_mask' is given, but pairs of a query and a key are never formed: only with "
                               "'num_landmarks' of %lld or more is attention exact", (long long)smaller(queries, keys));
    s->dropout = args->training ? c->base.dropout : 0;
    s->single = args->io[CLF_QKV_Q].dtype != CLF_F32 && (!s->exact || s->dropout > 0);
    return CLF_SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static void reserve_all(clf_plan *plan, orthoformer_state *s, const clf_args *args)
{
    const bool backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0;
    const int64_t *q = args->io[CLF_QKV_Q].shape, l = s->selection.landmarks;
    const int64_t marks[4] = { q[0], q[1], l, q[3] }, some[2] = { q[0], l };
    const int64_t far[4] = { q[0], q[1], l, args->io[CLF_QKV_V].shape[3] };

    for (int i = 0; i < 3 && s->single; i++)
        clf__piece_reserve(plan, &s->piece[Q_COPY + i], false, CLF_F32, 4, args->io[CLF_QKV_Q + i].shape);
    if (s->single || s->dropout > 0)
        clf__piece_reserve(plan, &s->piece[X], backward, CLF_F32, 4, args->io[CLF_QKV_OUT].shape);
    if (backward && (s->single || s->dropout > 0))
        clf__piece_reserve(plan, &s->piece[GRAD_X], false, CLF_F32, 4, args->io[CLF_QKV_OUT].shape);
    for (int i = 0; i < 3 && backward && s->single; i++)
        if (args->grad[CLF_QKV_Q + i].rank > 0)
            clf__piece_reserve(plan, &s->piece[GRAD_Q + i], false, CLF_F32, 4, args->io[CLF_QKV_Q + i].shape);
    if (s->exact)
        return;
    clf__piece_reserve(plan, &s->piece[MARKS], backward, CLF_F32, 4, marks);
    clf__piece_reserve(plan, &s->piece[SOME], backward, CLF_U8, 2, some);
    clf__piece_reserve(plan, &s->piece[FAR], backward, CLF_F32, 4, far);
    if (backward)
        clf__piece_reserve(plan, &s->piece[GRAD_FAR], false, CLF_F32, 4, far);
}

clf_status clf__orthoformer_plan(clf_plan *plan)
{
    const orthoformer_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    orthoformer_state *s = clf_plan_state(plan, sizeof *s);
    clf_status status = s ? decide(plan, c, args, s) : CLF_OUT_OF_HOST_MEMORY;

    if (status)
        return status;
    s->selection.lanes = clf__lanes_choose(plan);
    describe_selection(c, args, &s->selection);
    reserve_all(plan, s, args);
    const orthoformer_call call = clf__orthoformer_call_of(NULL, s, args);
    const clf__fused_problem near = clf__orthoformer_near(&call);
    if ((s->single || s->dropout > 0) &&
        (status = clf__single_plan(plan, s->selection.lanes, args->io[CLF_QKV_Q].dtype, &s->copies)))
        return status;
    if ((status = clf__fused_plan(plan, &near, &s->near)) || s->exact)
        return status;
    const clf__fused_problem far = clf__orthoformer_far(&call);
    if ((status = clf__fused_plan(plan, &far, &s->far)) || (status = give_all(plan, c, &s->selection)))
        return status;
    return clf__orthoformer_select_plan(plan, &s->selection);
}
