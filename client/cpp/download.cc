#include "client/cpp/download.h"

#include <fmt/format.h>

#include "client/cpp/convert.h"
#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"

namespace stepback::client {

Download::Download(PullSink* sink, std::string fingerprint, DifferenceSink* difference)
    : sink_(sink), fingerprint_(std::move(fingerprint)), difference_(difference) {}

absl::Status Download::OnHeader(const v1::PullHeader& header) {
  if (has_header_) return absl::DataLossError("pull: a second header");
  has_header_ = true;
  info_ = FromProto(header);
  header_ = header;
  fragment_steps_.assign(header.fragment_steps().begin(), header.fragment_steps().end());
  if (!header.fingerprint().empty() && header.fingerprint() != fingerprint_) {
    return Error(absl::StatusCode::kFailedPrecondition, "FINGERPRINT_MISMATCH",
                 "the server's tensor table is another one than at the time of OpenModel");
  }
  if (header.not_modified()) {
    complete_ = true;
    return absl::OkStatus();
  }
  return Begin();
}

absl::Status Download::Begin() {
  is_difference_ = header_.difference().has_base();
  if (is_difference_) {
    if (difference_ != nullptr) return difference_->Begin(header_.difference(), header_.total_bytes());
    return absl::DataLossError("pull: a difference that nobody asked for");
  }
  if (header_.total_bytes() == sink_->total_bytes()) return sink_->Begin();
  return absl::DataLossError(
      fmt::format("pull: {} bytes announced, expected {}", header_.total_bytes(), sink_->total_bytes()));
}

uint64_t Download::total_bytes() const {
  return is_difference_ ? difference_->total_bytes() : sink_->total_bytes();
}

uint64_t Download::received() const { return is_difference_ ? difference_->received() : sink_->received(); }

absl::Status Download::OnChunk(const ReceivedChunk& chunk) {
  const uint64_t size = chunk.data.size();
  if (!has_header_ || complete_) return absl::DataLossError("pull: a chunk outside header and commit");
  if (chunk.offset != received() || size > total_bytes() - received()) {
    return absl::DataLossError(fmt::format("pull: chunk of {} bytes at offset {}, expected offset {} of {}",
                                           size, chunk.offset, received(), total_bytes()));
  }
  const uint32_t crc32c = Crc32c(chunk.data.view());
  if (crc32c != chunk.crc32c) {
    return absl::DataLossError(fmt::format("pull: chunk at offset {} has CRC32C {:08x}, announced {:08x}",
                                           chunk.offset, crc32c, chunk.crc32c));
  }
  char crc_bytes[4];
  StoreLittle32(crc32c, crc_bytes);
  crc_of_crcs_ = ExtendCrc32c(crc_of_crcs_, crc_bytes, sizeof crc_bytes);
  if (is_difference_) return difference_->Accept(chunk.data.view());
  sink_->Accept(chunk.data.view());
  return absl::OkStatus();
}

absl::Status Download::OnCommit(const v1::Commit& commit) {
  if (has_header_ && !info_.modified) {  // a commit without chunks
    info_.durable = commit.durable();
    return absl::OkStatus();
  }
  if (!has_header_ || complete_ || received() != total_bytes() ||
      (is_difference_ && !difference_->complete())) {
    return absl::DataLossError(fmt::format("pull: commit after {} of {} bytes", received(), total_bytes()));
  }
  if (commit.crc32c() != crc_of_crcs_ || FromProto(commit.version()) != info_.version) {
    return absl::DataLossError(fmt::format(
        "pull: commit of version {} with CRC32C {:08x}, expected {} and {:08x}",
        FromProto(commit.version()).ToString(), commit.crc32c(), info_.version.ToString(), crc_of_crcs_));
  }
  complete_ = true;
  info_.durable = commit.durable();
  info_.payload_bytes = total_bytes();
  if (is_difference_) {
    info_.difference = header_.difference().form();
    difference_->Commit(info_.version);
  } else {
    sink_->Commit(info_.version, fragment_steps_);
  }
  return absl::OkStatus();
}

}  // namespace stepback::client
