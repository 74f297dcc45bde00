// Unary calls: parse, handle, answer. A handler gets the request and a Reply, which it calls once, now or
// later and on any thread; a Reply that is let go unanswered (the engine stopped) answers
// UNAVAILABLE(SHUTTING_DOWN).
//
//   return Unary<v1::FlushRequest, v1::FlushResponse>({guard, Method::kFlush, context, request, response},
//                                                     [this](const auto& request, auto reply) { ...
//                                                     reply(result); });
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include <grpcpp/support/server_callback.h>

#include "absl/status/statusor.h"
#include "server/base/errors.h"
#include "server/rpc/guard.h"
#include "server/rpc/message.h"
#include "server/rpc/to_grpc.h"

namespace stepback {

struct UnaryCall {
  const Guard* guard;
  Method method;
  grpc::CallbackServerContext* context;
  const grpc::ByteBuffer* request;
  grpc::ByteBuffer* response;
};

// The open end of one unary call. Thread: Finish once, from any.
class OpenReply {
 public:
  OpenReply(Call call, grpc::ServerUnaryReactor* reactor, grpc::ByteBuffer* response)
      : call_(std::move(call)), reactor_(reactor), response_(response) {}
  ~OpenReply() {
    Finish(
        Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server stopped before it could answer"));
  }

  const Call& call() const { return call_; }
  void Answer(const google::protobuf::MessageLite& response) {
    if (answered_.exchange(true)) return;
    *response_ = SerializeMessage(response);
    call_.OnMessageSent();
    End(absl::OkStatus());
  }
  void Finish(const absl::Status& status) {
    if (!answered_.exchange(true)) End(status);
  }

 private:
  void End(const absl::Status& status) {
    call_.Finish(status);
    reactor_->Finish(ToGrpc(status));
  }

  Call call_;
  grpc::ServerUnaryReactor* const reactor_;
  grpc::ByteBuffer* const response_;
  std::atomic<bool> answered_ = false;
};

template <typename Response>
class Reply {
 public:
  explicit Reply(std::shared_ptr<OpenReply> open) : open_(std::move(open)) {}
  void operator()(const absl::StatusOr<Response>& result) const {
    result.ok() ? open_->Answer(*result) : open_->Finish(result.status());
  }

 private:
  std::shared_ptr<OpenReply> open_;
};

template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* Unary(const UnaryCall& unary, Handler handler) {
  grpc::ServerUnaryReactor* reactor = unary.context->DefaultReactor();
  const auto open =
      std::make_shared<OpenReply>(unary.guard->Admit(unary.method, unary.context), reactor, unary.response);
  open->call().OnMessageReceived();
  Request request;
  absl::Status status = open->call().admitted();
  if (status.ok()) status = ParseMessage(*unary.request, &request);
  if (status.ok()) status = RunContained(unary.method, [&] { handler(request, Reply<Response>(open)); });
  if (!status.ok()) open->Finish(status);
  return reactor;
}

}  // namespace stepback
