#include "server/rpc/names.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/rpc/to_grpc.h"

namespace stepback {
namespace {

constexpr size_t kNameBytesMax = 128;
constexpr size_t kMetricNameBytesMax = 64;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool AllOf(const std::string& text, std::string_view punctuation) {
  return std::all_of(text.begin(), text.end(), [punctuation](char c) {
    return IsAlphanumeric(c) || punctuation.find(c) != std::string_view::npos;
  });
}

bool IsMetricName(const std::string& name) {
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

absl::Status Unless(bool valid, const std::string& text, const std::string& field,
                    std::string_view expected) {
  if (valid) return absl::OkStatus();
  return WithField(Error(absl::StatusCode::kInvalidArgument, "INVALID_NAME",
                         fmt::format("{} is '{}' ({} bytes), expected {}", field,
                                     Shortened(text, kNameBytesMax), text.size(), expected)),
                   field);
}

}  // namespace

absl::Status CheckModelName(const std::string& name, const std::string& field) {
  const bool valid =
      !name.empty() && name.size() <= kNameBytesMax && IsAlphanumeric(name[0]) && AllOf(name, "._-");
  return Unless(valid, name, field, "1 to 128 characters of [A-Za-z0-9._-], a letter or digit first");
}

absl::Status CheckClientId(const std::string& client_id, const std::string& field) {
  const bool valid = !client_id.empty() && client_id.size() <= kNameBytesMax && AllOf(client_id, "._:-");
  return Unless(valid, client_id, field, "1 to 128 characters of [A-Za-z0-9._:-]");
}

absl::Status CheckLabel(const std::string& label, const std::string& field) {
  return Unless(label.size() <= kNameBytesMax && AllOf(label, "._-"), label, field,
                "at most 128 characters of [A-Za-z0-9._-]");
}

absl::Status CheckMetricName(const std::string& name, const std::string& field) {
  const bool valid = !name.empty() && name.size() <= kMetricNameBytesMax && IsMetricName(name);
  return Unless(valid, name, field, "1 to 64 characters of [a-z0-9_]");
}

absl::Status InvalidField(const std::string& field, const std::string& what) {
  return WithField(
      Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD", fmt::format("{} {}", field, what)), field);
}

}  // namespace stepback
