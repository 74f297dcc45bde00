// Counts of one gRPC method, under the de-facto grpc_server_* names that stock dashboards know.
// Owned by Metrics; the pointer lives as long as it. Thread: any, lock-free.
//
//   RpcMetrics* push = metrics.ForMethod(RpcType::kClientStream, "stepback.v1.TrainingService", "Push");
//   push->OnStarted(); ... push->OnMessageReceived(); ... push->OnHandled(status.code(), seconds);
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/telemetry/metric_store.h"

namespace stepback::telemetry {

enum class RpcType { kUnary, kClientStream, kServerStream, kBidiStream };

class RpcMetrics {
 public:
  RpcMetrics(MetricStore* store, RpcType type, std::string_view service, std::string_view method);

  void OnStarted() { started_().Add(); }
  void OnMessageReceived() { received_().Add(); }
  void OnMessageSent() { sent_().Add(); }
  // A code outside the 17 of gRPC counts as Unknown.
  void OnHandled(absl::StatusCode code, double seconds);

 private:
  Grid<Counter> started_, received_, sent_, handled_;
  Grid<Histogram> seconds_;
};

}  // namespace stepback::telemetry
