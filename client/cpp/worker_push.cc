// Pushes: from the caller's tensors to a decided answer.
#include <fmt/format.h>

#include "client/cpp/caller_memory.h"
#include "client/cpp/convert.h"
#include "client/cpp/tensor_source.h"
#include "client/cpp/worker_impl.h"
#include "kernels/draw.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

// Present bits of training.proto: bit t % 8 of byte t / 8; empty when every tensor that can be sent is.
// `fragment`: the only ones that can be; null: all.
std::string Bitmap(const std::vector<bool>& present, const std::vector<Tensor>& tensors,
                   const std::vector<bool>* fragment) {
  std::string bits((tensors.size() + 7) / 8, '\0');
  bool all = true;
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].role == Role::kFrozen || (fragment != nullptr && !(*fragment)[t])) continue;
    all = all && present[t];
    if (present[t]) bits[t / 8] = static_cast<char>(bits[t / 8] | 1 << (t % 8));
  }
  return all ? std::string() : bits;
}

}  // namespace

absl::StatusOr<PushResult> WorkerImpl::Push(v1::PushKind kind, std::span<const TensorData> data,
                                            const PushOptions& options) {
  MutexLock lock(&call_mu_);
  RETURN_IF_ERROR(CheckPush(kind, options.fragment));
  const PushWindow::Call call(&window_, &interrupt_);
  RETURN_IF_ERROR(call.status());
  const std::optional<TimePoint> deadline = Deadline(options.timeout);
  RETURN_IF_ERROR(window_.AwaitEmpty(deadline, &interrupt_));
  Retry retry(model_->server->options().retry, &interrupt_, deadline);
  const CallerMemory lent(data_.get());
  PayloadLayout layout;
  ASSIGN_OR_RETURN(PushJob job,
                   MakeJob(kind, data, options, lent.Share(), window_.keeps_pushes(), &layout));
  RETURN_IF_ERROR(MakeRoom(job.source->total_bytes(), &retry));
  const absl::StatusOr<v1::PushResponse> response = PushUntilDecided(&job, &retry);
  if (response.ok()) {
    Accepted(*response, layout);
    window_.Keep(std::move(job));
    return FromProto(*response);
  }
  window_.GiveUp(job, response.status());
  if (!IsResync(response.status())) return response.status();
  ResetFeedback(layout);
  return Resynced(response.status(), job.sequence());
}

absl::StatusOr<v1::PushResponse> WorkerImpl::PushUntilDecided(PushJob* job, Retry* retry) {
  for (;;) {
    absl::Status status = BeforeAttempt(job, &interrupt_);
    if (status.ok()) {
      absl::StatusOr<v1::PushResponse> response = SendOnce(job, retry->TimeLeft(), &interrupt_);
      if (response.ok()) {
        RETURN_IF_ERROR(job->source->Complete());
        job->answer = *response;
        return response;
      }
      if (IsResync(response.status())) return response;
      status = Broke(response.status());
    }
    RETURN_IF_ERROR(retry->Wait(status));
  }
}

// Callers push weights; what travels is their difference from the base, except to rules that take theta
// itself.
v1::PushKind WorkerImpl::KindOf(v1::PushKind kind) const {
  const bool weights = kind == v1::PUSH_KIND_DELTA && session_.settings().takes_weights;
  return weights ? v1::PUSH_KIND_WEIGHTS : kind;
}

