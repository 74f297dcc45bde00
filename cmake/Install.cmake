# `cmake --install`: the two programs, the C++ client with its package (find_package(stepback), pkg-config), and nothing
# of the inside. The installed client is one shared library that exports the public names only; users link it and Abseil's
# status, and need no gRPC of their own.
#   component runtime: bin/stepbackd bin/stepback      component client: library, headers, package files
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(stepback_client_shared SHARED $<TARGET_OBJECTS:stepback_client_core> $<TARGET_OBJECTS:stepback_client>)
stepback_options(stepback_client_shared)
target_link_libraries(stepback_client_shared
  PUBLIC absl::status absl::statusor
  PRIVATE stepback::proto stepback::health stepback::base stepback::kernels gRPC::grpc++ fmt::fmt Threads::Threads)
target_include_directories(stepback_client_shared PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/client/cpp/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(stepback_client_shared PUBLIC cxx_std_20)
set(exported_names ${PROJECT_SOURCE_DIR}/client/cpp/exported_names.map)
target_link_options(stepback_client_shared PRIVATE -Wl,--version-script,${exported_names} -Wl,--as-needed)
set_target_properties(stepback_client_shared PROPERTIES
  OUTPUT_NAME stepback_client EXPORT_NAME client VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${exported_names})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/stepback)
install(TARGETS stepback_client_shared EXPORT stepbackTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
install(DIRECTORY client/cpp/include/stepback DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT client)
install(EXPORT stepbackTargets NAMESPACE stepback:: DESTINATION ${package_dir} COMPONENT client)
configure_package_config_file(cmake/stepbackConfig.cmake.in ${PROJECT_BINARY_DIR}/stepbackConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/stepbackConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/stepbackConfig.cmake ${PROJECT_BINARY_DIR}/stepbackConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT client)
configure_file(cmake/stepback-client.pc.in ${PROJECT_BINARY_DIR}/stepback-client.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/stepback-client.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT client)

foreach(program stepbackd stepback_cli)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
  endif()
endforeach()
