# Writes `clf__builtin_components`, for a plugin `clf__plugin_components` (-Dplugin=ON): one row for every line that
# starts with CLF_REGISTER_<KIND>(<name>), sorted by kind and name. The file of a part is called <name>.c.
cmake_minimum_required(VERSION 3.22)

set(kinds ATTENTION FEEDFORWARD POSITION_EMBEDDING NORM MULTI_HEAD BLOCK) # the order of clf_kind
file(STRINGS ${list} files)

foreach(file IN LISTS files)
    file(STRINGS ${root}/${file} lines REGEX "^CLF_REGISTER_")
    foreach(line IN LISTS lines)
        if(NOT line MATCHES "^CLF_REGISTER_([A-Z_]+)\\(([a-z][a-z0-9_]*)\\)")
            message(FATAL_ERROR "${file}: not CLF_REGISTER_<KIND>(<name in lower case>): ${line}")
        endif()
        set(kind ${CMAKE_MATCH_1})
        set(name ${CMAKE_MATCH_2})
        get_filename_component(stem ${file} NAME_WE)
        if(NOT kind IN_LIST kinds)
            message(FATAL_ERROR "${file}: CLF_REGISTER_${kind}: the kinds are ${kinds}")
        elseif(DEFINED home_${kind}_${name})
            message(FATAL_ERROR "${kind} '${name}' is registered in ${home_${kind}_${name}} and in ${file}")
        elseif(NOT stem STREQUAL name)
            message(FATAL_ERROR "${file}: '${name}' belongs in a file called ${name}.c")
        endif()
        set(home_${kind}_${name} ${file})
        set(found_a_part ON)
        list(APPEND names_${kind} ${name})
    endforeach()
endforeach()

set(array clf__builtin_components)
set(sources NULL)
set(declarations "")
if(plugin)
    if(NOT found_a_part)
        message(FATAL_ERROR "a plugin needs a part: no file has a line that starts with CLF_REGISTER_")
    endif()
    set(array clf__plugin_components)
    set(sources clf__plugin_sources)
    set(declarations "extern const clf_source clf__plugin_sources[];\n")
endif()

set(components "")
set(rows "")
foreach(kind IN LISTS kinds)
    string(TOLOWER ${kind} prefix)
    list(SORT names_${kind})
    foreach(name IN LISTS names_${kind})
        set(part ${prefix}_${name})
        string(APPEND components "extern const clf_descriptor clf__${part};\nstatic const clf_component ${part} = {\n\
    sizeof(clf_descriptor), CLF_${kind}, \"${name}\", &clf__${part}, ${sources}\n};\n\n")
        string(APPEND rows "    &${part},\n")
    endforeach()
endforeach()

file(WRITE ${output} "/* Generated from CLF_REGISTER_ lines. */\n#include <clformers/component.h>\n\n\
extern const clf_component *const ${array}[];\n${declarations}\n${components}\
const clf_component *const ${array}[] = {\n${rows}    NULL\n};\n")
