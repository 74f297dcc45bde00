#include "server/rpc/guard.h"

#include <utility>

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/rpc/to_grpc.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

// What the guard itself refuses, as operators count it; the engine counts its own refusals.
telemetry::RejectReason RejectReasonOf(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ? telemetry::RejectReason::kDraining
                                                         : telemetry::RejectReason::kAuth;
}

void LogRefused(Method method, const std::string& peer, const absl::Status& status) {
  const bool ours =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kDataLoss;
  Log(ours ? LogLevel::kError : LogLevel::kDebug, "call_refused",
      {{"method", InfoOf(method).name},
       {"peer", peer},
       {"code", absl::StatusCodeToString(status.code())},
       {"reason", ReasonOrCode(status)},
       {"message", std::string(status.message())}});
}

double SecondsSince(TimePoint start) {
  return std::chrono::duration<double>(Clock::Real()->Now() - start).count();
}

}  // namespace

Call::Call(Method method, telemetry::Metrics* metrics, telemetry::RpcMetrics* rpc, std::string peer,
           absl::Status admitted)
    : method_(method),
      metrics_(metrics),
      rpc_(rpc),
      peer_(std::move(peer)),
      started_(Clock::Real()->Now()),
      admitted_(std::move(admitted)),
      open_(std::make_unique<Open>()) {
  rpc_->OnStarted();
}

Call::~Call() {
  if (open_ != nullptr) Finish(absl::InternalError("the call was dropped"));
}

void Call::Finish(const absl::Status& status) {
  if (open_ == nullptr) return;
  open_.reset();
  rpc_->OnHandled(status.code(), SecondsSince(started_));
  if (!status.ok()) LogRefused(method_, peer_, status);
}

Guard::Guard(Options options) : options_(std::move(options)) {
  for (size_t i = 0; i < kMethodCount; ++i) {
    const MethodInfo& info = kMethods[i];
    rpc_metrics_[i] = options_.metrics->ForMethod(info.type, info.service, info.name);
  }
}

Call Guard::Admit(Method method, const grpc::CallbackServerContext* context) const {
  Call call(method, options_.metrics, rpc_metrics_[static_cast<size_t>(method)], context->peer(),
            Check(method, *context));
  const absl::Status& status = call.admitted();
  if (!status.ok() && !absl::IsDeadlineExceeded(status)) call.Reject(RejectReasonOf(status));
  return call;
}

absl::Status Guard::Check(Method method, const grpc::CallbackServerContext& context) const {
  RETURN_IF_ERROR(CheckRole(method, context));
  if (AccessOf(method).draining == WhenDraining::kRefused && options_.draining && options_.draining()) {
    return WithRetryAfter(
        Error(absl::StatusCode::kUnavailable, "DRAINING",
              fmt::format("the server is shutting down and takes no {} any more", InfoOf(method).name)),
        5);
  }
  if (context.deadline() <= std::chrono::system_clock::now()) {
    return Error(absl::StatusCode::kDeadlineExceeded, "DEADLINE_PASSED",
                 fmt::format("the deadline of {} passed before it began", InfoOf(method).name));
  }
  return absl::OkStatus();
}

absl::Status Guard::CheckRole(Method method, const grpc::CallbackServerContext& context) const {
  if (!options_.role_of) return absl::OkStatus();
  const AccessRole role = options_.role_of(*context.auth_context());
  if (role >= AccessOf(method).role) return absl::OkStatus();
  return Error(absl::StatusCode::kPermissionDenied, "ROLE_REQUIRED",
               fmt::format("{} needs the role {}, the caller is {}", InfoOf(method).name,
                           kAccessRoleNames[static_cast<size_t>(AccessOf(method).role)],
                           kAccessRoleNames[static_cast<size_t>(role)]));
}

absl::Status UnexpectedException(Method method, const char* what) {
  return Error(absl::StatusCode::kInternal, "UNEXPECTED_EXCEPTION",
               fmt::format("{} ended by an exception: {}", InfoOf(method).name, what));
}

}  // namespace stepback
