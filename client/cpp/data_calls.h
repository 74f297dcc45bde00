// One attempt of each data call over one stream. No retries, no state beyond the arguments: worker.cc
// decides.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "client/cpp/download.h"
#include "client/cpp/push_job.h"
#include "client/cpp/transport.h"
#include "client/cpp/upload.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

// How streams of one worker are run.
struct StreamOptions {
  std::chrono::nanoseconds timeout{0};
  std::chrono::nanoseconds idle{0};
  uint64_t chunk_bytes = 1 << 20;
};

struct ByteCounts {
  uint64_t payload_sent = 0, payload_received = 0, wire_sent = 0, wire_received = 0;
};

// Sends a header and everything after it, waits for the one response of a client stream.
struct UploadCall {
  const char* method = nullptr;
  std::string header;        // the serialised first message
  uint32_t chunk_field = 0;  // number of `chunk` in the stream's messages
  ChunkSource* source = nullptr;
  uint64_t resume_offset = 0;
};
absl::Status UploadOnce(Transport* transport, UploadCall call, const StreamOptions& options,
                        Interrupt* interrupt, ByteCounts* counts, google::protobuf::MessageLite* response);

absl::StatusOr<v1::PushResponse> PushOnce(Transport* transport, PushJob* job, const StreamOptions& options,
                                          Interrupt* interrupt, ByteCounts* counts);

// The version in `download` is complete when OK.
absl::Status PullOnce(Transport* transport, const v1::PullRequest& request, Download* download,
                      const StreamOptions& options, Interrupt* interrupt, ByteCounts* counts);

// What one Step attempt came to, also when it broke in the middle.
struct StepAttempt {
  absl::Status status;
  std::optional<v1::PushResponse> accepted;  // the push is decided, whatever happens after
  double wait_seconds = 0;                   // from the end of the upload to the first byte of the version
};
StepAttempt StepOnce(Transport* transport, PushJob* job, const v1::PullRequest& pull, Download* download,
                     const StreamOptions& options, Interrupt* interrupt, ByteCounts* counts);

}  // namespace stepback::client
