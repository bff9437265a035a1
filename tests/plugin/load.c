/* Loading, using and unloading plugins through the public interface of the shared library. */
#define _POSIX_C_SOURCE 200809L

#include <clformers/clformers.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/libplugin_%s.so", PLUGINS, name);
    return path;
}

static clf_plugin *load(const char *name)
{
    clf_plugin *plugin = NULL;
    cr_assert_eq(clf_plugin_load(file_of(name), &plugin), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_not_null(plugin);
    return plugin;
}

static int count_parts(void)
{
    int count = 0;
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c))
        count++;
    return count;
}

static clf_device *open_device(void)
{
    clf_device *device = NULL;
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    return device;
}

static clf_instance *build(clf_device *device, const char *json)
{
    clf_instance *instance = NULL;
    cr_assert_eq(clf_build(device, CLF_ATTENTION, json, &instance), CLF_SUCCESS, "%s", clf_error_message());
    return instance;
}

/* Runs `gain` on ones; every element of the output is the factor. */
static float run_gain(clf_instance *instance)
{
    const int64_t shape[4] = { 1, 1, 4, 8 };
    float         data[32];
    clf_device   *device = clf_instance_device(instance);
    clf_args      args = { .size = sizeof args };
    clf_status    status = CLF_SUCCESS;
    static const int slots[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V, CLF_QKV_OUT };

    for (int i = 0; i < 32; i++)
        data[i] = 1;
    for (int i = 0; i < 4 && !status; i++)
        if (!(status = clf_tensor_alloc(device, CLF_F32, 4, shape, &args.io[slots[i]])))
            status = clf_tensor_write(device, &args.io[slots[i]], data);
    if (!status && !(status = clf_apply(instance, &args)))
        status = clf_tensor_read(device, &args.io[CLF_QKV_OUT], data);
    cr_expect_eq(status, CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < 4; i++)
        clf_tensor_free(device, &args.io[slots[i]]);
    return data[31];
}

Test(plugin, a_part_like_any_other)
{
    const int            before = count_parts();
    const clf_component *part = NULL, *last = NULL;
    clf_plugin          *plugin = load("good");
    cr_expect_eq(count_parts(), before + 2);
    cr_expect_eq(clf_plugin_next(NULL), plugin);
    cr_expect_null(clf_plugin_next(plugin));
    cr_expect_str_eq(clf_plugin_path(plugin), file_of("good"));
    for (const clf_component *c = clf_component_next(NULL); c; last = c, c = clf_component_next(c))
        cr_expect(!last || last->kind < c->kind || strcmp(last->name, c->name) < 0, "%s is out of order", c->name);
    cr_assert_eq(clf_component_find(CLF_ATTENTION, "gain", &part), CLF_SUCCESS);
    cr_expect_eq(part->size, sizeof(clf_descriptor));
    cr_expect_not_null(part->sources);

    clf_device   *device = open_device();
    clf_instance *instance = build(device, "{\"name\": \"gain\", \"gain\": 3}");
    cr_expect_eq(run_gain(instance), 3);
    clf_instance_release(instance);
    clf_device_release(device);
    cr_expect_eq(clf_plugin_unload(plugin), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(count_parts(), before);
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "gain", &part), CLF_UNKNOWN_COMPONENT);
    cr_expect_null(clf_plugin_next(NULL));
}

Test(plugin, not_unloaded_while_needed)
{
    clf_plugin   *plugin = load("good");
    clf_device   *device = open_device();
    clf_instance *instance = build(device, "{\"name\": \"gain\"}");
    clf_args      args = { .size = sizeof args };
    clf_plan     *plan = NULL;
    const int64_t shape[4] = { 1, 1, 4, 8 };

    for (int i = 0; i < 4; i++)
        args.io[i == 3 ? CLF_QKV_OUT : i] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    cr_assert_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(clf_plugin_unload(plugin), CLF_IN_USE);
    cr_expect(strstr(clf_error_message(), "1 instances"), "%s", clf_error_message());
    clf_instance_release(instance); /* the plan keeps it */
    cr_expect_eq(clf_plugin_unload(plugin), CLF_IN_USE);
    cr_expect_eq(clf_plugin_next(NULL), plugin);
    clf_plan_release(plan);
    cr_expect_eq(clf_plugin_unload(plugin), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(clf_plugin_unload(plugin), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plugin_unload(NULL), CLF_SUCCESS);
    clf_device_release(device);
}

/* The device remembers compiled programs; a new plugin's sources may lie where the old one's were. */
Test(plugin, another_plugin_in_its_place)
{
    static const struct { const char *file; float factor; } rounds[] = { { "other", 20 }, { "louder", 60 }, { "other", 20 }, { "good", 2 } };
    clf_device *device;
    setenv("CLF_CACHE_DIR", "", 1);
    device = open_device();
    for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
        clf_plugin   *plugin = load(rounds[i].file);
        clf_instance *instance = build(device, "{\"name\": \"gain\"}");
        cr_expect_eq(run_gain(instance), rounds[i].factor, "%s in round %zu", rounds[i].file, i);
        clf_instance_release(instance);
        cr_expect_eq(clf_plugin_unload(plugin), CLF_SUCCESS, "%s", clf_error_message());
    }
    cr_expect_eq(clf_device_program_stats(device).built, 3, "the third round finds the program of the first");
    clf_device_release(device);
}

