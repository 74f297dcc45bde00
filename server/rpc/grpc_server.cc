#include "server/rpc/grpc_server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include "grpc/health/v1/health.pb.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/rpc/bind_probe.h"

namespace stepback {
namespace {

constexpr int kFrameBytes = 1 << 20;  // bulk data in few frames; small calls still get in between

// Plugins are process-wide switches in gRPC, read when a server is built.
void EnableHealthAndReflection(bool reflection) {
  grpc::EnableDefaultHealthCheckService(true);
  if (!reflection) return;
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Reflection lists the health service, whose descriptor gRPC does not carry: naming it links ours in.
  grpc::health::v1::HealthCheckRequest::descriptor();
}

void SetLimits(const GrpcServer::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_message_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.max_concurrent_streams));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // A second server on the port must fail, not share it.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (options.io_threads > 0) {
    builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, static_cast<int>(options.io_threads));
  }
}

// The pair of the clients' setting (a ping every 60 s, also without calls).
void SetKeepalive(grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

absl::Status BindFailed(const std::string& address) {
  const absl::StatusOr<ListenAddress> parsed = ParseListenAddress(address);
  return Error(absl::StatusCode::kUnavailable, "BIND_FAILED",
               fmt::format("cannot listen on {}: {}", address,
                           parsed.ok() ? WhyNotBindable(*parsed) : parsed.status().ToString()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const Options& options,
                                                              const ServiceContext* context) {
  std::unique_ptr<GrpcServer> server(new GrpcServer(context));
  RETURN_IF_ERROR(server->Listen(options));
  server->SetServing(true);
  return server;
}

GrpcServer::GrpcServer(const ServiceContext* context)
    : models_(context), training_(context), admin_(context) {}

GrpcServer::~GrpcServer() { Shutdown(Duration::zero()); }

absl::Status GrpcServer::Listen(const Options& options) {
  EnableHealthAndReflection(options.reflection);
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  SetKeepalive(&builder);
  builder.AddListeningPort(options.address, options.credentials, &port_);
  builder.RegisterService(&models_);
  builder.RegisterService(&training_);
  builder.RegisterService(&admin_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return BindFailed(options.address);
  if (const auto parsed = ParseListenAddress(options.address); parsed.ok() && parsed->is_unix()) port_ = 0;
  return absl::OkStatus();
}

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);
  for (const char* service : {v1::ModelService::service_full_name(), v1::TrainingService::service_full_name(),
                              v1::AdminService::service_full_name()}) {
    health->SetServingStatus(service, serving);
  }
}

void GrpcServer::Shutdown(Duration grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

}  // namespace stepback
