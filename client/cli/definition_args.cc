#include "client/cli/definition_args.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

std::vector<std::string> Split(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == by) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

absl::StatusOr<std::vector<uint64_t>> ParseShape(const std::string& tensor, const std::string& text) {
  std::vector<uint64_t> shape;
  if (text.empty() || text == "scalar") return shape;
  for (const std::string& part : Split(text, 'x')) {
    uint64_t dimension = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), dimension);
    if (error != std::errc() || end != part.data() + part.size()) {
      return absl::InvalidArgumentError(
          fmt::format("tensor '{}': shape '{}' is not of the form 128x64", tensor, text));
    }
    shape.push_back(dimension);
  }
  return shape;
}

}  // namespace

absl::StatusOr<client::Tensor> ParseTensor(const std::string& text) {
  const std::vector<std::string> parts = Split(text, ':');
  if (parts.size() < 2 || parts.size() > 4 || parts[0].empty()) {
    return absl::InvalidArgumentError(
        fmt::format("tensor '{}' is not of the form name:shape[:dtype[:role]]", text));
  }
  client::Tensor tensor{.name = parts[0]};
  ASSIGN_OR_RETURN(tensor.shape, ParseShape(parts[0], parts[1]));
  if (parts.size() > 2) {
    ASSIGN_OR_RETURN(tensor.dtype, ParseWord<client::DataType>(parts[2]));
  }
  // Integers cannot be trained.
  if (tensor.dtype > client::DataType::kBf16) tensor.role = client::Role::kCarried;
  if (parts.size() > 3) {
    ASSIGN_OR_RETURN(tensor.role, ParseWord<client::Role>(parts[3]));
  }
  return tensor;
}

absl::StatusOr<client::Rule> ParseRule(const std::string& text) {
  const size_t colon = text.find(':');
  client::Rule rule{.name = text.substr(0, colon)};
  if (colon == std::string::npos) return rule;
  for (const std::string& part : Split(text.substr(colon + 1), ',')) {
    ASSIGN_OR_RETURN(const auto value, ParseAssignment(part));
    if (!rule.values.insert(value).second) {
      return absl::InvalidArgumentError(fmt::format("rule '{}' sets {} twice", text, value.first));
    }
  }
  return rule;
}

absl::StatusOr<client::Average> ParseAverage(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(
        fmt::format("average '{}' is not of the form name=rule[,hyperparameter=number...]", text));
  }
  std::string rule = text.substr(equals + 1);
  if (const size_t end = rule.find_first_of(":,"); end != std::string::npos) rule[end] = ':';
  client::Average average{.name = text.substr(0, equals)};
  ASSIGN_OR_RETURN(average.rule, ParseRule(rule));
  return average;
}

absl::StatusOr<std::pair<std::string, double>> ParseAssignment(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not of the form name=number", text));
  }
  const std::string number = text.substr(equals + 1);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value)) {
    return absl::InvalidArgumentError(fmt::format("'{}': '{}' is not a finite number", text, number));
  }
  return std::make_pair(text.substr(0, equals), value);
}

}  // namespace stepback::cli
