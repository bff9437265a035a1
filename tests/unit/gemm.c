/* Matrix products against the double reference, by every provider on every device. */
#include "gemm_part.h"
#include "devices.h"
#include <clformers/clformers.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 37 }; /* elements before and after every tensor, or a few more before it */
enum { TURN_A = 1, TURN_B = 2, TURN_C = 4, BIAS = 8, BETA = 16, REPEAT_A = 32, REPEAT_B = 64, PLAIN = 128,
       EVEN = 256 };

typedef struct variant {
    clf_dtype a, b, c;
    int       flags; /* PLAIN: contiguous, else rows are padded and the batch is spread; EVEN: by multiples of 8 */
} variant;

typedef struct size {
    int64_t m, n, k, batch[2];
} size;

/* A tensor on the host, as it lies in memory, and on the device. */
typedef struct image {
    clf_tensor     tensor;
    size_t         elements, bytes; /* of memory, guards included */
    unsigned char *data;
} image;

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 33) / (double)(1u << 30) - 1;
}

static int64_t below(int64_t limit)
{
    return (int64_t)((uniform() + 1) / 2 * (double)limit);
}

static double load(const image *image, int64_t at)
{
    const unsigned char *p = image->data + (size_t)at * clf_dtype_size(image->tensor.dtype);
    uint16_t bits;
    float value;

    if (image->tensor.dtype == CLF_F32) {
        memcpy(&value, p, sizeof value);
        return value;
    }
    memcpy(&bits, p, sizeof bits);
    return image->tensor.dtype == CLF_F16 ? clf_half_to_float(bits) : clf_bfloat16_to_float(bits);
}

static void store(image *image, int64_t at, float value)
{
    unsigned char *p = image->data + (size_t)at * clf_dtype_size(image->tensor.dtype);
    const uint16_t bits = image->tensor.dtype == CLF_F16 ? clf_float_to_half(value) : clf_float_to_bfloat16(value);

    memcpy(p, image->tensor.dtype == CLF_F32 ? (const void *)&value : (const void *)&bits,
           clf_dtype_size(image->tensor.dtype));
}

/* Rounded to the type, as the base is. */
static float rounded(float x, clf_dtype dtype)
{
    return dtype == CLF_F16    ? clf_half_to_float(clf_float_to_half(x))
           : dtype == CLF_BF16 ? clf_bfloat16_to_float(clf_float_to_bfloat16(x))
                               : x;
}

static int64_t place(const clf_tensor *tensor, const int64_t *index)
{
    int64_t at = (int64_t)(tensor->offset / clf_dtype_size(tensor->dtype));
    for (int d = 0; d < tensor->rank; d++)
        at += index[d] * tensor->strides[d];
    return at;
}

/* [batch0, batch1, rows, columns] with strides by the flags; NaN everywhere, then numbers where the elements are. */
static image make(clf_dtype dtype, const size *size, int64_t rows, int64_t columns, bool turned, bool repeats,
                  bool plain, bool even)
{
    const int64_t shape[4] = { size->batch[0], size->batch[1], rows, columns };
    const int64_t pad = even ? 7 - (turned ? rows - 1 : columns - 1) % 8 + (plain ? 0 : 8) : plain ? 0 : 3;
    image image = { .tensor = clf_tensor_view(NULL, dtype, 4, shape) };
    int64_t *strides = image.tensor.strides, index[4];

    strides[turned ? 2 : 3] = 1;
    strides[turned ? 3 : 2] = (turned ? rows : columns) + pad;
    strides[1] = repeats ? 0 : strides[turned ? 3 : 2] * (turned ? columns : rows) + (plain ? 0 : even ? 8 : 5);
    strides[0] = repeats && !plain ? 0 : (repeats ? strides[turned ? 3 : 2] * (turned ? columns : rows) : strides[1]) *
                 (repeats ? 1 : shape[1]) + (plain ? 0 : even ? 16 : 7);
    image.tensor.offset = (even ? (GUARD + 7) / 8 * 8 : GUARD) * clf_dtype_size(dtype);
    image.elements = 2 * GUARD + (size_t)(strides[0] * shape[0] + strides[1] * shape[1] + strides[2] * rows +
                                          strides[3] * columns);
    image.bytes = image.elements * clf_dtype_size(dtype);
    image.data = malloc(image.bytes);
    cr_assert(image.data);
    for (size_t i = 0; i < image.elements; i++)
        store(&image, (int64_t)i, NAN);
    for (index[0] = 0; index[0] < shape[0]; index[0]++)
        for (index[1] = 0; index[1] < shape[1]; index[1]++)
            for (index[2] = 0; index[2] < rows; index[2]++)
                for (index[3] = 0; index[3] < columns; index[3]++)
                    store(&image, place(&image.tensor, index), (float)uniform());
    return image;
}

