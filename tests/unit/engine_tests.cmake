foreach(name difference durability durability_push encoded_form eval_view fragments memory_faults model_image pull push push_assembly
        quarantine registry snapshot_stall staged_part strand storage_faults stress timer_queue upload wire_walker)
  stepback_test(engine_${name}_test SOURCES engine_${name}_test.cc
    DEPS stepback::engine stepback::fakes stepback::messages fmt::fmt LABELS unit engine)
endforeach()
stepback_test(engine_events_test SOURCES engine_events_test.cc
  DEPS stepback::tools stepback::engine stepback::fakes stepback::messages LABELS unit engine)
target_compile_definitions(engine_durability_push_test PRIVATE STEPBACK_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/golden")
