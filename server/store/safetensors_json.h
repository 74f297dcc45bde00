// The JSON of a safetensors header as events, so that nothing is built from it that was not expected: depth
// is bounded by the grammar, a duplicate key is seen (a tree would have swallowed it), and the first surprise
// ends the parse. Implementation of safetensors_header.h.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/store/safetensors_header.h"

namespace stepback {

inline constexpr char kSafetensorsMetadataKey[] = "__metadata__";

// Syntax, field names, dtypes and duplicates are checked; sizes and offsets are not yet.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsJson(std::string_view json);

bool IsJsonString(std::string_view bytes);  // UTF-8
// INVALID_ARGUMENT: what is wrong with a file.
absl::Status InvalidSafetensors(absl::string_view what);
// In quotes, escaped, cut at 100 bytes: fit for an error message, whatever a file calls its tensors.
std::string QuotedForMessage(std::string_view name);

}  // namespace stepback
