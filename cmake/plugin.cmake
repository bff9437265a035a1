# clformers_add_plugin(<target> SOURCES <file.c>... [KERNELS <file.cl>...]): a module lib<target>.so with the parts that
# the CLF_REGISTER_ lines of SOURCES name. A part called NAME stands in NAME.c. The path by which programs and includes
# name a kernel source is relative to the current directory, without a leading cl/: cl/attention/mine.cl is attention/mine.cl.
include(${CMAKE_CURRENT_LIST_DIR}/generate.cmake)

function(clformers_add_plugin target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;KERNELS")
    if(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "clformers_add_plugin(<target> SOURCES <file.c>... [KERNELS <file.cl>...]), "
                            "not: ${target} ${ARGN}")
    endif()
    foreach(list SOURCES KERNELS)
        set(files "")
        foreach(file IN LISTS arg_${list})
            get_filename_component(file ${file} ABSOLUTE)
            list(APPEND files ${file})
        endforeach()
        set(arg_${list} ${files})
    endforeach()
    clf_generate(components components_c PLUGIN ${target} FILES ${arg_SOURCES})
    clf_generate(kernels kernels_c PLUGIN ${target} FILES ${arg_KERNELS})

    add_library(${target} MODULE ${arg_SOURCES} ${components_c} ${kernels_c} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.c)
    set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_VISIBILITY_PRESET hidden)
    target_link_libraries(${target} PRIVATE clformers::clformers)
endfunction()
