/* .safetensors files: round trips, every kind of hostile header, nothing half written. */
#define _XOPEN_SOURCE 700
#include <clformers/safetensors.h>
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128];

static void set_up(void)
{
    strcpy(folder, "/tmp/clf-safetensors-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file.safetensors", folder);
}

static void tear_down(void)
{
    remove(path);
    cr_expect_eq(rmdir(folder), 0, "something was left in %s", folder);
}

TestSuite(safetensors, .init = set_up, .fini = tear_down);

static void put(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

static size_t size_of_file(void)
{
    struct stat about;

    cr_assert_eq(stat(path, &about), 0);
    return (size_t)about.st_size;
}

/* A file with this header and `data` bytes of data. */
static void put_header(const char *header, size_t length, size_t data)
{
    unsigned char *bytes = calloc(8 + length + data + 1, 1);

    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    }
    memcpy(bytes + 8, header, length);
    put(bytes, 8 + length + data);
    free(bytes);
}

static void refused(const char *header, size_t data, const char *text)
{
    clf_safetensors *file = (clf_safetensors *)(uintptr_t)1;

    put_header(header, strlen(header), data);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE, "accepted: %.200s", header);
    cr_expect_null(file);
    cr_expect_not_null(strstr(clf_error_message(), text), "'%s' is not in '%.500s'", text, clf_error_message());
}

static void accepted(const char *header, size_t data)
{
    clf_safetensors *file = NULL;

    put_header(header, strlen(header), data);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_SUCCESS, "%.200s: %s", header, clf_error_message());
    clf_safetensors_close(file);
}

/* ---- round trips ---------------------------------------------------------------------------------- */

Test(safetensors, every_dtype_and_rank)
{
    static const int64_t    shape[] = { 2, 3, 1, 4, 5 };
    unsigned char           data[960];
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *file = NULL;
    char                    name[32];

    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 31);
    }
    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    for (int dtype = 1; dtype <= 10; dtype++) {
        for (int rank = 0; rank <= CLF_MAX_RANK; rank++) {
            snprintf(name, sizeof name, "%s.%d", clf_dtype_name((clf_dtype)dtype), rank);
            cr_assert_eq(clf_safetensors_add(writer, name, (clf_dtype)dtype, rank, shape, data), CLF_SUCCESS);
        }
    }
    cr_assert_eq(clf_safetensors_add(writer, "empty", CLF_F32, 2, (const int64_t[]){ 3, 0 }, NULL), CLF_SUCCESS);
    cr_assert_eq(access(path, F_OK), -1);
    cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS, "%s", clf_error_message());

    cr_assert_eq(clf_safetensors_open(path, &file), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(clf_safetensors_count(file), 61);
    for (int dtype = 1; dtype <= 10; dtype++) {
        size_t bytes = clf_dtype_size((clf_dtype)dtype);
        for (int rank = 0; rank <= CLF_MAX_RANK; rank++) {
            snprintf(name, sizeof name, "%s.%d", clf_dtype_name((clf_dtype)dtype), rank);
            const clf_safetensors_entry *entry = clf_safetensors_find(file, name);
            cr_assert_not_null(entry);
            bytes *= rank ? (size_t)shape[rank - 1] : 1;
            cr_expect_str_eq(entry->name, name);
            cr_expect_eq(entry->dtype, (clf_dtype)dtype);
            cr_expect_eq(entry->rank, rank);
            cr_expect_eq(memcmp(entry->shape, shape, (size_t)rank * sizeof *shape), 0);
            cr_expect_eq(entry->bytes, bytes);
            cr_expect_eq((uintptr_t)entry->data % clf_dtype_size(entry->dtype), 0);
            cr_expect_eq(memcmp(entry->data, data, bytes), 0);
        }
    }
    const clf_safetensors_entry *empty = clf_safetensors_find(file, "empty");
    cr_assert(empty && empty->bytes == 0 && empty->data && empty->shape[0] == 3 && empty->shape[1] == 0);
    for (size_t i = 0; i < clf_safetensors_count(file); i++) {
        const clf_safetensors_entry *entry = clf_safetensors_at(file, i);
        cr_expect_eq(entry, clf_safetensors_find(file, entry->name));
    }
    cr_expect_null(clf_safetensors_at(file, 61));
    cr_expect_null(clf_safetensors_find(file, "f32.0"));
    cr_expect_null(clf_safetensors_find(file, NULL));
    cr_expect_null(clf_safetensors_metadata(file, "x"));
    clf_safetensors_close(file);
    clf_safetensors_close(NULL);
    cr_expect_eq(clf_safetensors_count(NULL), 0);
}

