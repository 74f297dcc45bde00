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
std::string Bitmap(const std::vector<bool>& present, const std::vector<Tensor>& tensors) {
  std::string bits((tensors.size() + 7) / 8, '\0');
  bool all = true;
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].role == Role::kFrozen) continue;
    all = all && present[t];
    if (present[t]) bits[t / 8] = static_cast<char>(bits[t / 8] | 1 << (t % 8));
  }
  return all ? std::string() : bits;
}

}  // namespace

absl::StatusOr<PushResult> WorkerImpl::Push(v1::PushKind kind, std::span<const TensorData> data,
                                            const PushOptions& options) {
  const std::lock_guard<std::mutex> lock(call_mu_);
  RETURN_IF_ERROR(CheckPush(kind));
  Retry retry(model_->server->options().retry, &interrupt_, Deadline(options.timeout));
  const CallerMemory lent(data_.get());
  PayloadLayout layout;
  ASSIGN_OR_RETURN(PushJob job, MakeJob(kind, data, options, lent, &layout));
  RETURN_IF_ERROR(MakeRoom(job.source->total_bytes(), &retry));
  const absl::StatusOr<v1::PushResponse> response = PushUntilDecided(&job, &retry);
  if (response.ok()) {
    Decided(*response, layout);
    Keep(std::move(job));
    return FromProto(*response);
  }
  Note(response.status());
  if (IsResync(response.status())) return Resynced(response.status(), job.sequence());
  return response.status();
}

absl::StatusOr<v1::PushResponse> WorkerImpl::PushUntilDecided(PushJob* job, Retry* retry) {
  for (;;) {
    absl::Status status = BeforeAttempt(job, &interrupt_);
    if (status.ok()) {
      ByteCounts bytes;
      absl::StatusOr<v1::PushResponse> response =
          PushOnce(data_.get(), job, Streams(retry->TimeLeft()), &interrupt_, &bytes);
      Count(bytes);
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

absl::Status WorkerImpl::CheckPush(v1::PushKind kind) const {
  RETURN_IF_ERROR(CheckOpen());
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
  if (!base_.version()) {
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
    if (options.present.size() == tensors.size()) return options.present;
    return absl::InvalidArgumentError(fmt::format("PushOptions.present has {} entries, the table has {}",
                                                  options.present.size(), tensors.size()));
  }
  std::vector<bool> present(tensors.size(), true);
  // One of several ranks cannot tell from its own pointers what the others have.
  if (options_.ranks > 1) return present;
  for (size_t t = 0; t < std::min(data.size(), present.size()); ++t) present[t] = data[t].data != nullptr;
  return present;
}

v1::PushHeader WorkerImpl::NewPushHeader(v1::PushKind kind, const PushOptions& options,
                                         const PayloadLayout& layout,
                                         const std::vector<bool>& present) const {
  v1::PushHeader header;
  header.set_model(model_->name());
  header.set_client_id(client_id_);
  header.set_kind(kind);
  *header.mutable_base() = ToProto(base_.version());
  header.set_samples(options.samples);
  header.set_local_steps(options.local_steps);
  header.set_loss_scale(options.loss_scale);
  header.set_codec(std::string(setup_.push_codec->name));
  header.set_present(Bitmap(present, model_->tensors()));
  header.set_part(options_.rank);
  header.set_part_count(options_.ranks);
  AddRanges(setup_.ranges, header.mutable_ranges());
  header.set_total_bytes(layout.total_bytes());
  header.set_fingerprint(model_->info.fingerprint);
  if (options.health) *header.mutable_health() = ToProto(*options.health);
  return header;
}

absl::StatusOr<PushJob> WorkerImpl::MakeJob(v1::PushKind kind, std::span<const TensorData> data,
                                            const PushOptions& options, const CallerMemory& lent,
                                            PayloadLayout* layout) {
  ASSIGN_OR_RETURN(const std::vector<bool> present, PresentTensors(data, options));
  ASSIGN_OR_RETURN(*layout, PayloadLayout::Make(model_->tensors(), *setup_.push_codec, Direction::kPush,
                                                present, setup_.ranges));
  RETURN_IF_ERROR(CheckTensors(*layout, model_->tensors(), data));
  RETURN_IF_ERROR(BeginFeedback(options));
  PushJob job{.id = next_job_id_++, .header = NewPushHeader(kind, options, *layout, present)};
  job.source = std::make_unique<TensorSource>(
      layout, data, model_->server->pool(),
      TensorSource::Options{
          .base = &base_,
          .difference_scale = static_cast<float>(options.loss_scale),
          .residual = residual_.get(),
          .draw_key = kernels::DrawKey(model_->name(), client_id_, 0, session_.last_sequence() + 1),
          .copy = keeps_pushes_,
          .caller_memory = lent.Share()});
  if (keeps_pushes_) {
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

void WorkerImpl::Decided(const v1::PushResponse& response, const PayloadLayout& pushed) {
  session_.OnDecided(response);
  const bool duplicate = response.outcome() == v1::PUSH_OUTCOME_DUPLICATE;
  const v1::PushOutcome outcome = duplicate ? response.first_outcome() : response.outcome();
  if (residual_ != nullptr && outcome != v1::PUSH_OUTCOME_SKIPPED) residual_->Commit(pushed);
  Count([&](Statistics* stats) {
    ++stats->pushes;
    stats->duplicates += duplicate;
  });
}

void WorkerImpl::Keep(PushJob job) {
  if (keeps_pushes_ && job.sequence() > session_.durable_sequence()) replay_.Add(std::move(job));
  replay_.DropThrough(session_.durable_sequence());
  Count([&](Statistics* stats) { stats->replay_bytes = replay_.bytes(); });
}

PushResult WorkerImpl::Resynced(const absl::Status& why, uint64_t sequence) {
  if (residual_ != nullptr) residual_->Reset();
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
