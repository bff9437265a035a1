/* What a program says when it dies of a fault. */
#define _XOPEN_SOURCE 700
#include "layer.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const char *words = "";

static void say(int signal_number)
{
    (void)!write(STDERR_FILENO, "died of: ", 9);
    (void)!write(STDERR_FILENO, words, strlen(words));
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void layer_last_words(const char *text)
{
    const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGALRM };

    words = text;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], say);
}
