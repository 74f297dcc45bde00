// A server inside the caller's process, on a loopback port of the system's choice: for tests, notebooks and
// programs that want all of Stepback without setting anything up. Python's serve_local() is this.
//
// Threads: any. Stop, or letting it go, ends it; with a data directory every changed model gets a snapshot
// first.
//
//   auto server = StartEmbedded({});
//   auto client = client::Server::Connect({.address = (*server)->address()});
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback {

struct EmbeddedOptions {
  std::string listen = "127.0.0.1:0";
  std::string http_listen;       // "127.0.0.1:0": metrics and status page; empty: none
  std::string data_dir;          // empty: nothing outlives the server
  uint32_t compute_threads = 0;  // 0: one per core
  std::string log_level = "warn";
  double drain_timeout_seconds = 30;
};

class EmbeddedServer {
 public:
  virtual ~EmbeddedServer() = default;
  virtual std::string address() const = 0;       // "127.0.0.1:41234"
  virtual std::string http_address() const = 0;  // "" without one
  // Drains, ends the ports and frees the models. Idempotent; the first result is kept.
  virtual absl::Status Stop() = 0;
};

// INVALID_ARGUMENT for options that contradict each other; UNAVAILABLE(BIND_FAILED).
absl::StatusOr<std::unique_ptr<EmbeddedServer>> StartEmbedded(const EmbeddedOptions& options);

}  // namespace stepback
