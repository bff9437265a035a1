/* A pair in a process of its own: the child is this executable once more, and tells line by line through a pipe
 * what it does. A line is a letter and fields behind tabs: B(egin) number; C(ase) number, verdict, about, why,
 * command; L(ine) text; R(esult) passed, failed, refused, trouble. */
#define _POSIX_C_SOURCE 200809L
#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char mark[] = "--clf-testkit-child";

/* Arguments of the child after its name and the mark. */
enum { PIPE = 2, KIND, NAME, DEVICE, SIMULATOR, PROGRAM, ONLY, FAMILY, FLAGS, COUNT };
enum { FLAG_SLOW = 1, FLAG_VERBOSE = 2, FLAG_QUICK = 4 };
enum { NEWLINE = '\036' }; /* stands for \n inside a field */

/* ---- the child -------------------------------------------------------------------------------------- */

static void put_field(FILE *pipe, const char *text)
{
    fputc('\t', pipe);
    for (; *text; text++)
        fputc(*text == '\n' ? NEWLINE : *text == '\t' ? ' ' : *text, pipe);
}

static void put_end(FILE *pipe)
{
    fputc('\n', pipe);
    fflush(pipe);
}

static void tell_begin(int number, void *pipe)
{
    fprintf(pipe, "B\t%d", number);
    put_end(pipe);
}

static void tell_line(const char *line, void *pipe)
{
    fputc('L', pipe);
    put_field(pipe, line);
    put_end(pipe);
}

static void tell_case(const clf_testkit_case *result, void *pipe)
{
    fprintf(pipe, "C\t%d\t%d", result->number, (int)result->verdict);
    put_field(pipe, result->about);
    put_field(pipe, result->why);
    put_field(pipe, result->command);
    put_end(pipe);
}

static void run_child(char **argv, FILE *pipe)
{
    const int                       flags = atoi(argv[FLAGS]);
    const clf_device_info           device = { .simulator = atoi(argv[SIMULATOR]) != 0 };
    const clf_testkit_sweep_options options = {
        .size = sizeof options,
        .run = { .size = sizeof options.run, .program = argv[PROGRAM], .only = atoi(argv[ONLY]),
                 .family = argv[FAMILY][0] ? argv[FAMILY] : NULL, .slow = flags & FLAG_SLOW,
                 .verbose = flags & FLAG_VERBOSE, .quick = flags & FLAG_QUICK, .line = tell_line, .begin = tell_begin,
                 .done = tell_case, .user = pipe },
    };
    clf__kit_pair pair = { .options = &options, .device = &device, .selector = argv[DEVICE] };
    if (clf_component_find((clf_kind)atoi(argv[KIND]), argv[NAME], &pair.component) != CLF_SUCCESS)
        snprintf(pair.trouble, sizeof pair.trouble, "%.900s", clf_error_message());
    else
        clf__kit_pair_here(&pair);
    fprintf(pipe, "R\t%d\t%d\t%d", pair.counts.passed, pair.counts.failed, pair.counts.refused);
    put_field(pipe, pair.trouble);
    put_end(pipe);
}

bool clf_testkit_child(int argc, char **argv, int *exit_code)
{
    FILE *pipe;
    if (argc != COUNT || strcmp(argv[1], mark) != 0)
        return false;
    *exit_code = 1;
    pipe = fdopen(atoi(argv[PIPE]), "w");
    if (!pipe)
        return true;
    run_child(argv, pipe);
    *exit_code = fclose(pipe) != 0;
    return true;
}

/* ---- the parent -------------------------------------------------------------------------------------- */

typedef struct listener {
    clf__kit_pair *pair;
    int            running;  /* the case that began last and did not end; 0 = none */
    bool           finished; /* the result has come */
} listener;

/* Cuts the next field off; "" behind the last. */
static char *next_field(char **rest)
{
    char *field = *rest, *end = strchr(field, '\t');
    if (end)
        *end = '\0';
    *rest = end ? end + 1 : field + strlen(field);
    for (char *c = field; *c; c++)
        *c = *c == NEWLINE ? '\n' : *c;
    return field;
}

