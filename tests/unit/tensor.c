/* Views, their checks, overlap, and strided copies with everything around the elements watched. */
#include "tensor/tensor.h"
#include "devices.h"
#include "device/device.h"

#include <string.h>

static uint64_t state = 1;

static int64_t draw(int64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)below);
}

static clf_tensor described(clf_dtype dtype, int rank, const int64_t *shape, const int64_t *strides)
{
    clf_tensor tensor = { .dtype = dtype, .rank = rank };
    memcpy(tensor.shape, shape, (size_t)rank * sizeof *shape);
    memcpy(tensor.strides, strides, (size_t)rank * sizeof *strides);
    return tensor;
}
#define SHAPE(...) (const int64_t[]){ __VA_ARGS__ }

/* Byte position of the element with this row-major number. */
static uint64_t place(const clf_tensor *tensor, int64_t element)
{
    int64_t at = 0;

    for (int i = tensor->rank - 1; i >= 0; i--) {
        at += element % tensor->shape[i] * tensor->strides[i];
        element /= tensor->shape[i];
    }
    return tensor->offset + (uint64_t)at * clf_dtype_size(tensor->dtype);
}

Test(tensor, views)
{
    const clf_tensor t = clf_tensor_view(NULL, CLF_F16, 3, SHAPE(2, 3, 4));

    cr_expect_eq(t.strides[0], 12);
    cr_expect_eq(t.strides[1], 4);
    cr_expect_eq(t.strides[2], 1);
    cr_expect_eq(clf_tensor_elements(&t), 24);
    cr_expect_eq(clf_tensor_end(&t), 48);
    cr_expect(clf_tensor_is_contiguous(&t));
    cr_expect_eq(clf_tensor_check(&t, "t"), CLF_SUCCESS);

    const clf_tensor absent = { .rank = 0 };
    cr_expect_eq(clf_tensor_elements(&absent), 1);
    cr_expect_eq(clf_tensor_check(&absent, "t"), CLF_INVALID_RANK);

    const clf_tensor empty = clf_tensor_view(NULL, CLF_F32, 2, SHAPE(0, INT64_C(1) << 40));
    cr_expect_eq(clf_tensor_elements(&empty), 0);
    cr_expect_eq(clf_tensor_end(&empty), 0);
    cr_expect(clf_tensor_is_contiguous(&empty));
    cr_expect_eq(clf_tensor_check(&empty, "t"), CLF_SUCCESS);

    const clf_tensor transposed = described(CLF_F32, 2, SHAPE(3, 5), SHAPE(1, 3));
    cr_expect(!clf_tensor_is_contiguous(&transposed));
    const clf_tensor ones = described(CLF_F32, 3, SHAPE(1, 3, 1), SHAPE(77, 1, 99));
    cr_expect(clf_tensor_is_contiguous(&ones));
}

static void refused(clf_tensor tensor, clf_status status, const char *text)
{
    cr_expect_eq(clf_tensor_check(&tensor, "k"), status, "%s: %s", text, clf_error_message());
    cr_expect_not_null(strstr(clf_error_message(), text), "'%s' is not in '%s'", text, clf_error_message());
    cr_expect_not_null(strstr(clf_error_message(), "'k'"));
}

