/* JSON texts: parsing with a useful position, describing values, writing strings and numbers. */
#include "config/config.h"
#include "core/status.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cJSON would take 1000 levels and cut strings at \u0000: both are refused before it sees the text. */
static clf_status scan(const char *text, const char *what)
{
    int depth = 0;
    bool inside = false;

    for (const char *at = text; *at; at++) {
        if (inside) {
            if (*at == '\\') {
                if (strncmp(at, "\\u0000", 6) == 0)
                    return clf__fail(CLF_INVALID_CONFIG, "%s has a NUL character (\\u0000) in a string", what);
                if (at[1])
                    at++;
            } else if (*at == '"') {
                inside = false;
            }
        } else if (*at == '"') {
            inside = true;
        } else if (*at == '[' || *at == '{') {
            if (++depth > CLF__MAX_DEPTH)
                return clf__fail(CLF_INVALID_CONFIG, "%s is nested deeper than %d levels", what, (int)CLF__MAX_DEPTH);
        } else if (*at == ']' || *at == '}') {
            depth--;
        }
    }
    return CLF_SUCCESS;
}

static clf_status syntax_error(const char *text, const char *what, const char *at)
{
    int line = 1;
    const char *start = text;

    if (!at || at < text || at > text + strlen(text))
        at = text;
    for (const char *c = text; c < at; c++) {
        if (*c == '\n') {
            line++;
            start = c + 1;
        }
    }
    if (*at == '\0')
        return clf__fail(CLF_INVALID_CONFIG, "%s is not JSON: it ends too early (line %d)", what, line);
    return clf__fail(CLF_INVALID_CONFIG, "%s is not JSON: line %d, column %d, near '%.20s'", what, line,
                     (int)(at - start) + 1, at);
}

clf_status clf__json_parse(const char *text, const char *what, cJSON **root)
{
    const char *end = NULL;
    char buffer[80];
    cJSON *tree = NULL;
    clf_status status = scan(text, what);

    *root = NULL;
    if (status)
        return status;
    if ((status = clf__json_tree(text, strlen(text) + 1, &end, &tree)))
        return status;
    while (tree && *end && strchr(" \t\r\n", *end))
        end++;
    if (!tree || *end) {
        cJSON_Delete(tree);
        return syntax_error(text, what, end);
    }
    if (!cJSON_IsObject(tree)) {
        status = clf__fail(CLF_INVALID_CONFIG, "%s must be a JSON object, not %s", what,
                           clf__json_describe(tree, buffer, sizeof buffer));
        cJSON_Delete(tree);
        return status;
    }
    *root = tree;
    return CLF_SUCCESS;
}

const char *clf__json_describe(const cJSON *value, char *buffer, size_t size)
{
    char number[40];

    if (cJSON_IsNumber(value))
        snprintf(buffer, size, "the number %s", clf__json_number(number, value->valuedouble, false));
    else if (cJSON_IsString(value))
        snprintf(buffer, size, "the string \"%.40s%s", value->valuestring,
                 strlen(value->valuestring) > 40 ? "...\"" : "\"");
    else
        snprintf(buffer, size, "%s",
                 cJSON_IsArray(value)    ? "an array"
                 : cJSON_IsObject(value) ? "an object"
                 : cJSON_IsTrue(value)   ? "true"
                 : cJSON_IsFalse(value)  ? "false"
                                         : "null");
    return buffer;
}

const char *clf__json_number(char buffer[40], double value, bool single)
{
    char text[40], *to = buffer;

    if (!isfinite(value))
        return strcpy(buffer, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    for (int digits = 6; digits <= (single ? 9 : 17); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    /* The locale's decimal point, of one byte or several, becomes a dot. */
    for (const char *from = text; *from; from++) {
        if (strchr("0123456789+-e", *from))
            *to++ = *from;
        else if (to == buffer || to[-1] != '.')
            *to++ = '.';
    }
    *to = '\0';
    return buffer;
}

void clf__json_add_string(clf__text *text, const char *string)
{
    clf__text_append(text, "\"", 1);
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            clf__text_add(text, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            clf__text_add(text, "\\u%04x", (unsigned)(unsigned char)*c);
        else
            clf__text_append(text, c, 1);
    }
    clf__text_append(text, "\"", 1);
}

clf_status clf__json_name(const char *text, char **name)
{
    cJSON *root = NULL;
    char buffer[80];

    *name = NULL;
    if (!text)
        return clf__fail(CLF_INVALID_VALUE, "argument 'json' is NULL");
    clf_status status = clf__json_parse(text, "the config", &root);
    if (status)
        return status;
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(root, "name");
    if (!value || cJSON_IsNull(value))
        status = clf__fail(CLF_MISSING_KEY, "the config has no \"name\"");
    else if (!cJSON_IsString(value))
        status = clf__fail(CLF_INVALID_CONFIG, "'name' must be a string, not %s",
                           clf__json_describe(value, buffer, sizeof buffer));
    else if (!(*name = clf__strdup(value->valuestring)))
        status = clf__no_memory(strlen(value->valuestring) + 1);
    cJSON_Delete(root);
    return status;
}
