// TrainingService.Push: one push, or one part of one (training.proto).
#pragma once

#include "server/rpc/chunk_stream.h"
#include "server/rpc/upload_feed.h"

namespace stepback {

class PushStream final : public ChunkStream<ReadStream> {
 public:
  PushStream(Call call, const ServiceContext& context, grpc::ByteBuffer* response)
      : ChunkStream(std::move(call)), feed_(context), response_(response) {}

 private:
  absl::Status OnHeader(const std::string& bytes) override;
  absl::Status OnChunk(ChunkIn chunk) override { return feed_.AddChunk(std::move(chunk)); }
  void OnLastChunk() override;
  void OnRelease() override { feed_.Release(); }

  void OnStarted(absl::StatusOr<UploadStart> start);
  void OnAnswer(const absl::StatusOr<PushAnswer>& answer);

  UploadFeed feed_;
  grpc::ByteBuffer* const response_;
};

}  // namespace stepback
