# The section "In the tree" of docs/extending.md, in a copy of the sources.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${work}/source)
foreach(part CMakeLists.txt CMakePresets.json README.md CONTRIBUTING.md LICENSE cmake include src cl tests tools benchmarks docs)
    file(COPY ${root}/${part} DESTINATION ${work}/source)
endforeach()
set(ENV{SOURCE} ${work}/source)
execute_process(COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/follow.sh ${root}/docs/extending.md ${work}/tree ${prefix} ${libdir}
                        tree
                COMMAND_ERROR_IS_FATAL ANY)