static void hear(listener *l, char *line)
{
    const clf_testkit_options *run = &l->pair->options->run;
    char                      *rest = line + strcspn(line, "\t");
    rest += *rest == '\t';
    if (line[0] == 'B') {
        l->running = atoi(next_field(&rest));
        if (run->begin)
            run->begin(l->running, run->user);
    } else if (line[0] == 'L') {
        if (run->line)
            run->line(next_field(&rest), run->user);
    } else if (line[0] == 'C') {
        clf_testkit_case result = { .number = atoi(next_field(&rest)) };
        result.verdict = (clf_testkit_verdict)atoi(next_field(&rest));
        result.about = next_field(&rest);
        result.why = next_field(&rest);
        result.command = next_field(&rest);
        l->pair->counts.passed += result.verdict == CLF_TESTKIT_PASSED;
        l->pair->counts.failed += result.verdict == CLF_TESTKIT_FAILED;
        l->pair->counts.refused += result.verdict == CLF_TESTKIT_REFUSED;
        l->running = 0;
        if (run->done)
            run->done(&result, run->user);
    } else if (line[0] == 'R') {
        l->pair->counts.passed = atoi(next_field(&rest));
        l->pair->counts.failed = atoi(next_field(&rest));
        l->pair->counts.refused = atoi(next_field(&rest));
        snprintf(l->pair->trouble, sizeof l->pair->trouble, "%s", next_field(&rest));
        l->finished = true;
    }
}

/* What the end of the process means when it did not come as planned. */
static void judge_end(const listener *l, int status)
{
    clf__kit_pair             *pair = l->pair;
    const clf_testkit_options *run = &pair->options->run;
    char                       how[64], where[320] = "";
    if (l->finished && WIFEXITED(status))
        return;
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "died of signal %d", WTERMSIG(status));
    else
        snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    if (l->running)
        snprintf(where, sizeof where, " in case %d: %.100s --component %.64s --device %.64s --case %d", l->running,
                 run->program ? run->program : "clf selftest", pair->component->name, pair->selector, l->running);
    snprintf(pair->trouble, sizeof pair->trouble, "the process %s%s", how, l->finished ? " at its end" : where);
}

static void listen_to(clf__kit_pair *pair, int pipe, pid_t child)
{
    listener l = { .pair = pair };
    FILE    *from = fdopen(pipe, "r");
    char    *line = NULL;
    size_t   capacity = 0;
    ssize_t  length;
    int      status = 0;
    while (from && (length = getline(&line, &capacity, from)) > 0)
        if (line[length - 1] == '\n') { /* half a line is what a dying process leaves */
            line[length - 1] = '\0';
            hear(&l, line);
        }
    free(line);
    if (from)
        fclose(from);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    judge_end(&l, status);
}

void clf__kit_pair_apart(clf__kit_pair *pair)
{
    const clf_testkit_options *run = &pair->options->run;
    char  program[256], end[16], kind[16], only[16], flags[16], simulator[2] = { pair->device->simulator ? '1' : '0', 0 };
    char  name[128], selector[256], family[64], asked[20];
    char *arguments[COUNT + 1] = { program, asked, end, kind, name, selector, simulator, program, only, family, flags, NULL };
    int   pipes[2];
    pid_t child;
    if (pipe(pipes) != 0) {
        snprintf(pair->trouble, sizeof pair->trouble, "no pipe for a new process: %s", strerror(errno));
        return;
    }
    (void)fcntl(pipes[0], F_SETFD, FD_CLOEXEC);
    snprintf(asked, sizeof asked, "%s", mark);
    snprintf(program, sizeof program, "%s", run->program ? run->program : "clf selftest");
    snprintf(end, sizeof end, "%d", pipes[1]);
    snprintf(kind, sizeof kind, "%d", (int)pair->component->kind);
    snprintf(name, sizeof name, "%s", pair->component->name);
    snprintf(selector, sizeof selector, "%s", pair->selector);
    snprintf(family, sizeof family, "%s", run->family ? run->family : "");
    snprintf(only, sizeof only, "%d", run->only);
    snprintf(flags, sizeof flags, "%d",
             (run->slow ? FLAG_SLOW : 0) | (run->verbose ? FLAG_VERBOSE : 0) | (run->quick ? FLAG_QUICK : 0));
    child = fork();
    if (child == 0) {
        execv("/proc/self/exe", arguments);
        _exit(127);
    }
    close(pipes[1]);
    if (child < 0) {
        snprintf(pair->trouble, sizeof pair->trouble, "no new process: %s", strerror(errno));
        close(pipes[0]);
        return;
    }
    listen_to(pair, pipes[0], child);
}
