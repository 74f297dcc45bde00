// A listen address taken apart: "host:port", "[v6]:port" or "unix:/path". Pure; thread: any.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace stepback {

struct ListenAddress {
  std::string host;       // without brackets; empty for a socket path
  int port = 0;           // 0: any free one
  std::string unix_path;  // "@name" for the abstract namespace

  bool is_unix() const { return !unix_path.empty(); }
  // Reachable from this machine only: 127.0.0.0/8, ::1 (also mapped), "localhost", unix sockets.
  bool IsLoopback() const;
  // As gRPC takes it.
  std::string ToString() const;
};

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text);

}  // namespace stepback
