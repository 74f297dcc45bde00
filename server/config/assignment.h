// Values on their way into a Config, with where each came from. Internal to server/config.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "server/config/config.h"
#include "server/config/setting.h"

namespace stepback {

struct Assigned {
  Config config;
  std::set<std::string> keys;  // set by anyone, so no default any more
};

// Later calls win. `origin` heads the error: "--listen", "STEPBACK_SERVER__LISTEN", "stepbackd.yaml:3:
// server.listen".
absl::Status Assign(const Setting& setting, const std::string& text, const std::string& origin,
                    Assigned* assigned);

// Reads a file of sections and settings; an unknown, repeated or valueless one is refused with file and line.
absl::Status AssignFromFile(const std::string& path, Assigned* assigned);
absl::Status AssignFromYaml(const std::string& text, const std::string& file_name, Assigned* assigned);

}  // namespace stepback
