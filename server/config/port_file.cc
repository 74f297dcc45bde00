#include "server/config/port_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace stepback {

absl::Status WritePortFile(const std::string& path, const BoundPorts& ports) {
  const std::string aside = fmt::format("{}.{}.tmp", path, getpid());
  {
    std::ofstream file(aside);
    file << fmt::format("{{\"grpc\": {}, \"http\": {}, \"pid\": {}}}\n", ports.grpc, ports.http, getpid());
    if (!file.flush()) {
      return absl::UnavailableError(fmt::format("port file '{}': {}", path, std::strerror(errno)));
    }
  }
  if (std::rename(aside.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::remove(aside.c_str());
  return absl::UnavailableError(fmt::format("port file '{}': {}", path, std::strerror(error)));
}

}  // namespace stepback
