// One version as the messages of a stream: PullHeader, chunks, Commit. Encodes a message only when it is
// asked for the next, so that a slow reader holds one chunk in the transport and nothing more.
//
// Owner: a Pull or Step stream. Thread: one at a time.
//
//   auto sender = VersionSender::Make(context, model, pin, spec, kPullFields, since);
//   while (...) { next = sender->Next(); write(next.message); if (next.last) break; }
#pragma once

#include <memory>
#include <optional>

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "server/rpc/service_context.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

// Numbers of the members of PullResponse and StepResponse.
struct VersionFields {
  int waiting, header, chunk, commit;
};
inline constexpr VersionFields kPullFields = {.waiting = 1, .header = 2, .chunk = 3, .commit = 4};
inline constexpr VersionFields kStepFields = {.waiting = 2, .header = 3, .chunk = 4, .commit = 5};

class VersionSender {
 public:
  // `since`: answered with not_modified and no chunks when the version is not newer.
  static absl::StatusOr<std::unique_ptr<VersionSender>> Make(const ServiceContext& context, Handle* model,
                                                             std::shared_ptr<PinnedVersion> pin,
                                                             const PullSpec& spec,
                                                             const VersionFields& fields,
                                                             std::optional<Version> since);
  ~VersionSender();

  struct Message {
    grpc::ByteBuffer bytes;
    bool last = false;
  };
  // ABORTED(VERSION_GONE) once the version is revoked.
  absl::StatusOr<Message> Next();

 private:
  VersionSender(std::shared_ptr<PinnedVersion> pin, const PullSpec& spec, const VersionFields& fields,
                std::shared_ptr<telemetry::ModelMetrics> metrics);

  Message Header();
  absl::StatusOr<Message> Chunk();
  Message Commit();
  void AddToCrc(uint32_t chunk_crc);
  const PinnedVersion& pin() const { return reader_ == nullptr ? *pin_ : reader_->pin(); }
  // Of the payload, for the metrics: a codec's, or kLosslessDifference.
  std::string_view encoding() const;

  const std::shared_ptr<PinnedVersion> pin_;
  const PullSpec spec_;
  const VersionFields fields_;
  const std::shared_ptr<telemetry::ModelMetrics> metrics_;
  const TimePoint started_;
  std::unique_ptr<PullReader> reader_;  // null: not modified
  bool header_sent_ = false;
  bool committed_ = false;
  uint64_t next_chunk_ = 0;
  uint32_t crc32c_ = 0;
};

}  // namespace stepback
