#include "stepback/errors.h"

#include "server/base/errors.h"

namespace stepback::client {

std::string ErrorReason(const absl::Status& status) { return ReasonOf(status); }
std::map<std::string, std::string> ErrorMetadata(const absl::Status& status) { return MetadataOf(status); }
std::string ErrorField(const absl::Status& status) { return FieldOf(status); }
std::optional<double> ErrorRetryAfter(const absl::Status& status) { return RetryAfterOf(status); }

}  // namespace stepback::client
