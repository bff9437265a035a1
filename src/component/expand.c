/* Broadcast tensors at full rank and extents, so that a part reads them like any other. */
#include "component/check.h"
#include <string.h>

/* A mask [M, Q, K] serves item i = b*H + h with matrix i mod M. Strides can say that for one matrix and for
 * one matrix an item; otherwise the part gets rank 3. */
static void expand_tiled(const clf__extents *extents, clf_tensor *tensor)
{
    const int64_t heads = extents->of['H'], items = extents->of['B'] * heads;
    const int64_t tiles = tensor->shape[0], stride = tensor->strides[0];
    const int64_t steps[2] = { tiles == 1 ? 0 : stride * heads, tiles == 1 ? 0 : stride };

    if (tiles != 1 && tiles != items)
        return;
    for (int d = 3; d >= 2; d--) {
        tensor->shape[d] = tensor->shape[d - 1];
        tensor->strides[d] = tensor->strides[d - 1];
    }
    tensor->rank = 4;
    tensor->shape[0] = extents->of['B'];
    tensor->shape[1] = heads;
    tensor->strides[0] = steps[0];
    tensor->strides[1] = steps[1];
}

static void expand_tensor(const clf_io *io, int semantics, const clf__extents *extents, clf_tensor *tensor)
{
    const int full = (int)strlen(io->axes);
    clf_tensor wide = *tensor;

    wide.rank = full;
    for (int a = 0; a < full; a++) {
        const int64_t extent = extents->of[io->axes[a] & 127];
        wide.shape[a] = extent < 0 ? 1 : extent; /* no tensor says how long the axis is */
        wide.strides[a] = 0;
        for (int d = 0; d < tensor->rank; d++)
            if (clf__axis(io, semantics, tensor->rank, d) == io->axes[a] && tensor->shape[d] != 1)
                wide.strides[a] = tensor->strides[d];
    }
    *tensor = wide;
}

void clf__expand(const clf_component *component, int semantics, const clf__extents *extents, clf_args *args)
{
    int count;
    const clf_io *io = clf__io(component, &count);

    for (int i = 0; i < count; i++) {
        if (!(io[i].flags & CLF_IO_BROADCAST) || args->io[i].rank == 0)
            continue;
        if (clf__axis(&io[i], semantics, args->io[i].rank, 0) == '\0')
            expand_tiled(extents, &args->io[i]);
        if (clf__axis(&io[i], semantics, args->io[i].rank, 0) != '\0')
            expand_tensor(&io[i], semantics, extents, &args->io[i]);
    }
}
