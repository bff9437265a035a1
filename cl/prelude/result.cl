/* Elements of results whose type may differ from that of the inputs: clf_result, clf_load_result, clf_store_result and
 * rows of them, as storage.cl has them for clf_storage.
 */
#include "prelude/storage.cl"

#ifndef CLF_RESULT
#define CLF_RESULT CLF_STORAGE
#endif

#if CLF_RESULT == CLF_F32
typedef float clf_result;
#define clf_load_result clf_load_f32
#define clf_load16_result clf_load16_f32
#define clf_store_result clf_store_f32
#define clf_store16_result clf_store16_f32
#elif CLF_RESULT == CLF_F16
typedef clf_f16 clf_result;
#define clf_load_result clf_load_f16
#define clf_load16_result clf_load16_f16
#define clf_store_result clf_store_f16
#define clf_store16_result clf_store16_f16
#elif CLF_RESULT == CLF_BF16
typedef clf_bf16 clf_result;
#define clf_load_result clf_load_bf16
#define clf_load16_result clf_load16_bf16
#define clf_store_result clf_store_bf16
#define clf_store16_result clf_store16_bf16
#else
#error CLF_RESULT must be CLF_F32, CLF_F16 or CLF_BF16
#endif

#if CLF_RESULT == CLF_STORAGE
#define clf_load_result_row clf_load_row
#define clf_store_result_row clf_store_row
#else
static void clf_load_result_row(__global const clf_result *p, long i, int count, float *to, int padded)
{
    int n = 0;
    for (; n + 16 <= count; n += 16)
        vstore16(clf_load16_result(p, i + n), 0, to + n);
    for (; n < count; n++)
        to[n] = clf_load_result(p, i + n);
    for (; n < padded; n++)
        to[n] = 0.0f;
}

static void clf_store_result_row(const float *from, int count, __global clf_result *p, long i)
{
    int n = 0;
    for (; n + 16 <= count; n += 16)
        clf_store16_result(vload16(0, from + n), p, i + n);
    for (; n < count; n++)
        clf_store_result(from[n], p, i + n);
}
#endif
