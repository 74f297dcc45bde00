# Tests of server/rpc: the wire and the conversions alone, and the streams over a real port in front of a fake engine.
foreach(name convert docs tensor_file to_grpc wire_pull wire_push)
  stepback_test(rpc_${name}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_${name}_test.cc
    DEPS stepback::rpc stepback::fake_engine fmt::fmt LABELS unit rpc sanitized)
endforeach()
target_compile_definitions(rpc_docs_test PRIVATE STEPBACK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
foreach(name push_stream server version_stream)
  stepback_test(rpc_${name}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_${name}_test.cc
    DEPS stepback::rpc stepback::fake_engine stepback::health fmt::fmt LABELS unit rpc sanitized)
endforeach()
