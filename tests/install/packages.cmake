# The packages that cpack makes of ${build}: what is in them and what they depend on. tests/install/deb.sh goes further
# and installs them.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE ${work})
execute_process(COMMAND ${CMAKE_CPACK_COMMAND} --config ${build}/CPackConfig.cmake -G DEB -B ${work}
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

# expect(<package> <field or CONTENT> <regex>...): all of them match.
function(expect package what)
    file(GLOB deb ${work}/${package}_*.deb)
    set(query -f ${deb} ${what})
    if(what STREQUAL CONTENT)
        set(query -c ${deb})
    endif()
    execute_process(COMMAND dpkg-deb ${query} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
    foreach(regex IN LISTS ARGN)
        if(NOT text MATCHES "${regex}")
            message(SEND_ERROR "${package}, ${what}: nothing matches '${regex}' in\n${text}")
        endif()
    endforeach()
endfunction()

string(REPLACE "." "[.]" escaped ${version})
expect(libclformers${soversion} Version "^${escaped}")
expect(libclformers${soversion} Depends "libc6 \\(>=" libcjson1 "libopencl1|ocl-icd-libopencl1")
expect(libclformers${soversion} CONTENT "/libclformers[.]so[.]${escaped}\n" "/libclformers[.]so[.]${soversion} ->")
expect(libclformers-dev Depends "libclformers${soversion} \\(= ${escaped}\\)" ocl-icd-opencl-dev libcjson-dev)
expect(libclformers-dev CONTENT /include/clformers/clformers[.]h /libclformers[.]a "/libclformers[.]so ->"
       /libclformers_testkit[.]a /clformersConfig[.]cmake /clformers[.]pc /examples/attention[.]c /using[.]md)
expect(clformers-tools Depends "libclformers${soversion} \\(= ${escaped}\\)" libcjson1)
expect(clformers-tools CONTENT /bin/clf\n)
if(man)
    expect(clformers-tools CONTENT /man1/clf[.]1\n /man1/clf-run[.]1\n)
endif()
