# docs/extending.md as a user follows it, against an installation of ${build} into ${work}/prefix.
cmake_minimum_required(VERSION 3.22)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${work}/prefix OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(ENV{PREFIX} ${work}/prefix)
set(ENV{PATH} "${work}/prefix/bin:$ENV{PATH}")
set(ENV{CLF_DEVICE} pocl)
set(ENV{CC} ${cc})
execute_process(COMMAND clf selftest --case 2 RESULT_VARIABLE missing OUTPUT_QUIET ERROR_QUIET)
if(missing)
    message(FATAL_ERROR "the installed clf finds no PoCL")
endif()
execute_process(COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/follow.sh ${page} ${work}/page COMMAND_ERROR_IS_FATAL ANY
                OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)

# What the commands have to say, and the file that the last one leaves.
foreach(text "\n  toy +attention of every position" "strength +float" "\ntoy pocl: 5 passed, 0 failed" "toy +forward" "toy +backward"
             "toy on .*family simple")
    if(NOT output MATCHES "${text}")
        message(FATAL_ERROR "nothing matches '${text}'")
    endif()
endforeach()
if(NOT EXISTS ${work}/page/output.safetensors)
    message(FATAL_ERROR "clf run left no file")
endif()