static void upload(clf_device *device, image *image)
{
    cl_int code;

    image->tensor.mem = clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                       image->bytes, image->data, &code);
    cr_assert_eq(code, CL_SUCCESS);
}

static void drop(image *image)
{
    if (image->tensor.mem)
        clReleaseMemObject(image->tensor.mem);
    free(image->data);
}

typedef struct result {
    double error, base_error, largest;
    bool   bad;
} result;

/* One element: reference in double, base in f32, and what came out. */
static void look(const clf__gemm_problem *p, const image *a, const image *b, const image *c, const image *bias,
                 const image *out, const int64_t *index, result *result)
{
    const int64_t at = place(&c->tensor, index);
    double sum = 0;
    float base = 0;

    for (int64_t k = 0; k < p->a.shape[3]; k++) {
        const double x = load(a, place(&a->tensor, (const int64_t[]){ index[0], index[1], index[2], k }));
        const double y = load(b, place(&b->tensor, (const int64_t[]){ index[0], index[1], k, index[3] }));
        sum += x * y;
        base += (float)x * (float)y;
    }
    sum *= (double)p->alpha;
    base *= p->alpha;
    if (p->beta != 0) {
        sum += (double)p->beta * load(c, at);
        base += p->beta * (float)load(c, at);
    }
    if (p->bias.rank) {
        const double more = load(bias, place(&bias->tensor, &index[3]));
        sum += more;
        base += (float)more;
    }
    const double got = load(out, at);
    result->bad |= !isfinite(got);
    result->error = fmax(result->error, fabs(got - sum));
    result->base_error = fmax(result->base_error, fabs((double)rounded(base, c->tensor.dtype) - sum));
    result->largest = fmax(result->largest, fabs(sum));
}

/* Bytes of `out` that belong to no element are those of `c`. Elements are marked by taking them over. */
static bool is_untouched(const image *c, const image *out, unsigned char *mark)
{
    const size_t size = clf_dtype_size(c->tensor.dtype);
    int64_t index[4];

    memcpy(mark, c->data, c->bytes);
    for (index[0] = 0; index[0] < c->tensor.shape[0]; index[0]++)
        for (index[1] = 0; index[1] < c->tensor.shape[1]; index[1]++)
            for (index[2] = 0; index[2] < c->tensor.shape[2]; index[2]++)
                for (index[3] = 0; index[3] < c->tensor.shape[3]; index[3]++) {
                    const size_t at = (size_t)place(&c->tensor, index) * size;
                    memcpy(mark + at, out->data + at, size);
                }
    return memcmp(mark, out->data, c->bytes) == 0;
}

static void check(const clf__gemm_problem *p, const image *a, const image *b, const image *c, const image *bias,
                  const image *out, const char *text)
{
    const double eps = p->c.dtype == CLF_F16 ? 0x1p-10 : p->c.dtype == CLF_BF16 ? 0x1p-7 : 0x1p-23;
    unsigned char *mark = malloc(c->bytes);
    result result = { 0 };
    int64_t index[4];

    cr_assert(mark);
    for (index[0] = 0; index[0] < p->c.shape[0]; index[0]++)
        for (index[1] = 0; index[1] < p->c.shape[1]; index[1]++)
            for (index[2] = 0; index[2] < p->c.shape[2]; index[2]++)
                for (index[3] = 0; index[3] < p->c.shape[3]; index[3]++)
                    look(p, a, b, c, bias, out, index, &result);
    const double tolerance = 2 * result.base_error + 4 * eps * result.largest;
    cr_assert(!result.bad && result.error <= tolerance, "%s: off by %g, %g is allowed (base %g, largest %g)%s", text,
              result.error, tolerance, result.base_error, result.largest, result.bad ? ", NaN or infinity" : "");
    cr_assert(is_untouched(c, out, mark), "%s: wrote outside of c", text);
    free(mark);
}

