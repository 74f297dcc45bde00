#include "server/engine/model_worker.h"

#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/core/open_state.h"
#include "server/core/wire_layout.h"
#include "server/engine/difference_reader.h"
#include "server/engine/pull_reader_impl.h"
#include "server/engine/replay.h"

namespace stepback {
namespace {

// What the largest push takes: in the widest codec.
uint64_t LargestPush(const Layout& layout) {
  uint64_t bytes = 0;
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    const absl::StatusOr<WireLayout> wire = WireLayout::Make(layout, codec, Direction::kPush, {}, {});
    if (wire.ok()) bytes = std::max(bytes, wire->total_bytes());
  }
  return bytes;
}

// What early pushes may take of the budget: all but the room that the open round's turns need.
uint64_t EarlyBytes(const ModelSpec& spec, const Layout& layout, uint64_t budget_bytes) {
  const uint64_t turns = spec.rounds.reduction == Reduction::kOrdered ? spec.rounds.max_workers : 1;
  const uint64_t needed = turns * LargestPush(layout);
  return budget_bytes > needed ? budget_bytes - needed : 0;
}

void Override(const WorkerHealth& newer, WorkerHealth* health) {
  const auto set = [](const std::optional<double>& from, std::optional<double>* to) {
    if (from) *to = from;
  };
  set(newer.train_loss, &health->train_loss);
  set(newer.tokens, &health->tokens);
  set(newer.tokens_per_second, &health->tokens_per_second);
  set(newer.gradient_norm, &health->gradient_norm);
  set(newer.inner_learning_rate, &health->inner_learning_rate);
  set(newer.compute_seconds, &health->compute_seconds);
  set(newer.wait_seconds, &health->wait_seconds);
}

absl::Status Draining() {
  return WithRetryAfter(Error(absl::StatusCode::kUnavailable, "DRAINING", "the server is draining"), 1);
}

}  // namespace

std::shared_ptr<ModelWorker> ModelWorker::Make(Parts parts) {
  std::shared_ptr<Journal> journal;
  if (parts.log) journal = std::make_shared<Journal>(parts.log->journal, parts.log->log);
  const bool recovered = parts.saved.has_value();
  std::shared_ptr<ModelWorker> worker(new ModelWorker(std::move(parts), std::move(journal)));
  worker->Start(recovered);
  return worker;
}

ModelWorker::ModelWorker(Parts parts, std::shared_ptr<Journal> journal)
    : runtime_(std::move(parts.runtime)),
      name_(parts.model->current()->spec->name),
      layout_(parts.model->current()->layout),
      budget_bytes_(parts.budget_bytes),
      created_wall_nanos_(parts.created_wall_nanos),
      metrics_(runtime_->metrics()->ForModel(name_)),
      strand_(std::make_shared<Strand>(runtime_->compute(), kCommandsMax)),
      published_(std::make_shared<Published>(FormMemory{runtime_->backend(), runtime_->pool(), runtime_, name_},
                                             parts.model->current()->spec->max_live_versions)),
      waiters_(std::make_shared<VersionWaiters>()),
      snapshotter_(std::make_shared<Snapshotter>(
          Snapshotter::Options{name_, runtime_, metrics_, parts.created_wall_nanos,
                               parts.log ? parts.log->needed : std::map<uint64_t, uint64_t>(),
                               parts.log ? parts.log->restored : std::map<uint64_t, uint64_t>()},
          std::move(parts.store))),
      events_(snapshotter_->enabled() ? EventLog::Make({runtime_, name_, metrics_}) : nullptr),
      journal_(std::move(journal)),
      model_(std::move(parts.model)),
      report_(name_, metrics_, std::string(runtime_->backend()->name())),
      snapshot_began_(runtime_->clock()->Now()) {
  const std::shared_ptr<const ModelVersion> current = model_->current();
  if (!parts.saved) {
    Record("model_created", fmt::format("model created at version {}", current->version.ToString()), {});
    return;
  }
  Record("model_recovered",
         fmt::format("model recovered from snapshot {} as version {}", parts.saved->generation,
                     current->version.ToString()),
         {{"generation", std::to_string(parts.saved->generation)}});
  const uint64_t settings_version =
      journal_ == nullptr ? current->settings_version : parts.saved_settings_version;
  // The same state, under the term of this recovery; or, with a log, the one from which it went on.
  parts.saved->version.term = current->version.term;
  if (journal_ == nullptr) parts.saved->version = current->version;
  snapshotter_->SetSaved(*parts.saved, settings_version, parts.saved_log_position);
  published_->SetDurable(current->version, current->clients);
}

