# What a distribution adds to the files of install.cmake: man pages, a way back (`uninstall`), and .deb packages by
# `cpack`: libclformers<soversion> (the library), libclformers-dev (headers, static libraries, CMake package,
# documents), clformers-tools (the clf command). The preset `package` has the paths that Debian uses.

# ---- man pages, from `clf help` and the --help of each command ------------------------------------

find_program(HELP2MAN help2man)
if(TARGET clf AND HELP2MAN AND NOT CLF_SANITIZE)
    set(man_dir ${CMAKE_CURRENT_BINARY_DIR}/man1)
    add_custom_command(
        OUTPUT ${man_dir}/clf.1
        COMMAND ${CMAKE_COMMAND} -Dclf=$<TARGET_FILE:clf> -Dhelp2man=${HELP2MAN} -Doutput=${man_dir}
                -Dversion=${PROJECT_VERSION} -P ${PROJECT_SOURCE_DIR}/cmake/manpages.cmake
        DEPENDS clf ${PROJECT_SOURCE_DIR}/cmake/manpages.cmake
        COMMENT "Generating man pages"
        VERBATIM)
    add_custom_target(man ALL DEPENDS ${man_dir}/clf.1)
    install(DIRECTORY ${man_dir} DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT tools)
else()
    message(STATUS "No man pages: they need the clf command and help2man")
endif()

# ---- the public headers as a reference ------------------------------------------------------------------

find_program(DOXYGEN doxygen)
if(DOXYGEN)
    configure_file(docs/Doxyfile.in Doxyfile @ONLY)
    add_custom_target(reference COMMAND ${DOXYGEN} ${CMAKE_CURRENT_BINARY_DIR}/Doxyfile
                      COMMENT "Writing reference/html/index.html" VERBATIM)
endif()

# ---- the way back -----------------------------------------------------------------------------------

add_custom_target(uninstall
    COMMAND ${CMAKE_COMMAND} -Dmanifest=${CMAKE_CURRENT_BINARY_DIR}/install_manifest.txt
            -P ${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake
    COMMENT "Removing what the last `cmake --install` wrote" VERBATIM)

# ---- .deb ---------------------------------------------------------------------------------------------

install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev FILES_MATCHING
        PATTERN "*.md" PATTERN "*.c")
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev)

get_target_property(soversion clformers SOVERSION)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "clformers maintainers <maintainers@clformers.invalid>") # who distributes sets an address
set(CPACK_COMPONENTS_ALL runtime dev)
if(TARGET clf)
    list(APPEND CPACK_COMPONENTS_ALL tools)
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_CURRENT_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libclformers${soversion})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "Attention mechanisms for every OpenCL device: the library\n\
 A C library of attention mechanisms and transformer parts, forward and backward.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libclformers-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libclformers${soversion} (= ${PROJECT_VERSION}), ocl-icd-opencl-dev, libcjson-dev")
if(CLBLAST_FOUND) # pkg-config wants what clformers.pc requires privately
    string(APPEND CPACK_DEBIAN_DEV_PACKAGE_DEPENDS ", libclblast-dev")
endif()
set(CPACK_COMPONENT_DEV_DESCRIPTION "Attention mechanisms for every OpenCL device: development files\n\
 Headers, static libraries, CMake package, pkg-config file and documents of clformers.")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME clformers-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libclformers${soversion} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd, libopenblas0")
set(CPACK_COMPONENT_TOOLS_DESCRIPTION "Attention mechanisms for every OpenCL device: the clf command\n\
 Lists devices and mechanisms, runs, compares and measures them.")
include(CPack)
