/* Lists of the tiles of a pattern, for the device. */
#include "fused/sparse.h"
#include "core/status.h"
#include "pattern/pattern.h"
#include <stdlib.h>
#include <string.h>

/* A tile with at least one pair. */
typedef struct found {
    int32_t list;
    int32_t entry[4]; /* as cl/fused/lists.cl tells; the bits' place counts from the first of all bits */
} found;

typedef struct search {
    const clf_pattern *pattern;
    clf__fused_tile    tile;
    int64_t            queries, keys, key_tiles, parts, words; /* words: of a part's row of bits */
    int32_t           *row;     /* the keys of one query */
    int32_t           *pairs;   /* of each part of each key tile, in the present tile of queries */
    int32_t           *marks;   /* their bits: key tile, row, word */
    found             *all;
    size_t             count, capacity;
    int32_t           *bits;
    size_t             bit_count, bit_capacity;
} search;

static int64_t tiles_of(int64_t extent, int64_t tile)
{
    return (extent + tile - 1) / tile;
}

static clf_status grow(void **list, size_t count, size_t *capacity, size_t size)
{
    void *grown;

    if (count <= *capacity)
        return CLF_SUCCESS;
    *capacity = count > 2 * *capacity ? count : 2 * *capacity;
    if (!(grown = realloc(*list, *capacity * size)))
        return clf__no_memory(*capacity * size);
    *list = grown;
    return CLF_SUCCESS;
}

/* The bits of one part behind those before. */
static clf_status keep_bits(search *s, const int32_t *marks)
{
    const size_t count = (size_t)(s->tile.part * s->words);
    void *bits = s->bits;
    const clf_status status = grow(&bits, s->bit_count + count, &s->bit_capacity, sizeof *s->bits);

    s->bits = bits;
    if (status == CLF_SUCCESS)
        memcpy(s->bits + s->bit_count, marks, count * sizeof *marks);
    s->bit_count += status ? 0 : count;
    return status;
}

/* What was marked of a tile becomes an entry; the marks are cleared. */
static clf_status keep_tile(search *s, int64_t list, int64_t query_tile, int64_t key_tile)
{
    const int64_t q0 = query_tile * s->tile.rows, k0 = key_tile * s->tile.columns;
    const int64_t columns = k0 + s->tile.columns < s->keys ? s->tile.columns : s->keys - k0;
    int32_t *pairs = s->pairs + key_tile * s->parts, *marks = s->marks + key_tile * s->tile.rows * s->words;
    found tile = { (int32_t)list, { (int32_t)(s->tile.by_keys ? query_tile : key_tile), 0, 0, (int32_t)s->bit_count } };
    void *all = s->all;
    clf_status status = grow(&all, s->count + 1, &s->capacity, sizeof *s->all);

    s->all = all;
    for (int64_t part = 0; status == CLF_SUCCESS && part < s->parts; part++) {
        const int64_t first = q0 + part * s->tile.part;
        const int64_t end = first + s->tile.part < s->queries ? first + s->tile.part : s->queries;
        if (pairs[part] == 0)
            continue;
        tile.entry[1] |= (int32_t)(1u << part);
        if (pairs[part] == (end - first) * columns)
            continue;
        tile.entry[2] |= (int32_t)(1u << part);
        status = keep_bits(s, marks + part * s->tile.part * s->words);
    }
    memset(pairs, 0, (size_t)s->parts * sizeof *pairs);
    memset(marks, 0, (size_t)(s->tile.rows * s->words) * sizeof *marks);
    if (status == CLF_SUCCESS && tile.entry[1] != 0)
        s->all[s->count++] = tile;
    return status;
}

/* One tile of queries of one head; `first_list` is the number of the head's first list. */
static clf_status search_tile(search *s, int64_t b, int64_t h, int64_t first_list, int64_t tile)
{
    const int64_t q0 = tile * s->tile.rows, end = q0 + s->tile.rows < s->queries ? q0 + s->tile.rows : s->queries;
    clf_status status = CLF_SUCCESS;

    for (int64_t q = q0; q < end; q++) {
        const int32_t count = clf__pattern_row(s->pattern, b, h, q, s->row);
        for (int32_t i = 0; i < count && s->row[i] < s->keys; i++) {
            const int64_t key = s->row[i] / s->tile.columns, column = s->row[i] % s->tile.columns;
            int32_t *mark = s->marks + ((key * s->tile.rows + q - q0) * s->words + column / 32);
            *mark = (int32_t)((uint32_t)*mark | (uint32_t)1 << column % 32);
            s->pairs[key * s->parts + (q - q0) / s->tile.part]++;
        }
    }
    for (int64_t key = 0; status == CLF_SUCCESS && key < s->key_tiles; key++) {
        bool any = false;
        for (int64_t part = 0; part < s->parts; part++)
            any = any || s->pairs[key * s->parts + part] > 0;
        if (any)
            status = keep_tile(s, first_list + (s->tile.by_keys ? key : tile), tile, key);
    }
    return status;
}

