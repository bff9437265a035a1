# Writes `clf__references`: tests/reference/<name>.c defines clf_reference_<name>.
cmake_minimum_required(VERSION 3.22)

file(STRINGS ${list} files)

set(declarations "")
set(rows "")
foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    file(STRINGS ${root}/${file} found REGEX "^clf_status clf_reference_${name}\\(")
    if(NOT found)
        message(FATAL_ERROR "${file}: does not define clf_reference_${name}")
    endif()
    string(APPEND declarations "clf_status clf_reference_${name}(const clf_reference *reference);\n")
    string(APPEND rows "    { \"${name}\", clf_reference_${name} },\n")
endforeach()

file(WRITE ${output} "/* Generated from tests/reference/. */\n#include \"references.h\"\n\n${declarations}\n\
const struct clf_reference_row clf__references[] = {\n${rows}    { NULL, NULL }\n};\n")