Test(safetensors, strings_survive)
{
    static const char *const texts[] = { "", "a \"quoted\" \\ back/slash", "line\nbreak\ttab\x01\x1f\x7f",
                                         "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "{\"num_heads\": 4}" };
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    const uint8_t           one = 1;
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *file = NULL;

    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    for (int i = 0; i < TEXTS; i++) {
        cr_assert_eq(clf_safetensors_add(writer, texts[i], CLF_BOOL8, 0, NULL, &one), CLF_SUCCESS);
        cr_assert_eq(clf_safetensors_add_metadata(writer, texts[i], texts[TEXTS - 1 - i]), CLF_SUCCESS);
    }
    cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_open(path, &file), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < TEXTS; i++) {
        cr_assert_not_null(clf_safetensors_find(file, texts[i]));
        cr_expect_str_eq(clf_safetensors_metadata(file, texts[i]), texts[TEXTS - 1 - i]);
    }
    clf_safetensors_close(file);
}

Test(safetensors, header_is_padded)
{
    unsigned char           first[8];
    clf_safetensors_writer *writer = NULL;

    for (int length = 0; length < 9; length++) {
        cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
        cr_assert_eq(clf_safetensors_add_metadata(writer, &"xxxxxxxx"[8 - length], ""), CLF_SUCCESS);
        cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS);
        FILE *file = fopen(path, "rb");
        cr_assert(file && fread(first, 1, 8, file) == 8);
        fclose(file);
        cr_expect_eq(first[0] % 8, 0);
        cr_expect_eq(size_of_file(), 8u + first[0]);
    }
}

Test(safetensors, no_tensors)
{
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *file = NULL;

    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_open(path, &file), CLF_SUCCESS);
    cr_expect_eq(clf_safetensors_count(file), 0);
    clf_safetensors_close(file);
}

/* ---- the reader's checks ------------------------------------------------------------------------- */

#define TENSOR(name_, dtype_, shape_, begin_, end_) \
    "\"" name_ "\":{\"dtype\":\"" dtype_ "\",\"shape\":[" shape_ "],\"data_offsets\":[" #begin_ "," #end_ "]}"
#define ONE(dtype_, shape_, begin_, end_) "{" TENSOR("x", dtype_, shape_, begin_, end_) "}"

Test(safetensors, good_headers)
{
    accepted("{}", 0);
    accepted("{}      ", 0);
    accepted("{ } \n\t\r", 0);
    accepted(ONE("F32", "2,3", 0, 24), 24);
    accepted(ONE("F32", "", 0, 4), 4);
    accepted(ONE("I8", "0,7", 0, 0), 0);
    accepted("{\"__metadata__\":{}}", 0);
    accepted("{" TENSOR("a", "U8", "3", 0, 3) "," TENSOR("z", "U8", "0", 3, 3) "," TENSOR("b", "F32", "1", 3, 7) "}",
             7);
    accepted("{" TENSOR("later", "F32", "1", 4, 8) "," TENSOR("sooner", "F32", "1", 0, 4) "}", 8);
    accepted("{" TENSOR("a", "U8", "0", 0, 0) "," TENSOR("b", "U8", "0", 0, 0) "," TENSOR("c", "U8", "1", 0, 1) "}", 1);
    accepted("{\"x\":{\"data_offsets\":[0,1],\"shape\":[1],\"dtype\":\"U8\"}}", 1);
}

Test(safetensors, misaligned_data_moves)
{
    static const char header[] = "{" TENSOR("a", "U8", "3", 0, 3) "," TENSOR("b", "F32", "1", 3, 7) ","
                                 TENSOR("c", "F64", "1", 7, 15) "}";
    for (size_t pad = 0; pad < 8; pad++) {
        clf_safetensors *file = NULL;
        char             text[sizeof header + 8];
        snprintf(text, sizeof text, "%s%.*s", header, (int)pad, "        ");
        put_header(text, strlen(text), 15);
        cr_assert_eq(clf_safetensors_open(path, &file), CLF_SUCCESS, "%s", clf_error_message());
        for (size_t i = 0; i < 3; i++) {
            const clf_safetensors_entry *entry = clf_safetensors_at(file, i);
            cr_expect_eq((uintptr_t)entry->data % clf_dtype_size(entry->dtype), 0);
        }
        clf_safetensors_close(file);
    }
}