absl::Status WorkerImpl::CheckPush(v1::PushKind kind, std::optional<uint32_t> fragment) const {
  RETURN_IF_ERROR(CheckOpen());
  RETURN_IF_ERROR(CheckFragment(*model_, fragment));
  if (!fragment && !setup_.fragments.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "FRAGMENT_INVALID",
                 fmt::format("model '{}' has fragments: a push is of one of them, fragment 0..{}",
                             model_->name(), setup_.fragments.size() - 1));
  }
  const std::string& name = model_->name();
  if (options_.role == SessionRole::kReader) {
    return absl::FailedPreconditionError(
        fmt::format("worker '{}' of model '{}' is a reader: it cannot push", client_id_, name));
  }
  const Mode mode = model_->info.definition.mode;
  if (kind == v1::PUSH_KIND_DELTA && mode != Mode::kDelta) {
    return absl::InvalidArgumentError(
        fmt::format("model '{}' is in gradient mode: push gradients, not weights", name));
  }
  if (kind == v1::PUSH_KIND_GRADIENT && mode != Mode::kGradient) {
    return absl::InvalidArgumentError(
        fmt::format("model '{}' is in delta mode: push weights, not gradients", name));
  }
  if (!base_.version(fragment)) {
    return Error(
        absl::StatusCode::kFailedPrecondition, "NO_BASE",
        fmt::format(
            "worker '{}' of model '{}' has no base: pull before the first push, and after a call that "
            "failed while it received weights",
            client_id_, name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<bool>> WorkerImpl::PresentTensors(std::span<const TensorData> data,
                                                             const PushOptions& options) const {
  const std::vector<Tensor>& tensors = model_->tensors();
  if (!options.present.empty()) {
    if (options.present.size() == tensors.size()) return Within(options.present, options.fragment);
    return absl::InvalidArgumentError(fmt::format("PushOptions.present has {} entries, the table has {}",
                                                  options.present.size(), tensors.size()));
  }
  std::vector<bool> present(tensors.size(), true);
  // One of several ranks cannot tell from its own pointers what the others have.
  if (options_.ranks > 1) return present;
  for (size_t t = 0; t < std::min(data.size(), present.size()); ++t) present[t] = data[t].data != nullptr;
  return Within(std::move(present), options.fragment);
}

std::vector<bool> WorkerImpl::Within(std::vector<bool> present, std::optional<uint32_t> fragment) const {
  if (!fragment) return present;
  for (size_t t = 0; t < present.size(); ++t) present[t] = present[t] && setup_.fragments[*fragment][t];
  return present;
}

v1::PushHeader WorkerImpl::NewPushHeader(v1::PushKind kind, const PushOptions& options,
                                         const PayloadLayout& layout,
                                         const std::vector<bool>& present) const {
  v1::PushHeader header;
  header.set_model(model_->name());
  header.set_client_id(client_id_);
  header.set_kind(kind);
  *header.mutable_base() = ToProto(base_.version(options.fragment));
  if (options.fragment) {
    header.mutable_fragment()->set_index(*options.fragment);
    header.mutable_fragment()->set_base_step(base_.step(*options.fragment));
  }
  header.set_samples(options.samples);
  header.set_local_steps(options.local_steps);
  header.set_loss_scale(options.loss_scale);
  header.set_codec(std::string(setup_.push_codec->name));
  header.set_present(
      Bitmap(present, model_->tensors(), options.fragment ? &setup_.fragments[*options.fragment] : nullptr));
  header.set_part(options_.rank);
  header.set_part_count(options_.ranks);
  AddRanges(setup_.ranges, header.mutable_ranges());
  header.set_total_bytes(layout.total_bytes());
  header.set_fingerprint(model_->info.fingerprint);
  if (options.health) *header.mutable_health() = ToProto(*options.health);
  return header;
}

absl::StatusOr<PushJob> WorkerImpl::MakeJob(v1::PushKind kind, std::span<const TensorData> data,
                                            const PushOptions& options, std::shared_ptr<const void> lent,
                                            bool keep, PayloadLayout* layout) {
  ASSIGN_OR_RETURN(const std::vector<bool> present, PresentTensors(data, options));
  ASSIGN_OR_RETURN(*layout, PayloadLayout::Make(model_->tensors(), *setup_.push_codec, Direction::kPush,
                                                present, setup_.ranges));
  RETURN_IF_ERROR(CheckTensors(*layout, model_->tensors(), data));
  RETURN_IF_ERROR(BeginFeedback(options));
  kind = KindOf(kind);
  if (kind == v1::PUSH_KIND_WEIGHTS && options.loss_scale != 1) {
    return absl::InvalidArgumentError(
        fmt::format("PushOptions.loss_scale is {}, pushed weights have none", options.loss_scale));
  }
  PushJob job{.id = next_job_id_++, .header = NewPushHeader(kind, options, *layout, present)};
  job.source = std::make_unique<TensorSource>(
      layout, data, model_->server->pool(),
      TensorSource::Options{.base = kind == v1::PUSH_KIND_WEIGHTS ? nullptr : &base_,
                            .difference_scale = static_cast<float>(options.loss_scale),
                            .residual = residual_.get(),
                            .draw_key = kernels::DrawKey(model_->name(), client_id_, 0, window_.NextSequence()),
                            .copy = keep,
                            .caller_memory = std::move(lent)});
  if (keep) {
    job.source = std::make_unique<KeptSource>(std::move(job.source), model_->server->options().chunk_bytes);
  }
  return job;
}

// The server divides a push by its loss scale, the residual is in the deltas' own units.
absl::Status WorkerImpl::BeginFeedback(const PushOptions& options) {
  if (residual_ == nullptr) return absl::OkStatus();
  if (options.loss_scale == 1) return residual_->Begin();
  return absl::InvalidArgumentError(
      fmt::format("PushOptions.loss_scale is {}, error feedback needs 1", options.loss_scale));
}

void WorkerImpl::Decided(const v1::PushResponse& response) {
  session_.OnDecided(response);
  Count([&](Statistics* stats) {
    ++stats->pushes;
    stats->duplicates += response.outcome() == v1::PUSH_OUTCOME_DUPLICATE;
  });
}

// Decided, and `pushed` says which tensors a codec has kept something of.
void WorkerImpl::Accepted(const v1::PushResponse& response, const PayloadLayout& pushed) {
  Decided(response);
  const bool duplicate = response.outcome() == v1::PUSH_OUTCOME_DUPLICATE;
  const v1::PushOutcome outcome = duplicate ? response.first_outcome() : response.outcome();
  if (residual_ != nullptr && outcome != v1::PUSH_OUTCOME_SKIPPED) residual_->Commit(pushed);
}

void WorkerImpl::ResetFeedback(const PayloadLayout& pushed) {
  if (residual_ != nullptr) setup_.fragments.empty() ? residual_->Reset() : residual_->Reset(pushed);
}

PushResult WorkerImpl::Resynced(const absl::Status& why, uint64_t sequence) {
  Count([](Statistics* stats) { ++stats->resyncs; });
  return {.outcome = Outcome::kResynced,
          .version = session_.newest_version(),
          .sequence = sequence,
          .durable_sequence = session_.durable_sequence(),
          .reason = fmt::format("{}: {}", ReasonOf(why), std::string(why.message())),
          .settings_version = session_.settings().settings_version,
          .finished = session_.finished()};
}

}  // namespace stepback::client
