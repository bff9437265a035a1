# The programs of docs/examples/, which get installed, are those of the pages; that of the README has its own test.
cmake_minimum_required(VERSION 3.22)

file(GLOB examples ${root}/docs/examples/*.c)
file(READ ${root}/docs/using.md page)
foreach(example IN LISTS examples)
    cmake_path(GET example FILENAME name)
    file(READ ${example} text)
    string(FIND "${page}" "<!-- file: ${name} -->\n```c\n${text}```" found)
    if(found EQUAL -1 AND NOT name STREQUAL "attention.c")
        message(SEND_ERROR "docs/using.md does not hold docs/examples/${name} as it is")
    endif()
endforeach()
