#include "client/cpp/held_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "client/cpp/convert.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

constexpr const char* kLossless = "lossless_bf16";

const kernels::CodecInfo* FullCodec(const std::string& form) {
  return kernels::FindCodec(form == kLossless ? "bf16" : "f32");
}

// Whether differences are formed against every number of the model.
bool BaseHasAll(std::span<const Tensor> tensors, Mode mode, std::span<const ElementRange> ranges) {
  const bool frozen = std::any_of(tensors.begin(), tensors.end(),
                                  [](const Tensor& tensor) { return tensor.role == Role::kFrozen; });
  return mode == Mode::kDelta && ranges.empty() && !frozen;
}

}  // namespace

absl::Status CheckDifferenceForm(const std::string& form, const std::string& pull_codec) {
  if (form != kLossless && (form == "f32" || kernels::FindCodec(form) == nullptr)) {
    std::string known = kLossless;
    for (const kernels::CodecInfo& codec : kernels::Codecs()) {
      if (codec.name != "f32") known += fmt::format(", {}", std::string(codec.name));
    }
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.difference is '{}', there are {}", form, known));
  }
  if (pull_codec.empty() || pull_codec == "f32" || pull_codec == FullCodec(form)->name)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("JoinOptions.pull_codec is '{}', differences in '{}' are of weights in '{}'", pull_codec,
                  form, std::string(FullCodec(form)->name)));
}

HeldWeights::HeldWeights(std::span<const Tensor> tensors, const std::string& form, Mode mode,
                         std::span<const ElementRange> ranges, BaseWeights* base,
                         std::shared_ptr<BufferPool> pool)
    : tensors_(tensors),
      form_(form),
      codec_(form == kLossless ? nullptr : kernels::FindCodec(form)),
      full_(FullCodec(form)),
      base_(base),
      weights_(base) {
  if (BaseHasAll(tensors, mode, ranges)) return;
  own_ = std::make_unique<BaseWeights>(tensors, std::move(pool));
  weights_ = own_.get();
}

void HeldWeights::Ask(v1::PullRequest* request) const {
  v1::Difference* const difference = request->mutable_difference();
  difference->Clear();
  difference->set_form(form_);
  if (!chain_ || !weights_->version() || view_ != request->view()) return;
  *difference->mutable_base() = ToProto(weights_->version());
  difference->set_chain(*chain_);
}

absl::Status HeldWeights::Took(const v1::PullHeader& header, const std::string& view) {
  if (header.not_modified()) return absl::OkStatus();
  view_ = view;
  chain_.reset();
  if (header.has_difference()) chain_ = header.difference().chain();
  return own_ == nullptr ? absl::OkStatus() : CopyToBase();
}

absl::Status HeldWeights::CopyToBase() {
  RETURN_IF_ERROR(base_->BeginWrite());
  for (uint32_t t = 0; t < tensors_.size(); ++t) {
    for (const BaseWeights::Piece& piece : base_->Overlap(t, 0, tensors_[t].elements())) {
      std::memcpy(piece.values, own_->Find(t, piece.first, piece.count), piece.count * sizeof(float));
    }
  }
  base_->Commit(own_->version());
  return absl::OkStatus();
}

}  // namespace stepback::client