void ModelWorker::Start(bool recovered) {
  AddTimers();
  StartIntake(*model_->current());
  if (journal_ != nullptr) StartJournal();
  if (journal_ != nullptr && recovered) TakeUpSessions();
  StartSnapshotter();
  report_.Describe(*model_->current(), std::chrono::duration<double>(SnapshotInterval()).count());
  PublishCurrent();
  Settle();
}

void ModelWorker::AddTimers() {
  const std::weak_ptr<ModelWorker> weak = weak_from_this();
  tick_timer_ = runtime_->timers()->Add([weak] {
    const auto worker = weak.lock();
    if (worker == nullptr || worker->tick_posted_.exchange(true)) return;
    worker->Post([worker = worker.get()] { worker->Tick(); }, [](const absl::Status&) {});
  });
  intake_timer_ = runtime_->timers()->Add([weak] {
    if (const auto worker = weak.lock()) worker->intake_->Expire(worker->Now());
  });
}

void ModelWorker::StartIntake(const ModelVersion& current) {
  intake_ = std::make_shared<Intake>(
      Intake::Options{.spec = current.spec,
                      .layout = layout_,
                      .budget_bytes = budget_bytes_,
                      .early_bytes_max = EarlyBytes(*current.spec, *layout_, budget_bytes_),
                      .admission_wait = runtime_->options().admission_wait,
                      .clock = runtime_->clock(),
                      .allocator = runtime_->pool(),
                      .metrics = runtime_->metrics(),
                      .model_metrics = metrics_,
                      .keep_alive = runtime_},
      IntakeHooks());
  intake_->Recovered(*current.clients);
  intake_->RoundChanged(current.version.counter, {});
}

void ModelWorker::StartJournal() {
  const std::weak_ptr<ModelWorker> weak = weak_from_this();
  journal_->Start({.post =
                       [weak](Task run, const Journal::Refuse& abandon) {
                         const auto worker = weak.lock();
                         if (worker == nullptr) return abandon(absl::UnavailableError("the model has ended"));
                         worker->PostBare(std::move(run), abandon);
                       },
                   .failed =
                       [weak](const absl::Status& why) {
                         if (const auto worker = weak.lock()) worker->OnReadOnly(why);
                       }});
  snapshotter_->SetLogEnd(journal_->applied_end());
}

void ModelWorker::TakeUpSessions() {
  intake_->Recovered(*model_->open_state().clients);
  for (const SessionInfo& session : model_->Sessions(Now())) {
    clients_[session.client_id] = {.epoch = session.epoch};
    intake_->Opened({.client_id = session.client_id, .role = session.role},
                    {.epoch = session.epoch, .last_sequence = session.last_sequence});
  }
  intake_->RoundChanged(model_->current()->version.counter, Contributed(Now()));
}

void ModelWorker::StartSnapshotter() {
  const std::weak_ptr<ModelWorker> weak = weak_from_this();
  Snapshotter::Hooks hooks;
  hooks.newest = [published = published_] { return published->newest(); };
  if (journal_ != nullptr) {
    hooks.moment = [weak](const Done<Snapshotter::Moment>& done) {
      const auto worker = weak.lock();
      if (worker == nullptr) return done(absl::UnavailableError("the model has ended"));
      worker->PostBare([worker = worker.get(), done] { done(worker->TakeMoment()); }, done);
    };
    hooks.release = [journal = journal_](uint64_t position) { journal->Release(position); };
  }
  hooks.durable = [weak, published = published_, events = events_](const ModelVersion& version) {
    published->SetDurable(version.version, version.clients);
    if (events != nullptr) events->Sync();
    if (const auto worker = weak.lock()) worker->OnDurable();
  };
  hooks.storage_failed = [weak](const absl::Status& why) {
    if (const auto worker = weak.lock()) worker->OnStorageFailed(why);
  };
  snapshotter_->Start(std::move(hooks));
}