/* Runs it twice: the same bits must come out. */
static void run_twice(clf_device *device, gemm_fixture *fixture, const image *c, image *out, const char *text)
{
    unsigned char *first = malloc(c->bytes);

    cr_assert(first);
    for (int run = 0; run < 2; run++) {
        cr_assert_eq(clEnqueueWriteBuffer(clf_device_queue(device), c->tensor.mem, CL_TRUE, 0, c->bytes, c->data, 0,
                                          NULL, NULL), CL_SUCCESS);
        cr_assert_eq(gemm_enqueue(fixture, NULL), CLF_SUCCESS, "%s: %s", text, clf_error_message());
        cr_assert_eq(clEnqueueReadBuffer(clf_device_queue(device), c->tensor.mem, CL_TRUE, 0, c->bytes, out->data, 0,
                                         NULL, NULL), CL_SUCCESS);
        if (run == 0)
            memcpy(first, out->data, c->bytes);
    }
    cr_assert(memcmp(first, out->data, c->bytes) == 0, "%s: a second run gives other bits", text);
    free(first);
}

/* c that is not read holds NaN. */
static void spoil(image *c)
{
    for (size_t i = 0; i < c->elements; i++)
        store(c, (int64_t)i, NAN);
}

/* False when the provider cannot do it. */
static bool try_case(clf_device *device, const char *provider, const variant *v, const size *s)
{
    const bool plain = v->flags & PLAIN, even = v->flags & EVEN;
    image a = make(v->a, s, s->m, s->k, v->flags & TURN_A, v->flags & REPEAT_A, plain, even);
    image b = make(v->b, s, s->k, s->n, v->flags & TURN_B, v->flags & REPEAT_B, plain, even);
    image c = make(v->c, s, s->m, s->n, v->flags & TURN_C, false, plain, even && plain);
    image bias = make(v->b, &(size){ .batch = { 1, 1 } }, 1, s->n, false, false, true, false), out = c;
    clf__gemm_problem problem = { .alpha = v->flags & BETA ? -0.75f : 1, .beta = v->flags & BETA ? 0.5f : 0,
                                  .provider = provider };
    gemm_fixture fixture;
    char text[160];

    if (problem.beta == 0)
        spoil(&c);
    bias.tensor.rank = 1;
    bias.tensor.shape[0] = s->n;
    bias.tensor.strides[0] = 1;
    upload(device, &a);
    upload(device, &b);
    upload(device, &c);
    upload(device, &bias);
    problem.a = a.tensor;
    problem.b = b.tensor;
    problem.c = c.tensor;
    if (v->flags & BIAS)
        problem.bias = bias.tensor;
    out.data = malloc(c.bytes);
    (void)snprintf(text, sizeof text, "%s, %s: %dx%dx%d batch %dx%d, %s %s %s, flags %d",
                   clf_device_get_info(device)->name, provider, (int)s->m, (int)s->n, (int)s->k, (int)s->batch[0],
                   (int)s->batch[1], clf_dtype_name(v->a), clf_dtype_name(v->b), clf_dtype_name(v->c), v->flags);
    const clf_status status = gemm_open(device, &problem, &fixture);
    cr_assert(status == CLF_SUCCESS || status == CLF_UNSUPPORTED, "%s: %s", text, clf_error_message());
    if (status == CLF_SUCCESS) {
        run_twice(device, &fixture, &c, &out, text);
        check(&problem, &a, &b, &c, &bias, &out, text);
        gemm_close(device, &fixture);
    }
    drop(&a);
    drop(&b);
    drop(&c);
    drop(&bias);
    free(out.data);
    return status == CLF_SUCCESS;
}

