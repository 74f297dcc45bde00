#include "server/rpc/import_stream.h"

#include "server/base/crc32c.h"
#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"
#include "stepback/v1/model.pb.h"

namespace stepback {

absl::Status ImportStream::OnHeader(const std::string& bytes) {
  v1::ImportModelRequest::Header header;
  RETURN_IF_ERROR(ParseMessage(bytes, &header));
  RETURN_IF_ERROR(CheckModelName(header.model(), "model"));
  ASSIGN_OR_RETURN(model_, context_.engine->Find(header.model()));
  sink_ = std::make_unique<ImportSink>(model_->Info().version->spec, model_->layout(), context_.allocator);
  if (header.total_bytes() > sink_->file_bytes_max()) {
    return Error(absl::StatusCode::kInvalidArgument, "TOO_MANY_BYTES",
                 fmt::format("model '{}': the file has {} bytes, at most {} can be this model",
                             header.model(), header.total_bytes(), sink_->file_bytes_max()));
  }
  total_bytes_ = header.total_bytes();
  reader_.emplace(sink_.get(), sink_->limits());
  ReadNext();
  return absl::OkStatus();
}

absl::Status ImportStream::OnChunk(ChunkIn chunk) {
  RETURN_IF_ERROR(CheckPlace(chunk));
  received_bytes_ += chunk.data.size();
  for (const kernels::ByteSpan& span : chunk.data.view().spans()) {
    RETURN_IF_ERROR(reader_->Feed({span.data, span.size}));
  }
  return absl::OkStatus();
}

absl::Status ImportStream::CheckPlace(const ChunkIn& chunk) const {
  if (chunk.offset != received_bytes_) {
    return Error(absl::StatusCode::kInvalidArgument, "BAD_OFFSET",
                 fmt::format("chunk at offset {}, expected {}", chunk.offset, received_bytes_));
  }
  if (chunk.data.size() > total_bytes_ - received_bytes_) {
    return Error(absl::StatusCode::kInvalidArgument, "TOO_MANY_BYTES",
                 fmt::format("chunk at offset {} has {} bytes, the file {}", chunk.offset, chunk.data.size(),
                             total_bytes_));
  }
  if (Crc32c(chunk.data.view()) == chunk.crc32c) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "BAD_CRC",
               fmt::format("chunk at offset {} has CRC32C {:08x}, its header says {:08x}", chunk.offset,
                           Crc32c(chunk.data.view()), chunk.crc32c));
}

void ImportStream::OnLastChunk() {
  const absl::Status status = FinishFile();
  if (!status.ok()) return FinishWith(status);
  model_->Import(sink_->TakeDense(),
                 Event<absl::StatusOr<ModelInfo>>([this](const auto& info) { OnImported(info); }));
}

absl::Status ImportStream::FinishFile() {
  if (received_bytes_ == total_bytes_) return reader_->Finish();
  return Error(absl::StatusCode::kInvalidArgument, "INCOMPLETE",
               fmt::format("{} of {} bytes of the file have arrived", received_bytes_, total_bytes_));
}

void ImportStream::OnImported(const absl::StatusOr<ModelInfo>& info) {
  if (!info.ok()) return FinishWith(info.status());
  v1::ImportModelResponse response;
  *response.mutable_model() = ModelToProto(*info, true);
  *response_ = SerializeMessage(response);
  call().OnMessageSent();
  FinishWith(absl::OkStatus());
}

void ImportStream::OnRelease() {
  reader_.reset();
  sink_.reset();
}

}  // namespace stepback
