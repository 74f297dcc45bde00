#include "server/rpc/version_sender.h"

#include <utility>

#include "kernels/codec_info.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"
#include "server/rpc/wire_pull.h"

namespace stepback {

absl::StatusOr<std::unique_ptr<VersionSender>> VersionSender::Make(
    const ServiceContext& context, Handle* model, std::shared_ptr<PinnedVersion> pin, const PullSpec& spec,
    const VersionFields& fields, std::optional<Version> since) {
  std::unique_ptr<VersionSender> sender(
      new VersionSender(pin, spec, fields, context.metrics->ForModel(model->name())));
  if (since && pin->version().version <= *since) return sender;
  ASSIGN_OR_RETURN(sender->reader_, model->Read(std::move(pin), spec));
  return sender;
}

VersionSender::VersionSender(std::shared_ptr<PinnedVersion> pin, const PullSpec& spec,
                             const VersionFields& fields, std::shared_ptr<telemetry::ModelMetrics> metrics)
    : pin_(std::move(pin)),
      spec_(spec),
      fields_(fields),
      metrics_(std::move(metrics)),
      started_(Clock::Real()->Now()) {}

VersionSender::~VersionSender() {
  using telemetry::PullResult;
  const double seconds = std::chrono::duration<double>(Clock::Real()->Now() - started_).count();
  const bool difference =
      reader_ != nullptr && reader_->difference() && reader_->difference()->base.term != 0;
  const PullResult sent = difference ? PullResult::kDelta : PullResult::kFull;
  const PullResult complete = reader_ == nullptr ? PullResult::kNotModified : sent;
  metrics_->OnPull(committed_ ? complete : PullResult::kError, seconds);
}

absl::StatusOr<VersionSender::Message> VersionSender::Next() {
  if (!header_sent_) return Header();
  if (reader_ != nullptr && next_chunk_ < reader_->chunk_count()) return Chunk();
  return Commit();
}

VersionSender::Message VersionSender::Header() {
  header_sent_ = true;
  v1::PullHeader header = PullHeaderToProto(pin().version(), spec_.codec);
  if (reader_ != nullptr && reader_->difference()) {
    *header.mutable_difference() = DifferenceToProto(*reader_->difference());
  }
  header.set_not_modified(reader_ == nullptr);
  header.set_total_bytes(reader_ == nullptr ? 0 : reader_->total_bytes());
  return {.bytes = EncodeMessageField(fields_.header, header)};
}

absl::StatusOr<VersionSender::Message> VersionSender::Chunk() {
  ASSIGN_OR_RETURN(PullReader::ChunkOut chunk, reader_->Chunk(next_chunk_));
  ++next_chunk_;
  AddToCrc(chunk.crc32c);
  metrics_->OnSentBytes(encoding(), chunk.data.size());
  return Message{.bytes =
                     EncodeChunkMessage(fields_.chunk, chunk.offset, chunk.crc32c, std::move(chunk.data))};
}

VersionSender::Message VersionSender::Commit() {
  committed_ = true;
  v1::Commit commit;
  *commit.mutable_version() = VersionToProto(pin().version().version);
  commit.set_crc32c(crc32c_);
  commit.set_durable(pin().durable());
  return {.bytes = EncodeMessageField(fields_.commit, commit), .last = true};
}

std::string_view VersionSender::encoding() const {
  const auto difference = reader_->difference();
  if (!difference || difference->base.term == 0) return kernels::Codecs()[spec_.codec].name;
  return DifferenceName(difference->codec);
}

void VersionSender::AddToCrc(uint32_t chunk_crc) {
  uint8_t bytes[4];
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(chunk_crc >> (8 * i));
  crc32c_ = ExtendCrc32c(crc32c_, bytes, sizeof bytes);
}

}  // namespace stepback
