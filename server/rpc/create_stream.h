// ModelService.CreateModel: header with the specification, then the initial weights as chunks (model.proto).
#pragma once

#include "server/rpc/chunk_stream.h"
#include "server/rpc/service_context.h"
#include "stepback/v1/model.pb.h"

namespace stepback {

class CreateStream final : public ChunkStream<ReadStream> {
 public:
  CreateStream(Call call, const ServiceContext& context, grpc::ByteBuffer* response)
      : ChunkStream(std::move(call)), context_(context), response_(response) {}

 private:
  absl::Status OnHeader(const std::string& bytes) override;
  absl::Status OnChunk(ChunkIn chunk) override;
  void OnLastChunk() override;
  void OnRelease() override { upload_.reset(); }

  void OnCreated(const absl::StatusOr<Created>& created);

  const ServiceContext& context_;
  grpc::ByteBuffer* const response_;
  std::unique_ptr<CreateUpload> upload_;
};

}  // namespace stepback
