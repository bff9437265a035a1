/* Software rasterisers and long loops. Mesa's ends all loops of a work-item after 65535 rounds together and goes on as if
 * they were done (LP_MAX_TGSI_LOOP_ITERATIONS in its gallivm): no error, wrong numbers. Families whose work-items walk
 * over whole rows count their rounds, and refuse what takes more. A pattern counts as if it had all pairs. */
#include "fused/family.h"
#include <stdio.h>

enum { MOST_ROUNDS = 65535, MASK_TILE = 16 };

bool clf__fused_rounds_fit(const clf_device *device, double rounds, char *why, size_t size)
{
    if (!clf_device_get_info(device)->software || rounds < MOST_ROUNDS)
        return true;
    (void)snprintf(why, size, "software rasterisers end the loops of a work-item after %d rounds, and this takes %.0f",
                   (int)MOST_ROUNDS, rounds);
    return false;
}

double clf__fused_blocks_of(int64_t count, int64_t block)
{
    const int64_t blocks = (count + block - 1) / block;
    return (double)blocks;
}

double clf__fused_passing(const clf__fused_problem *problem, bool queries, int own)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const double all = (double)(queries ? s.queries : s.keys);
    const double near = problem->causal && problem->window > 0 ? (double)(problem->window + own - 1) : all;

    return near < all ? near : all;
}

/* A work-item of clf_fused_grad_mask walks over all tiles that share its element of the mask. */
double clf__fused_grad_mask_rounds(const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t *own = problem->grad_mask.shape;
    const double pieces = clf__fused_blocks_of(s.width, 16) + clf__fused_blocks_of(s.value_width, 16);
    double tiles = 1;

    if (problem->grad_mask.rank == 0)
        return 0;
    tiles *= own[0] < s.batch ? (double)s.batch : 1;
    tiles *= own[1] < s.heads ? (double)s.heads : 1;
    tiles *= own[2] < s.queries ? clf__fused_blocks_of(s.queries, MASK_TILE) + 1 : 1;
    tiles *= own[3] < s.keys ? clf__fused_blocks_of(s.keys, MASK_TILE) + 1 : 1;
    return tiles * (20 * pieces + 8);
}
