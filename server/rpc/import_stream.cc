#include "server/rpc/import_stream.h"

#include "server/engine/chunk_check.h"
#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"
#include "stepback/v1/model.pb.h"

namespace stepback {
namespace {

// What the file's format is wrong about is said by its reader, which knows no reasons.
absl::Status InFile(const absl::Status& status) {
  if (status.ok() || !ReasonOf(status).empty()) return status;
  return Error(status.code(), "BAD_FILE", std::string(status.message()));
}

}  // namespace

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
  RETURN_IF_ERROR(CheckChunk(chunk.offset, chunk.crc32c, chunk.data, received_bytes_, total_bytes_));
  received_bytes_ += chunk.data.size();
  for (const kernels::ByteSpan& span : chunk.data.view().spans()) {
    RETURN_IF_ERROR(InFile(reader_->Feed({span.data, span.size})));
  }
  return absl::OkStatus();
}

void ImportStream::OnLastChunk() {
  const absl::Status status = FinishFile();
  if (!status.ok()) return FinishWith(status);
  model_->Import(sink_->TakeDense(),
                 Event<absl::StatusOr<ModelInfo>>([this](const auto& info) { OnImported(info); }));
}

absl::Status ImportStream::FinishFile() {
  if (received_bytes_ == total_bytes_) return InFile(reader_->Finish());
  return Error(absl::StatusCode::kInvalidArgument, "SIZE_MISMATCH",
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
