#include "stepback/worker.h"

#include "client/cpp/worker_impl.h"

namespace stepback::client {

Worker::Worker(std::unique_ptr<WorkerImpl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

absl::StatusOr<PullInfo> Worker::Pull(std::span<const TensorSink> sinks, const PullOptions& options) {
  return impl_->Pull(sinks, options);
}

absl::StatusOr<StepResult> Worker::Step(std::span<const TensorData> weights,
                                        std::span<const TensorSink> sinks, const PushOptions& options) {
  return impl_->Step(v1::PUSH_KIND_DELTA, weights, sinks, options);
}

absl::StatusOr<StepResult> Worker::StepGradient(std::span<const TensorData> gradients,
                                                std::span<const TensorSink> sinks,
                                                const PushOptions& options) {
  return impl_->Step(v1::PUSH_KIND_GRADIENT, gradients, sinks, options);
}

absl::StatusOr<PushResult> Worker::PushWeights(std::span<const TensorData> weights,
                                               const PushOptions& options) {
  return impl_->Push(v1::PUSH_KIND_DELTA, weights, options);
}

absl::StatusOr<PushResult> Worker::PushGradient(std::span<const TensorData> gradients,
                                                const PushOptions& options) {
  return impl_->Push(v1::PUSH_KIND_GRADIENT, gradients, options);
}

absl::StatusOr<PushFuture> Worker::PushAsync(std::span<const TensorData> data, const PushOptions& options) {
  return impl_->PushAsync(data, options);
}

void Worker::ReportHealth(const Health& health) { impl_->ReportHealth(health); }
void Worker::Cancel() { impl_->Cancel(); }
absl::Status Worker::Close() { return impl_->Close(); }

const std::string& Worker::client_id() const { return impl_->client_id(); }
uint64_t Worker::epoch() const { return impl_->session().epoch(); }
uint64_t Worker::last_sequence() const { return impl_->session().last_sequence(); }
uint64_t Worker::durable_sequence() const { return impl_->session().durable_sequence(); }
Version Worker::base_version() const { return impl_->base_version(); }
Version Worker::newest_version() const { return impl_->session().newest_version(); }
bool Worker::finished() const { return impl_->session().finished(); }
Settings Worker::settings() const { return impl_->session().settings(); }
uint32_t Worker::local_steps() const { return impl_->session().local_steps(); }
const std::vector<ElementRange>& Worker::ranges() const { return impl_->ranges(); }
Statistics Worker::statistics() const { return impl_->statistics(); }

}  // namespace stepback::client
