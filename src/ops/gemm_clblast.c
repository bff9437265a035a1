/* CLBlast, where the library was built with it: f32 only, because its product of f16 sums in f16. By name or by the
 * tuning table. Its products of a batch allocate in the call; its single ones take scratch memory, so a batch is a
 * call for each matrix. */
#include "ops/gemm_provider.h"
#include <stdio.h>

#ifdef CLF_WITH_CLBLAST
#include "component/plan.h"
#include "core/status.h"
#include <clblast_c.h>

enum { MOST_MATRICES = 1024 };

/* CLBlast wants no less than the length of a line between lines. */
static int64_t lead(const clf__gemm_matrix *matrix, int64_t lines, int64_t length)
{
    return lines <= 1 && matrix->step < length ? length : matrix->step;
}

static int64_t lead_a(const clf__gemm_product *p)
{
    return p->a.along_depth ? lead(&p->a, p->rows, p->depth) : lead(&p->a, p->depth, p->rows);
}

static int64_t lead_b(const clf__gemm_product *p)
{
    return p->b.along_depth ? lead(&p->b, p->columns, p->depth) : lead(&p->b, p->depth, p->columns);
}

static int64_t lead_c(const clf__gemm_product *p)
{
    return lead(&p->c, p->rows, p->columns);
}

static bool supports(const clf_device *device, const clf__gemm_product *p, char *why, size_t size)
{
    const int64_t a_length = p->a.along_depth ? p->depth : p->rows, b_length = p->b.along_depth ? p->depth : p->columns;
    const char *reason = NULL;

    (void)device;
    if (p->a.dtype != CLF_F32 || p->b.dtype != CLF_F32 || p->c.dtype != CLF_F32)
        reason = "it multiplies f32 only, or sums in f16";
    else if (p->bias_along != CLF__GEMM_NO_BIAS)
        reason = "it adds no bias";
    else if (p->depth == 0)
        reason = "it takes no empty sums";
    else if (clf__gemm_items(p) > MOST_MATRICES)
        reason = "it takes a call for each of more than 1024 matrices";
    else if (lead_a(p) < a_length || lead_b(p) < b_length || lead_c(p) < p->columns)
        reason = "it takes no lines that overlap";
    if (reason)
        (void)snprintf(why, size, "%s", reason);
    return !reason;
}

static clf_status check(CLBlastStatusCode code, const char *what)
{
    return code == CLBlastSuccess ? CLF_SUCCESS : clf__fail(CLF_UNSUPPORTED, "CLBlast: %s: code %d", what, (int)code);
}

static CLBlastTranspose turned(bool is_turned)
{
    return is_turned ? CLBlastTransposeYes : CLBlastTransposeNo;
}

/* Sub-buffers start at multiples of this many bytes. */
static clf_status alignment_of(const clf_device *device, uint64_t *bytes)
{
    cl_uint bits = 0;
    const cl_int code = clGetDeviceInfo(clf_device_id(device), CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof bits, &bits, NULL);

    *bytes = bits > 8 ? bits / 8 : 1;
    return code ? clf__fail_opencl(code, "the alignment of sub-buffers") : CLF_SUCCESS;
}

/* Its first call compiles: one of 1 x 1 x 1 here, so that none does in a run. */
static clf_status compile(clf_device *device)
{
    const int64_t three = 3;
    const float zeros[3] = { 0 };
    cl_command_queue queue = clf_device_queue(device);
    clf_tensor tensor;
    clf_status status = clf_tensor_alloc(device, CLF_F32, 1, &three, &tensor);

    if (status == CLF_SUCCESS)
        status = clf_tensor_write(device, &tensor, zeros);
    if (status == CLF_SUCCESS)
        status = check(CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, 1, 1, 1, 1,
                                    tensor.mem, 0, 1, tensor.mem, 1, 1, 0, tensor.mem, 2, 1, &queue, NULL),
                       "the first product");
    clf_tensor_free(device, &tensor);
    return status;
}

