# The C files that the build writes itself. Each is made by a script of this folder, again whenever a
# file it reads changes, appears or goes.

# clf_generate(<script> <output> [PLUGIN <name>] FILES <file>...): runs <script>.cmake with `output`, `root` (the source
# directory, or the current one for a plugin), `list` (a file that holds FILES, relative to it, one a line) and, for a
# plugin, `plugin`.
function(clf_generate script output)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "PLUGIN" "FILES")
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/generated)
    set(root ${PROJECT_SOURCE_DIR})
    set(arguments "")
    if(arg_PLUGIN)
        string(APPEND folder /${arg_PLUGIN})
        set(root ${CMAKE_CURRENT_SOURCE_DIR})
        set(arguments -Dplugin=ON)
    endif()
    set(c_file ${folder}/${script}.c)
    set(list_file ${folder}/${script}.txt)
    set(rows "")
    foreach(file IN LISTS arg_FILES)
        file(RELATIVE_PATH file ${root} ${file})
        string(APPEND rows "${file}\n")
    endforeach()
    file(CONFIGURE OUTPUT ${list_file} CONTENT "${rows}" @ONLY) # keeps its time when nothing changed
    add_custom_command(
        OUTPUT ${c_file}
        COMMAND ${CMAKE_COMMAND} -Doutput=${c_file} -Droot=${root} -Dlist=${list_file} ${arguments}
                -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${script}.cmake
        DEPENDS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${script}.cmake ${list_file} ${arg_FILES}
        COMMENT "Generating ${script}.c"
        VERBATIM)
    set(${output} ${c_file} PARENT_SCOPE)
endfunction()

# Everything under cl/ as `clf__embedded_sources`.
function(clf_embed_kernels output)
    file(GLOB_RECURSE kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cl/*.cl)
    file(GLOB_RECURSE others CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cl/*)
    set(strays "")
    foreach(folder include src tests benchmarks tools)
        file(GLOB_RECURSE found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cl)
        list(APPEND strays ${found})
    endforeach()
    list(FILTER strays EXCLUDE REGEX "/tests/plugin/") # they belong to the plugins there
    list(REMOVE_ITEM others ${kernels} "")
    list(FILTER others EXCLUDE REGEX "/[.][^/]*$|~$|[.]md$") # what editors leave, and prose
    if(others OR strays)
        list(JOIN others "\n  " others)
        list(JOIN strays "\n  " strays)
        message(FATAL_ERROR "Not embedded: kernel sources are the *.cl files under cl/, and nothing else is there:\n"
                            "  ${others}${strays}")
    endif()
    clf_generate(kernels c_file FILES ${kernels})
    set(${output} ${c_file} PARENT_SCOPE)
endfunction()

# The CLF_REGISTER_ lines of all parts as `clf__builtin_components`.
function(clf_list_components output)
    set(globs "")
    foreach(folder attention feedforward position norm model)
        list(APPEND globs ${PROJECT_SOURCE_DIR}/src/${folder}/*.c)
    endforeach()
    file(GLOB parts CONFIGURE_DEPENDS ${globs})
    clf_generate(components c_file FILES ${parts})
    set(${output} ${c_file} PARENT_SCOPE)
endfunction()

# tests/reference/*.c as `clf__references`.
function(clf_list_references output)
    file(GLOB references CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/reference/*.c)
    clf_generate(references c_file FILES ${references})
    set(${output} ${c_file} PARENT_SCOPE)
endfunction()
