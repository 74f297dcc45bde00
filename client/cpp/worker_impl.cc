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
  ASSIGN_OR_RETURN(setup.fragments, FragmentTensors(model, options));
  RETURN_IF_ERROR(CheckFeedback(model, options));
  RETURN_IF_ERROR(CheckDifference(options, setup));
  setup.error_feedback = options.error_feedback && setup.push_codec->name != "f32";
  RETURN_IF_ERROR(CheckInFlight(options, setup));
  setup.replay_bytes_max = options.replay_bytes_max;
  if (setup.replay_bytes_max == 0) {
    setup.replay_bytes_max = std::max(kReplayBytesDefault, (options.max_in_flight + 1) * push.total_bytes());
  }
  setup.keeps_pushes =
      model.info.definition.durability == Durability::kRound && options.role == SessionRole::kTrainer;
  if (setup.keeps_pushes && setup.replay_bytes_max < push.total_bytes()) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.replay_bytes_max is {}, one push of model '{}' has {}",
                    setup.replay_bytes_max, model.name(), push.total_bytes()));
  }
  return setup;
}

absl::Status WorkerImpl::CheckDifference(const JoinOptions& options, const Setup& setup) {
  if (options.difference.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckDifferenceForm(options.difference, options.pull_codec));
  if (options.pull_ranges_only) {
    return absl::InvalidArgumentError("JoinOptions.difference is of all elements, not with pull_ranges_only");
  }
  if (setup.fragments.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("JoinOptions.difference is of all elements, not of models with fragments");
}

// What a lossy codec keeps back depends on the answer to the push before; the parts of a push on the other ranks.
absl::Status WorkerImpl::CheckInFlight(const JoinOptions& options, const Setup& setup) {
  if (options.max_in_flight < 1 || options.max_in_flight > PushWindow::kPlacesMax) {
    return absl::InvalidArgumentError(fmt::format("JoinOptions.max_in_flight is {}, expected 1..{}",
                                                  options.max_in_flight, PushWindow::kPlacesMax));
  }
  if (options.max_in_flight == 1 || (options.ranks == 1 && !setup.error_feedback)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("JoinOptions.max_in_flight is {}; with several ranks or error_feedback it is 1",
                  options.max_in_flight));
}

// Tensors without elements are in no range; nobody sends them.
absl::StatusOr<std::vector<std::vector<bool>>> WorkerImpl::FragmentTensors(const ModelImpl& model,
                                                                           const JoinOptions& options) {
  std::vector<std::vector<bool>> all;
  if (model.info.fragments.empty()) return all;
  if (options.ranks != 1 || !options.ranges.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.ranks is {} and ranges has {} entries; a worker of model '{}', which has "
                    "fragments, is one rank without ranges",
                    options.ranks, options.ranges.size(), model.name()));
  }
  for (const FragmentInfo& fragment : model.info.fragments) {
    ASSIGN_OR_RETURN(const PayloadLayout layout,
                     PayloadLayout::Make(model.tensors(), *kernels::FindCodec("f32"), Direction::kPush, {},
                                         fragment.ranges));
    std::vector<bool>& tensors = all.emplace_back(model.tensors().size(), false);
    for (const Run& run : layout.runs()) tensors[run.tensor] = true;
  }
  return all;
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

