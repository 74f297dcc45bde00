# The core: one support library, one program per subject.
add_library(stepback_core_support STATIC core_call_history.cc core_reference_model.cc core_session_machine.cc core_support.cc)
target_link_libraries(stepback_core_support PUBLIC stepback::core fmt::fmt GTest::gtest)
stepback_options(stepback_core_support)
foreach(name
    core_admit_test
    core_aggregate_test
    core_algorithms_doc_test
    core_averages_test
    core_client_table_test
    core_eval_slot_test
    core_extrapolation_test
    core_fragments_test
    core_invariants_test
    core_layout_test
    core_merging_test
    core_model_test
    core_nqm_test
    core_open_state_test
    core_quarantine_test
    core_reference_test
    core_round_adaptation_test
    core_round_policy_test
    core_scenarios_test
    core_schedule_test
    core_session_walk_test
    core_spec_check_test
    core_wire_layout_test)
  stepback_test(${name} SOURCES ${name}.cc DEPS stepback_core_support LABELS unit core)
  target_compile_definitions(${name} PRIVATE STEPBACK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
