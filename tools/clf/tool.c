/* Errors, output and files: what every subcommand does the same way. */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- errors ----------------------------------------------------------------------------------- */

int clf__tool_fail(const char *format, ...)
{
    clf__tool_progress_hide();
    va_list arguments;
    va_start(arguments, format);
    fputs("clf: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return CLF__TOOL_FAILED;
}

int clf__tool_fail_status(void)
{
    const char *message = clf_error_message();
    return clf__tool_fail("%s", *message ? message : "failed without a message");
}

/* ---- arguments -------------------------------------------------------------------------------- */

static char full_name[64]; /* "clf run" */

enum { USAGE = 1000 };

/* argp knows one name for complaints and help; here it complains as "clf" and helps as "clf run". */
static error_t parse_common(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        state->err_stream = NULL; /* getopt says what is wrong, clf__tool_parse the rest */
        return 0;
    case '?':
    case USAGE:
        state->name = full_name;
        argp_state_help(state, stdout, key == USAGE ? ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK : ARGP_HELP_STD_HELP);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option common_options[] = {
    { "help", '?', NULL, 0, "Show this text", -1 },
    { "usage", USAGE, NULL, 0, "Show the options in short", -1 },
    { 0 },
};

static _Noreturn void exit_with_hint(void)
{
    fprintf(stderr, "Try `%s --help'.\n", full_name);
    exit(CLF__TOOL_USAGE);
}

void clf__tool_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    static char       program[] = "clf";
    char             *command = argv[0];
    struct argp_child children[] = { { argp, 0, NULL, 0 }, { 0 } };
    struct argp       common = { .options = common_options, .parser = parse_common, .children = children };
    snprintf(full_name, sizeof full_name, "clf %s", command);
    argv[0] = program;
    error_t error = argp_parse(&common, argc, argv, ARGP_NO_HELP, NULL, input);
    argv[0] = command;
    if (error == ENOMEM) {
        fputs("clf: out of memory\n", stderr);
        exit(CLF__TOOL_FAILED);
    }
    if (error != 0) {
        exit_with_hint();
    }
}

void clf__tool_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("clf: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit_with_hint();
}

bool clf__tool_set(cJSON *config, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        return false;
    }
    char *key = strndup(text, (size_t)(equals - text));
    if (!key) {
        return false;
    }
    cJSON *value = cJSON_ParseWithOpts(equals + 1, NULL, true);
    if (!value) {
        value = cJSON_CreateString(equals + 1);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(config, key);
    bool added = value && cJSON_AddItemToObject(config, key, value);
    if (!added) {
        cJSON_Delete(value);
    }
    free(key);
    return added;
}

/* ---- standard output -------------------------------------------------------------------------- */

/* Runs at exit, so that --help and --version are covered too. */
static void close_output(void)
{
    bool pending = __fpending(stdout) != 0;
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 && (pending || errno != EBADF)) {
        failed = true;
    }
    if (failed) {
        if (errno != EPIPE) {
            fprintf(stderr, "clf: cannot write to standard output: %s\n", errno ? strerror(errno) : "earlier error");
        }
        _exit(CLF__TOOL_FAILED);
    }
}

void clf__tool_guard_output(void)
{
    atexit(close_output);
}

int clf__tool_print_json(cJSON *json)
{
    char *text = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    if (!text) {
        return clf__tool_fail("out of memory");
    }
    clf__tool_progress_hide();
    puts(text);
    cJSON_free(text);
    return CLF__TOOL_OK;
}

const char *clf__tool_bytes(uint64_t bytes, char text[16])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 16, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

/* ---- files ------------------------------------------------------------------------------------ */

/* Devices and pipes cannot be synced. */
static bool write_and_close(FILE *file, const char *text)
{
    bool good = fputs(text, file) >= 0 && fputc('\n', file) != EOF && fflush(file) == 0 &&
                (fsync(fileno(file)) == 0 || errno == EINVAL || errno == ENOTSUP);
    int  error = errno;
    if (fclose(file) != 0 && good) {
        return false;
    }
    errno = error;
    return good;
}