Test(safetensors, not_json)
{
    refused("", 0, "'{'");
    refused(" {}", 0, "'{'");
    refused("[]", 0, "'{'");
    refused("{", 0, "no JSON object");
    refused("{}x", 0, "byte 2");
    refused("{},", 0, "no JSON object");
    refused("{\"x\":}", 0, "no JSON object");
    refused("{\"x\":1,}", 0, "no JSON object");
    refused("{\"x\":1", 0, "no JSON object");
    refused("{\"x", 0, "no JSON object");
    refused("{\"\\ud800\":1}", 0, "no JSON object");
    refused("{\"a\\u0000b\":1}", 0, "NUL");
    refused("{\"\x01\":1}", 0, "control");
    refused("{\"\xff\":1}", 0, "UTF-8");
    refused("{\"\xc0\xaf\":1}", 0, "UTF-8");
    refused("{\"\xed\xa0\x80\":1}", 0, "UTF-8");
    refused("{\"\xe2\x82", 0, "UTF-8");

    clf_safetensors *file = NULL;
    put_header("{}\0\0", 4, 0);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE);
    put_header("{\"a\0\":1}", 8, 0);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE);

    /* Nesting without end */
    char deep[20000];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"x\":", 5);
    deep[sizeof deep - 1] = '\0';
    refused(deep, 0, "no JSON object");
}

Test(safetensors, bad_header_length)
{
    static const uint64_t lengths[] = { 3, 100, 100000001, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX - 7, UINT64_MAX };
    clf_safetensors      *file = NULL;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        unsigned char bytes[10] = "........{}";
        for (int k = 0; k < 8; k++) {
            bytes[k] = (unsigned char)(lengths[i] >> (8 * k));
        }
        put(bytes, sizeof bytes);
        cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE, "%zu", i);
    }
    put("", 0);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE);
    /* A sparse file large enough for a header above the limit. */
    put("\x01\xe1\xf5\x05\0\0\0\0{}", 10);
    cr_assert_eq(truncate(path, 100000100), 0);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE);
    cr_expect_not_null(strstr(clf_error_message(), "100000001"), "%s", clf_error_message());
}

Test(safetensors, bad_entries)
{
    refused("{\"x\":1}", 0, "tensor 'x': not an object");
    refused("{\"x\":[]}", 0, "not an object");
    refused("{\"x\":null}", 0, "not an object");
    refused("{\"x\":{}}", 0, "'dtype' is missing");
    refused("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'shape' is missing");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "'data_offsets' is missing");
    refused("{\"x\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'dtype' is missing or no string");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "'shape'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":{\"a\":1},\"data_offsets\":[0,4]}}", 4, "'shape'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", 4, "extent 0");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "'data_offsets'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "'data_offsets'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "'more' is unknown");
    refused("{\"x\":{\"dtype\":\"F32\",\"Shape\":[1],\"data_offsets\":[0,4]}}", 4, "'Shape' is unknown");
    refused(ONE("F8_E4M3", "1", 0, 1), 1, "dtype 'F8_E4M3'");
    refused(ONE("f32", "1", 0, 4), 4, "dtype 'f32'");
    refused(ONE("", "1", 0, 4), 4, "dtype ''");
    refused(ONE("U8", "1,1,1,1,1,1", 0, 1), 1, "more than 5");
}

Test(safetensors, bad_numbers)
{
    refused(ONE("U8", "-1", 0, 1), 1, "extent 0");
    refused(ONE("U8", "1,1.5", 0, 1), 1, "extent 1");
    refused(ONE("U8", "\"1\"", 0, 1), 1, "extent 0");
    refused(ONE("U8", "true", 0, 1), 1, "extent 0");
    refused(ONE("U8", "null", 0, 1), 1, "extent 0");
    refused(ONE("U8", "9007199254740992", 0, 1), 1, "2^53");
    refused(ONE("U8", "1e400", 0, 1), 1, "extent 0");
    refused(ONE("U8", "1", -1, 0), 1, "data_offsets");
    refused(ONE("U8", "1", 0, 1.5), 1, "data_offsets");
    refused(ONE("U8", "1", 0, 18446744073709551616), 1, "data_offsets");
    refused(ONE("U8", "1", 9007199254740993, 9007199254740994), 1, "2^53");
    refused(ONE("U8", "1", 1, 0), 1, "ends before");
    refused(ONE("U8", "2", 0, 1), 1, "need 2");
    refused(ONE("F32", "1", 0, 1), 1, "need 4");
    refused(ONE("F64", "4503599627370496,4503599627370496,4503599627370496", 0, 8), 8, "too large");
    refused(ONE("F64", "4503599627370496,4503599627370496,0", 0, 0), 0, "too large");
    refused(ONE("F32", "4294967296,4294967296", 0, 0), 0, "too large"); /* 2^64 elements */
    refused(ONE("U8", "8", 0, 8), 7, "byte 8 of 7");
    refused(ONE("U8", "4503599627370496", 0, 4503599627370496), 7, "of 7");
    refused(ONE("U8", "4", 100, 104), 8, "of 8");
}

