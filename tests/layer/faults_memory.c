/* Every allocation of the library fails, once and from then on: the status is CLF_OUT_OF_HOST_MEMORY or the call does
 * without, the same call works afterwards, and no memory or OpenCL object is left behind. */
#define _XOPEN_SOURCE 700
#include "core/status.h"
#include "interpose.h"
#include "job.h"
#include "layer.h"
#include "tune/tune.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char         fault[80];
static const layer *lay;
static char         file_path[64] = "/tmp/clf_faults_XXXXXX";

static void begin(void)
{
    lay = layer_find();
    if (!lay)
        cr_skip_test("this OpenCL loader knows no layers");
    layer_last_words(fault);
    host_catch_cjson();
    close(mkstemp(file_path));
}

static void end(void)
{
    unlink(file_path);
}

TestSuite(memory, .init = begin, .fini = end);

/* ---- stages without a device ---------------------------------------------------------------------------- */

static clf_status list_devices(job *j)
{
    clf_device_info *infos = NULL;
    size_t count;
    const clf_status status = clf_devices("all", &infos, &count);

    (void)j;
    clf_free(infos);
    return status;
}

static clf_status use_config(job *j)
{
    const clf_component *part = NULL;
    void *config = NULL, *copy = NULL;
    clf_status status = clf_component_find(CLF_ATTENTION, "scaled_dot_product", &part);

    (void)j;
    if (status == CLF_SUCCESS)
        status = clf_component_config(part, "{\"name\": \"scaled_dot_product\", \"dropout\": 0.25, \"seq_len\": 7,"
                                            "\"scale\": 0.5}", NULL, NULL, &config);
    if (status)
        return status;
    status = clf_config_copy(&part->descriptor->config, config, &copy);
    if (status == CLF_SUCCESS) {
        char *text = clf_config_print(&part->descriptor->config, copy), *table = text ? clf_component_table() : NULL;

        if (!text || !table)
            status = clf__fail(CLF_OUT_OF_HOST_MEMORY, "printing");
        clf_free(text);
        clf_free(table);
    }
    clf_config_free(&part->descriptor->config, copy);
    clf_config_free(&part->descriptor->config, config);
    return status;
}

static clf_status write_file(job *j)
{
    static const float values[6] = { 1, 2, 3, 4, 5, 6 };
    const int64_t shape[] = { 2, 3 };
    clf_safetensors_writer *writer = NULL;
    clf_status status = clf_safetensors_create(file_path, &writer);

    (void)j;
    if (status == CLF_SUCCESS)
        status = clf_safetensors_add(writer, "values", CLF_F32, 2, shape, values);
    if (status == CLF_SUCCESS)
        status = clf_safetensors_add(writer, "bytes", CLF_U8, 2, shape, values);
    if (status == CLF_SUCCESS)
        status = clf_safetensors_add_metadata(writer, "key", "\"value\"");
    if (status == CLF_SUCCESS)
        return clf_safetensors_commit(writer);
    clf_safetensors_discard(writer);
    return status;
}

static clf_status read_file(job *j)
{
    clf_safetensors *file = NULL;
    const clf_status status = clf_safetensors_open(file_path, &file);

    (void)j;
    if (status == CLF_SUCCESS) {
        const clf_safetensors_entry *entry = clf_safetensors_find(file, "values");
        cr_assert(entry && entry->bytes == 24 && ((const float *)entry->data)[5] == 6, "%s", fault);
        cr_assert_str_eq(clf_safetensors_metadata(file, "key"), "\"value\"");
    }
    clf_safetensors_close(file);
    return status;
}

static clf_status read_tuning(job *j)
{
    clf__tune_file file;
    const clf_status status =
        clf__tune_parse("{\"rows\": [{\"key\": \"gemm.provider\", \"choice\": \"vector\"},"
                        "{\"key\": \"fused.family\", \"device\": \"x\", \"choice\": \"portable\"}]}", &file);

    (void)j;
    clf__tune_free(&file);
    return status;
}

static const job_stage host_stages[] = {
    { "listing devices", list_devices }, { "using a config", use_config }, { "writing a file", write_file },
    { "reading a file", read_file },     { "reading tuning rows", read_tuning }, { NULL, NULL },
};

/* ---- injecting --------------------------------------------------------------------------------------------- */

static bool run_stage(job *j, const job_stage *stage)
{
    clf_status status;

    (void)clf__fail(CLF_SUCCESS, "no failure yet");
    status = stage->run(j);
    if (status == CLF_SUCCESS)
        return true;
    host_calm();
    if (status != CLF_OUT_OF_HOST_MEMORY || !strcmp(clf_error_message(), "no failure yet")) {
        fprintf(stderr, "%s: %s: %s (%s)\n", fault, stage->name, clf_status_name(status), clf_error_message());
        return false;
    }
    status = stage->run(j);
    if (status)
        fprintf(stderr, "%s: %s: fails again with memory: %s (%s)\n", fault, stage->name, clf_status_name(status),
                clf_error_message());
    return status == CLF_SUCCESS;
}

static void inject_all(const job_stage *stages)
{
    job   whole = { .device = NULL };
    int   injected = 0, survived = 0;
    bool  fired = true;

    for (const job_stage *stage = stages; stage->name; stage++)
        cr_assert_eq(stage->run(&whole), CLF_SUCCESS, "%s: %s", stage->name, clf_error_message());
    job_close(&whole);
    for (int n = 1; fired; n++)
        for (int always = 0; always < 2 && fired; always++) {
            const layer_counts before = lay->count();
            const int allocations = host_allocations();
            job  j = { .device = NULL };
            bool good = true;

            snprintf(fault, sizeof fault, "allocation number %d fails%s", n, always ? ", and all after it" : "");
            host_fail(HOST_ALLOCATE, n, ENOMEM, always);
            for (const job_stage *stage = stages; stage->name && good; stage++)
                good = run_stage(&j, stage);
            job_close(&j);
            fired = host_failed() > 0;
            host_calm();
            const layer_counts now = lay->count();
            if (good && (host_allocations() != allocations || layer_alive(&now) != layer_alive(&before))) {
                fprintf(stderr, "%s: %d allocations and %d OpenCL objects are left\n", fault,
                        host_allocations() - allocations, layer_alive(&now) - layer_alive(&before));
                good = false;
            }
            if (good && !job_agree(&j.results, &whole.results)) {
                fprintf(stderr, "%s: wrong results\n", fault);
                good = false;
            }
            injected += fired;
            survived += fired && good;
        }
    printf("faults: %d injected, %d survived\n", injected, survived);
    fflush(stdout);
    cr_assert_gt(injected, 50);
    cr_assert_eq(survived, injected);
}

Test(memory, of_the_host_while_computing)
{
    inject_all(job_stages);
}

Test(memory, of_the_host_without_a_device)
{
    inject_all(host_stages);
}
