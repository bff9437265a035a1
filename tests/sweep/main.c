/* clf_sweep: the test kit over one part on one device. Several devices get a process each.
 *
 * Exit status: 0 all cases passed or were rightly refused, 1 a case failed or none ran, 77 no such device,
 * 2 wrong command line.
 */
#define _POSIX_C_SOURCE 200809L

#include <clformers/clformers.h>
#include <clformers/testkit.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSED = 0, FAILED = 1, USAGE = 2, SKIPPED = 77 };

enum { MOST_EXCEPTIONS = 8 };

typedef struct command {
    const char *program, *component, *device, *family;
    const char *except[MOST_EXCEPTIONS];
    int         exceptions, only;
    bool        slow, verbose, list;
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

/* ---- which devices --------------------------------------------------------------------------------- */

/* Does `selector` match this device? */
static bool matches(const char *selector, const clf_device_info *device)
{
    clf_device_info *infos = NULL;
    size_t           count = 0;
    bool             found = false;
    if (clf_devices(selector, &infos, &count) != CLF_SUCCESS)
        return false;
    for (size_t i = 0; i < count; i++)
        found = found || infos[i].device_id == device->device_id;
    clf_free(infos);
    return found;
}

static bool is_wanted(const command *c, const clf_device_info *device)
{
    const char *limit = getenv("CLF_TEST_DEVICE");
    for (int i = 0; i < c->exceptions; i++)
        if (matches(c->except[i], device))
            return false;
    return !limit || !limit[0] || matches(limit, device);
}

/* Keeps the devices that the command and CLF_TEST_DEVICE ask for; returns how many. */
static size_t choose(const command *c, clf_device_info *infos, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!(infos[i].duplicate && count > 1) && is_wanted(c, &infos[i]))
            infos[kept++] = infos[i];
    return kept;
}

/* ---- one device: here; several: a process each ------------------------------------------------- */

/* Oclgrind reports to a file whatever the program's own exit status is. */
static int report_simulator(const char *path)
{
    FILE *file = fopen(path, "r");
    char  line[512];
    int   lines = 0;
    while (file && fgets(line, sizeof line, file))
        if (line[strspn(line, " \t\n")] && lines++ < 60)
            fputs(line, stdout);
    if (file)
        fclose(file);
    remove(path);
    if (lines)
        printf("FAILED: the simulator reported errors\n");
    return lines ? FAILED : PASSED;
}

static int run_here(const command *c, const clf_component *component, const clf_device_info *info,
                    const char *selector)
{
    char                      path[] = "/tmp/clf_sweep_XXXXXX";
    const clf_testkit_options options = { .size = sizeof options, .selector = selector, .program = c->program,
                                          .only = c->only, .family = c->family, .slow = c->slow, .verbose = c->verbose,
                                          .line = print_line };
    clf_testkit_counts        counts = { 0 };
    const bool                watch = info->simulator && !getenv("OCLGRIND_LOG");
    const int                 file = watch ? mkstemp(path) : -1;
    clf_status                status;
    int                       result;
    if (file >= 0) {
        close(file);
        setenv("OCLGRIND_LOG", path, 1);
        setenv("OCLGRIND_DATA_RACES", "1", 0);
        setenv("OCLGRIND_CHECK_API", "1", 0);
    }
    printf("%s on %s (%s)\n", component->name, info->name, info->platform);
    status = clf_testkit_run(component, &options, &counts);
    if (status)
        printf("FAILED: %s: %s\n", clf_status_name(status), clf_error_message());
    else if (counts.passed + counts.failed + counts.refused == 0)
        printf("FAILED: no case ran\n");
    result = status || counts.failed || counts.passed + counts.refused == 0 ? FAILED : PASSED;
    if (file >= 0 && report_simulator(path))
        result = FAILED;
    return result;
}

static int run_child(const command *c, const clf_device_info *info)
{
    char  selector[32], only[32];
    char *arguments[14] = { (char *)c->program, "--component", (char *)c->component, "--device", selector, "--case", only };
    int   n = 7, status = 0;
    pid_t child;
    snprintf(selector, sizeof selector, "%d:%d", info->platform_index, info->device_index);
    snprintf(only, sizeof only, "%d", c->only);
    if (c->family) {
        arguments[n++] = "--family";
        arguments[n++] = (char *)c->family;
    }
    if (c->slow)
        arguments[n++] = "--slow";
    if (c->verbose)
        arguments[n++] = "--verbose";
    child = fork();
    if (child == 0) {
        execv("/proc/self/exe", arguments);
        _exit(FAILED);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (child > 0 && WIFSIGNALED(status))
        printf("FAILED: %s --component %s --device %s died of signal %d\n", c->program, c->component, selector,
               WTERMSIG(status));
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int run(const command *c)
{
    const clf_component *component = find(c->component);
    clf_device_info     *infos = NULL;
    size_t               count = 0, found;
    char                 selector[32];
    int                  result = PASSED;
    const clf_status     status = component ? clf_devices(c->device ? c->device : "all", &infos, &count) : CLF_SUCCESS;
    if (!component) {
        fprintf(stderr, "clf_sweep: no component is called '%s'; --list names them\n", c->component);
        return USAGE;
    }
    if (status == CLF_INVALID_SELECTOR) {
        fprintf(stderr, "clf_sweep: %s\n", clf_error_message());
        return USAGE;
    }
    found = status ? 0 : count;
    count = choose(c, infos, found);
    if (count == 0) {
        printf("SKIPPED: no such device: %s\n", status ? clf_error_message() : "excluded");
        result = SKIPPED;
    } else if (count == 1) {
        snprintf(selector, sizeof selector, "%d:%d", infos[0].platform_index, infos[0].device_index);
        result = run_here(c, component, &infos[0], found == 1 && c->device ? c->device : selector);
    } else {
        for (size_t i = 0; i < count; i++)
            if (run_child(c, &infos[i]) != PASSED)
                result = FAILED;
    }
    clf_free(infos);
    return result;
}

int main(int argc, char **argv)
{
    command              c = { .program = argv[0] };
    const clf_component *component = NULL;
    if (!parse(argc, argv, &c)) {
        fputs(usage, stderr);
        return USAGE;
    }
    if (!c.list)
        return run(&c);
    while ((component = clf_component_next(component)))
        printf("%s\n", component->name);
    return PASSED;
}
