// The weights that a worker has from its last pull, as far as differences are asked for (JoinOptions::
// difference): which version in which chain they are, and where. They are the worker's base itself where that
// has every number of the model, else a buffer of their own (4 B per element).
//
// Threads: one data call at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "client/cpp/base_weights.h"
#include "client/cpp/difference_sink.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

// INVALID_ARGUMENT naming the forms unless differences can be in `form`, and weights in `pull_codec` with it.
absl::Status CheckDifferenceForm(const std::string& form, const std::string& pull_codec);

class HeldWeights {
 public:
  // `form` has been checked. `base` is the worker's, which covers `ranges`; it outlives this.
  HeldWeights(std::span<const Tensor> tensors, const std::string& form, Mode mode,
              std::span<const ElementRange> ranges, BaseWeights* base, std::shared_ptr<BufferPool> pool);

  const kernels::CodecInfo& full_codec() const { return *full_; }
  // What a pull in full is to be kept in.
  BaseWeights* weights() { return weights_; }
  // Fills in what a pull of `request`'s view may start from.
  void Ask(v1::PullRequest* request) const;
  DifferenceSink NewSink(std::span<const TensorSink> sinks) {
    return DifferenceSink(tensors_, codec_, *full_, sinks, weights_);
  }
  // A pull of `view` with this header is complete; the worker's base is then what is held.
  // RESOURCE_EXHAUSTED without memory for the base.
  absl::Status Took(const v1::PullHeader& header, const std::string& view);
  // The base is about to get other weights.
  void Forget() { chain_.reset(); }

 private:
  absl::Status CopyToBase();

  const std::span<const Tensor> tensors_;
  const std::string form_;
  const kernels::CodecInfo* const codec_;  // nullptr: lossless
  const kernels::CodecInfo* const full_;
  BaseWeights* const base_;
  std::unique_ptr<BaseWeights> own_;
  BaseWeights* weights_;
  std::string view_;
  std::optional<uint64_t> chain_;  // of what is held; nothing: it cannot be started from
};

}  // namespace stepback::client
