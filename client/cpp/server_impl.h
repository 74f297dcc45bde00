// What a Server, its models and workers share: options, connections, memory. Threads: any.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/cpp/connector.h"
#include "client/cpp/unary.h"
#include "server/base/pool.h"
#include "stepback/options.h"

namespace stepback::client {

class ServerImpl {
 public:
  ServerImpl(ConnectOptions options, std::shared_ptr<Connector> connector);

  const ConnectOptions& options() const { return options_; }
  Connector* connector() const { return connector_.get(); }
  const std::shared_ptr<BufferPool>& pool() const { return pool_; }
  Interrupt* interrupt() { return &interrupt_; }
  CallLimits ControlLimits() const { return {.timeout = options_.control_timeout}; }

  // A call that changes something: once.
  template <typename Response>
  absl::StatusOr<Response> CallOnce(const char* method, const google::protobuf::MessageLite& request) {
    Response response;
    RETURN_IF_ERROR(
        CallUnary(connector_->Control().get(), method, request, &response, ControlLimits(), &interrupt_));
    return response;
  }
  // A call that may be repeated: while the connection fails, for as long as control_timeout.
  template <typename Response>
  absl::StatusOr<Response> CallIdempotent(const char* method, const google::protobuf::MessageLite& request) {
    Response response;
    RETURN_IF_ERROR(CallRepeatable(method, request, &response));
    return response;
  }
  // A call that answers when the server's disk has done its work: no limit of time but the caller's
  // interrupt.
  template <typename Response>
  absl::StatusOr<Response> CallLong(const char* method, const google::protobuf::MessageLite& request) {
    Response response;
    RETURN_IF_ERROR(CallUnary(connector_->Control().get(), method, request, &response, {}, &interrupt_));
    return response;
  }

 private:
  absl::Status CallRepeatable(const char* method, const google::protobuf::MessageLite& request,
                              google::protobuf::MessageLite* response);

  const ConnectOptions options_;
  const std::shared_ptr<Connector> connector_;
  const std::shared_ptr<BufferPool> pool_;
  Interrupt interrupt_;
};

// INVALID_ARGUMENT naming the option that is out of bounds.
absl::Status CheckOptions(const ConnectOptions& options);

}  // namespace stepback::client
