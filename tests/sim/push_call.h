// One Push call over a connection that may break: header, chunks in order, the answer. The server's side lets
// go of the upload when the connection breaks, as the streams of server/rpc do.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/sim/context.h"

namespace stepback::sim {

class PushCall : public std::enable_shared_from_this<PushCall> {
 public:
  // `done` hears the answer if it comes; at most once.
  PushCall(Context* context, size_t client, UploadRequest request, std::vector<float> values,
           Done<PushAnswer> done);
  void Start();

 private:
  void Deliver();  // the header, at the server
  void OnStart(absl::StatusOr<UploadStart> start);
  void SendChunk(uint64_t offset);
  void AddChunk(uint64_t offset);
  void FinishWithZeros(uint64_t offset);
  void Finish();
  void Answer(const absl::StatusOr<PushAnswer>& answer);
  bool ServerIsGone() const { return context_->server->incarnation() != incarnation_; }

  Context* const context_;
  const size_t client_;
  const UploadRequest request_;
  const std::vector<float> values_;
  Done<PushAnswer> done_;
  Network::Stream stream_;
  uint64_t incarnation_ = 0;
  std::unique_ptr<Cancel> cancel_;
  std::shared_ptr<Upload> upload_;
};

}  // namespace stepback::sim
