// One call on a completion queue of its own, driven by the thread that waits: no other thread, no hand-over.
// The same thread moves the bytes and prepares the next chunk.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <optional>
#include <string>

#include "client/cpp/transport.h"
#include "server/base/clock.h"

namespace stepback::client {

class GrpcStream final : public Stream {
 public:
  GrpcStream(std::shared_ptr<grpc::Channel> channel, const std::string& method, const CallLimits& limits,
             Interrupt* interrupt);
  ~GrpcStream() override;

  void Write(OutMessage message, bool last) override;
  void HalfClose() override;
  Event Next() override;
  void SetIdleLimit(std::chrono::nanoseconds idle) override { idle_ = idle; }

 private:
  enum Tag : intptr_t { kStarted = 1, kRead, kWritten, kHalfClosed, kFinished };
  struct PendingWrite {
    grpc::ByteBuffer bytes;
    bool last = false;
  };

  std::optional<Event> OnTag(Tag tag, bool ok);
  std::optional<Event> OnStarted(bool ok);
  std::optional<Event> OnRead(bool ok);
  void StartRead();
  void StartWrite();
  void Finish();
  void Fail(absl::Status status);
  void CheckLimits();
  absl::Status FinalStatus() const;

  std::shared_ptr<grpc::Channel> channel_;
  Interrupt* const interrupt_;
  std::chrono::nanoseconds idle_;
  TimePoint last_event_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::ByteBuffer read_;
  std::optional<PendingWrite> write_;  // until the call has started
  bool half_close_ = false;            // likewise
  bool started_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  int pending_ = 0;  // operations whose tags are to come
  grpc::Status status_;
  std::optional<absl::Status> failure_;  // ours, instead of the call's
};

}  // namespace stepback::client
