// Tells scripts which ports were bound: {"grpc": 7400, "http": 7401, "pid": 4711}. Thread: any.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace stepback {

struct BoundPorts {
  int grpc = 0;  // 0: a unix socket
  int http = 0;  // 0: none
};

// Appears whole or not at all (written aside, then renamed), so a script may wait for the file to exist.
absl::Status WritePortFile(const std::string& path, const BoundPorts& ports);

}  // namespace stepback
