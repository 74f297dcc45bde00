// The upload of one push as its stream sees it: header to the engine, chunks to the upload, end to the
// answer. Shared by Push and Step.
//
// Owner: a stream, which calls Release when the call ends: a reservation that waits is withdrawn and the
// upload let go, at once. Thread: one at a time.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/rpc/service_context.h"
#include "server/rpc/wire_push.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

class UploadFeed {
 public:
  explicit UploadFeed(const ServiceContext& context) : context_(context) {}

  // `started` brings the upload, the first answer of a repeated push, or the refusal. No chunk may be read
  // before.
  absl::Status Start(const v1::PushHeader& header, Done<UploadStart> started);
  void Take(std::shared_ptr<Upload> upload) { upload_ = std::move(upload); }
  absl::Status AddChunk(ChunkIn chunk) const;
  void Finish(Done<PushAnswer> done) const { upload_->Finish(std::move(done)); }
  void Release();

  // After Start.
  const std::shared_ptr<Handle>& model() const { return model_; }

 private:
  const ServiceContext& context_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Cancel> waiting_;  // for the reservation
  std::shared_ptr<Upload> upload_;
};

}  // namespace stepback