ModelWorker::~ModelWorker() {
  runtime_->timers()->Remove(tick_timer_);
  runtime_->timers()->Remove(intake_timer_);
}

Intake::Hooks ModelWorker::IntakeHooks() {
  const std::weak_ptr<ModelWorker> weak = weak_from_this();
  Intake::Hooks hooks;
  hooks.submit = [weak](Push push, std::vector<ChunkSum> sums) {
    const auto worker = weak.lock();
    if (worker == nullptr) return false;
    worker->Submit(std::move(push), std::move(sums));
    return true;
  };
  hooks.renew = [weak](const std::string& client_id, uint64_t epoch, const WorkerHealth& health) {
    const auto worker = weak.lock();
    if (worker == nullptr) return;
    // Only a courtesy: a full queue means that the strand is busy with this model's pushes anyway. Nothing
    // to settle: the next tick comes too early at worst.
    Task task = [worker, client_id, epoch, health] {
      if (worker->CheckOpen().ok()) worker->HeartbeatNow(client_id, epoch, health).IgnoreError();
    };
    worker->strand_->TryPost(std::move(task)).IgnoreError();
  };
  hooks.defer = [runtime = runtime_](Task task) { runtime->Defer(std::move(task)); };
  hooks.wake_at = [runtime = runtime_, timer = intake_timer_](TimePoint when) {
    runtime->timers()->Set(timer, when);
  };
  return hooks;
}

template <typename T>
void ModelWorker::Command(Done<T> done, std::function<absl::StatusOr<T>()> run) {
  Task task = [self = shared_from_this(), done, run = std::move(run)] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return done(open);
    const absl::StatusOr<T> result = run();
    self->Settle();
    done(result);
  };
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (const absl::Status posted = strand_->TryPost(std::move(task)); !posted.ok()) done(Named(posted));
}

template <typename T>
void ModelWorker::Decide(LoggedCall::Call call, Done<T> done,
                         std::function<absl::StatusOr<T>(TimePoint now)> run) {
  if (journal_ == nullptr) {
    return Command<T>(std::move(done), [this, run = std::move(run)] { return run(Now()); });
  }
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (journal_->depth() >= kCommandsMax) {
    return done(Named(Error(
        absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
        fmt::format("{} calls wait for the log already, at most {} may", journal_->depth(), kCommandsMax))));
  }
  const LoggedCall::Call logged = call;
  journal_->Append(
      std::move(call), {}, published_->newest()->version()->version,
      [this, logged, done, run = std::move(run)](const Journal::Entry& entry) {
        const absl::StatusOr<T> result = run(entry.now);
        Settle();
        const bool to_record = !result.ok() && DependsOnMachine(logged, result.status());
        to_record ? RecordRefused([done, result] { done(result); }, [done](const auto& why) { done(why); })
                  : done(result);
      },
      [done](const absl::Status& why) { done(why); });
}

void ModelWorker::Post(Task run, std::function<void(const absl::Status&)> abandon) {
  PostBare(
      [this, run = std::move(run)] {
        run();
        Settle();
      },
      std::move(abandon));
}

void ModelWorker::PostBehindLog(Task run, std::function<void(const absl::Status&)> abandon) {
  if (journal_ == nullptr) return Post(std::move(run), std::move(abandon));
  journal_->Barrier(
      [this, run = std::move(run)] {
        run();
        Settle();
      },
      std::move(abandon));
}

