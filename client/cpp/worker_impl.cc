#include "client/cpp/worker_impl.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/cpp/convert.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

constexpr uint64_t kReplayBytesDefault = 64 << 20;  // at least; two pushes when they are larger

Session::Options SessionOptions(const ModelImpl& model, const std::string& client_id,
                                const JoinOptions& options) {
  return {.model = model.name(),
          .client_id = client_id,
          .fingerprint = model.info.fingerprint,
          .role = options.role,
          .attach_only = options.rank > 0,
          .call_timeout = model.server->options().control_timeout};
}

}  // namespace

absl::StatusOr<std::vector<ElementRange>> WorkerImpl::RankRanges(const ModelImpl& model,
                                                                 const JoinOptions& options,
                                                                 const kernels::CodecInfo& codec) {
  if (options.ranks == 0 || options.rank >= options.ranks) {
    return absl::InvalidArgumentError(
        fmt::format("rank {} is not below ranks {}", options.rank, options.ranks));
  }
  if (!options.ranges.empty()) return options.ranges;
  if (options.ranks == 1) return std::vector<ElementRange>();
  return EvenPart(model.tensors(), codec, options.rank, options.ranks);
}

absl::StatusOr<WorkerImpl::Setup> WorkerImpl::MakeSetup(const ModelImpl& model, const JoinOptions& options) {
  Setup setup;
  ASSIGN_OR_RETURN(setup.push_codec, CodecNamed(options.push_codec));
  ASSIGN_OR_RETURN(setup.pull_codec, CodecNamed(options.pull_codec));
  ASSIGN_OR_RETURN(setup.ranges, RankRanges(model, options, *setup.push_codec));
  ASSIGN_OR_RETURN(const PayloadLayout push, PayloadLayout::Make(model.tensors(), *setup.push_codec,
                                                                 Direction::kPush, {}, setup.ranges));
  RETURN_IF_ERROR(CheckFeedback(model, options));
  if (!options.difference.empty()) {
    RETURN_IF_ERROR(CheckDifferenceForm(options.difference, options.pull_codec));
    if (options.pull_ranges_only) {
      return absl::InvalidArgumentError(
          "JoinOptions.difference is of all elements, not with pull_ranges_only");
    }
  }
  setup.error_feedback = options.error_feedback && setup.push_codec->name != "f32";
  setup.replay_bytes_max = options.replay_bytes_max;
  if (setup.replay_bytes_max == 0)
    setup.replay_bytes_max = std::max(kReplayBytesDefault, 2 * push.total_bytes());
  setup.keeps_pushes =
      model.info.definition.durability == Durability::kRound && options.role == SessionRole::kTrainer;
  if (setup.keeps_pushes && setup.replay_bytes_max < push.total_bytes()) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.replay_bytes_max is {}, one push of model '{}' has {}",
                    setup.replay_bytes_max, model.name(), push.total_bytes()));
  }
  return setup;
}

