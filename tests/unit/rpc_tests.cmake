# Tests of server/rpc: the wire and the conversions alone, and the streams over a real port in front of a fake engine.
if(TARGET stepback_rpc)
  foreach(name convert tensor_file to_grpc wire_pull wire_push)
    stepback_test(rpc_${name}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_${name}_test.cc DEPS stepback::rpc stepback::fake_engine fmt::fmt
      LABELS unit rpc sanitized)
  endforeach()
  foreach(name push_stream server version_stream)
    stepback_test(rpc_${name}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_${name}_test.cc DEPS stepback::rpc stepback::fake_engine stepback::health
      LABELS unit rpc sanitized)
  endforeach()
endif()
