#include "server/embed/embedded_server.h"

#include <chrono>
#include <future>
#include <optional>
#include <utility>

#include "server/base/errors.h"
#include "server/base/mutex.h"
#include "server/base/status_macros.h"
#include "server/config/config.h"
#include "server/config/validate.h"
#include "server/rpc/server.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

class Embedded final : public EmbeddedServer {
 public:
  Embedded(std::unique_ptr<Server> server, Duration drain_timeout)
      : server_(std::move(server)),
        drain_timeout_(drain_timeout),
        address_(server_->grpc_address()),
        http_port_(server_->http_port()) {}
  ~Embedded() override { Stop().IgnoreError(); }

  std::string address() const override { return address_; }
  std::string http_address() const override {
    return http_port_ == 0 ? std::string() : "127.0.0.1:" + std::to_string(http_port_);
  }

  absl::Status Stop() override {
    MutexLock lock(&mu_);
    if (!stopped_) stopped_ = StopOnce();
    return *stopped_;
  }

 private:
  absl::Status StopOnce() REQUIRES(mu_) {
    const auto drained = std::make_shared<std::promise<absl::Status>>();
    std::future<absl::Status> result = drained->get_future();
    server_->Drain([drained](const absl::Status& status) { drained->set_value(status); });
    const bool in_time = result.wait_for(drain_timeout_) == std::future_status::ready;
    server_->Shutdown(std::chrono::seconds(1));
    server_.reset();
    if (in_time) return result.get();
    return Error(absl::StatusCode::kDeadlineExceeded, "DRAIN_TIMEOUT",
                 "work was still open after the drain timeout");
  }

  Mutex mu_;
  std::unique_ptr<Server> server_ GUARDED_BY(mu_);
  std::optional<absl::Status> stopped_ GUARDED_BY(mu_);
  const Duration drain_timeout_;
  const std::string address_;
  const int http_port_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedServer>> StartEmbedded(const EmbeddedOptions& options) {
  Config config;
  config.server.listen = options.listen;
  config.server.http_listen = options.http_listen;
  config.server.data_dir = options.data_dir;
  config.server.drain_timeout = FromSeconds(options.drain_timeout_seconds);
  config.compute.threads = options.compute_threads;
  ASSIGN_OR_RETURN(config.log.level, ParseLogLevel(options.log_level));
  RETURN_IF_ERROR(Validate(config));
  SetLogLevel(config.log.level);
  ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Start(config));
  return std::make_unique<Embedded>(std::move(server), config.server.drain_timeout);
}

}  // namespace stepback
