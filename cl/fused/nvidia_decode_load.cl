/* How nvidia_decode brings keys and values to local memory: sizes of a tile, and copies that nobody waits for.
 *
 * A row is an odd number of 16 bytes long, so that the eight rows that ldmatrix reads at a time lie in different banks.
 * Scales: [span][key] words of scale and shift. Keys before the first and behind the last one that any row of queries
 * sees are zeros. Rows that do not start at multiples of 16 bytes are read number by number.
 */
#ifndef CLF_WARPS
#define CLF_WARPS 4
#endif
#ifndef CLF_KEYS
#define CLF_KEYS 16 /* of a tile: 16 or 32 */
#endif
#ifndef CLF_STAGES
#define CLF_STAGES 3 /* tiles of a warp's ring: 2 to 6 */
#endif
#include "fused/decode_rows.cl"
#define CLF_TALL 1
#define CLF_COLUMNS CLF_KEYS
#include "fused/nvidia_mma_tile.cl"

#define PAIRS (CLF_ROWS > 8 ? 2 : 1) /* rows of a lane */
#define PER_CHUNK (128 / (CLF_BITS ? CLF_BITS : 16)) /* elements in 16 bytes */
#define PER_16 (16 / (int)sizeof(clf_kept)) /* the same as they are kept */
#define D_CHUNKS (D_PADDED / PER_CHUNK)
#define E_CHUNKS (E_PADDED / PER_CHUNK)
#define D_STEPS (D_PADDED / 16)
#define E_TILES (E_PADDED / 8)
#define PITCH(chunks) (((chunks) | 1) * 16)
#if CLF_BITS
#define D_SPANS (D_PADDED / CLF_SPAN) /* runs of columns with a scale */
#define E_SPANS (E_PADDED / CLF_SPAN)
#else
#define D_SPANS 0
#define E_SPANS 0
#endif

/* Bytes of a stage: keys, values, scales of both. */
#define KEY_BYTES (CLF_KEYS * PITCH(D_CHUNKS))
#define VALUE_BYTES (CLF_KEYS * PITCH(E_CHUNKS))
#define SCALES_AT (KEY_BYTES + VALUE_BYTES)
#define STAGE_BYTES (SCALES_AT + 4 * CLF_KEYS * (D_SPANS + E_SPANS))
#define RING_BYTES (CLF_WARPS * CLF_STAGES * STAGE_BYTES)
#define SUMS_BYTES (CLF_WARPS * CLF_ROWS * E_PADDED * 4)
#define LOCAL_BYTES ((RING_BYTES > SUMS_BYTES ? RING_BYTES : SUMS_BYTES) + 16) /* a whole pair of chunks at the end */

#if CLF_BITS == 0 || CLF_STORAGE == CLF_BF16
#define FINE 1.0f
#elif CLF_BITS == 8
#define FINE 64.0f
#else
#define FINE 4.0f
#endif

/* Rows may see less than the tile holds. */
#define CAREFUL (CLF_CAUSAL || CLF_EVERY_SCORE)

/* A tile: its first key, the keys that count, and page and row of the key that this lane looked up, first + its number
 * modulo CLF_KEYS. */
typedef struct wanted {
    int first, begin, end;
    int2 mine;
} wanted;

CLF_INLINE wanted want(const clf_kept_rows *rows, int first, int begin, int end, int lane)
{
    const int key = clamp(first + lane % CLF_KEYS, begin, end - 1);
    wanted tile;
    tile.first = first;
    tile.begin = begin;
    tile.end = end;
    tile.mine = CLF_PAGES ? (int2)(rows->pages[key / rows->page], key % rows->page) : (int2)(0);
    return tile;
}

/* Page and row of row r of the tile; without pages a row of the tensor, one that counts. */
CLF_INLINE int2 find_row(const wanted *tile, int r)
{
    return CLF_PAGES ? (int2)((int)clf_nv_from((uint)tile->mine.x, r), (int)clf_nv_from((uint)tile->mine.y, r))
                     : (int2)(0, clamp(tile->first + r, tile->begin, tile->end - 1));
}

CLF_INLINE int counts(const wanted *tile, int r)
{
    return tile->first + r >= tile->begin && tile->first + r < tile->end;
}

CLF_INLINE __global const clf_kept *row_of(const clf_kept_rows *rows, int2 where)
{
    return rows->p + rows->at + (CLF_PAGES ? where.x * rows->page_stride : 0) + where.y * (int)rows->stride;
}

CLF_INLINE __global const ushort *scales_of(const clf_kept_rows *rows, int2 where)
{
    return (__global const ushort *)rows->scales + rows->scales_at +
           (CLF_PAGES ? where.x * rows->scales_page_stride : 0) + where.y * (int)rows->scales_stride;
}

