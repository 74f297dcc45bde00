// A host and port as the system's socket address. Value type; thread: any.
#pragma once

#include <sys/socket.h>

#include <string>

#include "absl/status/statusor.h"

namespace stepback {

struct BoundAddress {
  sockaddr_storage socket_address{};
  socklen_t bytes = 0;

  const sockaddr* generic() const { return reinterpret_cast<const sockaddr*>(&socket_address); }
  void SetPort(int port);
  std::string ToString() const;  // in numbers: "127.0.0.1:7401", "[::1]:7401"
};

// `host` is a name or an address without brackets; "localhost" is 127.0.0.1. UNAVAILABLE names what has no
// address.
absl::StatusOr<BoundAddress> ResolveBoundAddress(const std::string& host, int port);

}  // namespace stepback
