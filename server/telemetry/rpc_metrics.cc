#include "server/telemetry/rpc_metrics.h"

#include <iterator>
#include <string>

#include "server/telemetry/metric_labels.h"

namespace stepback::telemetry {
namespace {

std::string TypeName(RpcType type) {
  switch (type) {
    case RpcType::kUnary:
      return "unary";
    case RpcType::kClientStream:
      return "client_stream";
    case RpcType::kServerStream:
      return "server_stream";
    case RpcType::kBidiStream:
      return "bidi_stream";
  }
  return "unary";
}

std::vector<std::string> Labels(RpcType type, std::string_view service, std::string_view method) {
  return {TypeName(type), std::string(service), std::string(method)};
}

size_t CodeIndex(absl::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < std::size(kGrpcCodeNames) ? index : static_cast<size_t>(absl::StatusCode::kUnknown);
}

}  // namespace

RpcMetrics::RpcMetrics(MetricStore* store, RpcType type, std::string_view service, std::string_view method)
    : started_(store->Counters("grpc_server_started_total", Labels(type, service, method))),
      received_(store->Counters("grpc_server_msg_received_total", Labels(type, service, method))),
      sent_(store->Counters("grpc_server_msg_sent_total", Labels(type, service, method))),
      handled_(store->Counters("grpc_server_handled_total", Labels(type, service, method))),
      seconds_(store->Histograms("grpc_server_handling_seconds", Labels(type, service, method))) {}

void RpcMetrics::OnHandled(absl::StatusCode code, double seconds) {
  handled_(CodeIndex(code)).Add();
  seconds_().Observe(seconds);
}

}  // namespace stepback::telemetry
