/* Opening, wrapping, sharing; kernels and their errors; on every device. */
#define _XOPEN_SOURCE 700
#include "device/device.h"
#include "device/program.h"
#include "devices.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ------------------------------------------------------------------------------------ */

Test(open, no_platform_at_all)
{
    char directory[] = "/tmp/clf_device_XXXXXX";
    clf_device *device = (clf_device *)1;
    clf_device_info *infos;
    size_t count;

    cr_assert_not_null(mkdtemp(directory));
    setenv("OCL_ICD_VENDORS", directory, 1);
    cr_assert_eq(clf_device_open(NULL, &device), CLF_NO_PLATFORM);
    cr_assert_null(device);
    cr_assert(strstr(clf_error_message(), "no OpenCL platform"));
    cr_assert_eq(clf_devices(NULL, &infos, &count), CLF_NO_PLATFORM);
    cr_assert_null(infos);
    rmdir(directory);
}

Test(open, bad_selectors)
{
    clf_device *device = (clf_device *)1;

    cr_assert_eq(clf_device_open("no such device", &device), CLF_DEVICE_NOT_FOUND);
    cr_assert_null(device);
    cr_assert(strstr(clf_error_message(), "argument 'selector': no device matches 'no such device'; there are:"));
    cr_assert_eq(clf_device_open("0:", &device), CLF_INVALID_SELECTOR);
    setenv("CLF_DEVICE", "quantum", 1);
    cr_assert_eq(clf_device_open("", &device), CLF_DEVICE_NOT_FOUND);
    cr_assert(strstr(clf_error_message(), "CLF_DEVICE: no device matches 'quantum'"));
    cr_assert_eq(clf_device_open(NULL, NULL), CLF_INVALID_VALUE);
    cr_assert_eq(clf_devices(NULL, NULL, NULL), CLF_INVALID_VALUE);
    clf_device_release(NULL);
    clf_device_retain(NULL);
    clf_free(NULL);
}

Test(open, the_environment_chooses)
{
    clf_device_info *infos;
    clf_device *device;
    char name[32];
    size_t count;

    cr_assert_eq(clf_devices("all", &infos, &count), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%d:%d", infos[i].platform_index, infos[i].device_index);
        setenv("CLF_DEVICE", name, 1);
        cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_device_id(device), infos[i].device_id);
        clf_device_release(device);
    }
    unsetenv("CLF_DEVICE");
    if (infos[0].rank == 0) {
        cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_device_id(device), infos[0].device_id, "the first of the list is the best");
        clf_device_release(device);
    }
    clf_free(infos);
}

static void check_description(clf_device *device)
{
    const clf_device_info *info = clf_device_get_info(device);
    const clf_capabilities *can = clf_device_get_capabilities(device);
    bool rasteriser = strstr(info->name, "llvmpipe") != NULL, simulator = strstr(info->name, "Oclgrind") != NULL;

    cr_assert_eq(info->size, sizeof *info);
    cr_assert(info->name[0] && info->platform[0] && info->vendor[0] && info->driver[0]);
    cr_assert(info->global_memory > 0 && info->compute_units > 0);
    cr_assert_eq(info->software, rasteriser);
    cr_assert_eq(info->simulator, simulator);
    cr_assert(!simulator || info->rank == -1);
    cr_assert_eq(can->size, sizeof *can);
    cr_assert(can->max_allocation >= 1 << 20 && can->local_memory >= 16384 && can->max_work_group >= 1);
    cr_assert_eq(can->style == CLF_STYLE_VECTORS, info->type == CL_DEVICE_TYPE_CPU && !rasteriser && !simulator);
    cr_assert(!rasteriser || !can->fma, "it emulates fma");
    cr_assert(strncmp(clf__device_build_options(device), "-cl-std=CL1.2", 13) == 0);
    cr_assert_eq(strstr(clf__device_build_options(device), "-DCLF_HAS_FMA=1") != NULL, can->fma);
    cr_assert_not(device->out_of_order);
}

Test(open, info_and_capabilities, .timeout = 120)
{
    for_each_device(check_description);
}

/* ---- wrapping --------------------------------------------------------------------------------- */

static cl_command_queue make_queue(cl_context context, cl_device_id id, cl_command_queue_properties properties)
{
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(context, id, properties, &code);

    return code == CL_SUCCESS ? queue : NULL;
}

