// Published algorithms by name, as data: an outer rule with its values and how it is run. Rules keep the
// names of their equations; a preset is what clients spell out when a model is made, and no specification
// ever holds its name.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "server/core/spec.h"

namespace stepback {

struct PresetValue {
  std::string_view name;
  double value = 0;
};

struct PresetInfo {
  std::string_view name;
  std::string_view doc;
  std::string_view citation;
  std::string_view rule;  // an outer rule
  std::vector<PresetValue> values;
  std::optional<Mode> mode;  // unset: either
  uint32_t sync_period = 0;  // recommended k or H; 0: the source names none
  RoundPolicy policy = RoundPolicy::kSync;
  uint32_t buffer_pushes = 0;  // kBuffered
  std::string_view staleness;  // kAsync, kBuffered: a staleness weight with its defaults; "": none
};

// By name, ascending.
std::span<const PresetInfo> Presets();

}  // namespace stepback
