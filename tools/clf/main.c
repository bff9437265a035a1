/* clf: the command-line face of clformers. Every subcommand is a row of one table. */
#include "tool.h"

#include <clformers/testkit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int help(int argc, char **argv);

static const clf__tool_command commands[] = {
    { "devices", "list the OpenCL devices and what they can do", clf__tool_devices },
    { "list", "list the mechanisms and other parts", clf__tool_list },
    { "describe", "show the tensors, config fields and parameters of a part", clf__tool_describe },
    { "run", "run a part on tensors from a .safetensors file", clf__tool_run },
    { "compare", "compare the tensors of two .safetensors files", clf__tool_compare },
    { "bench", "measure the parts on a device", clf__tool_bench },
    { "selftest", "check the parts on a device against their references", clf__tool_selftest },
    { "help", "show this text, or the help of a command", help },
};

static const clf__tool_command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static void print_overview(FILE *stream)
{
    fputs("Usage: clf COMMAND [OPTION...]\n"
          "Attention mechanisms and transformer parts for OpenCL devices.\n\n", stream);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n'clf COMMAND --help' lists the options of a command, 'clf --version' tells the version.\n"
          "\nEnvironment:\n"
          "  CLF_DEVICE     the device when --device is not given\n"
          "  CLF_CACHE_DIR  where compiled kernels are kept; empty = nowhere\n"
          "  CLF_PLUGINS    shared objects with further parts, ':' between them\n"
          "  CLF_SELFTEST   1: refuse parts that fail a known-answer check on the device\n"
          "  CLF_LOG        info or debug: tell on stderr what is chosen and compiled\n"
          "\nExit codes: 0 it worked, 1 it failed, 2 the command line was wrong.\n", stream);
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "clf: unknown command '%s'\nTry 'clf help'.\n", name);
    return CLF__TOOL_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        print_overview(stdout);
        return CLF__TOOL_OK;
    }
    const clf__tool_command *command = find_command(argv[1]);
    if (!command) {
        return unknown_command(argv[1]);
    }
    char  option[] = "--help";
    char *arguments[] = { argv[1], option, NULL };
    return command->run(2, arguments);
}

int main(int argc, char **argv)
{
    int code;
    if (clf_testkit_child(argc, argv, &code)) {
        return code;
    }
    /* A reader that goes away is a failed write, told by the exit code. */
    signal(SIGPIPE, SIG_IGN);
    clf__tool_guard_output();
    argp_err_exit_status = CLF__TOOL_USAGE;

    if (argc < 2) {
        print_overview(stderr);
        return CLF__TOOL_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("clf (clformers) %s\n", clf_version());
        return CLF__TOOL_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0) {
        return help(1, argv);
    }
    const clf__tool_command *command = find_command(argv[1]);
    if (!command) {
        return unknown_command(argv[1]);
    }
    code = command->run(argc - 1, argv + 1);
    clf__tool_progress_hide();
    return code;
}
