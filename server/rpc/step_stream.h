// TrainingService.Step: a push, the wait for its round and the new version, in one call. Answers Accepted,
// Waiting..., then PullHeader, chunks and Commit (training.proto).
#pragma once

#include "server/rpc/chunk_stream.h"
#include "server/rpc/upload_feed.h"
#include "server/rpc/version_stream.h"

namespace stepback {

class StepStream final : public VersionStream<ChunkStream<BidiStream>> {
 public:
  StepStream(Call call, const ServiceContext& context, grpc::CallbackServerContext* grpc_context)
      : VersionStream(std::move(call), context, grpc_context, kStepFields), feed_(context) {}

 private:
  absl::Status OnHeader(const std::string& bytes) override;
  absl::Status OnChunk(ChunkIn chunk) override { return feed_.AddChunk(std::move(chunk)); }
  void OnLastChunk() override;
  void OnRelease() override;

  void OnStarted(absl::StatusOr<UploadStart> start);
  void OnAnswer(const absl::StatusOr<PushAnswer>& answer);
  void SendVersionAfter(const PushAnswer& answer);

  UploadFeed feed_;
  PullSpec pull_;
  std::optional<uint32_t> fragment_;  // of the push
};

// Whether the version that `answer`'s push leads to is still to come. A push that counted in a round without
// effect waits for that round too; outside rounds nothing will come of it.
bool LeadsToLaterVersion(const PushAnswer& answer, RoundPolicy policy);

}  // namespace stepback
