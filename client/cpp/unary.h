// One request, one response, over a Stream: the wire does not distinguish.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "client/cpp/transport.h"
#include "google/protobuf/message_lite.h"
#include "server/base/status_macros.h"

namespace stepback::client {

absl::Status CallUnary(Transport* transport, const std::string& method,
                       const google::protobuf::MessageLite& request, google::protobuf::MessageLite* response,
                       const CallLimits& limits, Interrupt* interrupt);

// Call<Response>(transport, method, request, limits, interrupt) -> StatusOr<Response>
template <typename Response>
absl::StatusOr<Response> Call(Transport* transport, const std::string& method,
                              const google::protobuf::MessageLite& request, const CallLimits& limits,
                              Interrupt* interrupt) {
  Response response;
  RETURN_IF_ERROR(CallUnary(transport, method, request, &response, limits, interrupt));
  return response;
}

}  // namespace stepback::client
