// A whole stepbackd as an object: engine, gRPC port, HTTP port and metrics, from one Config. The daemon and
// the embedded server are thin shells around it.
//
// Owner: main or the embedded server. Thread: any. Destruction stops without snapshots; call Drain first for
// those.
//
//   ASSIGN_OR_RETURN(auto server, Server::Start(config));
//   server->Drain([](absl::Status status) { ... });   // refuse new work, write snapshots
//   server->Shutdown(std::chrono::seconds(5));
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/config.h"
#include "server/engine/engine.h"
#include "server/http/http_server.h"
#include "server/rpc/compute.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/guard.h"
#include "server/rpc/service_context.h"
#include "server/telemetry/metrics.h"

namespace stepback {

class Server {
 public:
  // What tests change and operators do not.
  struct Tuning {
    Duration waiting_interval = std::chrono::seconds(15);
    Duration stalled_reader_grace = std::chrono::seconds(5);
    bool engine_ticker = true;
    Clock* clock = nullptr;
  };

  // `config` has passed Validate. UNAVAILABLE(BIND_FAILED): an address is taken or not ours. DATA_LOSS: the
  // data directory is damaged; nothing in it was changed.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config);
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, const Tuning& tuning);
  ~Server();

  int grpc_port() const { return grpc_->port(); }
  int http_port() const { return http_ == nullptr ? 0 : http_->port(); }
  std::string grpc_address() const;  // as a client on this machine dials it
  telemetry::Metrics* metrics() { return &metrics_; }

  // Not ready, health NOT_SERVING, no new sessions, pushes or models; waiting calls are answered, every
  // changed model gets a snapshot; then `done`. Reads go on. Any number of times.
  void Drain(std::function<void(absl::Status)> done);
  // Ends the ports. Calls still open after `grace` are cancelled.
  void Shutdown(Duration grace);

 private:
  enum class Phase { kStarting, kReady, kDraining };

  Server(const Config& config, const Tuning& tuning);
  absl::Status StartHttp();
  absl::Status StartEngine();
  absl::Status StartGrpc();
  HttpHandlers Handlers();
  absl::Status Ready() const;
  std::string Status() const;

  const Config config_;
  const Tuning tuning_;
  telemetry::Metrics metrics_;
  std::atomic<Phase> phase_ = Phase::kStarting;
  std::unique_ptr<Compute> compute_;
  std::unique_ptr<Engine> engine_;
  std::optional<Guard> guard_;
  ServiceContext context_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace stepback