Test(tensor, bad_views)
{
    const int64_t big = INT64_C(1) << 31;
    clf_tensor    t = clf_tensor_view(NULL, CLF_F32, 2, SHAPE(2, 3));

    refused(clf_tensor_view(NULL, CLF_F32, 6, SHAPE(1, 1, 1, 1, 1, 1)), CLF_INVALID_RANK, "rank is 6");
    refused(clf_tensor_view(NULL, CLF_F32, -1, NULL), CLF_INVALID_RANK, "rank is -1");
    refused(clf_tensor_view(NULL, (clf_dtype)42, 1, SHAPE(1)), CLF_INVALID_DTYPE, "42");
    refused(clf_tensor_view(NULL, CLF_F32, 2, SHAPE(2, -3)), CLF_INVALID_SHAPE, "extent 1 is -3");
    refused(clf_tensor_view(NULL, CLF_F32, 2, SHAPE(big, big)), CLF_INVALID_SHAPE, "2^63");
    refused(clf_tensor_view(NULL, CLF_F32, 5, SHAPE(big, big, big, big, 0)), CLF_INVALID_SHAPE, "2^63");
    refused(clf_tensor_view(NULL, CLF_I8, 1, SHAPE(INT64_MIN)), CLF_INVALID_SHAPE, "extent 0");
    refused(described(CLF_F32, 2, SHAPE(2, 3), SHAPE(-3, 1)), CLF_INVALID_STRIDE, "stride 0 is -3");
    refused(described(CLF_F32, 2, SHAPE(2, 3), SHAPE(INT64_MAX, 1)), CLF_INVALID_STRIDE, "2^63");
    refused(described(CLF_U8, 2, SHAPE(2, 2), SHAPE(INT64_MAX - 1, 1)), CLF_INVALID_STRIDE, "2^63");
    refused(described(CLF_U8, 2, SHAPE(big, 2), SHAPE(INT64_MAX / 4, 1)), CLF_INVALID_STRIDE, "2^63");
    t.offset = 2;
    refused(t, CLF_INVALID_VALUE, "offset 2");
    t.offset = UINT64_MAX - 3;
    refused(t, CLF_INVALID_STRIDE, "2^63");
    cr_expect_eq(clf_tensor_check(NULL, "k"), CLF_INVALID_VALUE);

    /* Zero strides are views like any other, and one element needs no stride. */
    t = described(CLF_F32, 2, SHAPE(INT64_C(1) << 40, 3), SHAPE(0, 1));
    cr_expect_eq(clf_tensor_check(&t, "k"), CLF_SUCCESS);
    cr_expect_eq(clf_tensor_end(&t), 12);
    t = described(CLF_F32, 2, SHAPE(1, 3), SHAPE(INT64_MAX, 1));
    cr_expect_eq(clf_tensor_check(&t, "k"), CLF_SUCCESS);
}

/* ---- overlap ------------------------------------------------------------------------------------ */

enum { MEMORY = 4096 };

static clf_tensor random_view(int max_extent)
{
    static const clf_dtype types[] = { CLF_U8, CLF_F16, CLF_F32, CLF_F64 };
    clf_tensor             t = { .dtype = types[draw(4)], .rank = (int32_t)(1 + draw(4)) };

    t.offset = (uint64_t)draw(40) * clf_dtype_size(t.dtype);
    for (int i = 0; i < t.rank; i++) {
        t.shape[i] = 1 + draw(max_extent);
        t.strides[i] = draw(20);
    }
    return t;
}

/* Marks the bytes of a tensor; false when two elements share one. */
static bool mark(const clf_tensor *t, bool *bytes)
{
    bool own = true;

    memset(bytes, 0, MEMORY * sizeof *bytes);
    for (int64_t e = 0; e < clf_tensor_elements(t); e++) {
        for (size_t b = 0; b < clf_dtype_size(t->dtype); b++) {
            own = own && !bytes[place(t, e) + b];
            bytes[place(t, e) + b] = true;
        }
    }
    return own;
}

Test(tensor, overlap_is_exact)
{
    static bool a_bytes[MEMORY], b_bytes[MEMORY];
    int         overlaps = 0, apart = 0, injective = 0;

    for (int round = 0; round < 20000; round++) {
        clf_tensor a = random_view(4), b = random_view(4);
        a.mem = b.mem = (cl_mem)(uintptr_t)8; /* only compared */
        const bool own = mark(&a, a_bytes);
        mark(&b, b_bytes);
        bool shared = false;
        for (int i = 0; i < MEMORY; i++) {
            shared = shared || (a_bytes[i] && b_bytes[i]);
        }
        cr_assert_eq(clf__tensors_overlap(&a, &b), shared, "round %d", round);
        cr_assert_eq(clf__tensors_overlap(&b, &a), shared, "round %d", round);
        cr_assert(own || !clf__tensor_is_injective(&a), "round %d", round);
        overlaps += shared;
        apart += !shared;
        injective += clf__tensor_is_injective(&a);
    }
    cr_expect(overlaps > 1000 && apart > 1000 && injective > 1000, "%d %d %d", overlaps, apart, injective);
}

