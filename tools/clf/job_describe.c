/* clf run: from the tensors of the file to the arguments of the call, as descriptions without memory. */
#include "job.h"

#include <stdio.h>
#include <string.h>

bool clf__job_is_floating(clf_dtype dtype)
{
    return dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16 || dtype == CLF_F64;
}

const clf_safetensors_entry *clf__job_find(const clf__job *job, const char *prefix, const char *name)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", prefix, name);
    return clf_safetensors_find(job->file, text);
}

/* ---- shapes ----------------------------------------------------------------------------------- */

/* Heads by the file's own notes, else by the config, else 1: a part that splits heads itself takes whole tokens. */
static int64_t find_heads(const clf__job *job)
{
    const char  *text = clf_safetensors_metadata(job->file, "shapes");
    cJSON       *shapes = text ? cJSON_Parse(text) : NULL;
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(shapes, "H");
    if (!cJSON_IsNumber(entry)) {
        entry = cJSON_GetObjectItemCaseSensitive(job->json, "num_heads");
    }
    double heads = cJSON_IsNumber(entry) ? entry->valuedouble : 1;
    cJSON_Delete(shapes);
    return heads >= 1 && heads <= 1e9 ? (int64_t)heads : 1;
}

/* Is the tensor (B*H, ...) where the part has (B, H, ...)? A mask of rank 3 keeps its rank, since parts give it
 * a meaning of their own, unless it has one matrix an item (`items` = B*H; -1 = not known). */
static bool folds(const clf_io *io, int rank, const int64_t *shape, int64_t items)
{
    if (io->axes[0] != 'B' || io->axes[1] != 'H' || (size_t)rank + 1 != strlen(io->axes)) {
        return false;
    }
    return !(io->flags & CLF_IO_BROADCAST) || (shape[0] == items && items > 1);
}

/* The description of a file's tensor as the part sees it: (B*H, ...) becomes (B, H, ...). */
static int unfold(const clf__job *job, const clf_safetensors_entry *entry, const clf_io *io, int64_t items,
                  clf_tensor *tensor, bool *folded)
{
    int64_t shape[CLF_MAX_RANK] = { 0 };
    int32_t rank = entry->rank;
    memcpy(shape, entry->shape, sizeof shape);
    if (folds(io, rank, shape, items)) {
        if (shape[0] % job->heads != 0) {
            return clf__tool_fail("tensor '%s': its first extent %lld is not a multiple of %lld heads", entry->name,
                                  (long long)shape[0], (long long)job->heads);
        }
        memmove(shape + 2, shape + 1, (size_t)(rank - 1) * sizeof *shape);
        shape[0] /= job->heads;
        shape[1] = job->heads;
        rank++;
        *folded = true;
    }
    clf_dtype dtype = entry->dtype;
    if (io->io_class == CLF_IO_FLOATING) {
        dtype = job->dtype;
    } else if (dtype == CLF_F64 || io->io_class == CLF_IO_SINGLE) {
        dtype = CLF_F32;
    }
    if (rank == 0) {
        return clf__tool_fail("tensor '%s' is a scalar", entry->name);
    }
    *tensor = clf_tensor_view(NULL, dtype, rank, shape);
    return CLF__TOOL_OK;
}

/* The dtype that all floating inputs share: --dtype, else that of the first one. */
static clf_dtype find_dtype(const clf__job *job)
{
    if (job->options->dtype) {
        return job->options->dtype;
    }
    for (const clf_io *io = job->component->descriptor->io; io->name; io++) {
        const clf_safetensors_entry *entry = clf_safetensors_find(job->file, io->name);
        if (entry && io->role == CLF_INPUT && io->io_class == CLF_IO_FLOATING) {
            return entry->dtype == CLF_F16 || entry->dtype == CLF_BF16 ? entry->dtype : CLF_F32;
        }
    }
    return CLF_F32;
}

/* Floating inputs of different kinds would be a conversion that nobody asked for. */
static int check_dtype(const clf__job *job, const clf_io *io, const clf_safetensors_entry *entry)
{
    if (io->io_class != CLF_IO_FLOATING && io->io_class != CLF_IO_SINGLE) {
        return CLF__TOOL_OK;
    }
    if (!clf__job_is_floating(entry->dtype)) {
        return clf__tool_fail("tensor '%s' is %s, but must be floating-point", entry->name,
                              clf_dtype_name(entry->dtype));
    }
    clf_dtype dtype = entry->dtype == CLF_F64 ? CLF_F32 : entry->dtype;
    if (io->io_class == CLF_IO_FLOATING && !job->options->dtype && dtype != job->dtype) {
        return clf__tool_fail("tensor '%s' is %s, but others are %s: give --dtype", entry->name,
                              clf_dtype_name(entry->dtype), clf_dtype_name(job->dtype));
    }
    return CLF__TOOL_OK;
}

