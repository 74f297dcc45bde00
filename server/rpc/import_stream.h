// ModelService.ImportModel: a safetensors file in chunks becomes the model's weights (model.proto).
#pragma once

#include <memory>
#include <optional>

#include "server/rpc/chunk_stream.h"
#include "server/rpc/import_sink.h"
#include "server/rpc/service_context.h"

namespace stepback {

class ImportStream final : public ChunkStream<ReadStream> {
 public:
  ImportStream(Call call, const ServiceContext& context, grpc::ByteBuffer* response)
      : ChunkStream(std::move(call)), context_(context), response_(response) {}

 private:
  absl::Status OnHeader(const std::string& bytes) override;
  absl::Status OnChunk(ChunkIn chunk) override;
  void OnLastChunk() override;
  void OnRelease() override;

  absl::Status FinishFile();
  void OnImported(const absl::StatusOr<ModelInfo>& info);

  const ServiceContext& context_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<Handle> model_;
  uint64_t total_bytes_ = 0;
  uint64_t received_bytes_ = 0;
  std::unique_ptr<ImportSink> sink_;
  std::optional<SafetensorsReader> reader_;
};

}  // namespace stepback