static cl_uint references(cl_context context)
{
    cl_uint count = 0;

    cr_assert_eq(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL), CL_SUCCESS);
    return count;
}

/* Any device but this one; NULL when there is no other. */
static cl_device_id another_device(cl_device_id id)
{
    clf_device_info *infos = NULL;
    cl_device_id found = NULL;
    size_t count = 0;

    cr_assert_eq(clf_devices("all", &infos, &count), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < count; i++)
        if (infos[i].device_id != id)
            found = infos[i].device_id;
    clf_free(infos);
    return found;
}

static void wrap_device(clf_device *device)
{
    cl_device_id id = clf_device_id(device), stranger = another_device(id);
    cl_int code;
    cl_context context = clCreateContext(NULL, 1, &id, NULL, NULL, &code);
    cl_command_queue queue = make_queue(context, id, 0);
    cl_uint before = references(context);
    clf_device *wrapped = NULL;

    cr_assert(context && queue);
    cr_assert_eq(clf_device_wrap(context, id, queue, &wrapped), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert(clf_device_context(wrapped) == context && clf_device_queue(wrapped) == queue &&
              clf_device_id(wrapped) == id);
    cr_assert_str_eq(clf_device_get_info(wrapped)->name, clf_device_get_info(device)->name);
    cr_assert_eq(clf_device_get_info(wrapped)->platform_index, clf_device_get_info(device)->platform_index);
    cr_assert_gt(references(context), before);
    clf_device_retain(wrapped);
    clf_device_release(wrapped);
    cr_assert_eq(clf_device_queue(wrapped), queue, "one reference is left");
    clf_device_release(wrapped);
    cr_assert_eq(references(context), before, "all references are given back");

    cr_assert_eq(clf_device_wrap(NULL, id, queue, &wrapped), CLF_INVALID_VALUE);
    cr_assert(strstr(clf_error_message(), "'context' is NULL"));
    cr_assert_null(wrapped);
    cr_assert_eq(clf_device_wrap(context, NULL, queue, &wrapped), CLF_INVALID_VALUE);
    cr_assert_eq(clf_device_wrap(context, id, NULL, &wrapped), CLF_INVALID_VALUE);
    cr_assert_eq(clf_device_wrap(context, id, queue, NULL), CLF_INVALID_VALUE);
    if (stranger) {
        cr_assert_eq(clf_device_wrap(context, stranger, queue, &wrapped), CLF_INVALID_VALUE);
        cr_assert(strstr(clf_error_message(), "'id': it is none of the 1 devices"));
    }
    cr_assert_eq(clf_device_wrap(context, id, clf_device_queue(device), &wrapped), CLF_INVALID_VALUE);
    cr_assert(strstr(clf_error_message(), "'queue' belongs to another context"));
    cr_assert_eq(references(context), before);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
}

Test(wrap, what_belongs_together, .timeout = 120)
{
    for_each_device(wrap_device);
}

static void wrap_out_of_order(clf_device *device)
{
    cl_device_id id = clf_device_id(device);
    cl_context context = clf_device_context(device);
    cl_command_queue queue = make_queue(context, id, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    clf_device *wrapped;

    if (!queue)
        return;
    cr_assert_eq(clf_device_wrap(context, id, queue, &wrapped), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert(wrapped->out_of_order);
    clf_device_release(wrapped);
    clReleaseCommandQueue(queue);
}

Test(wrap, out_of_order_queues, .timeout = 120)
{
    for_each_device(wrap_out_of_order);
}

/* Its binary is one of two in the program. */
static void use_sub_device(clf_device *device)
{
    static const clf_source source[] = { { "sub.cl", "__kernel void clf_sub(__global int *x)\n{\n    x[0] = 1;\n}\n" },
                                         { NULL, NULL } };
    cl_kernel kernel;

    cr_assert_eq(clf__program_kernel(device, source, "sub.cl", "", "clf_sub", &kernel), CLF_SUCCESS, "%s",
                 clf_error_message());
    clReleaseKernel(kernel);
}

/* Two devices in one context: a queue on one is none on the other. A sub-device is in no list. */
static void wrap_sub_device(clf_device *device)
{
    const cl_device_partition_property equally[] = { CL_DEVICE_PARTITION_EQUALLY, 1, 0 };
    cl_device_id parts[2] = { NULL, NULL };
    cl_command_queue queue;
    clf_device *wrapped;
    cl_context context;
    cl_int code;

    if (clf_device_get_info(device)->compute_units != 2 ||
        clCreateSubDevices(clf_device_id(device), equally, 2, parts, NULL) != CL_SUCCESS)
        return;
    context = clCreateContext(NULL, 2, parts, NULL, NULL, &code);
    cr_assert_eq(code, CL_SUCCESS);
    queue = make_queue(context, parts[1], 0);
    cr_assert_not_null(queue);
    cr_assert_eq(clf_device_wrap(context, parts[0], queue, &wrapped), CLF_INVALID_VALUE);
    cr_assert(strstr(clf_error_message(), "'queue' belongs to another device"), "%s", clf_error_message());
    cr_assert_eq(clf_device_wrap(context, parts[1], queue, &wrapped), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_device_get_info(wrapped)->device_index, -1);
    cr_assert_eq(clf_device_get_info(wrapped)->platform_index, clf_device_get_info(device)->platform_index);
    use_sub_device(wrapped);
    clf_device_release(wrapped);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    clReleaseDevice(parts[0]);
    clReleaseDevice(parts[1]);
}

Test(wrap, sub_devices, .timeout = 120)
{
    for_each_device(wrap_sub_device);
}

/* ---- attachments --------------------------------------------------------------------------- */

static int made, destroyed[2], destroyed_count;
static const char key_a, key_b;

static clf_status make_number(clf_device *device, void **value)
{
    (void)device;
    *value = &destroyed[made++];
    return CLF_SUCCESS;
}

static clf_status make_nothing(clf_device *device, void **value)
{
    (void)device;
    (void)value;
    return CLF_OUT_OF_HOST_MEMORY;
}

static clf_status make_with_another(clf_device *device, void **value)
{
    void *other;
    clf_status status = clf__device_attach(device, &key_a, make_number, NULL, &other);

    return status ? status : make_number(device, value);
}

static void destroy_number(clf_device *device, void *value)
{
    cr_assert_not_null(clf_device_context(device), "the device still works");
    destroyed[destroyed_count++] = (int)((int *)value - destroyed);
}

Test(attach, once_and_destroyed_newest_first)
{
    clf_device *device;
    void *first, *second, *again;

    cr_assert_eq(clf_device_open("all", &device), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf__device_attach(device, &key_a, make_nothing, destroy_number, &first), CLF_OUT_OF_HOST_MEMORY);
    cr_assert_eq(clf__device_attach(device, &key_a, make_number, destroy_number, &first), CLF_SUCCESS);
    cr_assert_eq(clf__device_attach(device, &key_b, make_with_another, destroy_number, &second), CLF_SUCCESS);
    cr_assert_eq(clf__device_attach(device, &key_a, make_number, destroy_number, &again), CLF_SUCCESS);
    cr_assert(first == again && first != second);
    cr_assert_eq(made, 2);
    clf_device_release(device);
    cr_assert_eq(destroyed_count, 2);
    cr_assert(destroyed[0] == 1 && destroyed[1] == 0);
}

/* ---- kernels ----------------------------------------------------------------------------------- */

static const clf_source sources[] = {
    { "good.cl",
      "#include \"lib/add.cl\"\n"
      "__kernel void clf_one(__global int *x)\n{\n    x[get_global_id(0)] = add(x[get_global_id(0)], NUMBER);\n}\n"
      "__kernel void clf_two(__global int *x)\n{\n    x[get_global_id(0)] = 2;\n}\n" },
    { "lib/add.cl", "static int add(int x, int y)\n{\n    return x + y;\n}\n" },
    { "bad.cl", "#include \"lib/add.cl\"\n#include \"lib/bad.cl\"\n\n"
                "__kernel void clf_bad(__global int *x)\n{\n    x[0] = unknown_in_kernel;\n}\n" },
    { "lib/bad.cl", "static int bad(int x)\n{\n    return x + unknown_in_include;\n}\n" },
    { "lost.cl", "#include \"nowhere.cl\"\n" },
    { NULL, NULL },
};

/* The message has `place` before `what` on one line. */
static bool message_has(const char *place, const char *what)
{
    const char *at = strstr(clf_error_message(), what);

    while (at && at > clf_error_message() && at[-1] != '\n')
        at--;
    return at && strstr(at, place) && strstr(at, place) < strstr(at, what);
}

static void fail_to_build(clf_device *device)
{
    cl_kernel kernel = (cl_kernel)(void *)device;

    cr_assert_eq(clf__program_kernel(device, sources, "bad.cl", "", "clf_bad", &kernel), CLF_BUILD_FAILED);
    cr_assert_null(kernel);
    cr_assert(message_has("lib/bad.cl:3:", "unknown_in_include"), "%s", clf_error_message());
    cr_assert(message_has("bad.cl:6:", "unknown_in_kernel"), "%s", clf_error_message());
    cr_assert(strstr(clf_error_message(), clf_device_get_info(device)->name));

    cr_assert_eq(clf__program_kernel(device, sources, "missing.cl", "", "clf_one", &kernel), CLF_INVALID_VALUE);
    cr_assert_eq(clf__program_kernel(device, sources, "lost.cl", "", "clf_one", &kernel), CLF_INVALID_VALUE);
    cr_assert(strstr(clf_error_message(), "lost.cl:1: cannot include \"nowhere.cl\""));
    cr_assert_eq(clf__program_kernel(device, sources, "good.cl", "-DNUMBER=1", "clf_three", &kernel),
                 CLF_INVALID_VALUE);
    cr_assert(strstr(clf_error_message(), "no kernel 'clf_three'"));
    cr_assert(strstr(clf_error_message(), "clf_one"), "%s", clf_error_message());
    cr_assert(strstr(clf_error_message(), "clf_two"), "%s", clf_error_message());
}

Test(kernels, build_errors_name_file_and_line, .timeout = 120)
{
    for_each_device(fail_to_build);
}

static void share_programs(clf_device *device)
{
    uint64_t before = clf_device_program_stats(device).built + clf_device_program_stats(device).loaded, after;
    cl_kernel one, again, two, other;

    cr_assert_eq(clf__program_kernel(device, sources, "good.cl", "-DNUMBER=5", "clf_one", &one), CLF_SUCCESS, "%s",
                 clf_error_message());
    cr_assert_eq(clf__program_kernel(device, sources, "good.cl", "-DNUMBER=5", "clf_one", &again), CLF_SUCCESS);
    cr_assert_eq(clf__program_kernel(device, sources, "good.cl", "-DNUMBER=5", "clf_two", &two), CLF_SUCCESS);
    cr_assert_eq(clf__program_kernel(device, sources, "good.cl", "-DNUMBER=6", "clf_one", &other), CLF_SUCCESS);
    cr_assert_neq(one, again, "every caller has a kernel of its own");
    after = clf_device_program_stats(device).built + clf_device_program_stats(device).loaded;
    cr_assert_eq(after, before + 2, "one program for each set of options");
    clReleaseKernel(one);
    clReleaseKernel(again);
    clReleaseKernel(two);
    clReleaseKernel(other);
}

Test(kernels, one_program_for_many_kernels, .timeout = 120)
{
    for_each_device(share_programs);
}

static void *ask_for_kernels(void *user)
{
    clf_device *device = user;

    for (int i = 0; i < 20; i++) {
        cl_kernel kernel = NULL;
        char options[32];

        snprintf(options, sizeof options, "-DNUMBER=%d", i % 4);
        if (clf__program_kernel(device, sources, "good.cl", options, "clf_one", &kernel) != CLF_SUCCESS)
            return user;
        clReleaseKernel(kernel);
    }
    return NULL;
}

static void ask_from_threads(clf_device *device)
{
    pthread_t threads[4];
    clf_program_stats stats;

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, ask_for_kernels, device), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
    stats = clf_device_program_stats(device);
    cr_assert_eq(stats.built + stats.loaded, 4);
}

Test(kernels, from_several_threads, .timeout = 120)
{
    for_each_device(ask_from_threads);
}

static void probe_texts(clf_device *device)
{
    cl_kernel kernel;
    bool rejected = true;

    cr_assert_eq(
        clf__program_probe(device, "__kernel void p(__global int *x) { x[0] = 1; }", NULL, "p", &kernel, &rejected),
        CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_not(rejected);
    clReleaseKernel(kernel);
    cr_assert_neq(
        clf__program_probe(device, "__kernel void p(__global int *x) { x[0] = ; }", "", "p", &kernel, &rejected),
        CLF_SUCCESS);
    cr_assert(rejected);
    cr_assert_null(kernel);
}

Test(kernels, probes, .timeout = 120)
{
    for_each_device(probe_texts);
}
