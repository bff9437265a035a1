/* Oclgrind, as the sweeps use it, tells of a race, of a write out of bounds, of a read of what nobody wrote. */
#include <clformers/clformers.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char source[] = "__kernel void fine(__global int *x) { x[get_global_id(0)] = 1; }\n"
                             "__kernel void outside(__global int *x) { x[get_global_id(0) + 1] = 1; }\n"
                             "__kernel void race(__global int *x) { x[0] = get_global_id(0); }\n"
                             "__kernel void unwritten(__global int *x)\n"
                             "{ int y[4]; y[0] = 1; x[get_global_id(0)] = y[get_global_id(0)]; }\n";

static cl_kernel build(clf_device *device, const char *name)
{
    const char  *text = source;
    cl_device_id id = clf_device_id(device);
    cl_program   program = clCreateProgramWithSource(clf_device_context(device), 1, &text, NULL, NULL);
    cl_kernel    kernel;
    cr_assert_eq(clBuildProgram(program, 1, &id, "-cl-opt-disable", NULL, NULL), CL_SUCCESS);
    kernel = clCreateKernel(program, name, NULL);
    clReleaseProgram(program);
    cr_assert(kernel);
    return kernel;
}

/* Runs a kernel over 4 integers; what the simulator has to say goes to `text`. */
static void simulate(const char *name, char *text, size_t size)
{
    char         path[] = "/tmp/clf_simulator_XXXXXX";
    const int    file = mkstemp(path);
    const size_t global = 4;
    clf_device  *device = NULL;
    cl_kernel    kernel;
    cl_mem       mem;
    FILE        *log;
    size_t       length;

    cr_assert_geq(file, 0);
    close(file);
    setenv("OCLGRIND_LOG", path, 1);
    setenv("OCLGRIND_DATA_RACES", "1", 1);
    setenv("OCLGRIND_CHECK_API", "1", 1);
    if (clf_device_open("oclgrind", &device)) {
        remove(path);
        cr_skip_test("no Oclgrind here");
    }
    kernel = build(device, name);
    mem = clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE, global * sizeof(cl_int), NULL, NULL);
    cr_assert_eq(clSetKernelArg(kernel, 0, sizeof mem, &mem), CL_SUCCESS);
    cr_assert_eq(clEnqueueNDRangeKernel(clf_device_queue(device), kernel, 1, NULL, &global, NULL, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_assert_eq(clFinish(clf_device_queue(device)), CL_SUCCESS);
    clReleaseKernel(kernel);
    clReleaseMemObject(mem);
    clf_device_release(device);
    log = fopen(path, "r");
    cr_assert(log);
    length = fread(text, 1, size - 1, log);
    text[length] = '\0';
    fclose(log);
    remove(path);
}

Test(simulator, nothing_to_tell)
{
    char text[2000];
    simulate("fine", text, sizeof text);
    cr_assert(text[0] == 0, "%s", text);
}

Test(simulator, write_out_of_bounds)
{
    char text[2000];
    simulate("outside", text, sizeof text);
    cr_assert(strstr(text, "Invalid write"), "%s", text);
}

Test(simulator, race)
{
    char text[2000];
    simulate("race", text, sizeof text);
    cr_assert(strstr(text, "race"), "%s", text);
}

Test(simulator, read_of_what_nobody_wrote)
{
    char text[2000];
    setenv("OCLGRIND_UNINITIALIZED", "1", 1);
    simulate("unwritten", text, sizeof text);
    cr_assert(strstr(text, "ninitialized value"), "%s", text);
    simulate("fine", text, sizeof text);
    cr_assert(text[0] == 0, "%s", text);
}
