#include "client/cpp/upload.h"

#include <algorithm>
#include <utility>

#include "client/cpp/message.h"
#include "server/base/status_macros.h"

namespace stepback::client {

Upload::Upload(Stream* stream, std::string header, uint32_t chunk_field, ChunkSource* source,
               uint64_t resume_offset, uint64_t chunk_bytes)
    : stream_(stream),
      header_(std::move(header)),
      chunk_field_(chunk_field),
      source_(source),
      offset_(resume_offset),
      chunk_bytes_(chunk_bytes) {}

void Upload::Start() { Send({.head = std::move(header_)}, offset_ >= source_->total_bytes()); }

absl::Status Upload::Continue() {
  if (half_closed_) return absl::OkStatus();
  if (stopped_) {
    half_closed_ = true;
    stream_->HalfClose();
    return absl::OkStatus();
  }
  const uint64_t bytes = std::min(chunk_bytes_, source_->total_bytes() - offset_);
  ASSIGN_OR_RETURN(Payload data, source_->Read(offset_, bytes));
  OutMessage message = EncodeChunk(chunk_field_, offset_, std::move(data));
  offset_ += bytes;
  payload_bytes_ += bytes;
  Send(std::move(message), offset_ == source_->total_bytes());
  return absl::OkStatus();
}

void Upload::Send(OutMessage message, bool last) {
  wire_bytes_ += message.size() + kMessageFrameBytes;
  half_closed_ = last;
  stream_->Write(std::move(message), last);
}

}  // namespace stepback::client
