/* The rules of cl/prelude/pattern.cl that snippets may use, one key at a time and sixteen at once. */
#include "device/program.h"
#include "devices.h"
#include "patterns.h"

static const char text[] =
    "#include \"prelude/pattern.cl\"\n"
    "static clf_bool divides(clf_int x, int d)\n"
    "{\n"
    "    const clf_int rest = x - clf_divide(x, d) * d;\n"
    "    return (rest >= 0) & (rest < d);\n"
    "}\n"
    "__kernel void snippet(__global uchar *seen, __global const int *labels, int keys)\n"
    "{ /* rows of `keys` answers, keys a multiple of the lanes */\n"
    "    const int q = get_global_id(0);\n"
    "    for (int n = 0; n < keys; n += CLF_LANES) {\n"
    "        const clf_int k = n + CLF_LANE;\n"
    "        const clf_bool answer = RULE;\n"
    "#if CLF_LANES == 16\n"
    "        int lanes[16];\n"
    "        vstore16(answer, 0, lanes);\n"
    "        for (int i = 0; i < 16; i++)\n"
    "            seen[q * keys + n + i] = lanes[i] == 0 ? 0 : lanes[i] == -1 ? 1 : 2;\n"
    "#else\n"
    "        seen[q * keys + n] = answer;\n"
    "#endif\n"
    "    }\n"
    "}\n";
static const struct clf_source sources[] = { { "attention/snippet.cl", text }, { NULL, NULL } };

enum { QUERIES = 19, KEYS = 32 };
static int32_t labels[KEYS];

static bool window(int q, int k)
{
    return (k >= q - 3 && k <= q + 1) || k < 2;
}
static bool dilated(int q, int k)
{
    return abs(q - k) % 3 == 0;
}
static bool neighbours(int q, int k)
{
    return abs(q / 8 - k / 8) <= 1 && abs(q % 8 - k % 8) <= 2;
}
static bool same_label(int q, int k)
{
    return labels[q] == labels[k];
}
static bool even_label(int q, int k)
{
    return labels[q] == labels[k & 30];
}
static bool always(int q, int k)
{
    (void)q;
    (void)k;
    return true;
}

static const struct { const char *rule; bool (*expected)(int q, int k); } rules[] = {
    { "clf_sees_range(q,k,-3,1,2)", window },
    { "clf_sees_dilated(q,k,3)", dilated },
    { "clf_sees_neighbours(q,k,8,1,2)", neighbours },
    { "clf_sees_label(labels,q,k)", same_label },
    { "clf_sees_label(labels,q,k&30)", even_label },
    { "divides(k*34000001+(k&7),(1<<q)+q%3)", always }, /* up to 2^30, where floats are coarse */
    { "divides(1073741823-k,q*3+1)", always },
    { "divides(k*34000001,((1<<30)>>q)-q%2)", always },
};

static void run(clf_device *device, cl_kernel kernel, const clf_tensor *seen, const clf_tensor *table)
{
    const cl_int keys = KEYS;
    const size_t global = QUERIES;
    cr_assert_eq(clSetKernelArg(kernel, 0, sizeof(cl_mem), &seen->mem), CL_SUCCESS);
    cr_assert_eq(clSetKernelArg(kernel, 1, sizeof(cl_mem), &table->mem), CL_SUCCESS);
    cr_assert_eq(clSetKernelArg(kernel, 2, sizeof keys, &keys), CL_SUCCESS);
    cr_assert_eq(clEnqueueNDRangeKernel(clf_device_queue(device), kernel, 1, NULL, &global, NULL, 0, NULL, NULL),
                 CL_SUCCESS);
}

static void check_all(clf_device *device)
{
    const int64_t shape[2] = { QUERIES, KEYS }, length = KEYS;
    clf_tensor    seen, table;

    for (int i = 0; i < KEYS; i++)
        labels[i] = (i * 7 % 5) << 26; /* more than a float holds exactly */
    labels[3]++;
    made(clf_tensor_alloc(device, CLF_U8, 2, shape, &seen));
    made(clf_tensor_alloc(device, CLF_I32, 1, &length, &table));
    made(clf_tensor_write(device, &table, labels));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        for (int lanes = 1; lanes <= 16; lanes += 15) {
            char      options[96];
            uint8_t   got[QUERIES * KEYS];
            cl_kernel kernel;
            snprintf(options, sizeof options, "-DCLF_LANES=%d -DRULE=%s", lanes, rules[i].rule);
            made(clf__program_kernel(device, sources, "attention/snippet.cl", options, "snippet", &kernel));
            run(device, kernel, &seen, &table);
            made(clf_tensor_read(device, &seen, got));
            for (int q = 0; q < QUERIES; q++)
                for (int k = 0; k < KEYS; k++)
                    cr_assert_eq(got[q * KEYS + k], rules[i].expected(q, k), "%s in %d lanes: query %d, key %d",
                                 rules[i].rule, lanes, q, k);
            clReleaseKernel(kernel);
        }
    clf_tensor_free(device, &seen);
    clf_tensor_free(device, &table);
}

Test(pattern_snippets, rules)
{
    for_each_device(check_all);
}