Test(plugin, includes_stay_inside)
{
    static const char *const configs[] = { "{\"name\": \"stray\"}", "{\"name\": \"stray\", \"borrow\": true}" };
    clf_plugin   *plugin = load("good");
    clf_device   *device = open_device();
    clf_args      args = { .size = sizeof args };
    const int64_t shape[4] = { 1, 1, 4, 8 };

    for (int i = 0; i < 4; i++)
        args.io[i == 3 ? CLF_QKV_OUT : i] = clf_tensor_view(NULL, CLF_F32, 4, shape);
    for (int i = 0; i < 2; i++) {
        clf_instance *instance = build(device, configs[i]);
        clf_plan     *plan = NULL;
        cr_expect_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_INVALID_VALUE);
        cr_expect(strstr(clf_error_message(), i ? "reference_forward.cl" : "stray.cl:2: cannot include"), "%s",
                  clf_error_message());
        clf_instance_release(instance);
    }
    clf_device_release(device);
    cr_expect_eq(clf_plugin_unload(plugin), CLF_SUCCESS);
}

Test(plugin, refused_with_a_reason)
{
    static const struct { const char *file, *message; } bad[] = {
        { "nothing", "clf_plugin_v1" }, { "abi", "ABI 2" },           { "size", "structs differ" },
        { "sizes", "clformers 0.0.1" }, { "library", "another copy" }, { "name", "Not a name" },
        { "kind", "kind 99" },          { "long", "descriptor has" },  { "short", "has 40" },
        { "program", "nowhere.cl" },    { "schema", "'number'" },      { "no_io", "tensors" },
        { "empty", "no part" },         { "twice", "already a part" }, { "built_in", "'scaled_dot_product'" },
    };
    const int   before = count_parts();
    clf_plugin *plugin;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        plugin = (clf_plugin *)&plugin;
        cr_expect_eq(clf_plugin_load(file_of(bad[i].file), &plugin), CLF_INVALID_PLUGIN, "%s", bad[i].file);
        cr_expect(strstr(clf_error_message(), bad[i].message), "%s", clf_error_message());
        cr_expect(strstr(clf_error_message(), bad[i].file), "%s", clf_error_message());
        cr_expect_null(plugin);
        cr_expect_eq(count_parts(), before);
    }
    cr_expect_eq(clf_plugin_unload(load("right")), CLF_SUCCESS);
    cr_expect_eq(clf_plugin_load(file_of("nowhere"), NULL), CLF_IO_ERROR);
    cr_expect(strstr(clf_error_message(), "nowhere"), "%s", clf_error_message());
    cr_expect_eq(clf_plugin_load(NULL, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_plugin_load("", NULL), CLF_INVALID_VALUE);
}

Test(plugin, name_clashes)
{
    clf_plugin *plugin = load("good");
    const int   parts = count_parts();
    cr_expect_eq(clf_plugin_load(file_of("other"), NULL), CLF_INVALID_PLUGIN);
    cr_expect(strstr(clf_error_message(), "attention 'gain'"), "%s", clf_error_message());
    cr_expect_eq(clf_plugin_load(file_of("good"), NULL), CLF_INVALID_PLUGIN, "twice");
    cr_expect_eq(count_parts(), parts);
    cr_expect_eq(clf_plugin_unload(plugin), CLF_SUCCESS);
    cr_expect_eq(clf_plugin_unload(load("other")), CLF_SUCCESS);
}

Test(plugin, environment)
{
    char                 list[1200];
    const clf_component *part = NULL;
    int                  used = snprintf(list, sizeof list, ":%s:", file_of("abi"));
    snprintf(list + used, sizeof list - (size_t)used, "%s::", file_of("good"));
    setenv("CLF_PLUGINS", list, 1);
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "gain", &part), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(clf_plugin_load_environment(), CLF_INVALID_PLUGIN);
        cr_expect(strstr(clf_error_message(), "CLF_PLUGINS") && strstr(clf_error_message(), "ABI 2"), "%s",
                  clf_error_message());
    }
    cr_expect_eq(clf_component_find(CLF_ATTENTION, "nobody", &part), CLF_UNKNOWN_COMPONENT);
    cr_expect(strstr(clf_error_message(), "ABI 2"), "%s", clf_error_message());
}

/* ---- threads ------------------------------------------------------------------------------------------ */

enum { ROUNDS = 200 };

static void *walk(void *unused)
{
    const clf_component *part = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_geq(count_parts(), 1);
        cr_assert_eq(clf_component_find(CLF_ATTENTION, "scaled_dot_product", &part), CLF_SUCCESS);
        (void)clf_component_find(CLF_ATTENTION, "gain", &part);
        clf_free(clf_component_table());
    }
    return unused;
}

/* Whoever gets the part before it goes has it until the end. */
static void *use(void *device)
{
    for (int i = 0; i < ROUNDS; i++) {
        clf_instance    *instance = NULL;
        const clf_status status = clf_build(device, CLF_ATTENTION, "{\"name\": \"gain\"}", &instance);
        cr_assert(status == CLF_SUCCESS || status == CLF_UNKNOWN_COMPONENT, "%s", clf_error_message());
        clf_instance_release(instance);
    }
    return NULL;
}

static void *come_and_go(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        clf_plugin *plugin = load("good");
        clf_status  status;
        while ((status = clf_plugin_unload(plugin)) == CLF_IN_USE)
            continue;
        cr_assert_eq(status, CLF_SUCCESS);
    }
    return unused;
}

Test(plugin, threads)
{
    void *(*const jobs[])(void *) = { walk, use, come_and_go, use, walk };
    pthread_t   threads[5];
    clf_device *device = open_device();
    for (int i = 0; i < 5; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, jobs[i], device), 0);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    cr_expect_null(clf_plugin_next(NULL));
    clf_device_release(device);
}
