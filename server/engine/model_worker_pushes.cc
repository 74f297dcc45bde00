// Pushes on their way to the strand, pulls of what is published, settings.
#include <utility>

#include "server/base/status_macros.h"
#include "server/engine/difference_reader.h"
#include "server/engine/model_worker.h"
#include "server/engine/model_worker_commands.h"
#include "server/engine/pull_reader_impl.h"
#include "server/engine/replay.h"

namespace stepback {

std::unique_ptr<Cancel> ModelWorker::StartUpload(UploadRequest request, Done<UploadStart> done) {
  const std::string client_id = request.header.client_id;
  const uint32_t round = request.header.round();
  // The number of a push that wishes to be saved; 0: none.
  const uint64_t wish = request.save_soon ? request.header.sequence : 0;
  return intake_->Start(
      std::move(request), [self = weak_from_this(), waiters = waiters_, client_id, round, wish,
                           done = std::move(done)](absl::StatusOr<UploadStart> start) {
        const std::shared_ptr<ModelWorker> worker = self.lock();
        if (start.ok() && wish != 0 && worker != nullptr) worker->WishSave(client_id, wish);
        if (!start.ok() || !start->duplicate) return done(std::move(start));
        PushAnswer& first = *start->duplicate;
        if (worker != nullptr) first.durable_sequence = worker->DurableSequence(client_id);
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
  DecideLogged(
      LoggedPush{header, shared->finite}, {shared->payload, std::move(sums)},
      [this, shared](const Journal::Entry& entry) {
        shared->log_position = entry.place.position;
        Apply(std::move(*shared), entry.now);
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

}  // namespace stepback
