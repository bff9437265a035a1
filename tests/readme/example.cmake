# Extracts the C block behind the marker in README.md, which docs/examples/ holds as well, builds it against the library and runs it.
cmake_minimum_required(VERSION 3.22)

file(READ ${readme} text)
string(REGEX MATCH "<!-- example -->\n```c\n([^`]*)```" found "${text}")
if(NOT found)
    message(FATAL_ERROR "no C block behind <!-- example --> in ${readme}")
endif()
file(WRITE ${work}/example.c "${CMAKE_MATCH_1}")
cmake_path(GET readme PARENT_PATH root)
file(READ ${root}/docs/examples/attention.c installed)
if(NOT installed STREQUAL CMAKE_MATCH_1)
    message(FATAL_ERROR "docs/examples/attention.c is not the example of README.md; it is what gets installed")
endif()

cmake_path(GET library PARENT_PATH folder)
execute_process(COMMAND ${cc} -std=c11 -Wall -Wextra -Werror -I${include} ${work}/example.c -o ${work}/example
                        ${library} -lOpenCL -Wl,-rpath,${folder}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${work}/example COMMAND_ERROR_IS_FATAL ANY)
