// One push (this rank's part of it), ready to be sent as often as it takes.
#pragma once

#include <memory>
#include <optional>

#include "client/cpp/chunk_source.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

struct PushJob {
  uint64_t id = 0;        // within the worker, rising; sequence numbers may be given anew after a loss
  v1::PushHeader header;  // epoch, sequence and resume_offset are set per attempt
  std::unique_ptr<ChunkSource> source;
  std::optional<v1::PushResponse> answer;  // the newest
  bool lost = false;                       // refused when it was replayed
  bool sent = false;  // under this number: what the server holds of the number is of this push

  uint64_t sequence() const { return header.sequence(); }
};

}  // namespace stepback::client