void ModelWorker::PostBare(Task run, std::function<void(const absl::Status&)> abandon) {
  Task task = [self = shared_from_this(), run = std::move(run), abandon] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return abandon(open);
    run();
  };
  if (!strand_->Post(std::move(task))) {
    const absl::Status open = CheckOpen();
    abandon(open.ok() ? Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is shutting down")
                      : open);
  }
}

absl::Status ModelWorker::CheckOpen() const {
  MutexLock lock(&mu_);
  return ended_;
}

absl::Status ModelWorker::Named(const absl::Status& status) const {
  return WithRetryAfter(Error(status.code(), ReasonOf(status),
                              fmt::format("model '{}': {}", name_, std::string(status.message()))),
                        1);
}

// --- sessions ---

void ModelWorker::Open(const OpenSession& request, Done<SessionOpened> done) {
  if (draining_) return done(Draining());
  if (!request.attach) {
    return Decide<SessionOpened>(LoggedOpen{request.client_id, request.role}, std::move(done),
                                 [this, request](TimePoint now) { return OpenNow(request, now); });
  }
  Command<SessionOpened>(std::move(done), [this, request]() -> absl::StatusOr<SessionOpened> {
    ASSIGN_OR_RETURN(const OpenedSession opened, model_->Open(request, Now()));
    return SessionOpenedAs(request.client_id, opened);
  });
}

absl::StatusOr<SessionOpened> ModelWorker::OpenNow(const OpenSession& request, TimePoint now) {
  OpenedSession opened;
  FAILPOINT("session.before_open");
  ASSIGN_OR_RETURN(const Effects effects, OpenAndSettle(model_.get(), request, now, LapsedNow(now), &opened));
  FAILPOINT("session.after_open");
  clients_[request.client_id] = {.epoch = opened.epoch};
  intake_->Opened(request, opened);
  const bool trainer = request.role == SessionRole::kTrainer;
  Record("session_opened",
         fmt::format("client '{}' opened a session as a {}", request.client_id,
                     trainer ? "trainer" : "reader"),
         {{"client", request.client_id},
          {"epoch", std::to_string(opened.epoch)},
          {"role", trainer ? "trainer" : "reader"},
          {"last_sequence", std::to_string(opened.last_sequence)}});
  Distribute(effects, ModelReport::Cause::kCommand, now);
  return SessionOpenedAs(request.client_id, opened);
}

SessionOpened ModelWorker::SessionOpenedAs(const std::string& client_id, const OpenedSession& opened) const {
  return SessionOpened{.session = opened,
                       .durable_sequence = DurableSequence(client_id),
                       .partial_uploads = intake_->PartialUploads(client_id),
                       .version = newest()};
}

void ModelWorker::Close(const std::string& client_id, uint64_t epoch,
                        std::function<void(absl::Status)> done) {
  Decide<bool>(
      LoggedClose{client_id, epoch},
      [done = std::move(done)](const absl::StatusOr<bool>& closed) { done(closed.status()); },
      [this, client_id, epoch](TimePoint now) -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(CloseNow(client_id, epoch, now));
        return true;
      });
}

absl::Status ModelWorker::CloseNow(const std::string& client_id, uint64_t epoch, TimePoint now) {
  FAILPOINT("session.before_close");
  ASSIGN_OR_RETURN(const Effects effects, model_->Close(client_id, epoch, now));
  FAILPOINT("session.after_close");
  Distribute(effects, ModelReport::Cause::kCommand, now);
  EndSession(client_id, telemetry::SessionEnd::kClosed);
  return absl::OkStatus();
}

void ModelWorker::Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                            Done<HeartbeatAnswer> done) {
  Command<HeartbeatAnswer>(std::move(done),
                           [this, client_id, epoch, health]() -> absl::StatusOr<HeartbeatAnswer> {
                             RETURN_IF_ERROR(HeartbeatNow(client_id, epoch, health));
                             return HeartbeatAnswer{newest(), DurableSequence(client_id)};
                           });
}

