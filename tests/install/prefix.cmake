# Installs ${build} to an empty ${prefix}; the manifest goes to ${prefix}.txt. Whatever was installed from that build
# before keeps its own, so that it can still be uninstalled.
cmake_minimum_required(VERSION 3.22)

set(manifest ${build}/install_manifest.txt)
file(REMOVE_RECURSE ${prefix})
if(EXISTS ${manifest})
    file(RENAME ${manifest} ${prefix}.before)
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${prefix} COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${manifest} ${prefix}.txt)
if(EXISTS ${prefix}.before)
    file(RENAME ${prefix}.before ${manifest})
endif()