Test(tensor, overlap_of_everyday_layouts)
{
    const int64_t  n = 65536, h = 16, d = 64;
    const cl_mem   mem = (cl_mem)(uintptr_t)8;
    clf_tensor     q = described(CLF_F16, 4, SHAPE(4, h, n, d), SHAPE(n * 3 * h * d, d, 3 * h * d, 1));
    clf_tensor     k = q;

    q.mem = k.mem = mem;
    k.offset = (uint64_t)(h * d * 2); /* a packed [B, N, 3, H, D] */
    cr_expect(!clf__tensors_overlap(&q, &k));
    cr_expect(clf__tensor_is_injective(&q));
    k.offset -= 2;
    cr_expect(clf__tensors_overlap(&q, &k));
    cr_expect(clf__tensors_overlap(&q, &q));
    k.offset = 0;
    k.mem = (cl_mem)(uintptr_t)16;
    cr_expect(!clf__tensors_overlap(&q, &k));
    k.mem = NULL;
    cr_expect(!clf__tensors_overlap(&k, &k));
    clf_tensor empty = clf_tensor_view(mem, CLF_F16, 1, SHAPE(0));
    cr_expect(!clf__tensors_overlap(&q, &empty));
    clf_tensor broadcast = described(CLF_F16, 2, SHAPE(2, 3), SHAPE(0, 1));
    cr_expect(!clf__tensor_is_injective(&broadcast));
}

/* ---- copies --------------------------------------------------------------------------------------- */

static cl_mem buffer_of(clf_device *device, size_t bytes, unsigned char *data)
{
    cl_int       code = CL_SUCCESS;
    const cl_mem mem = clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes, data,
                                      &code);
    cr_assert_eq(code, CL_SUCCESS);
    return mem;
}

/* A view whose elements have their own memory: axes in any order, gaps after any of them. */
static clf_tensor random_layout(bool gaps)
{
    clf_tensor t = { .dtype = (clf_dtype)(1 + draw(10)), .rank = (int32_t)(1 + draw(5)) };
    int        axes[CLF_MAX_RANK] = { 0, 1, 2, 3, 4 };
    int64_t    stride = gaps && draw(3) == 0 ? 1 + draw(3) : 1;

    for (int i = t.rank - 1; i >= 0; i--) {
        const int k = draw(2) ? i : (int)draw(i + 1), axis = axes[k];
        axes[k] = axes[i];
        t.shape[axis] = 1 + draw(5);
        t.strides[axis] = stride;
        stride = stride * t.shape[axis] + (gaps && draw(2) ? draw(7) : 0);
    }
    t.offset = gaps ? (uint64_t)draw(9) * clf_dtype_size(t.dtype) : 0;
    return t;
}