absl::Status ModelWorker::HeartbeatNow(const std::string& client_id, uint64_t epoch,
                                       const WorkerHealth& health) {
  WorkerHealth known = health;
  if (const auto client = clients_.find(client_id); client != clients_.end()) {
    known = client->second.health;
    Override(health, &known);
  }
  RETURN_IF_ERROR(model_->Heartbeat(client_id, epoch, known, Now()));
  clients_[client_id] = {.epoch = epoch, .health = known};
  report_.Worker(client_id, known);
  return absl::OkStatus();
}

void ModelWorker::Evict(const std::string& client_id, std::function<void(absl::Status)> done) {
  Decide<bool>(
      LoggedEvict{client_id},
      [done = std::move(done)](const absl::StatusOr<bool>& evicted) { done(evicted.status()); },
      [this, client_id](TimePoint now) -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const Effects effects, model_->Evict(client_id, now));
        Distribute(effects, ModelReport::Cause::kCommand, now);
        return true;
      });
}

void ModelWorker::Sessions(Done<std::vector<SessionInfo>> done) {
  Command<std::vector<SessionInfo>>(std::move(done), [this] { return model_->Sessions(Now()); });
}

// --- pushes and pulls ---

std::unique_ptr<Cancel> ModelWorker::StartUpload(UploadRequest request, Done<UploadStart> done) {
  const std::string client_id = request.header.client_id;
  const uint32_t round = request.header.round();
  return intake_->Start(std::move(request), [self = weak_from_this(), waiters = waiters_, client_id, round,
                                             done = std::move(done)](absl::StatusOr<UploadStart> start) {
    if (!start.ok() || !start->duplicate) return done(std::move(start));
    PushAnswer& first = *start->duplicate;
    if (const auto worker = self.lock()) first.durable_sequence = worker->DurableSequence(client_id);
    // Its round may have come to nothing since: then it has no effect, and none will come.
    const absl::Status dropped = first.first_outcome == PushOutcome::kBuffered
                                     ? waiters->WhyDropped(first.version, first.rounds_dropped, round)
                                     : absl::OkStatus();
    done(dropped.ok() ? std::move(start) : absl::StatusOr<UploadStart>(dropped));
  });
}

void ModelWorker::Submit(Push push, std::vector<ChunkSum> sums) {
  const auto shared = std::make_shared<Push>(std::move(push));
  const PushHeader header = shared->header;
  const auto refuse = [intake = intake_, header](const absl::Status& why) {
    intake->Answer({header.client_id, header.sequence}, header.epoch,
                   {.sequence = header.sequence, .refusal = why, .decided = false});
  };
  if (journal_ == nullptr) {
    return Post([this, shared] { Apply(std::move(*shared), Now()); }, refuse);
  }
  journal_->Append(
      LoggedPush{header, shared->finite}, {shared->payload, std::move(sums)},
      published_->newest()->version()->version,
      [this, shared](const Journal::Entry& entry) {
        shared->log_position = entry.place.position;
        Apply(std::move(*shared), entry.now);
        Settle();
      },
      refuse);
}

// With a log every decided push is durable.
uint64_t ModelWorker::DurableSequence(const std::string& client_id) const {
  return journal_ == nullptr ? published_->DurableSequence(client_id) : intake_->DecidedSequence(client_id);
}

absl::StatusOr<std::unique_ptr<PullReader>> ModelWorker::Read(std::shared_ptr<PinnedVersion> pin,
                                                              const PullSpec& spec) {
  auto held = std::static_pointer_cast<stepback::Pin>(std::move(pin));
  if (spec.difference) return DifferenceReader::Make(published_.get(), std::move(held), spec);
  return PullReaderImpl::Make(std::move(held), spec);
}

