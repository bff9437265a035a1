/* A call's descriptions against the io table of its component. */
#include "component/check.h"
#include "core/status.h"
#include "tensor/tensor.h"
#include <stdio.h>
#include <string.h>

clf_status clf__copy_sized(void *to, size_t size, const void *from, size_t from_size, const char *name)
{
    if (from_size < sizeof(size_t))
        return clf__fail(CLF_INVALID_VALUE, "%s.size is %zu: set it to the size of the struct", name, from_size);
    if (from_size > size)
        return clf__fail(CLF_INVALID_VALUE, "%s.size is %zu, this library knows %zu bytes", name, from_size, size);
    memset(to, 0, size);
    memcpy(to, from, from_size);
    return CLF_SUCCESS;
}

const clf_io *clf__io(const clf_component *component, int *count)
{
    const clf_io *io = component->descriptor->io;

    *count = 0;
    while (io && *count < CLF_MAX_IO && io[*count].name)
        ++*count;
    return io;
}

char clf__axis(const clf_io *io, int semantics, int rank, int i)
{
    const int full = (int)strlen(io->axes);

    if (io->io_class == CLF_IO_MASK && full == 4 && rank == 3 && strncmp(io->axes, "BH", 2) == 0) {
        if (i == 0)
            return semantics == CLF_SEMANTICS_XFORMERS ? '\0' : 'B';
        return io->axes[i + 1];
    }
    return io->axes[full - rank + i];
}

static clf_status check_dtype(const clf_io *io, const clf_tensor *tensor, const char *name)
{
    const clf_dtype dtype = tensor->dtype;
    const bool boolean = dtype == CLF_BOOL8 || dtype == CLF_U8;
    const char *wanted = NULL;

    switch (io->io_class) {
    case CLF_IO_FLOATING:
        wanted = clf__is_floating(dtype) || (dtype == CLF_U8 && io->flags & CLF_IO_QUANTISED) ? NULL : "F32, F16 or BF16";
        break;
    case CLF_IO_SINGLE:
        wanted = dtype == CLF_F32 ? NULL : "F32";
        break;
    case CLF_IO_MASK:
        wanted = boolean || clf__is_floating(dtype) ? NULL : "BOOL, U8, F32, F16 or BF16";
        break;
    case CLF_IO_BOOLEAN:
        wanted = boolean ? NULL : "BOOL or U8";
        break;
    case CLF_IO_INDEX:
        wanted = dtype == CLF_I32 || dtype == CLF_I64 ? NULL : "I32 or I64";
        break;
    case CLF_IO_NUMBER:
        wanted = dtype == CLF_F32 || dtype == CLF_I32 ? NULL : "F32 or I32";
        break;
    }
    if (wanted)
        return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, not %s", name, clf_dtype_name(dtype), wanted);
    return CLF_SUCCESS;
}

static clf_status check_layout(const clf_io *io, const clf_tensor *tensor, const char *name, bool written)
{
    const int last = tensor->rank - 1;

    if (io->io_class == CLF_IO_FLOATING && tensor->shape[last] > 1 && tensor->strides[last] != 1)
        return clf__fail(CLF_INVALID_STRIDE, "argument '%s': the last stride is %lld, it must be 1", name,
                         (long long)tensor->strides[last]);
    if (written && !clf__tensor_is_injective(tensor))
        return clf__fail(CLF_INVALID_STRIDE, "argument '%s': its strides give several elements the same memory", name);
    return CLF_SUCCESS;
}

static clf_status check_tensor(const clf_io *io, const clf_tensor *tensor)
{
    const int full = (int)strlen(io->axes);

    if (tensor->rank == 0) {
        if (io->flags & CLF_IO_OPTIONAL)
            return CLF_SUCCESS;
        return clf__fail(CLF_MISSING_TENSOR, "argument '%s' is missing: %s", io->name, io->doc ? io->doc : io->axes);
    }
    clf_status status = clf_tensor_check(tensor, io->name);
    if (status)
        return status;
    if (tensor->rank > full || (tensor->rank < full && !(io->flags & CLF_IO_BROADCAST)))
        return clf__fail(CLF_INVALID_RANK, "argument '%s': rank is %d, not %d (axes %s)", io->name, (int)tensor->rank,
                         full, io->axes);
    if ((status = check_dtype(io, tensor, io->name)))
        return status;
    return check_layout(io, tensor, io->name, io->role == CLF_OUTPUT);
}

/* One storage type for all floating tensors but those with CLF_IO_OWN_TYPE and quantised ones. */
static clf_status check_storage(const clf_io *io, int count, const clf_args *args)
{
    int first = -1;

    for (int i = 0; i < count; i++) {
        if (io[i].io_class != CLF_IO_FLOATING || (io[i].flags & CLF_IO_OWN_TYPE) || args->io[i].rank == 0 ||
            !clf__is_floating(args->io[i].dtype))
            continue;
        if (first >= 0 && args->io[i].dtype != args->io[first].dtype)
            return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, but '%s' is %s", io[i].name,
                             clf_dtype_name(args->io[i].dtype), io[first].name,
                             clf_dtype_name(args->io[first].dtype));
        first = first < 0 ? i : first;
    }
    return CLF_SUCCESS;
}

