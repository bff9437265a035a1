# The names that ${library} exports are those of ${list}, written anew with -Dwrite=ON; and every name that
# ${archive} adds to a program starts with clf_.
cmake_minimum_required(VERSION 3.22)

# The defined global names of a file, sorted, one a line.
function(names file output)
    execute_process(COMMAND ${nm} -g --defined-only --format=posix ${ARGN} ${file} OUTPUT_VARIABLE text
                    COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "(^|\n)[^ \n]+ [A-TV-Z] " rows "${text}")
    list(TRANSFORM rows REPLACE "^\n|  *[A-Z] $" "")
    list(SORT rows)
    list(REMOVE_DUPLICATES rows)
    list(JOIN rows "\n" text)
    set(${output} "${text}\n" PARENT_SCOPE)
endfunction()

names(${archive} inside)
string(REGEX MATCHALL "(^|\n)[^\n]+" strangers "${inside}")
list(FILTER strangers EXCLUDE REGEX "^\n?clf_")
if(strangers)
    message(FATAL_ERROR "names in the static library that do not start with clf_:${strangers}")
endif()

names(${library} exported -D)
if(write)
    file(WRITE ${list} "${exported}")
    return()
endif()
file(READ ${list} expected)
string(REGEX MATCHALL "\n" lines "${exported}")
list(LENGTH lines count)
if(exported MATCHES "(^|\n)clf__" OR count LESS 50)
    message(FATAL_ERROR "${count} exported names, or private ones among them:\n${exported}")
elseif(NOT exported STREQUAL expected)
    string(REPLACE "\n" ";" now "${exported}")
    string(REPLACE "\n" ";" before "${expected}")
    set(added ${now})
    set(gone ${before})
    list(REMOVE_ITEM added ${before} "")
    list(REMOVE_ITEM gone ${now} "")
    message(FATAL_ERROR "tests/install/symbols.txt is not what the library exports.\n  new: ${added}\n  gone: ${gone}\n"
                        "When that is meant: cmake --build <build directory> --target symbols")
endif()
message(STATUS "${count} names are exported")