static const variant variants[] = {
    { CLF_F32, CLF_F32, CLF_F32, PLAIN | REPEAT_B },
    { CLF_F32, CLF_F32, CLF_F32, TURN_B | BIAS | BETA },
    { CLF_F32, CLF_F32, CLF_F32, TURN_A | BIAS },
    { CLF_F32, CLF_F32, CLF_F32, TURN_A | TURN_B | REPEAT_A | BETA },
    { CLF_F32, CLF_F32, CLF_F32, TURN_C | BIAS | BETA | REPEAT_B },
    { CLF_F16, CLF_F16, CLF_F16, TURN_B | BETA | BIAS },
    { CLF_BF16, CLF_BF16, CLF_BF16, 0 },
    { CLF_F32, CLF_F16, CLF_BF16, TURN_A },
    { CLF_BF16, CLF_F32, CLF_F16, TURN_C | TURN_B | REPEAT_B | PLAIN },
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* Edges of tiles and blocks first, then anything from 1 to 130. */
static const size sizes[] = {
    { 1, 1, 1, { 1, 1 } },    { 12, 32, 16, { 1, 2 } },  { 13, 33, 17, { 2, 1 } },   { 64, 64, 64, { 1, 1 } },
    { 65, 129, 31, { 2, 3 } }, { 3, 130, 300, { 1, 2 } }, { 130, 7, 513, { 3, 1 } },
};
enum { SIZES = sizeof sizes / sizeof sizes[0], RANDOM = 3 };

/* For tensor cores: every direction of both operands, every type of c, and enough tiles for the largest ones. */
static const variant matrix_variants[] = {
    { CLF_F16, CLF_F16, CLF_F16, PLAIN | REPEAT_B },
    { CLF_F16, CLF_F16, CLF_F32, PLAIN | TURN_A | BETA },
    { CLF_F16, CLF_F16, CLF_F16, PLAIN | TURN_A | TURN_B | BIAS },
    { CLF_BF16, CLF_BF16, CLF_BF16, PLAIN | TURN_B | BETA | BIAS },
    { CLF_BF16, CLF_BF16, CLF_F16, TURN_C | BIAS | REPEAT_A },
    { CLF_BF16, CLF_BF16, CLF_F32, TURN_A | TURN_B },
};
static const size matrix_sizes[] = {
    { 1, 1, 1, { 1, 1 } },      { 64, 72, 40, { 1, 2 } },   { 65, 129, 31, { 2, 3 } },
    { 128, 512, 96, { 2, 1 } }, { 129, 264, 70, { 7, 10 } }, { 136, 257, 33, { 6, 6 } },
};

/* And for the copy engine: more steps of the depth than lie in local memory, more tiles than compute units, and where
 * strides alone are even, offsets that it cannot take. */
static const size engine_sizes[] = {
    { 1, 1, 1, { 1, 1 } },   { 64, 72, 40, { 1, 2 } },      { 65, 129, 31, { 2, 3 } },   { 9, 16, 328, { 12, 12 } },
    { 64, 256, 8, { 1, 1 } }, { 130, 264, 200, { 1, 1 } }, { 130, 258, 8, { 5, 7 } }, { 384, 520, 8, { 1, 1 } },
};

static int runs;

/* `fast`: a third of the variants, and small. */
static void sweep(clf_device *device, const char *provider, bool fast)
{
    for (int i = 0; i < VARIANTS; i += fast ? 3 : 1) {
        const variant *v = &variants[i];
        for (int j = 0; j < (fast ? 3 : SIZES); j++)
            if (try_case(device, provider, v, &sizes[j]))
                runs++;
        for (int j = 0; j < (fast ? 1 : RANDOM); j++) {
            const int64_t limit = fast ? 20 : 130;
            const size s = { 1 + below(limit), 1 + below(limit), 1 + below(limit), { 1 + below(3), 1 + below(3) } };
            if (try_case(device, provider, v, &s))
                runs++;
        }
    }
}

/* Native CPUs have kernels of their own, and these compile slowly there. */
static void sweep_portable(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);

    sweep(device, "portable", info->simulator || ((info->type & CL_DEVICE_TYPE_CPU) && !info->software));
}

