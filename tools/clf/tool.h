/* What the subcommands of `clf` share: how they are listed, fail, print and report progress.
 *
 * Exit codes: 0 it worked, 1 it failed, 2 the command line was wrong. Errors go to stderr as
 * "clf: <message>"; stdout holds results only.
 */
#ifndef CLF_TOOL_H
#define CLF_TOOL_H

#include <argp.h>
#include <cjson/cJSON.h>
#include <clformers/clformers.h>

enum { CLF__TOOL_OK = 0, CLF__TOOL_FAILED = 1, CLF__TOOL_USAGE = 2 };

/* One subcommand. argv[0] is its name. */
typedef struct clf__tool_command {
    const char *name;
    const char *summary;
    int       (*run)(int argc, char **argv);
} clf__tool_command;

int clf__tool_devices(int argc, char **argv);
int clf__tool_list(int argc, char **argv);
int clf__tool_describe(int argc, char **argv);
int clf__tool_run(int argc, char **argv);
int clf__tool_compare(int argc, char **argv);
int clf__tool_bench(int argc, char **argv);
int clf__tool_selftest(int argc, char **argv);

/* Prints "clf: <message>" and returns CLF__TOOL_FAILED. */
int clf__tool_fail(const char *format, ...) CLF_PRINTF(1, 2);
/* The same with the library's message for the call that just failed. */
int clf__tool_fail_status(void);

/* Parses a subcommand's arguments. --help and mistakes end the process (0 and 2). */
void clf__tool_parse(const struct argp *argp, int argc, char **argv, void *input);
/* For argp parsers: "clf: <message>", where to find help, exit code 2. */
_Noreturn void clf__tool_usage(const char *format, ...) CLF_PRINTF(1, 2);

/* Prints a JSON document to stdout and deletes it; NULL means that memory was short. Returns an exit code. */
int clf__tool_print_json(cJSON *json);
/* Writes `text` to `path` whole or not at all. Returns an exit code. */
int clf__tool_write_file(const char *path, const char *text);
/* A whole text file, NUL-terminated, to be freed; NULL after an error was printed. */
char *clf__tool_read_file(const char *path);

/* Makes the exit code 1 when standard output could not be written (full disk, closed pipe). */
void clf__tool_guard_output(void);

/* One line on stderr that tells what is being done; shown on a terminal only, and only once the
 * command has run for two seconds. */
void clf__tool_progress(const char *format, ...) CLF_PRINTF(1, 2);
/* Takes the line away: before anything else is printed, and at the end. */
void clf__tool_progress_hide(void);

/* Loads what CLF_PLUGINS names: before the registry is read. Returns an exit code. */
int clf__tool_plugins(void);

/* A component by name and, when `kind` is not NULL, by kind. Returns an exit code. */
int clf__tool_find_component(const char *name, const char *kind, const clf_component **component);

/* Everything known about a device, which is opened for that. */
cJSON *clf__tool_device_json(const clf_device_info *info, bool chosen);

/* Adds `text` of the form key=value to a config object; the value is JSON, else a string. */
bool clf__tool_set(cJSON *config, const char *text);

/* "7.7 GiB" */
const char *clf__tool_bytes(uint64_t bytes, char text[16]);

#endif
