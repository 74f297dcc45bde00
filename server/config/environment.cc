#include "server/config/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "server/base/status_macros.h"
#include "server/config/nearest.h"

namespace stepback {
namespace {

bool IsOurs(std::string_view name) {
  return name.starts_with("STEPBACK_") && name.find("__") != std::string_view::npos;
}

absl::Status Unknown(const std::string& name) {
  std::vector<std::string> names;
  for (const Setting& setting : Settings()) names.push_back(setting.EnvName());
  return absl::InvalidArgumentError(
      fmt::format("unknown environment variable {}{}", name, DidYouMean(name, names)));
}

}  // namespace

Environment ProcessEnvironment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

absl::Status AssignFromEnvironment(const Environment& environment, Assigned* assigned) {
  const auto settings = Settings();
  for (const auto& [name, value] : environment) {
    if (!IsOurs(name)) continue;
    const auto it = std::find_if(settings.begin(), settings.end(), [&name = name](const Setting& setting) {
      return setting.EnvName() == name;
    });
    if (it == settings.end()) return Unknown(name);
    RETURN_IF_ERROR(Assign(*it, value, name, assigned));
  }
  return absl::OkStatus();
}

}  // namespace stepback
