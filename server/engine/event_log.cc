#include "server/engine/event_log.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "server/base/hash128.h"
#include "server/core/merge_record.h"
#include "server/store/store_paths.h"
#include "server/telemetry/log.h"
#include "stepback/v1/events.pb.h"

namespace stepback {
namespace {

constexpr Duration kSyncAfter = std::chrono::seconds(1);
constexpr Duration kRetryEventsAfter = std::chrono::seconds(1);
constexpr uint64_t kQueuedMax = 100'000;      // events and members of merges, about 200 bytes each
constexpr uint64_t kWriteBytes = 1ull << 20;  // about, of one write
constexpr size_t kNumbersBytes = 64;          // more than a record's numbers take
constexpr size_t kReasonBytes = 4096;

uint64_t RoomOf(const LoggedEvent& logged) {
  return 1 + (logged.event.merge == nullptr ? 0 : logged.event.merge->members.size());
}

std::string DirectoryOf(const Runtime& runtime, const std::string& model) {
  const absl::StatusOr<std::string> id = EscapeModelName(model);  // its store is open: the name is one
  return JoinPath(ModelsDirectory(runtime.options().data_dir), id.value_or("-"));
}

void Shorten(v1::EventRecord* record) {
  record->clear_fields();
  record->set_reason(record->reason().substr(0, kReasonBytes));
  if (!record->has_merge()) return;
  v1::MergeEvent* const merge = record->mutable_merge();
  merge->set_members_omitted(merge->members_omitted() + merge->members_size());
  merge->clear_members();
}

// Nothing that a client sees or sends.
uint32_t SaltOf(const std::string& model, int64_t wall_nanos) {
  Hash128 hash;
  hash.Update(model);
  hash.Update(&wall_nanos, sizeof wall_nanos);
  uint32_t salt = 0;
  std::memcpy(&salt, hash.Value().data(), sizeof salt);
  return salt;
}

}  // namespace

std::shared_ptr<EventLog> EventLog::Make(Options options) {
  const Runtime& runtime = *options.runtime;
  if (!runtime.has_storage() || runtime.options().event_files_kept == 0) return nullptr;
  std::shared_ptr<EventLog> log(new EventLog(std::move(options)));
  log->sync_timer_ = log->options_.runtime->timers()->Add([weak = log->weak_from_this()] {
    if (const auto log = weak.lock()) log->Sync();
  });
  return log;
}

EventLog::EventLog(Options options)
    : options_(std::move(options)),
      directory_(DirectoryOf(*options_.runtime, options_.model)),
      strand_(std::make_shared<Strand>(options_.runtime->events(), SIZE_MAX)) {}

EventLog::~EventLog() { options_.runtime->timers()->Remove(sync_timer_); }

void EventLog::Post(Task task) {
  if (!strand_->Post(std::move(task))) task();
}

// --- on the model's strand ---

LoggedEvent EventLog::Logged(Effects::Event event, const ModelVersion& version) const {
  return {.event = std::move(event),
          .wall_nanos = options_.runtime->clock()->WallNanos(),
          .version = version.version,
          .settings_version = version.settings_version,
          .spec = version.spec};
}

void EventLog::Add(const Effects& effects, const ModelVersion& version) {
  if (effects.events.empty()) return;
  std::vector<LoggedEvent> events;
  events.reserve(effects.events.size());
  for (const Effects::Event& event : effects.events) events.push_back(Logged(event, version));
  Enqueue(std::move(events));
}

void EventLog::Add(Effects::Event event, const ModelVersion& version) {
  std::vector<LoggedEvent> events;
  events.push_back(Logged(std::move(event), version));
  Enqueue(std::move(events));
}

void EventLog::Enqueue(std::vector<LoggedEvent> events) {
  uint64_t dropped = 0;
  bool post = false;
  {
    MutexLock lock(&mu_);
    if (closed_) return;
    for (LoggedEvent& logged : events) {
      const uint64_t weight = RoomOf(logged);
      if (queued_weight_ + weight > kQueuedMax && !queue_.empty()) {
        ++dropped_;
        ++dropped;
        continue;
      }
      logged.dropped = std::exchange(dropped_, 0);
      queued_weight_ += weight;
      queue_.push_back(std::move(logged));
    }
    post = !std::exchange(posted_, true);
  }
  if (dropped > 0) options_.metrics->OnEventsDropped(dropped);
  if (post) Post([self = shared_from_this()] { self->WriteQueued(); });
}

void EventLog::Sync() {
  Post([self = shared_from_this()] { self->SyncNow(); });
}

void EventLog::Close(std::function<void()> done) {
  {
    MutexLock lock(&mu_);
    closed_ = true;
  }
  Post([self = shared_from_this(), done = std::move(done)] {
    self->WriteQueued();
    self->SyncNow();
    self->writer_.reset();
    done();
  });
}

// --- on its own ---

void EventLog::WriteQueued() {
  std::deque<LoggedEvent> batch;
  {
    MutexLock lock(&mu_);
    batch.swap(queue_);
    queued_weight_ = 0;
    posted_ = false;
  }
  std::vector<EventFrame> frames;
  uint64_t bytes = 0;
  for (const LoggedEvent& logged : batch) {
    next_number_ += logged.dropped;
    if (!Open()) {
      Drop(1);
      continue;
    }
    if (logged.settings_version != settings_version_) TellSettings(logged, &frames);
    frames.push_back(FrameOf(logged));
    bytes += frames.back().body.size();
    if (bytes < kWriteBytes) continue;
    Write(&frames);
    bytes = 0;
  }
  Write(&frames);
}

// False: the disk has failed a moment ago.
bool EventLog::Open() {
  const TimePoint now = options_.runtime->clock()->Now();
  if (failed_ && now < retry_at_) return false;
  if (writer_ != nullptr) return true;
  const Engine::Options& engine = options_.runtime->options();
  absl::StatusOr<std::unique_ptr<EventWriter>> writer =
      EventWriter::Open(options_.runtime->file_system(), directory_, options_.model,
                        {.file_bytes = engine.event_file_bytes,
                         .files_kept = engine.event_files_kept,
                         .salt = SaltOf(options_.model, options_.runtime->clock()->WallNanos())});
  if (!writer.ok()) {
    Failed(writer.status());
    return false;
  }
  writer_ = *std::move(writer);
  written_ = writer_->next_number();
  next_number_ += written_ - expected_;
  expected_ = written_;
  return true;
}

void EventLog::Failed(const absl::Status& why) {
  retry_at_ = options_.runtime->clock()->Now() + kRetryEventsAfter;
  if (std::exchange(failed_, true)) return;
  Log(LogLevel::kWarn, "events_not_written",
      {{"model", options_.model}, {"error", std::string(why.message())}});
}

EventFrame EventLog::Number(v1::EventRecord* record) {
  record->set_number(next_number_);
  record->set_dropped(next_number_ - expected_);
  expected_ = next_number_ + 1;
  return {next_number_++, record->SerializeAsString()};
}

// A body that no frame can hold (ids of extraordinary length) keeps its head.
EventFrame EventLog::FrameOf(const LoggedEvent& logged) {
  v1::EventRecord record;
  StoreEvent(logged, &record);
  if (record.ByteSizeLong() + kNumbersBytes > kEventBodyBytesMax) Shorten(&record);
  return Number(&record);
}

// In the log, and from here on at the head of every file. What was decided before goes before.
void EventLog::TellSettings(const LoggedEvent& logged, std::vector<EventFrame>* frames) {
  Write(frames);
  v1::EventRecord record;
  StoreSettings(logged, &record);
  writer_->SetPreface(record.SerializeAsString());
  frames->push_back(Number(&record));
  settings_version_ = logged.settings_version;
}

void EventLog::Write(std::vector<EventFrame>* frames) {
  if (frames->empty()) return;
  size_t written = 0;
  const absl::Status appended = writer_->Append(*frames, &written);
  if (!appended.ok()) {
    Failed(appended);
    options_.metrics->OnEventsDropped(frames->size() - written);
  }
  failed_ = !appended.ok();
  if (written > 0) written_ = (*frames)[written - 1].number + 1;
  // The next record tells of those that are lost, and the settings may have been among them.
  expected_ = written_;
  if (failed_) settings_version_ = 0;
  frames->clear();
  if (std::exchange(sync_planned_, true)) return;
  options_.runtime->timers()->Set(sync_timer_, options_.runtime->clock()->Now() + kSyncAfter);
}

void EventLog::Drop(uint64_t records) {
  next_number_ += records;
  options_.metrics->OnEventsDropped(records);
}

void EventLog::SyncNow() {
  sync_planned_ = false;
  if (writer_ == nullptr) return;
  if (absl::Status synced = writer_->Sync(); !synced.ok()) Failed(synced);
}

}  // namespace stepback
