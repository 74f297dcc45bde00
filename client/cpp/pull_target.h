// Where one pull or step puts what it receives, whatever form the server answers in, through all its
// attempts.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "client/cpp/download.h"
#include "client/cpp/held_weights.h"
#include "client/cpp/pull_sink.h"

namespace stepback::client {

class PullTarget {
 public:
  // `held`: differences are asked for; `sinks` are then of whole tensors, and `layout` is of all elements in
  // its full codec. nullptr: none are. All outlive the target.
  PullTarget(const PayloadLayout* layout, std::span<const TensorSink> sinks, BaseWeights* base,
             HeldWeights* held)
      : sink_(layout, sinks, held == nullptr ? base : held->weights()), held_(held) {
    if (held != nullptr) difference_.emplace(held->NewSink(sinks));
  }

  // For the next attempt, whose request it completes.
  Download NewDownload(const std::string& fingerprint, v1::PullRequest* request) {
    if (held_ != nullptr) held_->Ask(request);
    return Download(&sink_, fingerprint, difference_ ? &*difference_ : nullptr);
  }
  // An attempt has succeeded.
  absl::Status Took(const Download& download, const std::string& view) {
    return held_ == nullptr ? absl::OkStatus() : held_->Took(download.header(), view);
  }

 private:
  PullSink sink_;
  HeldWeights* const held_;
  std::optional<DifferenceSink> difference_;
};

}  // namespace stepback::client
