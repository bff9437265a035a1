/* Which keys of a tile an eight of rows looks at: sixteens of them, a bit each, and runs of neighbours among those.
 *
 *     tile of 64 keys    |  . .  | x x x |  . .  |   x   |    sixteens = 1010 (the first is the lowest bit)
 *
 * A pattern's bits leave out what nobody of the eight sees; a window sets where the first sixteen begins. Everything that
 * is computed of the eight is then computed run by run. */

/* Windows spare keys up to `unseen`, but for what dropout counts in fours; a pattern's bits count sixteens. */
#define WINDOW_SETS_FIRST (CLF_WINDOW && CLF_BLOCKS != 1)

/* Where the sixteens begin. */
static int first_sixteen(int unseen, int count)
{
#if WINDOW_SETS_FIRST
    const int from = unseen & ~3, room = CLF_KEYS - (count - from + 15) / 16 * 16;
    return min(from, room);
#else
    return 0;
#endif
}

#if CLF_BLOCKS == 1
/* In which sixteens of the tile's keys the bits tell of a pair: a bit each. */
static int find_sixteens(int rows, __global const int *bits)
{
    int found = 0;
    for (int word = 0; word < CLF_KEYS / 32; word++) {
        int any = 0;
        for (int r = 0; r < rows; r++)
            any |= bits[r * (CLF_KEYS / 32) + word];
        found |= ((any & 0xffff) != 0) << 2 * word | ((any >> 16) != 0) << (2 * word + 1);
    }
    return found;
}
#endif

/* The first run, {first key, keys}, which is taken away. */
static int2 next_sixteens(int *sixteens)
{
    const int skipped = popcount((*sixteens & -*sixteens) - 1), rest = *sixteens >> skipped;
    *sixteens &= *sixteens + (1 << skipped);
    return (int2)(16 * skipped, 16 * popcount((rest ^ (rest + 1)) >> 1));
}

/* Eight rows of `a` times the columns of a run; c has rows of CLF_KEYS and is whole lines of the cache, or not. */
static void score_sixteens(const float *a, int a_row, int depth, const float *b, int width, int lines, float *c)
{
    int n = 0;
    for (; n + 32 <= width; n += 32)
        clf_product32(a, a_row, 1, b + n, CLF_KEYS, depth, 1, lines, c + n, CLF_KEYS);
    if (n < width)
        clf_product16(a, a_row, 1, b + n, CLF_KEYS, depth, 1, c + n, CLF_KEYS);
}
