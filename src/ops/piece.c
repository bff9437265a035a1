/* Reserving and finding tensors of a part's own. */
#include "ops/piece.h"
#include "tensor/tensor.h"

void clf__piece_reserve(clf_plan *plan, clf__piece *piece, bool saved, clf_dtype dtype, int rank, const int64_t *shape)
{
    piece->tensor = clf_tensor_view(NULL, dtype, rank, shape);
    piece->saved = saved;
    const uint64_t bytes = clf__tensor_bytes(&piece->tensor);
    piece->at = saved ? clf_plan_saved(plan, bytes) : clf_plan_workspace(plan, bytes);
}

clf_tensor clf__piece_of(const clf_run *run, const clf__piece *piece)
{
    clf_tensor tensor = piece->tensor;

    if (run && tensor.rank > 0) {
        const clf_buffer buffer = piece->saved ? clf_run_saved(run) : clf_run_workspace(run);
        tensor.mem = buffer.mem;
        tensor.offset = buffer.offset + piece->at;
    }
    return tensor;
}
