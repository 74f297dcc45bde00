#include "server/rpc/export_stream.h"

#include <utility>

#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"
#include "server/rpc/wire_pull.h"

namespace stepback {
namespace {

constexpr uint64_t kExportChunkBytes = 1 << 20;

}  // namespace

void ExportStream::OnBegin() {
  call().OnMessageReceived();
  const absl::Status status = Start();
  status.ok() ? SendNext() : FinishWith(status);
}

absl::Status ExportStream::Start() {
  v1::ExportModelRequest request;
  RETURN_IF_ERROR(ParseMessage(*request_, &request));
  RETURN_IF_ERROR(CheckModelName(request.model(), "model"));
  ASSIGN_OR_RETURN(const View view, ViewFromProto(request.view()));
  ASSIGN_OR_RETURN(model_, context_.engine->Find(request.model()));
  ASSIGN_OR_RETURN(source_, ExportSource::Make(model_.get(), model_->Pin(), view));
  source_->pin()->OnRevoked([gone = Event<bool>([this](bool) { OnRevoked(); })] { gone(true); });
  return absl::OkStatus();
}

void ExportStream::SendNext() {
  const uint64_t offset = source_->position();
  absl::StatusOr<Payload> piece = source_->Next(kExportChunkBytes);
  if (!piece.ok()) return FinishWith(piece.status());
  grpc::ByteBuffer message = Message(offset, *std::move(piece));
  source_->done() ? WriteAndFinish(std::move(message)) : Write(std::move(message));
}

grpc::ByteBuffer ExportStream::Message(uint64_t offset, Payload piece) const {
  v1::ExportModelResponse rest;
  if (source_->done()) *rest.mutable_version() = VersionToProto(source_->version());
  rest.set_total_bytes(source_->total_bytes());
  const uint32_t crc = Crc32c(piece.view());
  return EncodeChunkMessage(1, offset, crc, std::move(piece), rest.SerializeAsString());
}

void ExportStream::OnRevoked() {
  const bool stalled = writing();
  FinishWith(Error(absl::StatusCode::kAborted, "VERSION_GONE",
                   "newer versions needed the room of this one before it was exported; export again"));
  if (stalled) timer_.Start(context_.stalled_reader_grace, held_.Canceller());
}

void ExportStream::OnRelease() {
  timer_.Stop();
  source_.reset();
}

}  // namespace stepback