/* Variants from `first` on that have `more` flags as well. */
static void sweep_matrices(clf_device *device, const char *provider, size_t first, size_t end, int more,
                           const size *all, size_t count)
{
    for (size_t i = first; i < end; i++)
        for (size_t j = 0; j < count; j++) {
            variant v = matrix_variants[i];
            v.flags |= more;
            if (try_case(device, provider, &v, &all[j]))
                runs++;
        }
}

enum { MATRIX_VARIANTS = sizeof matrix_variants / sizeof *matrix_variants, OF_F16 = 3 };

static void sweep_nvidia_mma(clf_device *device)
{
    if (!clf_device_get_capabilities(device)->nvidia_matrix)
        return;
    sweep(device, "nvidia_mma", false);
    sweep_matrices(device, "nvidia_mma", 0, MATRIX_VARIANTS, 0, matrix_sizes,
                   sizeof matrix_sizes / sizeof *matrix_sizes);
}

static void sweep_nvidia_wgmma(clf_device *device, size_t first, size_t end)
{
    const size_t count = sizeof engine_sizes / sizeof *engine_sizes;

    if (!clf_device_get_capabilities(device)->nvidia_wgmma)
        return;
    sweep_matrices(device, "nvidia_wgmma", first, end, EVEN, engine_sizes, count);
    sweep_matrices(device, "nvidia_wgmma", first, end, 0, engine_sizes, count);
}

static void sweep_nvidia_wgmma_f16(clf_device *device)
{
    sweep_nvidia_wgmma(device, 0, OF_F16);
}

static void sweep_nvidia_wgmma_bf16(clf_device *device)
{
    sweep_nvidia_wgmma(device, OF_F16, MATRIX_VARIANTS);
}

static void sweep_vector(clf_device *device)
{
    sweep(device, "vector", clf_device_get_info(device)->simulator);
}

/* Its kernels are tested elsewhere: what matters here is how it is called. */
static void sweep_clblast(clf_device *device)
{
    if (!clf_device_get_info(device)->simulator)
        sweep(device, "clblast", true);
}

Test(gemm, portable)
{
    for_each_device(sweep_portable);
    cr_assert_gt(runs, 0);
}

Test(gemm, vector)
{
    for_each_device(sweep_vector);
    if (runs == 0)
        cr_skip_test("no native CPU");
}

Test(gemm, nvidia_mma)
{
    for_each_device(sweep_nvidia_mma);
    if (runs == 0)
        cr_skip_test("no NVIDIA GPU with tensor cores");
}

Test(gemm, nvidia_wgmma_f16)
{
    for_each_device(sweep_nvidia_wgmma_f16);
    if (runs == 0)
        cr_skip_test("no NVIDIA GPU of sm_90");
}

Test(gemm, nvidia_wgmma_bf16)
{
    for_each_device(sweep_nvidia_wgmma_bf16);
    if (runs == 0)
        cr_skip_test("no NVIDIA GPU of sm_90");
}

Test(gemm, clblast)
{
    for_each_device(sweep_clblast);
    if (runs == 0)
        cr_skip_test("no CLBlast, or no device for it");
}

/* ---- what is refused, and what is empty ------------------------------------------------------------- */

static clf_device *any_device(void)
{
    clf_device *device = NULL;

    if (clf_device_open(getenv("CLF_TEST_DEVICE"), &device))
        cr_skip_test("no device");
    return device;
}

static clf_tensor allocate(clf_device *device, int64_t rows, int64_t columns, float value)
{
    float numbers[64];
    clf_tensor tensor;

    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 2, (const int64_t[]){ rows, columns }, &tensor), CLF_SUCCESS);
    for (int i = 0; i < 64; i++)
        numbers[i] = value;
    cr_assert_eq(clf_tensor_write_floats(device, &tensor, numbers), CLF_SUCCESS);
    return tensor;
}