Test(safetensors, bad_cover)
{
    refused("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "4", 3, 7) "}", 7, "an overlap");
    refused("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "4", 0, 4) "}", 4, "an overlap");
    refused("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "2", 1, 3) "}", 4, "an overlap");
    refused("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "4", 5, 9) "}", 9, "a hole");
    refused("{" TENSOR("a", "U8", "4", 1, 5) "}", 5, "a hole");
    refused("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "0", 2, 2) "}", 4, "an overlap");
    refused("{" TENSOR("a", "U8", "0", 3, 3) "}", 4, "a hole");
    refused(ONE("U8", "4", 0, 4), 5, "1 bytes stand behind");
    refused("{}", 1, "stand behind");
}

Test(safetensors, duplicates)
{
    refused("{" TENSOR("a", "U8", "1", 0, 1) "," TENSOR("b", "U8", "1", 1, 2) "," TENSOR("a", "U8", "1", 2, 3) "}", 3,
            "'a' stands twice");
    refused("{" TENSOR("a", "U8", "0", 0, 0) "," TENSOR("\\u0061", "U8", "0", 0, 0) "}", 0, "'a' stands twice");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "stands twice");
    refused("{\"__metadata__\":{\"k\":\"1\",\"l\":\"\",\"k\":\"2\"}}", 0, "'k' stands twice");
    refused("{\"x\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "'dtype' stands twice");
    refused("{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "'shape' stands twice");
    accepted("{\"__metadata__\":{\"k\":\"1\",\"K\":\"2\"}}", 0);
}

Test(safetensors, bad_metadata)
{
    refused("{\"__metadata__\":1}", 0, "no object");
    refused("{\"__metadata__\":[]}", 0, "no object");
    refused("{\"__metadata__\":{\"k\":1}}", 0, "'k' is no string");
    refused("{\"__metadata__\":{\"k\":null}}", 0, "'k' is no string");
    refused("{\"__metadata__\":{\"k\":{}}}", 0, "'k' is no string");
}

Test(safetensors, absurd_keys)
{
    static char text[300000];

    for (int metadata = 0; metadata < 2; metadata++) {
        char *at = text + sprintf(text, metadata ? "{\"__metadata__\":{\"" : "{\"");
        memset(at, 'k', 200000);
        strcpy(at + 200000, metadata ? "\":\"\"}}" : "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
        refused(text, 0, "has 200000 bytes");
        cr_expect(strlen(clf_error_message()) < 1000);
    }
}

/* A file cut anywhere, and a file with any one byte changed: an answer, never a crash. */
static size_t small_file(unsigned char *bytes, size_t capacity)
{
    const float             data[6] = { 1, 2, 3, 4, 5, 6 };
    clf_safetensors_writer *writer = NULL;

    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_add(writer, "x", CLF_F32, 2, (const int64_t[]){ 2, 3 }, data), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_add(writer, "y", CLF_U8, 1, (const int64_t[]){ 5 }, data), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_add_metadata(writer, "config", "{\"a\":1}"), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS);
    FILE        *file = fopen(path, "rb");
    const size_t size = fread(bytes, 1, capacity, file);
    fclose(file);
    cr_assert(size > 50 && size < capacity);
    return size;
}

Test(safetensors, truncated)
{
    unsigned char    bytes[1000];
    const size_t     size = small_file(bytes, sizeof bytes);
    clf_safetensors *file = NULL;

    for (size_t length = 0; length < size; length++) {
        put(bytes, length);
        cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE, "accepted %zu of %zu bytes", length, size);
        cr_expect_null(file);
    }
}

