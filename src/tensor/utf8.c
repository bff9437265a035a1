/* UTF-8, which JSON asks for. */
#include "tensor/safetensors.h"

#include <stdint.h>

/* Bytes of the character at `s`, of at most `left`; 0 when it is none. */
static size_t character(const unsigned char *s, size_t left)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;

    if (length < 2 || length > left) {
        return length == 1 ? 1 : 0;
    }
    uint32_t code = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3f);
    }
    return code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

bool clf__is_utf8(const char *text, size_t length)
{
    size_t bytes = 0;

    for (size_t i = 0; i < length; i += bytes) {
        bytes = character((const unsigned char *)text + i, length - i);
        if (bytes == 0) {
            return false;
        }
    }
    return true;
}
