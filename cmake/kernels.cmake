# Writes `clf__embedded_sources`, for a plugin `clf__plugin_sources` (-Dplugin=ON): every kernel source as a byte
# array, which no compiler limits in length. Paths are those below cl/.
# A kernel has one home, and its name starts with clf_: a second definition in another file is an error.
cmake_minimum_required(VERSION 3.22)

file(STRINGS ${list} files)

# The text without comments, so that prose cannot look like a kernel.
function(strip_comments text output)
    string(REGEX REPLACE "//[^\n]*" "" text "${text}")
    string(FIND "${text}" "/*" start)
    while(start GREATER -1)
        string(SUBSTRING "${text}" 0 ${start} before)
        string(SUBSTRING "${text}" ${start} -1 rest)
        string(FIND "${rest}" "*/" end)
        if(end EQUAL -1)
            set(rest "")
        else()
            math(EXPR end "${end} + 2")
            string(SUBSTRING "${rest}" ${end} -1 rest)
        endif()
        set(text "${before} ${rest}")
        string(FIND "${text}" "/*" start)
    endwhile()
    set(${output} "${text}" PARENT_SCOPE)
endfunction()

# Remembers the kernels of a file in home_<kernel>.
macro(check_kernels file text)
    set(space "[ \t\r\n]")
    string(REGEX MATCHALL "kernel${space}+(__attribute__${space}*[^{}]*[) \t\r\n])?void${space}+[A-Za-z0-9_]+${space}*\\("
           heads "${text}")
    foreach(head IN LISTS heads)
        string(REGEX REPLACE ".*void${space}+([A-Za-z0-9_]+)${space}*\\($" "\\1" kernel "${head}")
        if(NOT kernel MATCHES "^clf_" AND NOT plugin)
            message(FATAL_ERROR "${file}: the name of kernel '${kernel}' does not start with clf_")
        elseif(DEFINED home_${kernel} AND NOT home_${kernel} STREQUAL "${file}")
            message(FATAL_ERROR "kernel '${kernel}' is defined in ${home_${kernel}} and in ${file}")
        endif()
        set(home_${kernel} ${file})
    endforeach()
endmacro()

set(arrays "")
set(rows "")
set(index 0)
foreach(file IN LISTS files)
    file(READ ${root}/${file} text)
    strip_comments("${text}" code)
    check_kernels(${file} "${code}")

    file(READ ${root}/${file} bytes HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    if(bytes MATCHES "0x[89a-f]|0x00")
        message(FATAL_ERROR "${file}: kernel sources are plain ASCII (drivers differ in what else they take)")
    endif()
    string(REPLACE "0x0a," "0x0a,\n" bytes "${bytes}")
    string(REGEX REPLACE "^cl/" "" path "${file}")
    string(APPEND arrays "static const char source_${index}[] = { /* ${path} */\n${bytes}0\n};\n\n")
    string(APPEND rows "    { \"${path}\", source_${index} },\n")
    math(EXPR index "${index} + 1")
endforeach()

set(array clf__embedded_sources)
if(plugin)
    set(array clf__plugin_sources)
endif()
file(WRITE ${output} "/* Generated from kernel sources. */\n#include <clformers/source.h>\n\n\
extern const clf_source ${array}[];\n\n${arrays}const clf_source ${array}[] = {\n${rows}    { NULL, NULL }\n};\n")
