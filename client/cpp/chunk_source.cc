#include "client/cpp/chunk_source.h"

#include <algorithm>

#include "client/cpp/message.h"
#include "server/base/status_macros.h"

namespace stepback::client {

KeptSource::KeptSource(std::unique_ptr<ChunkSource> source, uint64_t chunk_bytes)
    : source_(std::move(source)),
      total_bytes_(source_->total_bytes()),
      chunk_bytes_(chunk_bytes),
      chunks_((total_bytes_ + chunk_bytes - 1) / chunk_bytes) {}

absl::StatusOr<Payload> KeptSource::Read(uint64_t offset, uint64_t bytes) {
  Payload out;
  for (uint64_t at = offset; at < offset + bytes;) {
    const size_t chunk = at / chunk_bytes_;
    RETURN_IF_ERROR(Fill(chunk));
    const uint64_t skip = at - chunk * chunk_bytes_;
    const uint64_t take = std::min(chunks_[chunk].size() - skip, offset + bytes - at);
    out.Append(skip == 0 && take == chunks_[chunk].size() ? chunks_[chunk]
                                                          : Slice(chunks_[chunk], skip, take));
    at += take;
  }
  return out;
}

absl::Status KeptSource::Complete() {
  if (source_ == nullptr) return absl::OkStatus();
  for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) RETURN_IF_ERROR(Fill(chunk));
  source_.reset();
  return absl::OkStatus();
}

absl::Status KeptSource::Fill(size_t chunk) {
  if (!chunks_[chunk].empty()) return absl::OkStatus();
  const uint64_t begin = chunk * chunk_bytes_;
  ASSIGN_OR_RETURN(chunks_[chunk], source_->Read(begin, std::min(chunk_bytes_, total_bytes_ - begin)));
  return absl::OkStatus();
}

}  // namespace stepback::client
