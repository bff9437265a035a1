/* Block lists of a pattern that is known in advance: its pairs are counted tile by tile. */
#include "pattern/block_list.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

/* A tile with at least one pair. */
typedef struct found {
    int32_t list, entry;
} found;

typedef struct search {
    const clf_pattern *pattern;
    int                rows, columns;
    bool               by_keys;
    int64_t            queries, keys;
    int32_t           *row;    /* the keys of one query */
    int32_t           *pairs;  /* of each key tile, in the present tile of queries */
    found             *all;
    size_t             count, capacity;
} search;

static clf_status keep(search *s, int64_t list, int64_t entry)
{
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 256;
        found *all = realloc(s->all, capacity * sizeof *all);
        if (!all)
            return clf__no_memory(capacity * sizeof *all);
        s->all = all;
        s->capacity = capacity;
    }
    s->all[s->count++] = (found){ (int32_t)list, (int32_t)entry };
    return CLF_SUCCESS;
}

/* One tile of queries of one head; `first_list` is the number of the head's first list. */
static clf_status search_tile(search *s, int64_t b, int64_t h, int64_t first_list, int64_t tile)
{
    const int64_t key_tiles = (s->keys + s->columns - 1) / s->columns, q0 = tile * s->rows;
    const int64_t end = q0 + s->rows < s->queries ? q0 + s->rows : s->queries;
    clf_status status = CLF_SUCCESS;

    memset(s->pairs, 0, (size_t)key_tiles * sizeof *s->pairs);
    for (int64_t q = q0; q < end; q++) {
        const int32_t count = clf__pattern_row(s->pattern, b, h, q, s->row);
        for (int32_t i = 0; i < count; i++)
            s->pairs[s->row[i] / s->columns]++;
    }
    for (int64_t key = 0; status == CLF_SUCCESS && key < key_tiles; key++) {
        const bool whole = s->pairs[key] == (end - q0) * s->columns; /* a tile beyond the last key has fewer */
        if (s->pairs[key] > 0)
            status = keep(s, first_list + (s->by_keys ? key : tile), 2 * (s->by_keys ? tile : key) + !whole);
    }
    return status;
}

static clf_status search_all(search *s, const clf__block_lists *lists)
{
    const int64_t query_tiles = (s->queries + s->rows - 1) / s->rows;
    clf_status status = CLF_SUCCESS;

    for (int64_t i = 0; i < lists->batch * lists->heads; i++)
        for (int64_t tile = 0; status == CLF_SUCCESS && tile < query_tiles; tile++)
            status = search_tile(s, i / lists->heads, i % lists->heads, i * lists->tiles, tile);
    return status;
}

/* Tiles were found in ascending order along either axis, so each list fills in order. */
static clf_status write_lists(const search *s, clf__block_lists *lists, int32_t **data)
{
    const int64_t count = lists->batch * lists->heads * lists->tiles;
    int32_t *counts = calloc((size_t)count + 1, sizeof *counts), most = 1;

    if (!counts)
        return clf__no_memory((size_t)count * sizeof *counts);
    for (size_t i = 0; i < s->count; i++) {
        const int32_t n = ++counts[s->all[i].list];
        most = n > most ? n : most;
    }
    lists->capacity = most;
    free(counts);
    if (count * (1 + lists->capacity) > INT32_MAX)
        return clf__fail(CLF_OUT_OF_RANGE, "%lld block lists of up to %d entries", (long long)count, most);
    lists->bytes = (uint64_t)count * (uint64_t)(1 + lists->capacity) * sizeof **data;
    *data = malloc((size_t)lists->bytes + sizeof **data);
    if (!*data)
        return clf__no_memory((size_t)lists->bytes);
    memset(*data, 0, (size_t)count * sizeof **data);
    memset(*data + count, 0xff, (size_t)(count * lists->capacity) * sizeof **data);
    for (size_t i = 0; i < s->count; i++) {
        const int32_t list = s->all[i].list;
        (*data)[count + list * lists->capacity + (*data)[list]++] = s->all[i].entry;
    }
    return CLF_SUCCESS;
}

clf_status clf__block_lists_make(const clf_pattern *pattern, int rows, int columns, bool by_keys,
                                 clf__block_lists *lists, int32_t **data)
{
    const clf_pattern_info info = clf_pattern_get_info(pattern);
    const clf__block_problem problem = { .batch = info.batch, .heads = info.heads, .queries = info.queries,
                                         .keys = info.keys, .rows = rows, .columns = columns, .by_keys = by_keys,
                                         .pattern = pattern };
    search s = { .pattern = pattern, .rows = rows, .columns = columns, .by_keys = by_keys, .queries = info.queries,
                 .keys = info.keys };
    clf_status status = clf__block_lists_begin(&problem, lists);

    *data = NULL;
    if (status)
        return status;
    s.row = malloc(((size_t)info.keys + 1) * sizeof *s.row);
    s.pairs = malloc(((size_t)info.keys / (size_t)columns + 2) * sizeof *s.pairs);
    if (!s.row || !s.pairs)
        status = clf__no_memory((size_t)info.keys * sizeof *s.row);
    if (status == CLF_SUCCESS)
        status = search_all(&s, lists);
    if (status == CLF_SUCCESS)
        status = write_lists(&s, lists, data);
    free(s.row);
    free(s.pairs);
    free(s.all);
    return status;
}
