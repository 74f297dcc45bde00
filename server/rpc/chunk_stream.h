// A client stream of the form header, chunks, half-close: Push, Step, CreateModel, ImportModel. Whoever
// derives from it asks for the first chunk with ReadNext once the header is accepted; each further message is
// read only when the last chunk was taken.
#pragma once

#include <string>
#include <utility>

#include <fmt/format.h>

#include "server/base/status_macros.h"
#include "server/rpc/stream.h"
#include "server/rpc/wire_push.h"

namespace stepback {

template <typename Base>
class ChunkStream : public Base {
 protected:
  using Base::Base;

  // Serialised header message; an error ends the call. Leads to ReadNext, now or later.
  virtual absl::Status OnHeader(const std::string& header) = 0;
  virtual absl::Status OnChunk(ChunkIn chunk) = 0;
  // Every chunk is in.
  virtual void OnLastChunk() = 0;

  void OnBegin() override { this->ReadNext(); }

 private:
  void OnMessage(const grpc::ByteBuffer& buffer) final {
    absl::StatusOr<StreamMessage> message = ParseStreamMessage(buffer);
    const absl::Status status = message.ok() ? CheckOrder(message->kind) : message.status();
    if (!status.ok()) {
      this->call().Reject(telemetry::RejectReason::kSchema);
      return this->FinishWith(status);
    }
    Take(*std::move(message));
  }

  void OnEnd() final {
    if (has_header_) return OnLastChunk();
    this->FinishWith(OutOfOrder("HEADER_EXPECTED", "the stream ended before its header"));
  }

  absl::Status CheckOrder(StreamMessage::Kind kind) const {
    if (!has_header_ && kind != StreamMessage::Kind::kHeader) {
      return OutOfOrder("HEADER_EXPECTED", "the first message of the stream must be its header");
    }
    if (!has_header_) return absl::OkStatus();
    if (kind == StreamMessage::Kind::kHeader)
      return OutOfOrder("HEADER_REPEATED", "a second header in one stream");
    if (kind == StreamMessage::Kind::kChunk) return absl::OkStatus();
    return OutOfOrder("CHUNK_EXPECTED", "a message after the header holds no chunk");
  }

  void Take(StreamMessage message) {
    const bool is_header = !std::exchange(has_header_, true);
    const absl::Status status = is_header ? OnHeader(message.header) : OnChunk(std::move(message.chunk));
    if (!status.ok()) return this->FinishWith(status);
    if (!is_header) this->ReadNext();
  }

  absl::Status OutOfOrder(const char* reason, const char* what) const {
    return Error(absl::StatusCode::kInvalidArgument, reason,
                 fmt::format("{}: {}", InfoOf(this->call().method()).name, what));
  }

  bool has_header_ = false;
};

}  // namespace stepback
