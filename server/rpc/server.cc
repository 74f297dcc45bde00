#include "server/rpc/server.h"

#include <utility>

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/config/config_text.h"
#include "server/config/listen_address.h"
#include "server/config/validate.h"
#include "server/rpc/credentials.h"
#include "server/rpc/status_json.h"
#include "server/telemetry/build_info.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

LogRecovery RecoveryOf(LogDamage damage) {
  switch (damage) {
    case LogDamage::kStrict:
      break;
    case LogDamage::kPointInTime:
      return LogRecovery::kPointInTime;
    case LogDamage::kSalvage:
      return LogRecovery::kSalvage;
  }
  return LogRecovery::kStrict;
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

telemetry::Metrics::Options MetricsOptions(const Config& config) {
  telemetry::Metrics::Options options;
  options.limits.max_models = config.metrics.max_models;
  options.limits.max_workers = config.metrics.max_workers;
  return options;
}

// "0.0.0.0" and "::" are dialled as this machine.
std::string DialHost(const std::string& host) {
  if (host == "0.0.0.0") return "127.0.0.1";
  if (host == "::") return "[::1]";
  return host.find(':') == std::string::npos ? host : fmt::format("[{}]", host);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config) {
  return Start(config, Tuning());
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, const Tuning& tuning) {
  std::unique_ptr<Server> server(new Server(config, tuning));
  RETURN_IF_ERROR(server->StartHttp());  // first: probes must see a long recovery as alive
  RETURN_IF_ERROR(server->StartEngine());
  RETURN_IF_ERROR(server->StartGrpc());
  server->phase_ = Phase::kReady;
  server->metrics_.SetReady(true);
  Log(LogLevel::kInfo, "server_started",
      {{"grpc", server->grpc_address()},
       {"http", server->http_ == nullptr ? std::string("none") : server->http_->url()},
       {"data_dir", config.server.data_dir},
       {"device", server->compute_->backend()->name()},
       {"threads", server->compute_->threads()},
       {"tls", config.tls.enabled()},
       {"version", CurrentBuild().version}});
  return server;
}

Server::Server(const Config& config, const Tuning& tuning)
    : config_(config), tuning_(tuning), metrics_(MetricsOptions(config)) {
  context_.started = Clock::Real()->Now();
  if (!config.server.data_dir.empty()) metrics_.WatchDisk(config.server.data_dir);
  if (config.tls.enabled()) metrics_.WatchCertificate(config.tls.cert_file);
}

Server::~Server() {
  Shutdown(Duration::zero());
  engine_.reset();
  if (compute_ != nullptr) Compute::Release(std::move(compute_));
}

absl::Status Server::StartHttp() {
  if (config_.server.http_listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config_.server.http_listen));
  auto http = HttpServer::Start({.host = address.host, .port = address.port}, Handlers());
  if (!http.ok()) return Error(http.status().code(), "BIND_FAILED", std::string(http.status().message()));
  http_ = *std::move(http);
  return absl::OkStatus();
}

HttpHandlers Server::Handlers() {
  return {.metrics = [this] { return metrics_.Scrape(); },
          .ready = [this] { return Ready(); },
          .status_json = [this] { return Status(); },
          .flags_yaml = [this] { return ConfigYaml(config_); }};
}

absl::Status Server::StartEngine() {
  ASSIGN_OR_RETURN(compute_, Compute::Make(config_.compute));
  Engine::Options options;
  options.data_dir = config_.server.data_dir;
  options.clock = tuning_.clock;
  options.backend = compute_->backend();
  options.executor = compute_->executor();
  options.pool = compute_->pool();
  options.metrics = &metrics_;
  options.models_max = config_.limits.max_models;
  options.memory_bytes_max = config_.limits.memory_bytes_max;
  options.admission_wait = config_.limits.admission_wait;
  options.default_snapshot_interval_seconds = Seconds(config_.snapshot.interval);
  options.snapshots_kept = config_.snapshot.keep;
  options.event_file_bytes = config_.events.file_bytes;
  options.event_files_kept = config_.events.files_kept;
  options.recovery = RecoveryOf(config_.storage.recovery);
  options.disk_bytes_per_second = static_cast<double>(config_.storage.disk_bandwidth);
  options.ticker = tuning_.engine_ticker;
  ASSIGN_OR_RETURN(engine_, Engine::Start(options));
  return absl::OkStatus();
}

absl::Status Server::StartGrpc() {
  guard_.emplace(Guard::Options{.metrics = &metrics_, .draining = [this] { return engine_->draining(); }});
  context_.engine = engine_.get();
  context_.guard = &*guard_;
  context_.metrics = &metrics_;
  context_.allocator = compute_->pool();
  context_.defaults.lease_seconds = Seconds(config_.session.lease);
  context_.waiting_interval = tuning_.waiting_interval;
  context_.stalled_reader_grace = tuning_.stalled_reader_grace;
  context_.compute_threads = compute_->threads();
  context_.features = {"step", "resume", "parts", "safetensors", "snapshots"};
  context_.drain = [this](std::function<void(absl::Status)> done) { Drain(std::move(done)); };
  GrpcServer::Options options;
  options.address = config_.server.listen;
  ASSIGN_OR_RETURN(options.credentials, MakeServerCredentials(config_.tls, RequiresClientCert(config_)));
  options.max_message_bytes = static_cast<int>(config_.grpc.max_message_bytes);
  options.max_concurrent_streams = config_.grpc.max_concurrent_streams;
  options.io_threads = config_.grpc.io_threads;
  ASSIGN_OR_RETURN(grpc_, GrpcServer::Start(options, &context_));
  return absl::OkStatus();
}

std::string Server::grpc_address() const {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(config_.server.listen);
  if (!address.ok() || address->is_unix()) return config_.server.listen;
  return fmt::format("{}:{}", DialHost(address->host), grpc_->port());
}

absl::Status Server::Ready() const {
  switch (phase_.load()) {
    case Phase::kStarting:
      return absl::UnavailableError("starting: models are being recovered");
    case Phase::kDraining:
      return absl::UnavailableError("draining");
    case Phase::kReady:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

std::string Server::Status() const {
  if (phase_ == Phase::kStarting) return R"({"ready": false})";
  return StatusJson(context_, {.ready = Ready().ok(), .grpc_address = grpc_address()});
}

void Server::Drain(std::function<void(absl::Status)> done) {
  if (phase_.exchange(Phase::kDraining) != Phase::kDraining) Log(LogLevel::kInfo, "server_draining");
  metrics_.SetReady(false);
  metrics_.SetDraining(true);
  grpc_->SetServing(false);
  engine_->Drain(std::move(done));
}

void Server::Shutdown(Duration grace) {
  if (grpc_ != nullptr) grpc_->Shutdown(grace);
  http_.reset();
}

}  // namespace stepback
