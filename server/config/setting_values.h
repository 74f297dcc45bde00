// The kinds of values settings have. `field` is a function from a Config (const or not) to the field:
//   Count(SB_FIELD(limits.max_models), 1, 100000)
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "server/base/status_macros.h"
#include "server/config/setting.h"
#include "server/config/value_text.h"

#define SB_FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

namespace stepback {

template <typename Field>
SettingValue Text(Field field, std::string accepts) {
  return {.accepts = std::move(accepts),
          .parse =
              [field](const std::string& text, Config* config) {
                field(*config) = text;
                return absl::OkStatus();
              },
          .format = [field](const Config& config) { return field(config); },
          .is_text = true};
}

template <typename Field>
SettingValue Switch(Field field) {
  return {.accepts = "true or false",
          .parse = [field](const std::string& text, Config* config) -> absl::Status {
            ASSIGN_OR_RETURN(field(*config), ParseBool(text));
            return absl::OkStatus();
          },
          .format = [field](const Config& config) { return std::string(field(config) ? "true" : "false"); },
          .is_switch = true};
}

template <typename Field>
SettingValue Count(Field field, uint32_t min, uint32_t max) {
  return {.accepts = fmt::format("{}..{}", min, max),
          .parse = [field, min, max](const std::string& text, Config* config) -> absl::Status {
            ASSIGN_OR_RETURN(const uint64_t value, ParseCount(text));
            if (value < min || value > max) {
              return absl::InvalidArgumentError(fmt::format("'{}' is not in {}..{}", text, min, max));
            }
            field(*config) = static_cast<uint32_t>(value);
            return absl::OkStatus();
          },
          .format = [field](const Config& config) { return fmt::format("{}", field(config)); }};
}

// Bounds of sizes and durations are given as text, as they are shown.
template <typename Field>
SettingValue Bytes(Field field, const std::string& min, const std::string& max) {
  return {.accepts = fmt::format("size, {}..{}", min, max),
          .parse = [field, min, max](const std::string& text, Config* config) -> absl::Status {
            ASSIGN_OR_RETURN(const uint64_t value, ParseBytes(text));
            if (value < *ParseBytes(min) || value > *ParseBytes(max)) {
              return absl::InvalidArgumentError(fmt::format("'{}' is not in {}..{}", text, min, max));
            }
            field(*config) = value;
            return absl::OkStatus();
          },
          .format = [field](const Config& config) { return FormatBytes(field(config)); }};
}

template <typename Field>
SettingValue Span(Field field, const std::string& min, const std::string& max) {
  return {.accepts = fmt::format("duration, {}..{}", min, max),
          .parse = [field, min, max](const std::string& text, Config* config) -> absl::Status {
            ASSIGN_OR_RETURN(const Duration value, ParseDuration(text));
            if (value < *ParseDuration(min) || value > *ParseDuration(max)) {
              return absl::InvalidArgumentError(fmt::format("'{}' is not in {}..{}", text, min, max));
            }
            field(*config) = value;
            return absl::OkStatus();
          },
          .format = [field](const Config& config) { return FormatDuration(field(config)); }};
}

// An enum whose values count from 0 in the order of `names`.
template <typename Field>
SettingValue Choice(Field field, std::span<const std::string_view> names) {
  const auto list = fmt::format("{}", fmt::join(names, ", "));
  return {
      .accepts = list,
      .parse = [field, names, list](const std::string& text, Config* config) -> absl::Status {
        const auto it = std::find(names.begin(), names.end(), text);
        if (it == names.end()) {
          return absl::InvalidArgumentError(fmt::format("'{}' is not one of {}", text, list));
        }
        auto& value = field(*config);
        value = static_cast<std::decay_t<decltype(value)>>(it - names.begin());
        return absl::OkStatus();
      },
      .format = [field, names](
                    const Config& config) { return std::string(names[static_cast<size_t>(field(config))]); }};
}

}  // namespace stepback