/* Orders the lists of one head: longest first, the lower one first among equals. */
static void order_lists(const int32_t *starts, int64_t lists, int64_t longest, int32_t *place, int32_t *order)
{
    memset(place, 0, (size_t)(longest + 2) * sizeof *place);
    for (int64_t i = 0; i < lists; i++)
        place[longest - (starts[i + 1] - starts[i]) + 1]++;
    for (int64_t n = 0; n <= longest; n++)
        place[n + 1] += place[n];
    for (int64_t i = 0; i < lists; i++)
        order[place[longest - (starts[i + 1] - starts[i])]++] = (int32_t)i;
}

/* starts, order, entries, bits. Tiles were found in ascending order along either axis, so each list fills in order. */
static clf_status write_lists(const search *s, int64_t items, int64_t lists, int32_t **data, size_t *count, cl_int8 *at)
{
    const int64_t all = items * lists, longest = tiles_of(s->queries, s->tile.rows) + s->key_tiles;
    const size_t entries = (size_t)(2 * all + 1 + 3) / 4 * 4, bits = entries + 4 * s->count;
    int32_t *next = NULL;

    *count = bits + s->bit_count;
    if (*count > INT32_MAX)
        return clf__fail(CLF_OUT_OF_RANGE, "lists of %zu tiles with %zu words of bits", s->count, s->bit_count);
    *data = calloc(*count + 1, sizeof **data);
    next = calloc((size_t)(all > longest ? all : longest) + 3, sizeof *next);
    if (!*data || !next) {
        free(next);
        return clf__no_memory(*count * sizeof **data);
    }
    for (size_t i = 0; i < s->count; i++)
        (*data)[s->all[i].list + 1]++;
    for (int64_t i = 0; i < all; i++)
        (*data)[i + 1] += (*data)[i];
    for (int64_t item = 0; item < items; item++)
        order_lists(*data + item * lists, lists, longest, next, *data + all + 1 + item * lists);
    memcpy(next, *data, (size_t)all * sizeof *next);
    for (size_t i = 0; i < s->count; i++) {
        int32_t *entry = *data + entries + 4 * (ptrdiff_t)next[s->all[i].list]++;
        memcpy(entry, s->all[i].entry, sizeof s->all[i].entry);
        entry[3] += (int32_t)bits;
    }
    if (s->bit_count > 0)
        memcpy(*data + bits, s->bits, s->bit_count * sizeof *s->bits);
    free(next);
    at->s[0] = (cl_int)lists;
    at->s[3] = (cl_int)(all + 1);
    at->s[4] = (cl_int)entries;
    return CLF_SUCCESS;
}

static clf_status search_all(search *s, int64_t items, int64_t heads, int64_t lists)
{
    const int64_t query_tiles = tiles_of(s->queries, s->tile.rows);
    clf_status status = CLF_SUCCESS;

    s->row = malloc(((size_t)clf_pattern_get_info(s->pattern).keys + 1) * sizeof *s->row);
    s->pairs = calloc((size_t)(s->key_tiles * s->parts) + 1, sizeof *s->pairs);
    s->marks = calloc((size_t)(s->key_tiles * s->tile.rows * s->words) + 1, sizeof *s->marks);
    if (!s->row || !s->pairs || !s->marks)
        return clf__no_memory((size_t)(s->key_tiles * s->tile.rows * s->words) * sizeof *s->marks);
    for (int64_t item = 0; item < items; item++)
        for (int64_t tile = 0; status == CLF_SUCCESS && tile < query_tiles; tile++)
            status = search_tile(s, item / heads, item % heads, item * lists, tile);
    return status;
}

clf_status clf__fused_lists_of_tiles(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                     clf__fused_lists *lists)
{
    const clf_pattern_info info = clf_pattern_get_info(problem->blocks->pattern);
    const int64_t items = info.batch * info.heads, queries = problem->q.shape[2], keys = problem->k.shape[2];
    const int64_t count = tile->by_keys ? tiles_of(keys, tile->columns) : tiles_of(queries, tile->rows);
    search s = { .pattern = problem->blocks->pattern, .tile = *tile, .queries = queries, .keys = keys,
                 .key_tiles = tiles_of(keys, tile->columns), .parts = tiles_of(tile->rows, tile->part),
                 .words = tiles_of(tile->columns, 32) };
    int32_t *data = NULL;
    size_t words = 0;
    clf_status status;

    if (items * count > INT32_MAX / 4 || s.parts > 32)
        return clf__fail(CLF_OUT_OF_RANGE, "lists of %lld heads x %lld tiles of %d parts", (long long)items,
                         (long long)count, (int)s.parts);
    status = search_all(&s, items, info.heads, count);
    lists->at = (cl_int8){ { 0, (cl_int)info.heads, (cl_int)info.batch } };
    if (status == CLF_SUCCESS)
        status = write_lists(&s, items, count, &data, &words, &lists->at);
    if (status == CLF_SUCCESS)
        status = clf_plan_constant(plan, data, words * sizeof *data, &lists->mem);
    free(s.row);
    free(s.pairs);
    free(s.marks);
    free(s.all);
    free(s.bits);
    free(data);
    return status;
}
