/* Dropout's random numbers: Philox4x32-10 (Salmon et al. 2011), a function of the position alone, so that
 * every family, tile, pass and the host see the same mask.
 *
 *     random  = {seed lo, seed hi, offset lo, offset hi, threshold, ...}
 *     key     = {seed lo, seed hi ^ offset hi}
 *     counter = {k / 4, q, b * H + h, offset lo},  word k mod 4 belongs to key k
 *     kept    when word >= threshold = round(p * 2^32), clamped
 */
#include "prelude/types.cl"

/* One block of four words. */
static uint4 clf_philox(uint4 counter, uint2 key)
{
    for (int round = 0; round < 10; round++) {
        const uint hi0 = mul_hi(0xD2511F53u, counter.x), lo0 = 0xD2511F53u * counter.x;
        const uint hi1 = mul_hi(0xCD9E8D57u, counter.z), lo1 = 0xCD9E8D57u * counter.z;
        counter = (uint4)(hi1 ^ counter.y ^ key.x, lo1, hi0 ^ counter.w ^ key.y, lo0);
        key += (uint2)(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

/* The words of keys 4 * k4 .. 4 * k4 + 3. */
static uint4 clf_dropout_words(int k4, int q, int bh, uint8 random)
{
    return clf_philox((uint4)((uint)k4, (uint)q, (uint)bh, random.s2),
                      (uint2)(random.s0, random.s1 ^ random.s3));
}

#if CLF_LANES == 16
/* The high and low words of eight products. */
static void clf_philox_product8(uint factor, uint8 x, uint8 *hi, uint8 *lo)
{
    const ulong8 product = convert_ulong8(x) * (ulong)factor;
    *hi = convert_uint8(product >> 32);
    *lo = convert_uint8(product);
}

/* Which of the keys k .. k + 31 are kept; k is a multiple of 4. Eight blocks run side by side, a lane each. */
static void clf_keep32(int k, int q, int bh, uint8 random, int16 *first, int16 *second)
{
    uint8 x = (uint8)(0, 1, 2, 3, 4, 5, 6, 7) + (uint)(k / 4), y = (uint8)((uint)q);
    uint8 z = (uint8)((uint)bh), w = (uint8)(random.s2);
    uint key_x = random.s0, key_y = random.s1 ^ random.s3;
    for (int round = 0; round < 10; round++) {
        uint8 hi0, lo0, hi1, lo1;
        clf_philox_product8(0xD2511F53u, x, &hi0, &lo0);
        clf_philox_product8(0xCD9E8D57u, z, &hi1, &lo1);
        x = hi1 ^ y ^ key_x;
        y = lo1;
        z = hi0 ^ w ^ key_y;
        w = lo0;
        key_x += 0x9E3779B9u;
        key_y += 0xBB67AE85u;
    }
    const uint16 threshold = (uint16)(random.s4);
    *first = (uint16)(x.s0, y.s0, z.s0, w.s0, x.s1, y.s1, z.s1, w.s1,
                      x.s2, y.s2, z.s2, w.s2, x.s3, y.s3, z.s3, w.s3) >= threshold;
    *second = (uint16)(x.s4, y.s4, z.s4, w.s4, x.s5, y.s5, z.s5, w.s5,
                       x.s6, y.s6, z.s6, w.s6, x.s7, y.s7, z.s7, w.s7) >= threshold;
}
#else
static clf_bool clf_keep(int k, int q, int bh, uint8 random)
{
    const uint4 words = clf_dropout_words(k >> 2, q, bh, random);
    const uint2 half_of_them = k & 2 ? words.hi : words.lo;
    return (k & 1 ? half_of_them.y : half_of_them.x) >= random.s4;
}
#endif