static void expect_refusal(clf_device *device, const clf__gemm_problem *problem, clf_status wanted, const char *part)
{
    gemm_fixture fixture;
    const clf_status status = gemm_open(device, problem, &fixture);

    cr_expect_eq(status, wanted, "%s: status %d", part, (int)status);
    cr_expect(strstr(clf_error_message(), part), "'%s' is not in '%s'", part, clf_error_message());
    if (status == CLF_SUCCESS)
        gemm_close(device, &fixture);
}

Test(gemm, refusals)
{
    clf_device *device = any_device();
    const clf__gemm_problem good = { .a = allocate(device, 4, 6, 1), .b = allocate(device, 6, 8, 1),
                                     .c = allocate(device, 4, 8, 0), .bias = allocate(device, 1, 8, 0), .alpha = 1 };
    clf__gemm_problem bad = good;

    bad.bias.rank = 0;
    bad.b.shape[0] = 5;
    expect_refusal(device, &bad, CLF_INVALID_SHAPE, "'b' 5 x 8");
    bad.b = good.b;
    bad.a.strides[0] = 12;
    bad.a.strides[1] = 2;
    bad.a.shape[0] = 2;
    bad.c.shape[0] = 2;
    expect_refusal(device, &bad, CLF_INVALID_STRIDE, "'a' has strides 12 and 2");
    bad.a = good.a;
    bad.c = good.c;
    bad.c.strides[0] = 0;
    expect_refusal(device, &bad, CLF_INVALID_STRIDE, "'c' share memory");
    bad.c = good.c;
    bad.a.dtype = CLF_I32;
    expect_refusal(device, &bad, CLF_INVALID_DTYPE, "'a' is I32");
    bad.a = good.a;
    bad.bias = good.bias;
    expect_refusal(device, &bad, CLF_INVALID_SHAPE, "'bias' has rank 2");
    bad.bias.rank = 0;
    bad.b.rank = 1;
    expect_refusal(device, &bad, CLF_INVALID_RANK, "'b' has rank 1");
    bad.b = good.b;
    bad.provider = "abacus";
    expect_refusal(device, &bad, CLF_UNSUPPORTED, "'abacus'");
    clf_tensor tensors[] = { good.a, good.b, good.c, good.bias };
    for (int i = 0; i < 4; i++)
        clf_tensor_free(device, &tensors[i]);
    clf_device_release(device);
}

/* No depth: c = beta c. No rows: nothing. */
Test(gemm, empty_extents)
{
    clf_device *device = any_device();
    clf__gemm_problem problem = { .a = allocate(device, 4, 6, 1), .b = allocate(device, 6, 8, 1),
                                  .c = allocate(device, 4, 8, 3), .alpha = 1, .beta = 2 };
    clf_tensor tensors[] = { problem.a, problem.b, problem.c };
    gemm_fixture fixture;
    float numbers[32];

    problem.a.shape[1] = problem.b.shape[0] = 0;
    for (int rows = 4; rows >= 0; rows -= 4) {
        problem.a.shape[0] = problem.c.shape[0] = rows;
        cr_assert_eq(gemm_open(device, &problem, &fixture), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(gemm_enqueue(&fixture, NULL), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_tensor_read_floats(device, &tensors[2], numbers), CLF_SUCCESS);
        for (int i = 0; i < 32; i++)
            cr_expect_eq(numbers[i], 6.0f);
        gemm_close(device, &fixture);
    }
    for (int i = 0; i < 3; i++)
        clf_tensor_free(device, &tensors[i]);
    clf_device_release(device);
}

Test(gemm, transposed_view)
{
    const clf_tensor matrix = clf_tensor_view(NULL, CLF_F32, 3, (const int64_t[]){ 2, 3, 4 });
    const clf_tensor turned = clf__gemm_transposed(&matrix);

    cr_expect(turned.shape[0] == 2 && turned.shape[1] == 4 && turned.shape[2] == 3);
    cr_expect(turned.strides[0] == 12 && turned.strides[1] == 1 && turned.strides[2] == 4);
}
