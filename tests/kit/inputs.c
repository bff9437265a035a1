/* Values of a problem: random inputs, masks that hide some keys from everyone and leave some queries with
 * nothing, and NaN on the device in every row of keys and values that nobody may see. */
#include "kit.h"

#include <math.h>
#include <stdlib.h>

enum { MASK_STREAM = 11, PADDING_STREAM = 13, UPSTREAM = 40 };

/* The key that attention masks hide from every query; -1 when the mask is too small for it. */
static int64_t hidden_key(const clf__kit_problem *p, int slot)
{
    const clf_tensor *t = &p->io[slot].tensor;
    const int64_t     keys = t->rank ? t->shape[t->rank - 1] : 0;
    return keys > 1 ? keys / 2 : -1;
}

static bool is_attended(const clf__kit_problem *p, int slot, int64_t i)
{
    const clf_tensor *t = &p->io[slot].tensor;
    const int64_t     keys = t->shape[t->rank - 1], queries = t->rank > 1 ? t->shape[t->rank - 2] : 1;
    const int64_t     key = i % keys, query = i / keys % queries;
    if (key == hidden_key(p, slot))
        return false;
    if (queries > 2 && query == queries / 3) /* an empty row */
        return false;
    if (keys == 1 && queries == 1)
        return true;
    return clf__kit_uniform(MASK_STREAM, (uint64_t)i) < 0.7;
}

static bool is_kept(const clf__kit_problem *p, int slot, int64_t i)
{
    const clf_tensor *t = &p->io[slot].tensor;
    const int64_t     keys = t->shape[t->rank - 1], key = i % keys, item = i / keys;
    const int64_t     length = keys - keys / 4 - item % 2;
    return key == 0 || (key < length && clf__kit_uniform(PADDING_STREAM, (uint64_t)i) < 0.9);
}

static double mask_value(const clf__kit_problem *p, int slot, int64_t i, bool visible)
{
    const clf_dtype dtype = p->io[slot].tensor.dtype;
    if (dtype == CLF_U8) /* any nonzero byte means visible */
        return visible ? 1 + (double)(i % 255) : 0;
    if (dtype == CLF_BOOL8)
        return visible;
    return visible ? clf__kit_normal(MASK_STREAM + 1, (uint64_t)i) : -INFINITY;
}

/* Factor of the values, so that the first two inputs make the logits that the case wants. */
static double amplitude(const clf__kit_problem *p, int slot)
{
    if (slot > 1 || p->c->values == KIT_NORMAL)
        return 1;
    if (p->c->values == KIT_PEAKY)
        return slot == 0 ? 10 : 1;
    return slot == 0 ? 60 : 50; /* scores are N(0, 1) before these factors, 3000 times as large with them */
}

/* Element that a view with stride 0 really stores at i, so that equal places get equal values. */
static int64_t stored_element(const clf__kit_image *image, int64_t i)
{
    const clf_tensor *t = &image->tensor;
    int64_t           result = 0, pitch = 1;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        const int64_t index = i % t->shape[axis];
        result += t->strides[axis] ? index * pitch : 0;
        pitch *= t->shape[axis];
        i /= t->shape[axis];
    }
    return result;
}

static double input_value(const clf__kit_problem *p, int slot, int64_t i)
{
    const clf_io *io = &p->component->descriptor->io[slot];
    const int64_t e = stored_element(&p->io[slot], i);
    if (clf__kit_is_query_mask(io))
        return mask_value(p, slot, e, is_attended(p, slot, e));
    if (clf__kit_is_key_padding(io))
        return mask_value(p, slot, e, is_kept(p, slot, e));
    if (io->io_class == CLF_IO_INDEX)
        return (double)(clf__kit_bits((uint64_t)slot, (uint64_t)e) % 7);
    if (io->io_class == CLF_IO_BOOLEAN || io->io_class == CLF_IO_MASK)
        return clf__kit_uniform((uint64_t)slot, (uint64_t)e) < 0.7;
    return amplitude(p, slot) * clf__kit_normal((uint64_t)slot, (uint64_t)e);
}

/* Is this row of keys or values hidden from every query? Conservative: what masks hide everywhere. Some configs read
 * padding under xformers semantics, because xFormers did. */
static bool is_hidden(const clf__kit_problem *p, int slot, int64_t i)
{
    if (p->c->xformers && p->c->own[0])
        return false;
    const int64_t key = clf__kit_index(p, slot, i, 'K'), batch = clf__kit_index(p, slot, i, 'B');
    for (int m = 0; key >= 0 && m < clf__kit_io_count(p->component); m++) {
        const clf_io     *io = &p->component->descriptor->io[m];
        const clf_tensor *t = &p->io[m].tensor;
        if (!t->rank)
            continue;
        if (clf__kit_is_query_mask(io) && key == hidden_key(p, m) && t->shape[t->rank - 1] > 1)
            return true;
        if (clf__kit_is_key_padding(io) && t->rank == 2 && batch >= 0 && t->shape[0] > batch &&
            p->value[m] && p->value[m][batch * t->shape[1] + key] == 0)
            return true;
    }
    return false;
}

static clf_status fill(clf__kit_problem *p, int slot)
{
    const clf_io   *io = &p->component->descriptor->io[slot];
    clf__kit_image *image = &p->io[slot];
    const int64_t   count = clf_tensor_elements(&image->tensor);
    p->value[slot] = malloc((size_t)count * sizeof(double) + 1);
    if (!p->value[slot])
        return CLF_OUT_OF_HOST_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        p->value[slot][i] = clf__kit_image_set(image, i, input_value(p, slot, i));
        /* (batch, key) shares its bytes with other heads at most, which are hidden alike */
        if (io->io_class == CLF_IO_FLOATING && is_hidden(p, slot, i))
            clf__kit_image_set(image, i, (double)NAN);
    }
    return CLF_SUCCESS;
}

static clf_status fill_upstream(clf__kit_problem *p, int slot)
{
    clf__kit_image *image = &p->grad[slot];
    const int64_t   count = clf_tensor_elements(&image->tensor);
    p->upstream[slot] = malloc((size_t)count * sizeof(double) + 1);
    if (!p->upstream[slot])
        return CLF_OUT_OF_HOST_MEMORY;
    for (int64_t i = 0; i < count; i++)
        p->upstream[slot][i] =
            clf__kit_image_set(image, i, clf__kit_normal(UPSTREAM + (uint64_t)slot, (uint64_t)stored_element(image, i)));
    return CLF_SUCCESS;
}

clf_status clf__kit_fill_inputs(clf__kit_problem *p)
{
    clf_status status = CLF_SUCCESS;
    for (int pass = 0; pass < 2; pass++) /* masks first: they decide which rows hold NaN */
        for (int i = 0; i < clf__kit_io_count(p->component) && !status; i++) {
            const clf_io *io = &p->component->descriptor->io[i];
            const bool    mask = io->io_class == CLF_IO_MASK || io->io_class == CLF_IO_BOOLEAN;
            if (p->io[i].tensor.rank && io->role == CLF_INPUT && mask == (pass == 0))
                status = fill(p, i);
            if (pass == 0 && !status && p->grad[i].tensor.rank && io->role == CLF_OUTPUT)
                status = fill_upstream(p, i);
        }
    return status;
}
