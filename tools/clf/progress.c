/* The progress line: a thread that wakes up now and then, so that a long compilation or kernel shows
 * the seconds it takes as well. Nothing runs unless stderr is a terminal. */
#include "tool.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 79 };

static struct {
    pthread_mutex_t mutex;
    bool            started, shown, active;
    double          begin;
    char            text[256];
} line = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void erase(void)
{
    if (line.shown) {
        fprintf(stderr, "\r%*s\r", WIDTH, "");
        line.shown = false;
    }
}

static void *show(void *unused)
{
    (void)unused;
    for (;;) {
        nanosleep(&(struct timespec){ .tv_nsec = 250000000 }, NULL);
        pthread_mutex_lock(&line.mutex);
        double seconds = now() - line.begin;
        if (line.active && seconds > 2) {
            fprintf(stderr, "\r%-*.*s %5.0f s", WIDTH - 8, WIDTH - 8, line.text, seconds);
            line.shown = true;
        }
        pthread_mutex_unlock(&line.mutex);
    }
    return NULL;
}

void clf__tool_progress(const char *format, ...)
{
    if (!isatty(STDERR_FILENO)) {
        return;
    }
    pthread_mutex_lock(&line.mutex);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line.text, sizeof line.text, format, arguments);
    va_end(arguments);
    line.active = true;
    if (!line.started) {
        line.started = true;
        line.begin = now();
        pthread_t thread;
        if (pthread_create(&thread, NULL, show, NULL) == 0) {
            pthread_detach(thread);
        }
    }
    pthread_mutex_unlock(&line.mutex);
}

void clf__tool_progress_hide(void)
{
    pthread_mutex_lock(&line.mutex);
    erase();
    line.active = false;
    pthread_mutex_unlock(&line.mutex);
}
