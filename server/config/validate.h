// The rules that look at more than one setting; bounds of single settings are checked where they are read.
// Thread: any.
#pragma once

#include "absl/status/status.h"
#include "server/config/config.h"

namespace stepback {

// INVALID_ARGUMENT names the settings that contradict each other and what to change:
// off loopback there must be TLS or --insecure; certificate and key come together; client certificates need a
// CA file; named TLS files must be readable; the two addresses must differ.
absl::Status Validate(const Config& config);

// ClientCert::kAuto resolved.
bool RequiresClientCert(const Config& config);

}  // namespace stepback
