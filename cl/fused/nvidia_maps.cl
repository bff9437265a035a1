/* What the nvidia_wgmma kernels ask the copy engine for: maps of their tensors, and tiles by them. */
#include "prelude/nvidia_bulk.cl"

/* The maps of the backward pass, which nvidia_delta.cl shows. */
#define MAP_Q(maps) (maps)
#define MAP_K(maps) ((maps) + CLF_NV_MAP_BYTES)
#define MAP_V(maps) ((maps) + 2 * CLF_NV_MAP_BYTES)
#define MAP_G(maps) ((maps) + 3 * CLF_NV_MAP_BYTES)

/* The map of a tensor with extents {items, heads, rows, width}, by a warp; tiles are taken `rows` at a time. */
CLF_INLINE void show_map(__global uchar *to, __local uint4 *draft, __global const clf_storage *p, long4 p_at,
                         int4 extents, int rows, int lane)
{
    const uint map = clf_nv_address((__local const void *)draft);

    if (lane < CLF_NV_MAP_BYTES / 16)
        draft[lane] = (uint4)(0);
    clf_nv_warp_barrier();
    if (lane == 0)
        clf_nv_map_describe(map, p, p_at, extents, rows);
    clf_nv_warp_barrier();
    clf_nv_map_show(to, map);
}

/* A tile of so many rows and a padded width, `step` rows at a time, as the map says; one work-item asks. */
CLF_INLINE void ask_for(__global const uchar *map, int b, int h, int first, int rows, int step, int padded, uint to,
                        uint full)
{
    for (int column = 0; column < padded; column += 64)
        for (int row = 0; row < rows; row += step)
            clf_nv_bulk_copy(to + (column * rows + row * 64) * 2, map, column, first + row, h, b, full);
}

/* Whoever asks sees the maps of the backward pass. */
CLF_INLINE void see_maps(__global const uchar *maps)
{
    for (int i = 0; i < 4; i++)
        clf_nv_map_see(maps + i * CLF_NV_MAP_BYTES);
}
