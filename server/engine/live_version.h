// A published version and what was made of it for readers: its encoded forms, each made once whoever asks. It
// lives as long as the newest version, a pin or bytes on their way to a reader need it.
//
// Threads: any.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "server/base/mutex.h"
#include "server/engine/encoded_form.h"
#include "server/engine/engine.h"

namespace stepback {

class LiveVersion : public std::enable_shared_from_this<LiveVersion> {
 public:
  // `memory` holds what the version's buffers and the forms' memory come from.
  LiveVersion(std::shared_ptr<const ModelVersion> version, FormMemory memory)
      : memory_(std::move(memory)), version_(std::move(version)) {}

  const std::shared_ptr<const ModelVersion>& version() const { return version_; }
  // A reference that keeps the memory behind it alive too, for values that leave the engine.
  static std::shared_ptr<const ModelVersion> Share(const std::shared_ptr<const LiveVersion>& live) {
    return {live, live->version_.get()};
  }

  // The bytes of one view in one codec's form. INVALID_ARGUMENT(CODEC_UNKNOWN);
  // FAILED_PRECONDITION(AVERAGE_NOT_CONFIGURED).
  absl::StatusOr<std::shared_ptr<EncodedForm>> Form(const View& view, int codec);

 private:
  const FormMemory memory_;  // first: goes last
  const std::shared_ptr<const ModelVersion> version_;
  Mutex mu_;
  // By what is shown (live_version.cc) and codec.
  std::map<std::pair<int, int>, std::shared_ptr<EncodedForm>> forms_ GUARDED_BY(mu_);
};

}  // namespace stepback
