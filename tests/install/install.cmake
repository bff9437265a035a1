# Installs ${build} to ${work}/prefix; then a find_package and a pkg-config project, in C and C++, against the shared
# and the static library; at last everything is uninstalled.
cmake_minimum_required(VERSION 3.22)

set(prefix ${work}/prefix)
set(here ${CMAKE_CURRENT_LIST_DIR})
file(REMOVE_RECURSE ${work}/consumer)

macro(run)
    execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endmacro()

include(${here}/prefix.cmake)

if(man)
    foreach(page clf clf-devices clf-list clf-describe clf-run clf-compare clf-bench)
        file(READ ${prefix}/${mandir}/man1/${page}.1 text)
        string(TOUPPER ${page} title)
        if(NOT text MATCHES "[.]TH ${title} " OR NOT text MATCHES "\n${page} \\\\- [a-z]" OR
           NOT text MATCHES "[.]SH SYNOPSIS")
            message(FATAL_ERROR "${page}.1 is no man page of ${page}:\n${text}")
        endif()
    endforeach()
endif()

# ---- a CMake project ----------------------------------------------------------------------------------

run(${CMAKE_COMMAND} -S ${here}/project -B ${work}/consumer/build -G ${generator} -DCMAKE_PREFIX_PATH=${prefix}
    -DCMAKE_C_COMPILER=${cc} -Dinclude=${prefix}/include)
run(${CMAKE_COMMAND} --build ${work}/consumer/build)
foreach(program consumer_c consumer_cpp consumer_static consumer_static_cpp testkit_clformers testkit_static)
    run(${work}/consumer/build/${program})
endforeach()

# ---- pkg-config ---------------------------------------------------------------------------------------

set(ENV{PKG_CONFIG_PATH} ${prefix}/${libdir}/pkgconfig)
function(pkg_config output)
    execute_process(COMMAND pkg-config ${ARGN} clformers OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    separate_arguments(text UNIX_COMMAND "${text}")
    set(${output} ${text} PARENT_SCOPE)
endfunction()
file(STRINGS ${work}/consumer/build/CMakeCache.txt cxx REGEX "^CMAKE_CXX_COMPILER:")
string(REGEX REPLACE ".*=" "" cxx "${cxx}")
pkg_config(shared --cflags --libs)
pkg_config(static --cflags --libs --static)
list(TRANSFORM static REPLACE "^-lclformers$" "-l:libclformers.a")
foreach(language c cpp)
    set(compiler ${cc})
    if(language STREQUAL cpp)
        set(compiler ${cxx})
    endif()
    foreach(kind shared static)
        set(program ${work}/consumer/pkgconfig_${language}_${kind})
        run(${compiler} ${here}/consumer.${language} -o ${program} ${${kind}} -Wl,-rpath,${prefix}/${libdir})
        run(${program})
    endforeach()
endforeach()
pkg_config(version --modversion)
run(${work}/consumer/pkgconfig_c_shared ${version})

# ---- and away ---------------------------------------------------------------------------------------

run(${CMAKE_COMMAND} -Dmanifest=${prefix}.txt -P ${here}/../../cmake/uninstall.cmake)
file(GLOB_RECURSE left ${prefix}/*)
file(GLOB_RECURSE folders LIST_DIRECTORIES ON ${prefix}/*)
list(FILTER folders INCLUDE REGEX "/clformers$")
if(left OR folders)
    message(FATAL_ERROR "left behind: ${left} ${folders}")
endif()
