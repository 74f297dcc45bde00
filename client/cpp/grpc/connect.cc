#include "client/cpp/grpc/channel.h"
#include "client/cpp/grpc/grpc_transport.h"
#include "client/cpp/methods.h"
#include "client/cpp/retry.h"
#include "client/cpp/server_impl.h"
#include "client/cpp/unary.h"
#include "grpc/health/v1/health.pb.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "stepback/server.h"

namespace stepback::client {
namespace {

// Any answer will do: a server that refuses the question is there.
absl::Status WaitForAnswer(ServerImpl* server) {
  const ConnectOptions& options = server->options();
  Retry retry(options.retry, server->interrupt(), Clock::Real()->Now() + options.connect_timeout);
  for (;;) {
    const CallLimits limits{.timeout = retry.TimeLeft()};
    const absl::Status status = Call<grpc::health::v1::HealthCheckResponse>(
                                    server->connector()->Control().get(), methods::kHealthCheck,
                                    grpc::health::v1::HealthCheckRequest(), limits, server->interrupt())
                                    .status();
    const bool draining = ReasonOf(status) == "DRAINING";
    if (absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)) return status;
    if (!IsTransient(status) || draining) return absl::OkStatus();
    RETURN_IF_ERROR(retry.Wait(status));
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<Server>> Server::Connect(const ConnectOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(ChannelFactory factory, ChannelFactory::Make(options));
  auto connector = std::make_shared<GrpcConnector>(std::move(factory), options.channels);
  auto server = std::make_shared<ServerImpl>(options, std::move(connector));
  RETURN_IF_ERROR(WaitForAnswer(server.get()));
  return std::make_shared<Server>(std::move(server));
}

}  // namespace stepback::client
