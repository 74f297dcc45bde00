// What every call passes through before its handler and on its way out: may the caller do this, does the
// server still take it, is there time left; then counts, durations and a log line for what was refused. A
// server interceptor cannot refuse a call in this gRPC, so the guard is a plain object that each handler asks
// first (decisions 17).
//
// Owner: the server, one for all services. Thread: any.
//
//   Call call = guard.Admit(Method::kPull, context);
//   if (!call.admitted().ok()) return refuse;
//   ... call.OnMessageSent(); ... call.Finish(status);
#pragma once

#include <array>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include <grpcpp/server_context.h>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/rpc/method_table.h"
#include "server/telemetry/metrics.h"

namespace stepback {

// One call's accounting. Movable; finished once, by its owner or, if that forgets, as INTERNAL when it goes.
class Call {
 public:
  Call(Method method, telemetry::Metrics* metrics, telemetry::RpcMetrics* rpc, std::string peer,
       absl::Status admitted);
  Call(Call&&) = default;
  Call& operator=(Call&&) = delete;
  ~Call();

  Method method() const { return method_; }
  // OK, or why the handler must not run.
  const absl::Status& admitted() const { return admitted_; }
  void OnMessageReceived() const { rpc_->OnMessageReceived(); }
  void OnMessageSent() const { rpc_->OnMessageSent(); }
  // Counts a refusal that no other layer counts.
  void Reject(telemetry::RejectReason reason) const { metrics_->OnRejected(reason); }
  void Finish(const absl::Status& status);

 private:
  struct Open {};
  Method method_;
  telemetry::Metrics* metrics_;
  telemetry::RpcMetrics* rpc_;
  std::string peer_;
  TimePoint started_;
  absl::Status admitted_;
  std::unique_ptr<Open> open_;  // null once finished or moved from
};

class Guard {
 public:
  struct Options {
    telemetry::Metrics* metrics = nullptr;  // outlives the guard and its calls
    std::function<bool()> draining;
    // Who is calling? Unset: everyone is admin (no access policy is configured).
    std::function<AccessRole(const grpc::AuthContext&)> role_of;
  };
  explicit Guard(Options options);

  Call Admit(Method method, const grpc::CallbackServerContext* context) const;

 private:
  absl::Status Check(Method method, const grpc::CallbackServerContext& context) const;
  absl::Status CheckRole(Method method, const grpc::CallbackServerContext& context) const;

  const Options options_;
  std::array<telemetry::RpcMetrics*, kMethodCount> rpc_metrics_;
};

// INTERNAL(UNEXPECTED_EXCEPTION): our code throws nothing, but libraries below it may, and one call's mishap
// must not end the process.
absl::Status UnexpectedException(Method method, const char* what);

// Runs one event of a call; never throws.
template <typename Event>
absl::Status RunContained(Method method, Event&& event) {
  try {
    event();
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return UnexpectedException(method, e.what());
  }
}

}  // namespace stepback
