#include "server/base/errors.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace stepback {
namespace {

// One payload per fact; type URLs are private to the process.
constexpr char kReasonUrl[] = "stepback.dev/reason";
constexpr char kRetryUrl[] = "stepback.dev/retry";
constexpr char kFieldUrl[] = "stepback.dev/field";
constexpr char kMetadataPrefix[] = "stepback.dev/metadata/";

std::string PayloadOf(const absl::Status& status, const char* url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status Error(absl::StatusCode code, std::string reason, const std::string& message,
                   const std::map<std::string, std::string>& metadata) {
  absl::Status status(code, message);
  status.SetPayload(kReasonUrl, absl::Cord(std::move(reason)));
  for (const auto& [key, value] : metadata) {
    status.SetPayload(absl::StrCat(kMetadataPrefix, key), absl::Cord(value));
  }
  return status;
}

std::string ReasonOf(const absl::Status& status) { return PayloadOf(status, kReasonUrl); }

std::map<std::string, std::string> MetadataOf(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& value) {
    if (absl::ConsumePrefix(&url, kMetadataPrefix)) metadata[std::string(url)] = std::string(value);
  });
  return metadata;
}

absl::Status WithRetryAfter(absl::Status status, double seconds) {
  status.SetPayload(kRetryUrl, absl::Cord(absl::StrCat(seconds)));
  return status;
}

std::optional<double> RetryAfterOf(const absl::Status& status) {
  double seconds = 0;
  if (!absl::SimpleAtod(PayloadOf(status, kRetryUrl), &seconds)) return std::nullopt;
  return seconds;
}

absl::Status WithField(absl::Status status, std::string field) {
  status.SetPayload(kFieldUrl, absl::Cord(std::move(field)));
  return status;
}

std::string FieldOf(const absl::Status& status) { return PayloadOf(status, kFieldUrl); }

}  // namespace stepback
