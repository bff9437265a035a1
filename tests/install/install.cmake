# Installs ${build} to ${work}/prefix; then a find_package and a pkg-config project, in C and C++.
cmake_minimum_required(VERSION 3.22)

set(prefix ${work}/prefix)
set(here ${CMAKE_CURRENT_LIST_DIR})
file(REMOVE_RECURSE ${prefix} ${work}/consumer)

macro(run)
    execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endmacro()

run(${CMAKE_COMMAND} --install ${build} --prefix ${prefix})

run(${CMAKE_COMMAND} -S ${here}/project -B ${work}/consumer/build -G ${generator} -DCMAKE_PREFIX_PATH=${prefix}
    -DCMAKE_C_COMPILER=${cc} -Dinclude=${prefix}/include)
run(${CMAKE_COMMAND} --build ${work}/consumer/build)
foreach(program c cpp static)
    run(${work}/consumer/build/consumer_${program})
endforeach()

set(ENV{PKG_CONFIG_PATH} ${prefix}/${libdir}/pkgconfig)
execute_process(COMMAND pkg-config --cflags --libs clformers OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${cc} ${here}/consumer.c -o ${work}/consumer/pkgconfig ${flags} -Wl,-rpath,${prefix}/${libdir})
run(${work}/consumer/pkgconfig)