// Only the server knows which rules take weights, so this is known once the session is open.
absl::Status WorkerImpl::CheckTakesWeights() const {
  if (!session_.settings().takes_weights || options_.role == SessionRole::kReader) return absl::OkStatus();
  if (residual_ != nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("JoinOptions.error_feedback is for deltas, model '{}' takes weights", model_->name()));
  }
  if (!setup_.push_codec->for_differences) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("JoinOptions.push_codec is '{}', which can hold differences, and model '{}' takes weights",
                  setup_.push_codec->name, model_->name()));
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
  {
    MutexLock lock(&worker->call_mu_);
    RETURN_IF_ERROR(worker->CheckTakesWeights());
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
      window_({.places = options.max_in_flight,
               .replay_bytes_max = setup_.replay_bytes_max,
               .keeps_pushes = setup_.keeps_pushes,
               .retry = model_->server->options().retry},
              WindowHooks()),
      base_(model_->tensors(), model_->info.definition.mode, setup_.ranges, model_->server->pool(),
            model_->info.fragments.size()) {
  if (!options_.difference.empty()) {
    held_ = std::make_unique<HeldWeights>(model_->tensors(), options_.difference,
                                          model_->info.definition.mode, setup_.ranges, &base_,
                                          model_->server->pool());
  }
  if (!setup_.error_feedback) return;
  residual_ = std::make_unique<Residual>(model_->tensors(), *setup_.push_codec, setup_.ranges,
                                         options_.error_feedback_decay, model_->server->pool());
}

WorkerImpl::~WorkerImpl() { Close().IgnoreError(); }

PushWindow::Hooks WorkerImpl::WindowHooks() {
  return {.send = [this](PushJob* job, std::chrono::nanoseconds timeout,
                         Interrupt* interrupt) { return SendOnce(job, timeout, interrupt); },
          .recover = [this](const PushWindow::Recovery& pushes,
                            Interrupt* interrupt) { return Recover(pushes, interrupt); },
          .decided =
              [this](const v1::PushResponse& response) {
                Decided(response);
                return FromProto(response);
              },
          .resynced = [this](const absl::Status& why,
                             uint64_t sequence) { return Resynced(why, sequence); },
          .durable_sequence = [this] { return session_.durable_sequence(); },
          .last_sequence = [this] { return session_.last_sequence(); }};
}

// While pushes are in flight the heartbeat goes on: they may take longer than a lease.
absl::Status WorkerImpl::Close() {
  MutexLock lock(&call_mu_);
  if (closed_) return absl::OkStatus();
  closed_ = true;
  window_.Stop(model_->server->options().control_timeout);
  heartbeat_.Stop();
  // Not the worker's interrupt: a cancelled worker leaves properly too.
  Interrupt interrupt;
  const absl::Status left = session_.Close(&interrupt);
  // After leaving, because a flush waits for the open round, which waits for the workers that are there; and
  // not for ever, because others may keep the round open.
  if (window_.kept_bytes() > 0 && !interrupt_.cancelled()) {
    FlushOnce(&interrupt, model_->server->options().control_timeout).IgnoreError();
  }
  window_.KeepNoMore();
  return left;
}

absl::Status WorkerImpl::CheckOpen() const {
  if (!closed_) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("worker '{}' is closed", client_id_));
}

absl::StatusOr<PullInfo> WorkerImpl::Pull(std::span<const TensorSink> sinks, const PullOptions& options) {
  MutexLock lock(&call_mu_);
  RETURN_IF_ERROR(CheckOpen());
  const PushWindow::Call call(&window_, &interrupt_);
  RETURN_IF_ERROR(call.status());
  v1::PullRequest request = NewPullRequest(options.view);
  request.set_wait(options.wait);
  RETURN_IF_ERROR(CheckFragment(*model_, options.fragment));
  const std::optional<Version> since =
      options.wait && !options.since ? base_.version(options.fragment) : options.since;
  if (since) *request.mutable_since() = ToProto(*since);
  BaseWeights* const base = IsAverageView(options.view) ? nullptr : &base_;
  // A fragment's pull is of its own version: what differences are formed from is the whole model's.
  const bool differs = base != nullptr && options.codec.empty() && !options.fragment;
  HeldWeights* const held = differs ? held_.get() : nullptr;
  ASSIGN_OR_RETURN(const PayloadLayout layout,
                   PullLayout(sinks, options.codec, base, held, options.fragment, &request));
  if (base != nullptr && held == nullptr && held_ != nullptr) held_->Forget();
  PullTarget target(&layout, sinks, base, held, options.fragment);
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
      if (status.ok()) status = CheckTerm(download.info().version);
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
                                                     const HeldWeights* held, std::optional<uint32_t> fragment,
                                                     v1::PullRequest* request) {
  ASSIGN_OR_RETURN(const kernels::CodecInfo* form, CodecNamed(codec.empty() ? options_.pull_codec : codec));
  if (held != nullptr) form = &held->full_codec();
  const std::vector<ElementRange> within = fragment ? model_->info.fragments[*fragment].ranges
                                           : options_.pull_ranges_only ? setup_.ranges
                                                                       : std::vector<ElementRange>();
  if (fragment) request->set_fragment(*fragment);
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
  // The window takes stats_mu_ under its own lock.
  const uint64_t beats = heartbeat_.beats(), kept = window_.kept_bytes();
  MutexLock lock(&stats_mu_);
  Statistics out = stats_;
  out.heartbeats = beats;
  out.replay_bytes = kept;
  return out;
}

}  // namespace stepback::client