std::unique_ptr<Cancel> ModelWorker::WaitNewer(Version after, std::optional<uint64_t> rounds_dropped,
                                               Done<std::shared_ptr<PinnedVersion>> done,
                                               std::optional<uint32_t> fragment) {
  if (fragment.has_value()) {
    const absl::Status valid = layout_->fragments().Check(name_, fragment);
    if (!valid.ok()) return done(valid), std::make_unique<Cancel>();
  }
  const absl::Status dropped =
      rounds_dropped ? waiters_->WhyDropped(after, *rounds_dropped, fragment.value_or(0)) : absl::OkStatus();
  const bool newer = ChangedAt(*published_->newest()->version(), fragment) > after;
  if (!dropped.ok() || newer) {
    done(dropped.ok() ? absl::StatusOr<std::shared_ptr<PinnedVersion>>(Pin()) : dropped);
    return std::make_unique<Cancel>();
  }
  std::unique_ptr<Cancel> cancel = waiters_->Add(after, rounds_dropped, std::move(done), fragment);
  // A version may have come in between.
  if (ChangedAt(*published_->newest()->version(), fragment) > after) waiters_->Wake(Pin());
  return cancel;
}

std::string ModelWorker::WaitingFor() const {
  MutexLock lock(&mu_);
  return waiting_for_;
}

ModelInfo ModelWorker::Info() const {
  ModelInfo info{.version = newest(),
                 .durable_version = published_->durable(),
                 .sessions = sessions_,
                 .created_wall_nanos = created_wall_nanos_,
                 .state_bytes = state_bytes(),
                 .last_snapshot_wall_nanos = snapshotter_->last_wall_nanos()};
  MutexLock lock(&mu_);
  info.unhealthy_reason = unhealthy_reason_;
  return info;
}

void ModelWorker::ReportMetrics(Version, const std::vector<std::pair<std::string, double>>& values) {
  for (const auto& [name, value] : values) metrics_->SetReportedValue(name, value);
}

// --- settings ---

void ModelWorker::Update(std::vector<std::pair<std::string, double>> values,
                         uint64_t expected_settings_version, Done<ModelInfo> done) {
  LoggedUpdate update{std::move(values), expected_settings_version};
  Decide<ModelInfo>(update, std::move(done), [this, update](TimePoint now) -> absl::StatusOr<ModelInfo> {
    const absl::StatusOr<Effects> effects = UpdateAndSettle(model_.get(), update, now, LapsedNow(now));
    RETURN_IF_ERROR(effects.status());
    intake_->SetLease(model_->current()->spec->lease_seconds);
    RecordSettings(update.values);
    Distribute(*effects, ModelReport::Cause::kCommand, now);
    report_.Describe(*current_, std::chrono::duration<double>(SnapshotInterval()).count());
    if (SavesByItself() && journal_ == nullptr) StartSnapshot();
    return Info();
  });
}

// --- the engine's calls ---

void ModelWorker::Drain(std::function<void(absl::Status)> done) {
  draining_ = true;
  intake_->End(Draining());
  waiters_->End(Draining());
  PostBehindLog(
      [this, done] {
        FailFlushes(Draining(), /*all=*/false);
        SaveIfNeeded(done);
      },
      done);
}

void ModelWorker::Retire(const absl::Status& why) {
  {
    MutexLock lock(&mu_);
    if (!ended_.ok()) return;
    ended_ = why;
  }
  intake_->End(why);
  waiters_->End(why);
  snapshotter_->End(why);
  // The log's file is let go of before the directory is. Waits for a write under way, so not here.
  if (journal_ != nullptr) {
    Task close = [journal = journal_, why] { journal->Close(why); };
    if (!snapshotter_->Post(std::move(close))) journal_->Close(why);
  }
  snapshotter_->Close();
  // Behind whatever runs on the strand: what the core still held is answered too.
  Task task = [self = shared_from_this(), why] {
    if (self->journal_ != nullptr) self->journal_->Abandon(why);
    self->intake_->AbandonSubmitted(why);
    self->FailFlushes(why, /*all=*/true);
    if (self->events_ != nullptr) self->events_->Close([] {});
  };
  if (!strand_->Post(std::move(task))) task();
}

// Nothing may write into the directory once its name is free.
void ModelWorker::Remove(std::function<void(absl::Status)> done) {
  if (events_ == nullptr) return snapshotter_->Remove(std::move(done));
  events_->Close([snapshotter = snapshotter_, done = std::move(done)] { snapshotter->Remove(done); });
}

}  // namespace stepback