/* Can rows be copied 16 bytes, and scales with their shifts 4 bytes at a time? */
CLF_INLINE int is_aligned(const clf_kept_rows *rows)
{
    const ulong first = (ulong)(rows->p + rows->at) | (ulong)(sizeof(clf_kept) * (rows->stride | rows->page_stride));
    const ulong scale = (ulong)(rows->scales + rows->scales_at) |
                        (ulong)(2 * (rows->scales_stride | rows->scales_page_stride));
    return (first & 15) == 0 && (CLF_BITS == 0 || (scale & 3) == 0);
}

/* `bytes` of a chunk by itself, zeros behind. */
CLF_INLINE uint4 gather_chunk(__global const clf_kept *from, int bytes)
{
    uint word[4] = { 0, 0, 0, 0 };
#pragma unroll
    for (int i = 0; i < PER_16; i++)
        if (i * (int)sizeof(clf_kept) < bytes) {
#if CLF_BITS
            word[i / 4] |= (uint)from[i] << (i % 4 * 8);
#else
            word[i / 2] |= (uint)((__global const ushort *)from)[i] << (i % 2 * 16);
#endif
        }
    return (uint4)(word[0], word[1], word[2], word[3]);
}

/* Tiles in the middle of aligned keys, where nothing has to be left out. */
CLF_INLINE void load_whole(const clf_kept_rows *rows, const wanted *tile, int chunks, int spans, int lane, uint to,
                           uint scales_to)
{
    const int some = spans + !spans;
#pragma unroll
    for (int i = 0; i < CLF_KEYS * chunks; i += 32) {
        const int n = i + lane, r = n / chunks, c = n % chunks;
        const int2 where = CLF_PAGES ? find_row(tile, r % CLF_KEYS) : (int2)(0, tile->first + r);
        if (CLF_KEYS * chunks % 32 == 0 || n < CLF_KEYS * chunks)
            clf_nv_copy16_line(to + r * PITCH(chunks) + c * 16, row_of(rows, where) + c * PER_16);
    }
#pragma unroll
    for (int i = 0; i < CLF_KEYS * spans; i += 32) {
        const int n = i + lane, r = n / some, s = n % some;
        const int2 where = CLF_PAGES ? find_row(tile, r % CLF_KEYS) : (int2)(0, tile->first + r);
        if (CLF_KEYS * spans % 32 == 0 || n < CLF_KEYS * spans)
            clf_nv_copy4_part(scales_to + (s * CLF_KEYS + r) * 4, scales_of(rows, where) + 2 * s, 4);
    }
}

/* All others: rows that do not count, rows of `row_bytes` that end within a chunk, rows that are not aligned. */
CLF_INLINE void load_part(const clf_kept_rows *rows, const wanted *tile, int aligned, int chunks, int row_bytes,
                          int spans, int lane, uint to, uint scales_to)
{
    const int some = spans + !spans;
#pragma unroll 1
    for (int n = lane; n - lane < CLF_KEYS * chunks; n += 32) {
        const int r = n / chunks, c = n % chunks, left = counts(tile, r) ? clamp(row_bytes - c * 16, 0, 16) : 0;
        __global const clf_kept *from = row_of(rows, find_row(tile, r % CLF_KEYS)) + (left > 0 ? c * PER_16 : 0);
        if (n >= CLF_KEYS * chunks)
            continue;
        if (aligned)
            clf_nv_copy16_part(to + r * PITCH(chunks) + c * 16, from, left);
        else
            clf_nv_put16(to + r * PITCH(chunks) + c * 16, gather_chunk(from, left));
    }
#pragma unroll 1
    for (int n = lane; n - lane < CLF_KEYS * spans; n += 32) {
        const int r = n / some, s = n % some;
        __global const ushort *from = scales_of(rows, find_row(tile, r % CLF_KEYS)) + 2 * s;
        if (n >= CLF_KEYS * spans)
            continue;
        if (aligned)
            clf_nv_copy4_part(scales_to + (s * CLF_KEYS + r) * 4, from, counts(tile, r) ? 4 : 0);
        else
            clf_nv_put4(scales_to + (s * CLF_KEYS + r) * 4, counts(tile, r) ? (uint)from[0] | (uint)from[1] << 16 : 0);
    }
}

/* The keys or values of a tile to `to`, scales and shifts to `scales_to`. All sizes are constants. */
CLF_INLINE void load_rows(const clf_kept_rows *rows, const wanted *tile, int aligned, int chunks, int width, int spans,
                          int lane, uint to, uint scales_to)
{
    const int row_bytes = CLF_BITS ? width * CLF_BITS / 8 : 2 * width;
    if (aligned && tile->first >= tile->begin && tile->first + CLF_KEYS <= tile->end && row_bytes == chunks * 16)
        load_whole(rows, tile, chunks, spans, lane, to, scales_to);
    else
        load_part(rows, tile, aligned, chunks, row_bytes, spans, lane, to, scales_to);
}
