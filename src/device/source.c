/* Include expansion. It happens before the preprocessor sees the text: an include inside #if 0 is
 * resolved all the same, and a file that was included once is not looked at again. */
#include "device/source.h"

#include "core/os.h"
#include "core/status.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define LARGEST_SOURCE ((uint64_t)16 << 20)

typedef struct expansion {
    const clf_source *sources;    /* a plugin's, or NULL */
    const char       *kernel_dir; /* CLF_KERNEL_DIR, or NULL */
    clf__text        *text;
    char            **seen;       /* paths that are in already */
    size_t            seen_count;
} expansion;

/* A source file that was found. */
typedef struct file {
    const char *text;
    void       *owned;       /* to be freed: it was read from CLF_KERNEL_DIR */
    bool        from_plugin;
} file;

/* Who asks for a file: file and line of the include, or nobody for the first one. */
typedef struct place {
    const char *path;
    int         line;
    bool        in_plugin;
} place;

static const char *find(const clf_source *sources, const char *path)
{
    for (; sources && sources->path; sources++)
        if (!strcmp(sources->path, path))
            return sources->text;
    return NULL;
}

/* Only names that stay inside the tree of kernels. */
static bool is_plain_path(const char *path)
{
    return path[0] && path[0] != '/' && !strstr(path, "..") && !strchr(path, '\\') && !strchr(path, '"') &&
           !strchr(path, '\n');
}

static clf_status read_from_directory(const char *directory, const char *path, file *found)
{
    clf__text name = { 0 };
    clf_status status = CLF_SUCCESS;
    size_t size;

    clf__text_add(&name, "%s/%s", directory, path);
    if (name.failed)
        status = clf__no_memory(strlen(directory) + strlen(path));
    else if (clf__file_exists(name.data))
        status = clf__file_read(name.data, LARGEST_SOURCE, &found->owned, &size);
    found->text = found->owned;
    clf__text_free(&name);
    return status;
}

static bool is_prelude(const char *path)
{
    return strncmp(path, "prelude/", 8) == 0;
}

/* Looks inside what a file of `from` may include, or a plan may ask for. */
static clf__nearest nearest_file(const expansion *all, const char *path, const place *from)
{
    const bool plugin = from ? from->in_plugin : all->sources != NULL;
    clf__nearest nearest = clf__nearest_to(path);

    for (const clf_source *source = plugin ? all->sources : NULL; source && source->path; source++)
        clf__nearest_feed(&nearest, source->path);
    for (const clf_source *source = clf__embedded_sources; source->path; source++)
        if (!plugin || is_prelude(source->path))
            clf__nearest_feed(&nearest, source->path);
    return nearest;
}

static clf_status unknown_file(const expansion *all, const char *path, const place *from)
{
    const clf__nearest nearest = nearest_file(all, path, from);

    if (from)
        return clf__fail(CLF_INVALID_VALUE, "%s:%d: cannot include \"%s\": %s%s%s%s", from->path, from->line, path,
                         from->in_plugin ? "it is neither one of the plugin's sources nor in prelude/"
                                         : "no kernel source has that path",
                         nearest.best ? " (did you mean \"" : "", nearest.best ? nearest.best : "",
                         nearest.best ? "\"?)" : "");
    return clf__fail(CLF_INVALID_VALUE, "no kernel source has the path '%s'%s%s%s", path,
                     nearest.best ? " (did you mean '" : "", nearest.best ? nearest.best : "",
                     nearest.best ? "'?)" : "");
}

/* Plugins find their own files and prelude/, built-in sources only built-in ones. */
static clf_status find_file(const expansion *all, const char *path, const place *from, file *found)
{
    clf_status status;

    memset(found, 0, sizeof *found);
    if (!is_plain_path(path))
        return unknown_file(all, path, from);
    if (!from || from->in_plugin)
        found->text = find(all->sources, path);
    if (found->text) {
        found->from_plugin = true;
        return CLF_SUCCESS;
    }
    if ((from ? from->in_plugin : all->sources != NULL) && !is_prelude(path))
        return unknown_file(all, path, from);
    if (all->kernel_dir) {
        status = read_from_directory(all->kernel_dir, path, found);
        if (status || found->text)
            return status;
    }
    found->text = find(clf__embedded_sources, path);
    return found->text ? CLF_SUCCESS : unknown_file(all, path, from);
}

static bool was_seen(const expansion *all, const char *path)
{
    for (size_t i = 0; i < all->seen_count; i++)
        if (!strcmp(all->seen[i], path))
            return true;
    return false;
}