/* What is no regular file (/dev/stdout, a pipe) is never replaced. */
static int write_in_place(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || !write_and_close(file, text)) {
        return clf__tool_fail("cannot write '%s': %s", path, strerror(errno));
    }
    return CLF__TOOL_OK;
}

int clf__tool_write_file(const char *path, const char *text)
{
    struct stat about;
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode)) {
        return write_in_place(path, text);
    }
    size_t length = strlen(path) + sizeof ".XXXXXX";
    char  *temporary = malloc(length);
    int    descriptor = -1;
    if (!temporary) {
        return clf__tool_fail("out of memory");
    }
    snprintf(temporary, length, "%s.XXXXXX", path);
    descriptor = mkstemp(temporary);
    if (descriptor < 0) {
        goto fail;
    }
    mode_t mask = umask(0);
    umask(mask);
    FILE *file = fchmod(descriptor, 0666 & ~mask) == 0 ? fdopen(descriptor, "w") : NULL;
    if (!file) {
        int error = errno;
        close(descriptor);
        errno = error;
        goto fail;
    }
    if (!write_and_close(file, text) || rename(temporary, path) != 0) {
        goto fail;
    }
    free(temporary);
    return CLF__TOOL_OK;
fail:
    clf__tool_fail("cannot write '%s': %s", path, strerror(errno));
    if (descriptor >= 0) {
        unlink(temporary);
    }
    free(temporary);
    return CLF__TOOL_FAILED;
}

char *clf__tool_read_file(const char *path)
{
    enum { LIMIT = 16 << 20 };
    FILE *file = fopen(path, "rb");
    char *text = file ? malloc(LIMIT + 1) : NULL;
    if (!text) {
        goto fail;
    }
    errno = 0;
    size_t length = fread(text, 1, LIMIT, file);
    if (ferror(file)) {
        goto fail;
    }
    if (length == LIMIT || memchr(text, 0, length)) {
        clf__tool_fail("'%s' is no JSON text", path);
        free(text);
        fclose(file);
        return NULL;
    }
    fclose(file);
    text[length] = 0;
    char *shorter = realloc(text, length + 1);
    return shorter ? shorter : text;
fail:
    clf__tool_fail("cannot read '%s': %s", path, strerror(errno));
    free(text);
    if (file) {
        fclose(file);
    }
    return NULL;
}

/* ---- components ------------------------------------------------------------------------------- */

int clf__tool_plugins(void)
{
    return clf_plugin_load_environment() == CLF_SUCCESS ? CLF__TOOL_OK : clf__tool_fail_status();
}

int clf__tool_find_component(const char *name, const char *kind, const clf_component **component)
{
    if (clf__tool_plugins() != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    if (kind) {
        clf_kind number = clf_kind_from_name(kind);
        if (!number) {
            return clf__tool_fail("unknown kind '%s'", kind);
        }
        return clf_component_find(number, name, component) == CLF_SUCCESS ? CLF__TOOL_OK : clf__tool_fail_status();
    }
    const clf_component *found = NULL;
    for (const clf_component *c = clf_component_next(NULL); c; c = clf_component_next(c)) {
        if (strcmp(c->name, name) != 0) {
            continue;
        }
        if (found) {
            return clf__tool_fail("'%s' is the name of a part of kind %s and of one of kind %s: give --kind", name,
                                  clf_kind_name(found->kind), clf_kind_name(c->kind));
        }
        found = c;
    }
    if (!found) {
        /* For its list of names and the nearest one; attention is what most people look for. */
        return clf_component_find(CLF_ATTENTION, name, component) == CLF_SUCCESS ? CLF__TOOL_OK
                                                                                 : clf__tool_fail_status();
    }
    *component = found;
    return CLF__TOOL_OK;
}
