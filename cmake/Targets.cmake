# Helpers that give every target of the project the same shape.

# stepback_options(<target>): numerics, warnings, include root and sanitizers. Private, so that users of an
# installed target are not forced into our flags. -ffp-contract=off: a rule says Fma where it means one
# (docs/architecture.md, "Numerics").
function(stepback_options target)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STEPBACK_WERROR}>>:-Werror>)
  if(STEPBACK_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(STEPBACK_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${STEPBACK_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${STEPBACK_SANITIZE})
    if(STEPBACK_SANITIZE MATCHES thread)
      # The packaged protobuf lays its maps out otherwise where its headers see this macro than where it was compiled;
      # our own sources ask for STEPBACK_TSAN.
      target_compile_options(${target} PRIVATE -U__SANITIZE_THREAD__ -DSTEPBACK_TSAN)
    endif()
  endif()
endfunction()

# stepback_library(<name> SOURCES ... DEPS ... [PRIVATE_DEPS ...]): one static library per folder, stepback::<name>.
function(stepback_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(stepback_${name} STATIC ${arg_SOURCES})
  add_library(stepback::${name} ALIAS stepback_${name})
  target_link_libraries(stepback_${name} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  stepback_options(stepback_${name})
endfunction()

# stepback_failpoints(<target>): FAILPOINT(...) in its sources is a place (server/base/failpoint.h), not nothing.
function(stepback_failpoints target)
  if(STEPBACK_FAILPOINTS)
    target_compile_definitions(${target} PRIVATE STEPBACK_FAILPOINTS)
  endif()
endfunction()

# stepback_test(<name> SOURCES ... DEPS ... [LABELS ...] [NO_SANITIZER]): one GoogleTest program, one ctest per program.
# Every program belongs to `sanitized_tests` (asan + ubsan) unless NO_SANITIZER says that it measures or takes too long;
# the suites below gRPC belong to `tsan_tests` too: the packaged gRPC and TBB are not instrumented (decisions 26).
add_custom_target(sanitized_tests)
add_custom_target(tsan_tests)
function(stepback_test name)
  cmake_parse_arguments(arg "NO_SANITIZER" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gmock GTest::gtest_main)
  stepback_options(${name})
  # GCC 12 warns falsely of string concatenation when it optimises; GoogleTest's macros hold an else.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-dangling-else>)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_NO_SANITIZER)
    list(APPEND arg_LABELS sanitized)
    add_dependencies(sanitized_tests ${name})
    if(name MATCHES "^(base|store|core|engine|client)_" AND NOT "grpc" IN_LIST arg_LABELS)
      list(APPEND arg_LABELS tsan)
      add_dependencies(tsan_tests ${name})
    endif()
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 600)
  if(STEPBACK_SANITIZE)
    # Accesses go wrong in a tenth of the drawn scenarios as well. A failed allocation is an answer here, not the end; and
    # freed memory is not hoarded, where tests bound what the process holds.
    set(asan "allocator_may_return_null=1:quarantine_size_mb=8")
    set(tsan "suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
    set_tests_properties(${name} PROPERTIES TIMEOUT 1800
      ENVIRONMENT "STEPBACK_CONFORMANCE_SHARE=10;ASAN_OPTIONS=${asan};TSAN_OPTIONS=${tsan}")
  endif()
endfunction()
