# The core: one support library, one program per subject.
add_library(stepback_core_support STATIC core_reference_model.cc core_session_machine.cc core_support.cc)
target_link_libraries(stepback_core_support PUBLIC stepback::core fmt::fmt GTest::gtest)
stepback_options(stepback_core_support)
foreach(name admit client_table invariants layout model nqm reference round_policy scenarios session_walk spec_check wire_layout)
  stepback_test(core_${name}_test SOURCES core_${name}_test.cc DEPS stepback_core_support LABELS unit core)
  target_compile_definitions(core_${name}_test PRIVATE STEPBACK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
