# Headers, libraries, the command, and what find_package and pkg-config need.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/clformers)
install(DIRECTORY include/clformers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
        FILES_MATCHING PATTERN "*.h")
install(TARGETS clformers EXPORT clformersTargets LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev)
install(TARGETS clformers_static EXPORT clformersTargets COMPONENT dev)
if(TARGET clf)
    install(TARGETS clf COMPONENT tools)
endif()
if(TARGET clformers_testkit) # the tests for parts that live elsewhere
    install(TARGETS clformers_testkit EXPORT clformersTargets COMPONENT dev)
endif()
install(EXPORT clformersTargets NAMESPACE clformers:: DESTINATION ${package_dir} COMPONENT dev)

configure_package_config_file(cmake/clformersConfig.cmake.in clformersConfig.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a new minor version may break callers.
write_basic_package_version_file(clformersConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/clformersConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/clformersConfigVersion.cmake
              cmake/plugin.cmake cmake/plugin.c cmake/generate.cmake cmake/components.cmake cmake/kernels.cmake
        DESTINATION ${package_dir} COMPONENT dev)

file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX}) # may be moved
configure_file(cmake/clformers.pc.in clformers.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/clformers.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
