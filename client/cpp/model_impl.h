// A model as it was when the handle was made. Immutable; shared by handles and workers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/server_impl.h"
#include "stepback/info.h"

namespace stepback::client {

struct ModelImpl {
  std::shared_ptr<ServerImpl> server;
  ModelInfo info;
  bool created = false;

  const std::string& name() const { return info.definition.name; }
  const std::vector<Tensor>& tensors() const { return info.definition.tensors; }
};

// INVALID_ARGUMENT naming model, value and bound when the model has no such fragment.
absl::Status CheckFragment(const ModelImpl& model, std::optional<uint32_t> fragment);

// The view that a mode trains on: fast weights in gradient mode, slow weights in delta mode.
std::string DefaultView(Mode mode, const std::string& view);
// Averages are for looking at: nobody trains on one, and a pull of one leaves the worker's base alone.
inline bool IsAverageView(const std::string& view) { return view.rfind("average:", 0) == 0; }

// The ranges that fill every wanted sink, within `within` (empty: all); empty: all elements. A sink without
// data is not wanted unless `base` keeps its tensor. INVALID_ARGUMENT when nothing is wanted.
class BaseWeights;
absl::StatusOr<std::vector<ElementRange>> WantedRanges(std::span<const Tensor> tensors,
                                                       std::span<const TensorSink> sinks,
                                                       const BaseWeights* base,
                                                       std::span<const ElementRange> within);

}  // namespace stepback::client
