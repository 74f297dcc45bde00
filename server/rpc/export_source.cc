#include "server/rpc/export_source.h"

#include <algorithm>
#include <utility>

#include "kernels/codec_info.h"
#include "server/base/status_macros.h"
#include "server/rpc/tensor_file.h"

namespace stepback {
namespace {

constexpr uint64_t kReadBytes = 1 << 20;

Payload PayloadOf(std::string text) {
  const auto owner = std::make_shared<const std::string>(std::move(text));
  Payload payload;
  payload.Append({reinterpret_cast<const std::byte*>(owner->data()), owner->size()}, owner);
  return payload;
}

// Appends bytes [offset, offset + count) of `from`, by reference.
void AppendPart(const std::shared_ptr<const Payload>& from, uint64_t offset, uint64_t count, Payload* to) {
  for (const kernels::ByteSpan& span : from->view().spans()) {
    const uint64_t skip = std::min<uint64_t>(offset, span.size);
    const uint64_t take = std::min<uint64_t>(count, span.size - skip);
    to->Append({span.data + skip, take}, from);
    offset -= skip;
    count -= take;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExportSource>> ExportSource::Make(Handle* model,
                                                                 std::shared_ptr<PinnedVersion> pin,
                                                                 View view) {
  const ModelVersion& version = pin->version();
  ASSIGN_OR_RETURN(SafetensorsHeader header, FileHeaderOf(*version.spec, version.version.ToString()));
  return std::unique_ptr<ExportSource>(new ExportSource(model, std::move(pin), view, std::move(header)));
}

ExportSource::ExportSource(Handle* model, std::shared_ptr<PinnedVersion> pin, View view,
                           SafetensorsHeader header)
    : model_(model), pin_(std::move(pin)), view_(view), header_(std::move(header)) {
  const std::vector<TensorSpec>& tensors = pin_->version().spec->tensors;
  for (size_t i = 0; i < tensors.size(); ++i) index_[tensors[i].name] = i;
  Keep(PayloadOf(EncodeSafetensorsHeader(header_)));
  total_bytes_ = ready_bytes_ + header_.data_bytes;
}

absl::StatusOr<Payload> ExportSource::Next(uint64_t bytes_max) {
  uint64_t missing = std::min(bytes_max, total_bytes_ - position_);
  while (ready_bytes_ < missing) RETURN_IF_ERROR(Refill());
  Payload out;
  while (missing > 0) {
    Piece& piece = ready_.front();
    const uint64_t count = std::min(missing, piece.bytes->size() - piece.used);
    AppendPart(piece.bytes, piece.used, count, &out);
    piece.used += count;
    missing -= count;
    if (piece.used == piece.bytes->size()) ready_.pop_front();
  }
  position_ += out.size();
  ready_bytes_ -= out.size();
  return out;
}

void ExportSource::Keep(Payload bytes) {
  ready_bytes_ += bytes.size();
  ready_.push_back({std::make_shared<const Payload>(std::move(bytes))});
}

absl::Status ExportSource::Refill() {
  if (reader_ == nullptr || next_chunk_ == reader_->chunk_count()) return OpenNextTensor();
  ASSIGN_OR_RETURN(PullReader::ChunkOut chunk, reader_->Chunk(next_chunk_));
  ++next_chunk_;
  Keep(std::move(chunk.data));
  return absl::OkStatus();
}

absl::Status ExportSource::OpenNextTensor() {
  if (next_tensor_ == header_.tensors.size())
    return absl::InternalError("the version has fewer bytes than its table");
  const size_t tensor = index_.at(header_.tensors[next_tensor_++].name);
  const TensorPlace& place = pin_->version().layout->tensors()[tensor];
  reader_.reset();
  next_chunk_ = 0;
  if (place.elements == 0) return absl::OkStatus();
  const PullSpec spec = {.view = view_,
                         .codec = kernels::FindCodec("f32")->id,
                         .ranges = {{place.element_begin, place.elements}},
                         .chunk_bytes = kReadBytes};
  ASSIGN_OR_RETURN(reader_, model_->Read(pin_, spec));
  return absl::OkStatus();
}

}  // namespace stepback
