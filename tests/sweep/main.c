/* clf_sweep: the test kit over one part on one device. Several devices get a process each.
 *
 * Exit status: 0 all cases passed or were rightly refused, 1 a case failed or none ran, 77 no such device,
 * 2 wrong command line.
 */
#include <clformers/clformers.h>
#include <clformers/testkit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASSED = 0, FAILED = 1, USAGE = 2, SKIPPED = 77 };

enum { MOST_EXCEPTIONS = 8 };

typedef struct command {
    const char *program, *component, *device, *family;
    const char *except[MOST_EXCEPTIONS + 1];
    int         exceptions, only;
    bool        slow, verbose, list, failed;
} command;

static const char usage[] =
    "usage: clf_sweep --component NAME [--device SELECTOR] [--except SELECTOR]... [--case N]\n"
    "                 [--family NAME] [--slow] [--verbose]\n"
    "       clf_sweep --list\n"
    "CLF_TEST_DEVICE (a selector) limits the devices.\n";

static bool parse(int argc, char **argv, command *c)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--slow") == 0)
            c->slow = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            c->verbose = true;
        else if (strcmp(argv[i], "--list") == 0)
            c->list = true;
        else if (strcmp(argv[i], "--component") == 0)
            c->component = value, i++;
        else if (strcmp(argv[i], "--device") == 0)
            c->device = value, i++;
        else if (strcmp(argv[i], "--family") == 0)
            c->family = value, i++;
        else if (strcmp(argv[i], "--except") == 0 && c->exceptions < MOST_EXCEPTIONS)
            c->except[c->exceptions++] = value, i++;
        else if (strcmp(argv[i], "--case") == 0)
            c->only = atoi(value), i++;
        else
            return false;
    }
    return c->list || (c->component && c->component[0] && c->only >= 0);
}

static const clf_component *find(const char *name)
{
    const clf_component *component = NULL;
    while ((component = clf_component_next(component)))
        if (strcmp(component->name, name) == 0)
            return component;
    return NULL;
}

static void print_line(const char *line, void *user)
{
    (void)user;
    printf("%s\n", line);
    fflush(stdout);
}

static void print_start(const clf_component *component, const clf_device_info *device, void *user)
{
    (void)user;
    printf("%s on %s (%s)\n", component->name, device->name, device->platform);
    fflush(stdout);
}

static void note(const clf_testkit_result *result, void *user)
{
    command *c = user;
    c->failed = c->failed || !result->passed;
    if (result->trouble[0])
        printf("FAILED: %s\n", result->trouble);
}

static int run(command *c)
{
    const clf_component            *components[] = { find(c->component), NULL };
    const clf_testkit_sweep_options options = {
        .size = sizeof options,
        .selector = c->device ? c->device : "all",
        .except = c->except,
        .limit = getenv("CLF_TEST_DEVICE"),
        .in_process = true,
        .run = { .size = sizeof options.run, .program = c->program, .only = c->only, .family = c->family,
                 .slow = c->slow, .verbose = c->verbose, .line = print_line, .user = c },
        .start = print_start,
        .result = note,
    };
    clf_status status;
    if (!components[0]) {
        fprintf(stderr, "clf_sweep: no component is called '%s'; --list names them\n", c->component);
        return USAGE;
    }
    status = clf_testkit_sweep(components, &options, NULL);
    if (status == CLF_INVALID_SELECTOR) {
        fprintf(stderr, "clf_sweep: %s\n", clf_error_message());
        return USAGE;
    }
    if (status) {
        printf("SKIPPED: no such device: %s\n", clf_error_message());
        return SKIPPED;
    }
    return c->failed ? FAILED : PASSED;
}

int main(int argc, char **argv)
{
    command              c = { .program = argv[0] };
    const clf_component *component = NULL;
    int                  code;
    if (clf_testkit_child(argc, argv, &code))
        return code;
    if (!parse(argc, argv, &c)) {
        fputs(usage, stderr);
        return USAGE;
    }
    if (!c.list)
        return run(&c);
    while ((component = clf_component_next(component)))
        puts(component->name);
    return PASSED;
}
