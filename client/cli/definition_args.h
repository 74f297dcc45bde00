// A model's definition from command-line words.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "stepback/definition.h"

namespace stepback::cli {

// "name:shape[:dtype[:role]]": "w:128x64", "steps:scalar:i64" (integers are carried unless said otherwise).
absl::StatusOr<client::Tensor> ParseTensor(const std::string& text);
// "nesterov" or "nesterov:lr=0.7,momentum=0.9".
absl::StatusOr<client::Rule> ParseRule(const std::string& text);
// "ema=ema,decay=0.999": an average named ema. The rule also as ParseRule has it:
// "best=swa:start=100,period=10".
absl::StatusOr<client::Average> ParseAverage(const std::string& text);
// "outer.lr=0.5" -> {"outer.lr", 0.5}.
absl::StatusOr<std::pair<std::string, double>> ParseAssignment(const std::string& text);

// The value of an enumeration by its word, e.g. ParseWord<client::Mode>("delta"); every enumeration counts
// from 1.
template <typename Enum>
absl::StatusOr<Enum> ParseWord(const std::string& text) {
  std::string known;
  for (int i = 1; client::NameOf(static_cast<Enum>(i)) != "unknown"; ++i) {
    if (client::NameOf(static_cast<Enum>(i)) == text) return static_cast<Enum>(i);
    known.append(" ").append(client::NameOf(static_cast<Enum>(i)));
  }
  return absl::InvalidArgumentError(fmt::format("'{}' is not one of:{}", text, known));
}

}  // namespace stepback::cli