static clf_status remember(expansion *all, const char *path)
{
    char **seen = realloc(all->seen, (all->seen_count + 1) * sizeof *seen);

    if (!seen)
        return clf__no_memory((all->seen_count + 1) * sizeof *seen);
    all->seen = seen;
    seen[all->seen_count] = clf__strdup(path);
    return seen[all->seen_count] ? (all->seen_count++, CLF_SUCCESS) : clf__no_memory(strlen(path) + 1);
}

/* Follows comments and strings through a line; true when a block comment is still open behind it. */
static bool ends_in_comment(const char *line, const char *end, bool in_comment)
{
    char quote = '\0';

    for (const char *c = line; c < end; c++) {
        if (in_comment) {
            in_comment = !(c[0] == '*' && c + 1 < end && c[1] == '/');
            c += !in_comment;
        } else if (quote) {
            if (*c == '\\')
                c++;
            else if (*c == quote)
                quote = '\0';
        } else if (*c == '"' || *c == '\'') {
            quote = *c;
        } else if (c[0] == '/' && c + 1 < end && c[1] == '/') {
            return false;
        } else if (c[0] == '/' && c + 1 < end && c[1] == '*') {
            in_comment = true;
            c++;
        }
    }
    return in_comment;
}

static const char *skip_blanks(const char *c, const char *end)
{
    while (c < end && (*c == ' ' || *c == '\t'))
        c++;
    return c;
}

/* Is this line an include? `path` gets what stands between the quotes, "" when there are none. */
static bool is_include(const char *line, const char *end, char *path, size_t size)
{
    const char *c = skip_blanks(line, end), *close;

    path[0] = '\0';
    if (c == end || *c != '#')
        return false;
    c = skip_blanks(c + 1, end);
    if (end - c < 7 || strncmp(c, "include", 7) != 0 || (end - c > 7 && (isalnum((unsigned char)c[7]) || c[7] == '_')))
        return false;
    c = skip_blanks(c + 7, end);
    if (c == end || *c != '"')
        return true;
    close = memchr(c + 1, '"', (size_t)(end - c - 1));
    if (close && (size_t)(close - c - 1) < size) {
        memcpy(path, c + 1, (size_t)(close - c - 1));
        path[close - c - 1] = '\0';
    }
    return true;
}

static clf_status expand(expansion *all, const char *path, const place *from)
{
    char included[256];
    bool in_comment = false;
    place here = { .path = path, .line = 1 };
    const char *line;
    clf_status status;
    file found;

    if (was_seen(all, path))
        return CLF_SUCCESS;
    status = find_file(all, path, from, &found);
    if (!status)
        status = remember(all, path);
    if (status)
        goto fail;
    here.in_plugin = found.from_plugin;
    clf__text_add(all->text, "#line 1 \"%s\"\n", path);
    for (line = found.text; *line; here.line++) {
        const char *end = line + strcspn(line, "\n");

        if (!in_comment && is_include(line, end, included, sizeof included)) {
            if (!included[0]) {
                status = clf__fail(CLF_INVALID_VALUE, "%s:%d: an include names its file in quotes", path, here.line);
                goto fail;
            }
            status = expand(all, included, &here);
            if (status)
                goto fail;
            clf__text_add(all->text, "#line %d \"%s\"\n", here.line + 1, path);
        } else {
            in_comment = ends_in_comment(line, end, in_comment);
            clf__text_append(all->text, line, (size_t)(end - line));
            clf__text_append(all->text, "\n", 1);
        }
        line = *end ? end + 1 : end;
    }
    status = CLF_SUCCESS;
fail:
    free(found.owned);
    return status;
}

clf_status clf__source_expand(const clf_source *sources, const char *path, clf__text *text)
{
    const char *directory = getenv("CLF_KERNEL_DIR");
    expansion all = { .sources = sources, .kernel_dir = directory && directory[0] ? directory : NULL, .text = text };
    clf_status status = expand(&all, path, NULL);

    for (size_t i = 0; i < all.seen_count; i++)
        free(all.seen[i]);
    free(all.seen);
    if (!status && text->failed)
        status = clf__no_memory(text->length);
    return status;
}

uint64_t clf__source_hash(const clf_source *sources)
{
    uint64_t hash = 0;

    for (const clf_source *one = sources; one && one->path; one++) { /* with the NULs, so that nothing runs together */
        hash = XXH3_64bits_withSeed(one->path, strlen(one->path) + 1, hash);
        hash = XXH3_64bits_withSeed(one->text, strlen(one->text) + 1, hash + 1);
    }
    return hash;
}
