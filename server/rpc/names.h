// Syntax of the names that callers choose, checked before anything is looked up or stored under them.
// INVALID_ARGUMENT (INVALID_NAME) names the field. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace stepback {

// 1 to 128 of [A-Za-z0-9._-], a letter or digit first.
absl::Status CheckModelName(const std::string& name, const std::string& field);
// 1 to 128 of [A-Za-z0-9._:-].
absl::Status CheckClientId(const std::string& client_id, const std::string& field);
// At most 128 of [A-Za-z0-9._-]; empty is allowed.
absl::Status CheckLabel(const std::string& label, const std::string& field);
// 1 to 64 of [a-z0-9_].
absl::Status CheckMetricName(const std::string& name, const std::string& field);

// INVALID_ARGUMENT(INVALID_FIELD): "page_size is 5000, at most 1000".
absl::Status InvalidField(const std::string& field, const std::string& what);

}  // namespace stepback
