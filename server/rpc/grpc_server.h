// The gRPC port: three services, health and reflection, with the limits that keep one peer from burdening the
// process.
//
// Owner: Server. Thread: any. Stops on Shutdown or when it goes; calls that are still open after the grace
// are cancelled.
//
//   ASSIGN_OR_RETURN(auto grpc, GrpcServer::Start({.address = "127.0.0.1:0", ...}, &service_context));
//   grpc->port();
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/training_service.h"

namespace stepback {

class GrpcServer {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";
    std::shared_ptr<grpc::ServerCredentials> credentials;
    int max_message_bytes = 8 << 20;
    uint32_t max_concurrent_streams = 64;  // per connection
    uint32_t io_threads = 0;               // pollers besides gRPC's own; 0: its choice
    bool reflection = true;
  };

  // UNAVAILABLE(BIND_FAILED) names the address and what the system said. `context` outlives the server.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const Options& options,
                                                           const ServiceContext* context);
  ~GrpcServer();

  int port() const { return port_; }  // 0 for a socket path
  // What grpc.health.v1 answers, for "" and for every service.
  void SetServing(bool serving);
  // Takes no new calls, waits for open ones up to `grace`, then cancels them. Returns when all are done.
  void Shutdown(Duration grace);

 private:
  explicit GrpcServer(const ServiceContext* context);
  absl::Status Listen(const Options& options);

  ModelService models_;
  TrainingService training_;
  AdminService admin_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace stepback
