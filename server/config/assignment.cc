#include "server/config/assignment.h"

#include <fmt/format.h>

namespace stepback {

absl::Status Assign(const Setting& setting, const std::string& text, const std::string& origin,
                    Assigned* assigned) {
  const absl::Status status = setting.value.parse(text, &assigned->config);
  if (!status.ok())
    return absl::InvalidArgumentError(fmt::format("{}: {}", origin, std::string(status.message())));
  assigned->keys.insert(setting.key);
  return absl::OkStatus();
}

}  // namespace stepback