static void check_copy(clf_device *device, clf_tensor t, size_t behind)
{
    const size_t   size = clf_dtype_size(t.dtype), elements = (size_t)clf_tensor_elements(&t);
    const size_t   bytes = (size_t)clf_tensor_end(&t) + behind;
    unsigned char *expected = malloc(bytes), *got = malloc(bytes), *data = malloc(elements * size);

    memset(expected, 0xa5, bytes);
    t.mem = buffer_of(device, bytes, expected);
    for (size_t i = 0; i < elements * size; i++) {
        data[i] = (unsigned char)draw(256);
    }
    for (size_t e = 0; e < elements; e++) {
        memcpy(expected + place(&t, (int64_t)e), data + e * size, size);
    }
    cr_assert_eq(clf_tensor_write(device, &t, data), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clEnqueueReadBuffer(clf_device_queue(device), t.mem, CL_TRUE, 0, bytes, got, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_assert_eq(memcmp(got, expected, bytes), 0, "%s: written wrongly", clf_device_get_info(device)->platform);
    memset(got, 0, elements * size);
    cr_assert_eq(clf_tensor_read(device, &t, got), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(memcmp(got, data, elements * size), 0, "%s: read wrongly", clf_device_get_info(device)->platform);
    clReleaseMemObject(t.mem);
    free(expected);
    free(got);
    free(data);
}

static void copies(clf_device *device)
{
    const int rounds = clf_device_get_info(device)->simulator ? 150 : 1000;

    state = 7;
    for (int round = 0; round < rounds; round++) {
        check_copy(device, random_layout(round % 4 != 0), (size_t)draw(3) * 8);
    }
    /* rows at two pitches, the second no multiple of the first; [B, N, H, D] seen as [B, H, N, D] */
    check_copy(device, described(CLF_F32, 3, SHAPE(3, 2, 4), SHAPE(15, 6, 1)), 0);
    check_copy(device, described(CLF_F16, 4, SHAPE(2, 3, 5, 8), SHAPE(120, 8, 24, 1)), 0);
    check_copy(device, described(CLF_F16, 4, SHAPE(2, 3, 5, 8), SHAPE(360, 8, 72, 1)), 0);
}

Test(tensor, copies_touch_only_their_elements)
{
    for_each_device(copies);
}

/* Inputs may repeat or share memory; such views can be read and not written. */
static void shared_elements(clf_device *device)
{
    unsigned char bytes[4096], got[4096];
    int           windows = 0;

    state = 11;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)draw(256);
    }
    cl_mem mem = buffer_of(device, sizeof bytes, bytes);
    for (int round = 0; round < 100; round++) {
        clf_tensor t = random_view(3);
        t.mem = mem;
        const size_t size = clf_dtype_size(t.dtype);
        cr_assert_eq(clf_tensor_read(device, &t, got), CLF_SUCCESS, "%s", clf_error_message());
        for (int64_t e = 0; e < clf_tensor_elements(&t); e++) {
            cr_assert_eq(memcmp(got + (size_t)e * size, bytes + place(&t, e), size), 0, "round %d", round);
        }
        if (!clf__tensor_is_injective(&t)) {
            windows++;
            cr_assert_eq(clf_tensor_write(device, &t, got), CLF_INVALID_STRIDE);
        }
    }
    cr_assert(windows > 10);
    clReleaseMemObject(mem);
}

Test(tensor, shared_elements)
{
    for_each_device(shared_elements);
}

static void every_dtype_and_rank(clf_device *device)
{
    for (int dtype = 1; dtype <= 10; dtype++) {
        for (int rank = 1; rank <= CLF_MAX_RANK; rank++) {
            const int64_t shape[] = { 2, 3, 1, 4, 5 };
            unsigned char data[960], got[960];
            clf_tensor    t;
            cr_assert_eq(clf_tensor_alloc(device, (clf_dtype)dtype, rank, shape, &t), CLF_SUCCESS);
            for (size_t i = 0; i < sizeof data; i++) {
                data[i] = (unsigned char)(i * 7 + (size_t)dtype);
            }
            cr_assert_eq(clf_tensor_write(device, &t, data), CLF_SUCCESS);
            cr_assert_eq(clf_tensor_read(device, &t, got), CLF_SUCCESS);
            cr_assert_eq(memcmp(got, data, (size_t)clf_tensor_end(&t)), 0);
            clf_tensor_free(device, &t);
            cr_assert_eq(t.rank, 0);
            cr_assert_null(t.mem);
        }
    }
    clf_tensor t = { .rank = 3 };
    cr_expect_eq(clf_tensor_alloc(device, CLF_F32, 2, SHAPE(0, 4), &t), CLF_SUCCESS);
    cr_expect_eq(clf_tensor_write(device, &t, NULL), CLF_SUCCESS);
    cr_expect_eq(clf_tensor_read(device, &t, NULL), CLF_SUCCESS);
    clf_tensor_free(device, &t);
    clf_tensor_free(device, &t);
    clf_tensor_free(device, NULL);
    cr_expect_eq(clf_tensor_alloc(device, CLF_F32, 0, NULL, &t), CLF_INVALID_RANK);
    cr_expect_eq(clf_tensor_alloc(device, CLF_F32, 1, NULL, &t), CLF_INVALID_VALUE);
    cr_expect_eq(clf_tensor_alloc(device, CLF_DTYPE_NONE, 1, SHAPE(1), &t), CLF_INVALID_DTYPE);
    cr_expect_eq(clf_tensor_alloc(device, CLF_F32, 1, SHAPE(-1), &t), CLF_INVALID_SHAPE);
    cr_expect_eq(clf_tensor_alloc(NULL, CLF_F32, 1, SHAPE(1), &t), CLF_INVALID_VALUE);
    cr_expect_eq(t.rank, 0);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(tensor, every_dtype_and_rank)
{
    for_each_device(every_dtype_and_rank);
}

static void floats(clf_device *device)
{
    static const clf_dtype types[] = { CLF_F32, CLF_F16, CLF_BF16 };
    const float            data[6] = { 0, -1.5f, 1e-30f, 70000, 1.0009765625f, -0.33333334f };
    float                  got[6];

    for (int i = 0; i < 3; i++) {
        clf_tensor t;
        cr_assert_eq(clf_tensor_alloc(device, types[i], 1, SHAPE(64), &t), CLF_SUCCESS);
        clf_tensor view = described(types[i], 2, SHAPE(2, 3), SHAPE(1, 7));
        view.mem = t.mem;
        cr_assert_eq(clf_tensor_write_floats(device, &view, data), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_tensor_read_floats(device, &view, got), CLF_SUCCESS);
        for (int e = 0; e < 6; e++) {
            const float expected = types[i] == CLF_F32   ? data[e]
                                   : types[i] == CLF_F16 ? clf_half_to_float(clf_float_to_half(data[e]))
                                                         : clf_bfloat16_to_float(clf_float_to_bfloat16(data[e]));
            cr_expect_eq(got[e], expected);
        }
        cr_expect_eq(clf_tensor_write_floats(device, &view, NULL), CLF_INVALID_VALUE);
        clf_tensor_free(device, &t);
    }
    const clf_tensor integers = clf_tensor_view(NULL, CLF_I32, 1, SHAPE(1));
    cr_expect_eq(clf_tensor_write_floats(device, &integers, data), CLF_INVALID_DTYPE);
    cr_expect_eq(clf_tensor_read_floats(device, &integers, got), CLF_INVALID_DTYPE);
}

Test(tensor, floats)
{
    for_each_device(floats);
}

static void bad_copies(clf_device *device)
{
    unsigned char data[64] = { 0 };
    cl_mem        mem = buffer_of(device, sizeof data, data);
    clf_tensor    t = clf_tensor_view(mem, CLF_F32, 2, SHAPE(4, 4));

    cr_expect_eq(clf_tensor_check(&t, "t"), CLF_SUCCESS);
    cr_expect_eq(clf_tensor_read(device, &t, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_tensor_read(NULL, &t, data), CLF_INVALID_VALUE);
    cr_expect_eq(clf_tensor_read(device, NULL, data), CLF_INVALID_VALUE);
    t.offset = 4;
    cr_expect_eq(clf_tensor_read(device, &t, data), CLF_BUFFER_TOO_SMALL);
    cr_expect_not_null(strstr(clf_error_message(), "byte 68"), "%s", clf_error_message());
    cr_expect_eq(clf_tensor_write(device, &t, data), CLF_BUFFER_TOO_SMALL);
    t.offset = 0;
    t.mem = NULL;
    cr_expect_eq(clf_tensor_write(device, &t, data), CLF_INVALID_VALUE);
    clReleaseMemObject(mem);
}

Test(tensor, bad_copies)
{
    for_each_device(bad_copies);
}

/* A caller's out-of-order queue: copies come after what was enqueued before. */
static void out_of_order(clf_device *device)
{
    cl_int           code = CL_SUCCESS;
    clf_device      *wrapped = NULL;
    cl_command_queue queue = clCreateCommandQueue(clf_device_context(device), clf_device_id(device),
                                                  CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    if (code) {
        return; /* this device has none */
    }
    cr_assert_eq(clf_device_wrap(clf_device_context(device), clf_device_id(device), queue, &wrapped), CLF_SUCCESS, "%s",
                 clf_error_message());
    state = 3;
    for (int round = 0; round < 30; round++) {
        check_copy(wrapped, random_layout(true), 8);
    }
    clf_device_release(wrapped);
    clReleaseCommandQueue(queue);
}

Test(tensor, out_of_order_queue)
{
    for_each_device(out_of_order);
}
