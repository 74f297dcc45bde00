// A reference to a call of the transport that may be cancelled after its handler is done with it: the way to
// get back memory that a reader which has stopped reading pins through what was already sent to it.
//
// Owner: a stream. Thread: any.
//
//   timer_.Start(grace, held_.Canceller());
#pragma once

#include <functional>
#include <memory>

#include <grpc/grpc.h>
#include <grpcpp/server_context.h>

namespace stepback {

class HeldCall {
 public:
  explicit HeldCall(grpc::CallbackServerContext* context) {
    grpc_call* const call = context->c_call();
    grpc_call_ref(call);
    call_ = std::shared_ptr<grpc_call>(call, [](grpc_call* held) { grpc_call_unref(held); });
  }

  // Ends the call as it is, whatever it still has to send; nothing happens to a call that is over.
  std::function<void(bool)> Canceller() const {
    return [call = call_](bool) { grpc_call_cancel(call.get(), nullptr); };
  }

 private:
  std::shared_ptr<grpc_call> call_;
};

}  // namespace stepback