Test(safetensors, one_byte_changed)
{
    static const unsigned char values[] = { 0, ' ', '"', '0', '9', '{', '}', ',', '[', '-', '\\', 0xff };
    unsigned char              bytes[1000];
    const size_t               size = small_file(bytes, sizeof bytes);

    for (size_t at = 0; at < size; at++) {
        for (size_t i = 0; i < sizeof values; i++) {
            clf_safetensors    *file = NULL;
            const unsigned char kept = bytes[at];
            bytes[at] = values[i];
            put(bytes, size);
            const clf_status status = clf_safetensors_open(path, &file);
            cr_assert(status == CLF_SUCCESS || status == CLF_INVALID_FILE, "%s", clf_error_message());
            clf_safetensors_close(file);
            bytes[at] = kept;
        }
    }
}

/* ---- the writer's checks ------------------------------------------------------------------------ */

Test(safetensors, bad_additions)
{
    const int64_t           shape[] = { 1, INT64_C(1) << 40, INT64_C(1) << 40, -1 };
    const float             data = 0;
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *file = NULL;
    char                    name[5000];

    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    cr_expect_eq(clf_safetensors_create(NULL, &writer), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_create("", &writer), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_create(path, NULL), CLF_INVALID_VALUE);
    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_add(writer, "x", CLF_F32, 1, shape, &data), CLF_SUCCESS);
    cr_expect_eq(clf_safetensors_add(NULL, "y", CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "x", CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "__metadata__", CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, NULL, CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, name, CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "\xff", CLF_F32, 1, shape, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_DTYPE_NONE, 1, shape, &data), CLF_INVALID_DTYPE);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, 6, shape, &data), CLF_INVALID_RANK);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, -1, shape, &data), CLF_INVALID_RANK);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, 1, NULL, &data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, 1, shape, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, 3, shape, &data), CLF_INVALID_SHAPE);
    cr_expect_eq(clf_safetensors_add(writer, "y", CLF_F32, 1, shape + 3, &data), CLF_INVALID_SHAPE);
    cr_expect_eq(clf_safetensors_add_metadata(writer, NULL, ""), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add_metadata(writer, "k", NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_add_metadata(writer, "k", "v"), CLF_SUCCESS);
    cr_expect_eq(clf_safetensors_add_metadata(writer, "k", "w"), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_commit(NULL), CLF_INVALID_VALUE);

    /* None of that harmed what was collected. */
    cr_assert_eq(clf_safetensors_commit(writer), CLF_SUCCESS);
    cr_assert_eq(clf_safetensors_open(path, &file), CLF_SUCCESS);
    cr_expect_eq(clf_safetensors_count(file), 1);
    cr_expect_str_eq(clf_safetensors_metadata(file, "k"), "v");
    clf_safetensors_close(file);
}

Test(safetensors, nothing_left_behind)
{
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *file = NULL;
    char                    nowhere[160];

    /* A directory that does not exist; as root, a read-only one would not stop us. */
    snprintf(nowhere, sizeof nowhere, "%s/none/file.safetensors", folder);
    cr_assert_eq(clf_safetensors_create(nowhere, &writer), CLF_SUCCESS);
    cr_expect_eq(clf_safetensors_commit(writer), CLF_IO_ERROR);
    cr_expect_not_null(strstr(clf_error_message(), "none"), "%s", clf_error_message());
    cr_expect_eq(clf_safetensors_open(nowhere, &file), CLF_IO_ERROR);

    if (geteuid() != 0) {
        cr_assert_eq(chmod(folder, 0500), 0);
        cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
        cr_expect_eq(clf_safetensors_commit(writer), CLF_IO_ERROR);
        cr_assert_eq(chmod(folder, 0700), 0);
    }

    /* A device that is full */
    if (access("/dev/full", W_OK) == 0) {
        cr_assert_eq(clf_safetensors_create("/dev/full", &writer), CLF_SUCCESS);
        cr_expect_eq(clf_safetensors_commit(writer), CLF_IO_ERROR);
    }

    /* Discarding: an older file stays as it was. */
    put("old", 3);
    cr_assert_eq(clf_safetensors_create(path, &writer), CLF_SUCCESS);
    clf_safetensors_discard(writer);
    clf_safetensors_discard(NULL);
    cr_expect_eq(size_of_file(), 3);
    cr_expect_eq(clf_safetensors_open(path, &file), CLF_INVALID_FILE);
    cr_expect_eq(clf_safetensors_open(folder, &file), CLF_IO_ERROR);
    cr_expect_eq(clf_safetensors_open(NULL, &file), CLF_INVALID_VALUE);
    cr_expect_eq(clf_safetensors_open(path, NULL), CLF_INVALID_VALUE);
}
