/* Does the copy engine of prelude/nvidia_bulk.cl bring the last 32 of io's numbers as 4 rows of 16 columns, with zeros
 * around them? One warp; their map lies in the first 32 numbers. io[0] becomes 1 when all is well. */
#include "prelude/nvidia_bulk.cl"

__kernel __attribute__((reqd_work_group_size(32, 1, 1)))
void clf_probe_nvidia_bulk(__global int *io)
{
    __local int tile[8 * 32] __attribute__((aligned(1024)));
    __local uint4 draft[CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));
    __local ulong barrier_at[1] __attribute__((aligned(8)));
    const int lane = get_local_id(0), last = io[63];
    const uint map = clf_nv_address((__local const void *)draft), to = clf_nv_address((__local const void *)tile);
    const uint at = clf_nv_address((__local const void *)barrier_at);
    const long4 place = (long4)(64, 64, 64, 16);
    int wrong = !clf_nv_map_takes(io, place), arrived = 0;

    if (lane < CLF_NV_MAP_BYTES / 16)
        draft[lane] = (uint4)(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane == 0) {
        clf_nv_map_describe(map, io, place, (int4)(1, 1, 4, 16), 8);
        clf_nv_barrier_make(at, 1);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    clf_nv_map_show(io, map);
    clf_nv_map_see(io);
    if (lane == 0) {
        clf_nv_barrier_expect(at, 8 * 128);
        clf_nv_bulk_copy(to, io, 0, 0, 0, 0, at);
        clf_nv_barrier_arrive(at);
    }
    for (int i = 0; i < 1000 && !arrived; i++) /* what is amiss must not hang */
        arrived = clf_nv_barrier_try(at, 0);
    for (int n = lane; n < 8 * 32; n += 32) {
        const int row = n / 32, word = n % 32, i = 32 + row * 8 + word;
        const int expected = row > 3 || word > 7 ? 0 : i == 63 ? last : 2048 + i;
        wrong |= tile[row * 32 + (((word >> 2) ^ row) & 7) * 4 + (word & 3)] != expected;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane == 0)
        io[0] = 1;
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (wrong || !arrived)
        io[0] = 0;
}