static clf_status plan(clf_plan *plan_, const clf__gemm_product *p, clf__gemm_choice *choice)
{
    clf_device *device = clf_plan_device(plan_);
    cl_command_queue queue = clf_device_queue(device);
    size_t bytes = 0;
    uint64_t alignment;
    clf_status status;

    if (p->rows == 0 || p->columns == 0 || clf__gemm_items(p) == 0)
        return CLF_SUCCESS;
    if ((status = compile(device)) || (status = alignment_of(device, &alignment)))
        return status;
    /* With offsets, which it may have to copy away. */
    status = check(CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, turned(!p->a.along_depth),
                                              turned(p->b.along_depth), (size_t)p->rows, (size_t)p->columns,
                                              (size_t)p->depth, 1, (size_t)lead_a(p), 1, (size_t)lead_b(p), 1,
                                              (size_t)lead_c(p), &queue, &bytes), "its scratch");
    if (status == CLF_SUCCESS && bytes > 0) {
        choice->scratch_bytes = bytes;
        choice->scratch = clf_plan_workspace(plan_, bytes + alignment);
    }
    return status;
}

/* CLBlast takes scratch without an offset, so this is the one place for a sub-buffer. NULL = it needs none. */
static clf_status open_scratch(const clf_run *run, const clf__gemm_choice *choice, cl_mem *scratch)
{
    const clf_buffer workspace = clf_run_workspace(run);
    cl_mem root = NULL;
    size_t before = 0;
    uint64_t alignment = 1;
    cl_int code;
    clf_status status;

    *scratch = NULL;
    if (choice->scratch_bytes == 0)
        return CLF_SUCCESS;
    if ((status = alignment_of(clf_plan_device(run->plan), &alignment)))
        return status;
    code = clGetMemObjectInfo(workspace.mem, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(cl_mem), &root, NULL);
    if (code == CL_SUCCESS && root)
        code = clGetMemObjectInfo(workspace.mem, CL_MEM_OFFSET, sizeof before, &before, NULL);
    const uint64_t at = before + workspace.offset + choice->scratch;
    const cl_buffer_region region = { (size_t)((at + alignment - 1) / alignment * alignment), choice->scratch_bytes };
    if (code == CL_SUCCESS)
        *scratch = clCreateSubBuffer(root ? root : workspace.mem, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION,
                                     &region, &code);
    return code ? clf__fail_opencl(code, "scratch for CLBlast") : CLF_SUCCESS;
}

static size_t place(const clf__gemm_matrix *matrix, const int64_t *batch, int64_t item)
{
    return (size_t)(matrix->offset + item / batch[2] / batch[1] * matrix->batch[0] +
                    item / batch[2] % batch[1] * matrix->batch[1] + item % batch[2] * matrix->batch[2]);
}

static clf_status run_one(clf_run *run_, const clf__gemm_product *p, int64_t item, cl_mem scratch)
{
    return check(CLBlastSgemmWithTempBuffer(CLBlastLayoutRowMajor, turned(!p->a.along_depth), turned(p->b.along_depth),
                                            (size_t)p->rows, (size_t)p->columns, (size_t)p->depth, p->alpha,
                                            p->a.mem, place(&p->a, p->batch, item), (size_t)lead_a(p),
                                            p->b.mem, place(&p->b, p->batch, item), (size_t)lead_b(p), p->beta,
                                            p->c.mem, place(&p->c, p->batch, item), (size_t)lead_c(p),
                                            &run_->queue, NULL, scratch), "the product");
}

static clf_status run(clf_run *run_, const clf__gemm_choice *choice, const clf__gemm_product *p)
{
    const int64_t items = clf__gemm_items(p);
    cl_mem scratch;
    clf_status status = open_scratch(run_, choice, &scratch);

    if (status == CLF_SUCCESS)
        status = clf__run_fence(run_);
    for (int64_t i = 0; i < items && status == CLF_SUCCESS; i++) {
        status = run_one(run_, p, i, scratch);
        if (status == CLF_SUCCESS && run_->chained) /* the matrices share their scratch */
            status = clf__run_fence(run_);
    }
    if (status == CLF_SUCCESS)
        status = clf__run_fence(run_);
    if (scratch)
        clReleaseMemObject(scratch);
    return status;
}

const clf__gemm_provider clf__gemm_clblast = { .name = "clblast", .supports = supports, .plan = plan, .run = run };

#else

static bool supports(const clf_device *device, const clf__gemm_product *product, char *why, size_t size)
{
    (void)device, (void)product;
    (void)snprintf(why, size, "this library was built without it");
    return false;
}

const clf__gemm_provider clf__gemm_clblast = { .name = "clblast", .supports = supports };

#endif
