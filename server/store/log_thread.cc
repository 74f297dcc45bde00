#include "server/store/log_thread.h"

#include <algorithm>
#include <utility>

namespace stepback {
namespace {

LogThread::Time RightNow() { return std::chrono::steady_clock::now(); }

absl::Status LogStopped() {
  return absl::UnavailableError("the log has stopped, the server is shutting down");
}

}  // namespace

// --- the thread ---

LogThread::LogThread(const Options& options) : options_(options) {
  if (options_.own_thread) thread_ = std::thread([this] { Loop(); });
}

void LogThread::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (!options_.own_thread) Loop();
  if (thread_.joinable()) thread_.join();
}

size_t LogThread::ready_count() const {
  MutexLock lock(&mu_);
  return work_.size();
}

void LogThread::RunOne(size_t index, size_t entries_max) {
  std::shared_ptr<GroupLog> log;
  {
    MutexLock lock(&mu_);
    const auto chosen = std::next(work_.begin(), static_cast<std::ptrdiff_t>(index));
    log = std::move(chosen->second.log);
    work_.erase(chosen);
  }
  log->Work(entries_max);
}

bool LogThread::Schedule(const std::shared_ptr<GroupLog>& log, Time due, bool more) {
  MutexLock lock(&mu_);
  if (stopped_ && !more) return false;
  const auto [found, added] = work_.try_emplace(log.get(), Work{due, log});
  if (!added && found->second.due <= due) return true;
  found->second.due = due;
  changed_.NotifyAll();
  return true;
}

// Waits for it; null once stopped and done.
std::shared_ptr<GroupLog> LogThread::NextDue() {
  MutexLock lock(&mu_);
  for (;;) {
    const auto first = std::min_element(
        work_.begin(), work_.end(), [](const auto& a, const auto& b) { return a.second.due < b.second.due; });
    if (first == work_.end()) {
      if (stopped_) return nullptr;
      changed_.Wait(&mu_);
      continue;
    }
    const auto wait = first->second.due - RightNow();
    if (wait <= std::chrono::nanoseconds::zero() || stopped_) {
      const std::shared_ptr<GroupLog> log = std::move(first->second.log);
      work_.erase(first);
      return log;
    }
    // A day at most: a longer wait may overflow the clock of the operating system.
    changed_.WaitFor(&mu_, std::min<std::chrono::nanoseconds>(wait, std::chrono::hours(24)));
  }
}

void LogThread::Loop() {
  while (const std::shared_ptr<GroupLog> log = NextDue()) log->Work();
}

// --- one log ---

void GroupLog::Append(LogAppend append, Done done) {
  Enqueue({.append = std::move(append), .done = std::move(done)});
}

void GroupLog::Barrier(std::function<void()> done) {
  Enqueue({.between = [done = std::move(done)](const absl::Status&) { done(); }});
}

void GroupLog::Release(uint64_t position, std::function<void(const absl::Status&)> done) {
  Enqueue({.between = [this, position, done = std::move(done)](const absl::Status& why) {
    done(why.ok() ? writer_->Release(position) : why);
  }});
}

void GroupLog::Enqueue(Item item) {
  const LogThread::Options& options = thread_->options();
  std::vector<Item> refused;
  absl::Status why;
  LogThread::Time due = RightNow() + options.window;
  {
    MutexLock lock(&mu_);
    why = closed_;
    if (why.ok()) {
      queued_bytes_ += item.append.payload.size() + item.append.record.body.size();
      if (queued_bytes_ >= options.batch_bytes) due = RightNow();
      queue_.push_back(std::move(item));
    } else {
      refused.push_back(std::move(item));
    }
  }
  if (why.ok() && !thread_->Schedule(shared_from_this(), due, /*more=*/false)) return Refuse(LogStopped());
  Answer(&refused, why);
}

uint64_t GroupLog::queued() const {
  MutexLock lock(&mu_);
  return queue_.size();
}

void GroupLog::Work(size_t entries_max) {
  std::vector<Item> batch = TakeBatch(entries_max);
  {
    MutexLock lock(&mu_);
    if (!working_) return;  // closed
  }
  if (batch.empty()) {
    mark_failed_ = !writer_->Mark().ok();  // the next batch meets the same error, and somebody hears of it
  } else {
    mark_failed_ = false;
    WriteBatch(&batch);
  }
  Settle();
}

// At least one item; then as many as make a batch.
std::vector<GroupLog::Item> GroupLog::TakeBatch(size_t entries_max) {
  std::vector<Item> batch;
  MutexLock lock(&mu_);
  if (!closed_.ok()) return batch;
  working_ = true;
  uint64_t bytes = 0;
  while (!queue_.empty() && bytes < thread_->options().batch_bytes && batch.size() < entries_max) {
    const LogAppend& append = queue_.front().append;
    bytes += append.payload.size() + append.record.body.size();
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  return batch;
}

absl::Status GroupLog::WriteEntries(const std::vector<Item>& batch, std::vector<LogPlace>* places) {
  std::vector<const LogAppend*> entries;
  Batch summary;
  for (const Item& item : batch) {
    if (!item.done) continue;
    entries.push_back(&item.append);
    summary.payload_bytes += item.append.payload.size();
  }
  if (entries.empty()) return absl::OkStatus();
  const LogThread::Time began = RightNow();
  summary.status = writer_->Write(entries, places);
  summary.entries = entries.size();
  summary.took = RightNow() - began;
  if (observer_) observer_(summary);
  return summary.status;
}

void GroupLog::WriteBatch(std::vector<Item>* batch) {
  std::vector<LogPlace> places;
  const absl::Status written = WriteEntries(*batch, &places);
  size_t next = 0;
  for (Item& item : *batch) {
    if (item.between) item.between(absl::OkStatus());
    if (!item.done) continue;
    item.done(written.ok() ? absl::StatusOr<LogPlace>(places[next++]) : written);
    item = Item();  // its payload's memory may be waited for
  }
}

void GroupLog::Settle() {
  LogThread::Time due = RightNow();
  bool wanted = false;
  {
    MutexLock lock(&mu_);
    const bool wants_mark = writer_->writable().ok() && !writer_->is_marked() && !mark_failed_;
    wanted = closed_.ok() && (!queue_.empty() || wants_mark);
    if (queue_.empty()) due += thread_->options().mark_after;
    working_ = false;
    idle_.NotifyAll();
  }
  if (wanted) thread_->Schedule(shared_from_this(), due, /*more=*/true);
}

void GroupLog::Refuse(const absl::Status& why) {
  std::vector<Item> left;
  {
    MutexLock lock(&mu_);
    if (closed_.ok()) closed_ = why;
    left.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end()));
    queue_.clear();
    queued_bytes_ = 0;
  }
  Answer(&left, why);
}

void GroupLog::Close(const absl::Status& why) {
  Refuse(why);
  std::unique_ptr<LogWriter> writer;  // its file is closed without the lock
  MutexLock lock(&mu_);
  while (working_) idle_.Wait(&mu_);
  writer = std::move(writer_);
}

void GroupLog::Answer(std::vector<Item>* items, const absl::Status& why) {
  for (Item& item : *items) {
    if (item.done) item.done(why);
    if (item.between) item.between(why);
  }
}

}  // namespace stepback