absl::Status WorkerImpl::CheckFeedback(const ModelImpl& model, const JoinOptions& options) {
  const double decay = options.error_feedback_decay;
  if (!(decay >= 0 && decay <= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.error_feedback_decay is {}, expected 0..1", decay));
  }
  if (options.error_feedback && model.info.definition.mode != Mode::kDelta) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.error_feedback needs a model in delta mode, model '{}' is in gradient mode",
                    model.name()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WorkerImpl>> WorkerImpl::Join(std::shared_ptr<const ModelImpl> model,
                                                             const std::string& client_id,
                                                             const JoinOptions& options) {
  ASSIGN_OR_RETURN(Setup setup, MakeSetup(*model, options));
  std::unique_ptr<WorkerImpl> worker(new WorkerImpl(std::move(model), client_id, options, std::move(setup)));
  Retry retry(worker->model_->server->options().retry, &worker->interrupt_);
  for (;;) {
    const absl::Status opened = worker->session_.Open(&worker->interrupt_);
    if (opened.ok()) break;
    RETURN_IF_ERROR(retry.Wait(opened));
  }
  worker->heartbeat_.Start();
  return worker;
}

WorkerImpl::WorkerImpl(std::shared_ptr<const ModelImpl> model, const std::string& client_id,
                       const JoinOptions& options, Setup setup)
    : model_(std::move(model)),
      client_id_(client_id),
      options_(options),
      setup_(std::move(setup)),
      data_(model_->server->connector()->ForWorker()),
      interrupt_(model_->server->options().interrupted),
      session_(SessionOptions(*model_, client_id, options), model_->server->connector()->Control()),
      heartbeat_(&session_, options.heartbeat_interval,
                 [this](const absl::Status& trouble, Interrupt* interrupt) {
                   OnHeartbeatTrouble(trouble, interrupt);
                 }),
      keeps_pushes_(setup_.keeps_pushes),
      base_(model_->tensors(), model_->info.definition.mode, setup_.ranges, model_->server->pool()),
      replay_(setup_.replay_bytes_max) {
  if (!options_.difference.empty()) {
    held_ =
        std::make_unique<HeldWeights>(model_->tensors(), options_.difference, model_->info.definition.mode,
                                      setup_.ranges, &base_, model_->server->pool());
  }
  if (!setup_.error_feedback) return;
  residual_ = std::make_unique<Residual>(model_->tensors(), *setup_.push_codec, setup_.ranges,
                                         options_.error_feedback_decay, model_->server->pool());
}

WorkerImpl::~WorkerImpl() { Close().IgnoreError(); }

absl::Status WorkerImpl::Close() {
  heartbeat_.Stop();
  const std::lock_guard<std::mutex> lock(call_mu_);
  if (closed_) return absl::OkStatus();
  closed_ = true;
  // Not the worker's interrupt: a cancelled worker leaves properly too.
  Interrupt interrupt;
  const absl::Status left = session_.Close(&interrupt);
  // After leaving, because a flush waits for the open round, which waits for the workers that are there; and
  // not for ever, because others may keep the round open.
  if (!replay_.empty() && !interrupt_.cancelled()) {
    FlushOnce(&interrupt, model_->server->options().control_timeout).IgnoreError();
  }
  replay_.Clear();
  return left;
}

absl::Status WorkerImpl::CheckOpen() const {
  if (!closed_) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("worker '{}' is closed", client_id_));
}

absl::StatusOr<PullInfo> WorkerImpl::Pull(std::span<const TensorSink> sinks, const PullOptions& options) {
  const std::lock_guard<std::mutex> lock(call_mu_);
  RETURN_IF_ERROR(CheckOpen());
  v1::PullRequest request = NewPullRequest(options.view);
  request.set_wait(options.wait);
  const std::optional<Version> since = options.wait && !options.since ? base_.version() : options.since;
  if (since) *request.mutable_since() = ToProto(*since);
  BaseWeights* const base = IsAverageView(options.view) ? nullptr : &base_;
  HeldWeights* const held = base != nullptr && options.codec.empty() ? held_.get() : nullptr;
  ASSIGN_OR_RETURN(const PayloadLayout layout, PullLayout(sinks, options.codec, base, held, &request));
  if (base != nullptr && held == nullptr && held_ != nullptr) held_->Forget();
  PullTarget target(&layout, sinks, base, held);
  Retry retry(model_->server->options().retry, &interrupt_, Deadline(options.timeout));
  return PullUntilDone(std::move(request), &target, &retry);
}

absl::StatusOr<PullInfo> WorkerImpl::PullUntilDone(v1::PullRequest request, PullTarget* target,
                                                   Retry* retry) {
  for (;;) {
    absl::Status status = BeforeAttempt(nullptr, &interrupt_);
    if (status.ok()) {
      request.set_epoch(session_.epoch());
      Download download = target->NewDownload(model_->info.fingerprint, &request);
      ByteCounts bytes;
      status = PullOnce(data_.get(), request, &download, Streams(retry->TimeLeft()), &interrupt_, &bytes);
      Count(bytes);
      if (status.ok()) {
        RETURN_IF_ERROR(OnPulled(download, target, request));
        return download.info();
      }
      status = Broke(status);
    }
    RETURN_IF_ERROR(retry->Wait(status));
  }
}

absl::StatusOr<PayloadLayout> WorkerImpl::PullLayout(std::span<const TensorSink> sinks,
                                                     const std::string& codec, const BaseWeights* base,
                                                     const HeldWeights* held, v1::PullRequest* request) {
  ASSIGN_OR_RETURN(const kernels::CodecInfo* form, CodecNamed(codec.empty() ? options_.pull_codec : codec));
  if (held != nullptr) form = &held->full_codec();
  const std::vector<ElementRange> within =
      options_.pull_ranges_only ? setup_.ranges : std::vector<ElementRange>();
  ASSIGN_OR_RETURN(std::vector<ElementRange> ranges, WantedRanges(model_->tensors(), sinks, base, within));
  if (held != nullptr) ranges.clear();  // what nobody wants now, a later difference starts from
  ASSIGN_OR_RETURN(PayloadLayout layout,
                   PayloadLayout::Make(model_->tensors(), *form, Direction::kPull, {}, ranges));
  RETURN_IF_ERROR(CheckSinks(layout, model_->tensors(), sinks));
  AddRanges(ranges, request->mutable_ranges());
  request->set_codec(std::string(form->name));
  return layout;
}

v1::PullRequest WorkerImpl::NewPullRequest(const std::string& view) const {
  v1::PullRequest request;
  request.set_model(model_->name());
  request.set_view(DefaultView(model_->info.definition.mode, view));
  request.set_chunk_bytes(model_->server->options().chunk_bytes);
  request.set_client_id(client_id_);
  return request;
}

absl::Status WorkerImpl::OnPulled(const Download& download, PullTarget* target,
                                  const v1::PullRequest& request) {
  RETURN_IF_ERROR(target->Took(download, request.view()));
  session_.OnPulled(download.info());
  session_.OnSettings(download.header().settings());
  MutexLock lock(&stats_mu_);
  ++stats_.pulls;
  stats_.difference_pulls += !download.info().difference.empty();
  base_version_ = base_.version();
  return absl::OkStatus();
}

StreamOptions WorkerImpl::Streams(std::chrono::nanoseconds timeout) const {
  const ConnectOptions& options = model_->server->options();
  return {.timeout = timeout, .idle = options.idle_timeout, .chunk_bytes = options.chunk_bytes};
}

std::optional<TimePoint> WorkerImpl::Deadline(std::chrono::nanoseconds timeout) const {
  if (timeout.count() <= 0) return std::nullopt;
  return Clock::Real()->Now() + timeout;
}

void WorkerImpl::Count(const ByteCounts& bytes) {
  MutexLock lock(&stats_mu_);
  stats_.payload_bytes_sent += bytes.payload_sent;
  stats_.payload_bytes_received += bytes.payload_received;
  stats_.wire_bytes_sent += bytes.wire_sent;
  stats_.wire_bytes_received += bytes.wire_received;
}

Version WorkerImpl::base_version() const {
  MutexLock lock(&stats_mu_);
  return base_version_;
}

Statistics WorkerImpl::statistics() const {
  const uint64_t beats = heartbeat_.beats();
  MutexLock lock(&stats_mu_);
  Statistics out = stats_;
  out.heartbeats = beats;
  return out;
}

}  // namespace stepback::client