static clf_status match_axes(const clf_io *io, const clf_tensor *tensor, int semantics, clf__extents *extents)
{
    for (int d = 0; d < tensor->rank; d++) {
        const int letter = clf__axis(io, semantics, tensor->rank, d) & 127;
        const int64_t extent = tensor->shape[d];

        if (letter == 0 || (extent == 1 && (io->flags & CLF_IO_BROADCAST)))
            continue;
        if (extents->of[letter] < 0) {
            extents->of[letter] = extent;
            extents->owner[letter] = io->name;
        } else if (extents->of[letter] != extent) {
            return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis %d (%c) is %lld, but %lld in '%s'", io->name, d,
                             (char)letter, (long long)extent, (long long)extents->of[letter], extents->owner[letter]);
        }
    }
    return CLF_SUCCESS;
}

/* Plain tensors decide the extents, tensors that may broadcast follow. */
static clf_status check_axes(const clf_io *io, int count, const clf_args *args, int semantics, clf__extents *extents)
{
    for (int letter = 0; letter < 128; letter++)
        extents->of[letter] = -1;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < count; i++) {
            if (((io[i].flags & CLF_IO_BROADCAST) != 0) != (round == 1))
                continue;
            clf_status status = match_axes(&io[i], &args->io[i], semantics, extents);
            if (status)
                return status;
        }
    }
    for (int i = 0; i < count; i++) {
        const int64_t items = extents->of['B'] * extents->of['H'], tiles = args->io[i].shape[0];
        if (args->io[i].rank > 0 && clf__axis(&io[i], semantics, args->io[i].rank, 0) == '\0' &&
            items > 0 && (tiles == 0 || items % tiles != 0))
            return clf__fail(CLF_INVALID_SHAPE,
                             "argument '%s': %lld masks cannot be tiled over %lld heads of the batch", io[i].name,
                             (long long)tiles, (long long)items);
    }
    return CLF_SUCCESS;
}

static clf_status check_gradient(const clf_io *io, const clf_tensor *tensor, const clf_tensor *gradient, int passes)
{
    char name[64];

    snprintf(name, sizeof name, "grad.%s", io->name);
    if (gradient->rank == 0) {
        if ((passes & CLF_BACKWARD) && io->role == CLF_OUTPUT && (io->flags & CLF_IO_DIFFERENTIABLE) && tensor->rank)
            return clf__fail(CLF_MISSING_TENSOR, "argument '%s' is missing: backward needs it", name);
        return CLF_SUCCESS;
    }
    if (!(passes & CLF_BACKWARD))
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is given, but CLF_BACKWARD is not among the passes", name);
    if (!(io->flags & CLF_IO_DIFFERENTIABLE))
        return clf__fail(CLF_UNSUPPORTED, "argument '%s': no gradient goes through '%s'", name, io->name);
    if (tensor->rank == 0)
        return clf__fail(CLF_MISSING_TENSOR, "argument '%s' is given, but '%s' is not", name, io->name);
    if (!clf__is_floating(tensor->dtype))
        return clf__fail(CLF_UNSUPPORTED, "argument '%s': '%s' is %s, which has no gradient", name, io->name,
                         clf_dtype_name(tensor->dtype));
    clf_status status = clf_tensor_check(gradient, name);
    if (status)
        return status;
    if (gradient->rank != tensor->rank)
        return clf__fail(CLF_INVALID_RANK, "argument '%s': rank is %d, but '%s' has %d", name, (int)gradient->rank,
                         io->name, (int)tensor->rank);
    if (gradient->dtype != tensor->dtype)
        return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, but '%s' is %s", name,
                         clf_dtype_name(gradient->dtype), io->name, clf_dtype_name(tensor->dtype));
    for (int d = 0; d < tensor->rank; d++)
        if (gradient->shape[d] != tensor->shape[d])
            return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis %d is %lld, but %lld in '%s'", name, d,
                             (long long)gradient->shape[d], (long long)tensor->shape[d], io->name);
    return check_layout(io, gradient, name, io->role == CLF_INPUT);
}

clf_status clf__check_args(const clf_component *component, const void *config, const clf_args *args, int passes,
                           clf__extents *extents)
{
    const int semantics = clf__semantics(component, config);
    int count;
    const clf_io *io = clf__io(component, &count);
    clf_status status = CLF_SUCCESS;

    for (int i = count; i < CLF_MAX_IO; i++)
        if (args->io[i].rank != 0 || args->grad[i].rank != 0)
            return clf__fail(CLF_UNKNOWN_TENSOR, "argument %d is given, but %s has only %d tensors", i, component->name,
                             count);
    for (int i = 0; i < count; i++)
        if ((status = check_tensor(&io[i], &args->io[i])))
            return status;
    if ((status = check_storage(io, count, args)) || (status = check_axes(io, count, args, semantics, extents)))
        return status;
    for (int i = 0; i < count; i++)
        if ((status = check_gradient(&io[i], &args->io[i], &args->grad[i], passes)))
            return status;
    return clf__check_traits(component, args, extents);
}
