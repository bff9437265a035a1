/* What the kernels of the matrix product share: the types of the operands, and where a matrix of the batch is.
 *
 *     c = alpha a b + beta c + bias        a: M x K, b: K x N, c: M x N, sums in f32
 *
 * An operand has unit stride along the depth K (CLF_A_DEPTH, CLF_B_DEPTH = 1) or across it; c has it along its
 * columns. `at` = {offset, strides of three batch axes, the other stride of the matrix}, in elements; shape =
 * {M, N, K, extents of the last two batch axes, where the bias runs: 0 = there is none, 1 = along columns, 2 = along
 * rows; rows and columns of a group}; factor = {alpha, beta}. beta = 0 does not read c.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

#ifndef CLF_A
#define CLF_A f32
#endif
#ifndef CLF_B
#define CLF_B f32
#endif
#ifndef CLF_C
#define CLF_C f32
#endif
#ifndef CLF_BIAS
#define CLF_BIAS f32
#endif
#ifndef CLF_A_DEPTH
#define CLF_A_DEPTH 1
#endif
#ifndef CLF_B_DEPTH
#define CLF_B_DEPTH 0
#endif

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
typedef float type_f32;
typedef clf_f16 type_f16;
typedef clf_bf16 type_bf16;
typedef CAT(type_, CLF_A) type_a;
typedef CAT(type_, CLF_B) type_b;
typedef CAT(type_, CLF_C) type_c;
typedef CAT(type_, CLF_BIAS) type_bias;
#define load_a CAT(clf_load_, CLF_A)
#define load_b CAT(clf_load_, CLF_B)
#define load_c CAT(clf_load_, CLF_C)
#define load_bias CAT(clf_load_, CLF_BIAS)
#define store_c CAT(clf_store_, CLF_C)

/* The first element of matrix `item` of the batch. */
static long matrix_of(int item, long8 at, int8 shape)
{
    return at.s0 + item / shape.s4 / shape.s3 * at.s1 + item / shape.s4 % shape.s3 * at.s2 + item % shape.s4 * at.s3;
}

/* {first row, first column, item of the batch} of a group; columns first, so that neighbours share rows of a. */
static int4 block_of(int group, int8 shape)
{
    const int across = (shape.s1 + shape.s7 - 1) / shape.s7, down = (shape.s0 + shape.s6 - 1) / shape.s6;
    return (int4)(group / across % down * shape.s6, group % across * shape.s7, group / across / down, 0);
}