static int describe_output(clf__job *job, const clf_io *io, const int64_t extents[256], clf_tensor *tensor)
{
    int64_t shape[CLF_MAX_RANK];
    int     rank = 0;
    for (; rank < CLF_MAX_RANK && io->axes[rank]; rank++) {
        shape[rank] = extents[(unsigned char)io->axes[rank]];
        if (shape[rank] < 0) {
            return clf__tool_fail("output '%s': no input tells the extent of axis %c", io->name, io->axes[rank]);
        }
    }
    clf_dtype dtype = io->io_class == CLF_IO_FLOATING ? job->dtype
                    : io->io_class == CLF_IO_INDEX    ? CLF_I32
                    : io->io_class == CLF_IO_BOOLEAN  ? CLF_U8 : CLF_F32;
    *tensor = clf_tensor_view(NULL, dtype, rank, shape);
    return CLF__TOOL_OK;
}

static bool same_shape(const clf_tensor *a, const clf_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

/* One input: its description, and what it tells about extents when it is not itself stretched to them. */
static int describe_input(clf__job *job, int i, int64_t extents[256], bool *any_folded)
{
    const clf_io                *io = &job->component->descriptor->io[i];
    const clf_safetensors_entry *entry = clf_safetensors_find(job->file, io->name);
    clf_tensor                  *tensor = &job->args.io[i];
    const int64_t                items = *any_folded ? extents['B'] * extents['H'] : -1;
    if (!entry && !(io->flags & CLF_IO_OPTIONAL)) {
        return clf__tool_fail("'%s' has no tensor '%s', which %s needs", job->options->input, io->name,
                              job->component->name);
    }
    if (!entry) {
        return CLF__TOOL_OK;
    }
    if (check_dtype(job, io, entry) != CLF__TOOL_OK ||
        unfold(job, entry, io, items, tensor, &job->folded[i]) != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    if (io->flags & CLF_IO_BROADCAST) {
        return CLF__TOOL_OK;
    }
    *any_folded = *any_folded || job->folded[i];
    for (int axis = 0; axis < tensor->rank && io->axes[axis]; axis++) {
        extents[(unsigned char)io->axes[axis]] = tensor->shape[axis];
    }
    return CLF__TOOL_OK;
}

static int describe_inputs(clf__job *job, int64_t extents[256], bool *any_folded)
{
    const clf_io *table = job->component->descriptor->io;
    for (int round = 0; round < 2; round++) { /* plain tensors first, then those that follow them */
        for (int i = 0; table[i].name; i++) {
            if (table[i].role == CLF_INPUT && ((table[i].flags & CLF_IO_BROADCAST) != 0) == (round == 1) &&
                describe_input(job, i, extents, any_folded) != CLF__TOOL_OK) {
                return CLF__TOOL_FAILED;
            }
        }
    }
    return CLF__TOOL_OK;
}

/* Outputs, in the rank that the inputs had, and the gradients that go in. */
static int describe_outputs(clf__job *job, const int64_t extents[256], bool any_folded)
{
    const clf_io *table = job->component->descriptor->io;
    for (int i = 0; table[i].name; i++) {
        const clf_io                *io = &table[i];
        const clf_safetensors_entry *gradient = clf__job_find(job, "grad_", io->name);
        if (io->role != CLF_OUTPUT || ((io->flags & CLF_IO_OPTIONAL) && !gradient && !job->options->all_outputs)) {
            continue;
        }
        if (describe_output(job, io, extents, &job->args.io[i]) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
        job->folded[i] = any_folded && io->axes[0] == 'B' && io->axes[1] == 'H';
        if (!gradient) {
            continue;
        }
        if (!(io->flags & CLF_IO_DIFFERENTIABLE)) {
            return clf__tool_fail("tensor '%s': no gradient flows through '%s'", gradient->name, io->name);
        }
        bool folded = false;
        if (unfold(job, gradient, io, -1, &job->args.grad[i], &folded) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
        if (!same_shape(&job->args.grad[i], &job->args.io[i])) {
            return clf__tool_fail("tensor '%s' has another shape than output '%s'", gradient->name, io->name);
        }
        job->passes |= CLF_BACKWARD;
    }
    return CLF__TOOL_OK;
}

int clf__job_describe(clf__job *job)
{
    int64_t extents[256];
    bool    any_folded = false;
    for (int i = 0; i < 256; i++) {
        extents[i] = -1;
    }
    job->passes = CLF_FORWARD;
    job->heads = find_heads(job);
    job->dtype = find_dtype(job);
    if (describe_inputs(job, extents, &any_folded) != CLF__TOOL_OK ||
        describe_outputs(job, extents, any_folded) != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    const clf_io *table = job->component->descriptor->io;
    for (int i = 0; table[i].name && (job->passes & CLF_BACKWARD); i++) {
        clf_tensor *input = &job->args.io[i];
        if (table[i].role == CLF_INPUT && (table[i].flags & CLF_IO_DIFFERENTIABLE) && input->rank > 0 &&
            clf__job_is_floating(input->dtype)) {
            job->args.grad[i] = clf_tensor_view(NULL, input->dtype, input->rank, input->shape);
        }
    }
    return CLF__TOOL_OK;
}
