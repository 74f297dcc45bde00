#include "client/cli/error_report.h"

#include <fmt/format.h>

#include "server/base/errors.h"

namespace stepback::cli {
namespace {

constexpr char kUsage[] = "USAGE";

std::string NameOf(absl::StatusCode code) { return absl::StatusCodeToString(code); }

Json ErrorJson(const absl::Status& status) {
  Json error = {{"code", NameOf(status.code())}, {"message", std::string(status.message())}};
  if (const std::string reason = client::ErrorReason(status); !reason.empty()) error["reason"] = reason;
  if (const std::string field = client::ErrorField(status); !field.empty()) error["field"] = field;
  if (const auto seconds = client::ErrorRetryAfter(status)) error["retry_after_seconds"] = *seconds;
  for (const auto& [key, value] : client::ErrorMetadata(status)) error["metadata"][key] = value;
  return {{"error", error}};
}

}  // namespace

void ReportError(const absl::Status& status, Output output, std::ostream& out) {
  if (output != Output::kTable) {
    out << ErrorJson(status).dump(output == Output::kJsonl ? -1 : 2) << "\n";
    return;
  }
  const std::string reason = client::ErrorReason(status);
  if (reason == kUsage) {
    out << fmt::format("error: {}\n", std::string(status.message()));
    return;
  }
  out << fmt::format("error: {}: {}", NameOf(status.code()), std::string(status.message()));
  if (!reason.empty()) out << fmt::format(" ({})", reason);
  if (const std::string field = client::ErrorField(status); !field.empty())
    out << fmt::format(" [{}]", field);
  out << "\n";
}

absl::Status UsageError(const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, kUsage, message);
}

int ExitStatusOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  return client::ErrorReason(status) == kUsage ? kExitUsage : kExitRuntime;
}

}  // namespace stepback::cli
