/* The copy engine of sm_90: one work-item asks for a tile, and nobody spends registers or instructions on it.
 *
 * A map, 128 bytes of global memory, describes a tensor [items, heads, rows, width] of 16-bit numbers and the tiles
 * taken of it, blocks of 64 columns as prelude/nvidia_wgmma.cl has them; what lies outside the tensor arrives as zeros.
 * CUDA's host library writes such maps; here a kernel does, field by field from zeros (PTX ISA, tensormap.replace).
 * Maps have a cache of their own: clf_nv_map_show makes one visible to the engine, clf_nv_map_see to who asks.
 */
#include "prelude/nvidia_wgmma.cl"

#define CLF_NV_MAP_BYTES 128

/* Field `field`, of the axis `axis` or alone; both are constants. */
#define CLF_NV_MAP_SET(field, axis, value) \
    __asm__ volatile("//@tensormap.replace.tile." field ".shared::cta.b1024.b32 [%0], " axis "%1;" \
                     : : "r"(map), "r"(value) : "memory")
#define CLF_NV_MAP_SET_LONG(field, axis, value) \
    __asm__ volatile("//@tensormap.replace.tile." field ".shared::cta.b1024.b64 [%0], " axis "%1;" \
                     : : "r"(map), "l"(value) : "memory")
#define CLF_NV_MAP_CHOOSE(field, choice) \
    __asm__ volatile("//@tensormap.replace.tile." field ".shared::cta.b1024.b32 [%0], " choice ";" \
                     : : "r"(map) : "memory")

/* Can it be described? at = {offset, strides of items, heads, rows} in elements. */
static int clf_nv_map_takes(__global const void *p, long4 at)
{
    const ulong places = (ulong)p | 2 * (ulong)(at.x | at.y | at.z | at.w);
    return (places & 15) == 0 && at.y > 0 && at.z > 0 && at.w > 0 && ((at.y | at.z | at.w) >> 39) == 0;
}

/* Describes it, in 128 zero bytes of local memory: one work-item does. */
CLF_INLINE void clf_nv_map_describe(uint map, __global const void *p, long4 at, int4 extents, int rows)
{
    CLF_NV_MAP_SET_LONG("global_address", "", (ulong)p + 2 * at.x);
    CLF_NV_MAP_SET("rank", "", 3); /* less one */
    CLF_NV_MAP_SET("box_dim", "0, ", 64);
    CLF_NV_MAP_SET("box_dim", "1, ", rows);
    CLF_NV_MAP_SET("box_dim", "2, ", 1);
    CLF_NV_MAP_SET("box_dim", "3, ", 1);
    CLF_NV_MAP_SET("global_dim", "0, ", extents.w);
    CLF_NV_MAP_SET("global_dim", "1, ", extents.z);
    CLF_NV_MAP_SET("global_dim", "2, ", extents.y);
    CLF_NV_MAP_SET("global_dim", "3, ", extents.x);
    CLF_NV_MAP_SET_LONG("global_stride", "0, ", 2 * at.w);
    CLF_NV_MAP_SET_LONG("global_stride", "1, ", 2 * at.z);
    CLF_NV_MAP_SET_LONG("global_stride", "2, ", 2 * at.y);
    CLF_NV_MAP_SET("element_stride", "0, ", 1);
    CLF_NV_MAP_SET("element_stride", "1, ", 1);
    CLF_NV_MAP_SET("element_stride", "2, ", 1);
    CLF_NV_MAP_SET("element_stride", "3, ", 1);
    CLF_NV_MAP_CHOOSE("elemtype", "1");          /* u16 */
    CLF_NV_MAP_CHOOSE("interleave_layout", "0"); /* none */
    CLF_NV_MAP_CHOOSE("swizzle_mode", "3");      /* 128 bytes */
    CLF_NV_MAP_CHOOSE("fill_mode", "0");         /* zeros */
}

/* One more axis before them: extents.x and at.y are then of the second. */
CLF_INLINE void clf_nv_map_describe_more(uint map, __global const void *p, long4 at, int4 extents, int rows,
                                         int extent, long stride)
{
    clf_nv_map_describe(map, p, at, extents, rows);
    CLF_NV_MAP_SET("rank", "", 4);
    CLF_NV_MAP_SET("box_dim", "4, ", 1);
    CLF_NV_MAP_SET("global_dim", "4, ", extent);
    CLF_NV_MAP_SET_LONG("global_stride", "3, ", 2 * stride);
    CLF_NV_MAP_SET("element_stride", "4, ", 1);
}

/* From local to global memory (aligned to 128), for the engine to see: a warp does. */
static void clf_nv_map_show(__global void *to, uint map)
{
    __asm__ volatile("//@tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned "
                     "[%0], [%1], 128;" : : "l"(to), "r"(map) : "memory");
}

/* Who asks for tiles sees the map that was shown, by this kernel or one before. */
static void clf_nv_map_see(__global const void *map)
{
    __asm__ volatile("//@fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" : : "l"(map) : "memory");
}

/* 64 columns of as many rows as the map says, from (item, head, row, column) on; `barrier_at` counts the bytes. */
static void clf_nv_bulk_copy(uint to, __global const void *map, int column, int row, int head, int item,
                             uint barrier_at)
{
    __asm__ volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                     "[%0], [%1, {%2, %3, %4, %5}], [%6];"
                     : : "r"(to), "l"(map), "r"(column), "r"(row), "r"(head), "r"(item), "r"(barrier_at) : "memory");
}

/* The same by a map with one more axis: from (place.x, place.y, place.z, row, column) on. */
static void clf_nv_bulk_copy_more(uint to, __global const void *map, int column, int row, int4 place, uint barrier_at)
{
    __asm__ volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                     "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];"
                     : : "r"(to), "l"(map), "r"(column), "r"(row), "r"(place.z), "r"(place.y), "r"(place.x),
                     "r"(barrier_at) : "memory");
}

/* The other way: to (place, row, column), leaving out what is not in the tensor; but sixteen bytes at a time, so that
 * rows which end between those lose what is behind them. Who wrote the tile has published it. */
static void clf_nv_bulk_store_more(__global const void *map, int column, int row, int4 place, uint from)
{
    __asm__ volatile("cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4, %5}], [%6];"
                     : : "l"(map), "r"(column), "r"(row), "r"(place.z), "r"(place.y), "r"(place.x), "r"(from)
                     : "memory");
}

/* Ends a group of stores; the tiles of all groups of this work-item have been read. */
static void clf_nv_bulk_commit(void)
{
    __asm__ volatile("cp.async.bulk.commit_group;" : : : "memory");
}
static void clf_nv_bulk_wait_read(void)
{
    __asm__ volatile("cp.async.bulk.wait_group.read 0;" : : : "memory");
}

/* So many bytes more belong to the barrier's phase, which waits for them and for arrivals. */
static void clf_nv_barrier_expect(uint barrier_at, uint bytes)
{
    __asm__ volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;"
                     : : "r"(barrier_at), "r"(bytes) : "memory");
}
