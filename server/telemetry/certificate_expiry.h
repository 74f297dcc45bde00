// When a certificate file stops being valid, for the metric and alert that warn in time. Thread: any.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace stepback::telemetry {

// Unix time, in seconds, at which the first certificate of a PEM file expires.
absl::StatusOr<int64_t> CertificateNotAfter(const std::string& pem_file);

}  // namespace stepback::telemetry
