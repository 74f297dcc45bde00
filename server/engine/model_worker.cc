#include "server/engine/model_worker.h"

#include <fmt/format.h>

#include <utility>

#include "server/core/open_state.h"
#include "server/core/wire_layout.h"

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
      published_(
          std::make_shared<Published>(FormMemory{runtime_->backend(), runtime_->pool(), runtime_, name_},
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
