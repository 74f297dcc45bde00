// Pushes that the caller does not wait for.
#include <fmt/format.h>

#include "client/cpp/worker_impl.h"
#include "server/base/status_macros.h"

namespace stepback::client {

// The payload is formed and copied here: the caller's memory and the base may change as soon as this returns.
absl::StatusOr<PushFuture> WorkerImpl::PushAsync(std::span<const TensorData> data,
                                                 const PushOptions& options) {
  MutexLock lock(&call_mu_);
  const bool delta = model_->info.definition.mode == Mode::kDelta;
  const v1::PushKind kind = delta ? v1::PUSH_KIND_DELTA : v1::PUSH_KIND_GRADIENT;
  RETURN_IF_ERROR(CheckPush(kind, options.fragment));
  if (options_.ranks > 1 || residual_ != nullptr) {
    return absl::FailedPreconditionError(fmt::format(
        "worker '{}' has several ranks or error_feedback: its pushes are waited for", client_id_));
  }
  const PushWindow::Call call(&window_, &interrupt_);
  RETURN_IF_ERROR(call.status());
  const std::optional<TimePoint> deadline = Deadline(options.timeout);
  PayloadLayout layout;
  ASSIGN_OR_RETURN(PushJob job, MakeJob(kind, data, options, nullptr, /*keep=*/true, &layout));
  RETURN_IF_ERROR(job.source->Complete());
  if (!window_.HasRoom(job.source->total_bytes())) {
    RETURN_IF_ERROR(window_.AwaitEmpty(deadline, &interrupt_));
    Retry retry(model_->server->options().retry, &interrupt_, deadline);
    RETURN_IF_ERROR(MakeRoom(job.source->total_bytes(), &retry));
  }
  const auto state = std::make_shared<PushState>(model_->server->options().interrupted);
  RETURN_IF_ERROR(window_.Add(std::move(job), deadline, state, &interrupt_));
  return PushFuture(state);
}

}  // namespace stepback::client
