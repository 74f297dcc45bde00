#include "client/cpp/replay_log.h"

#include <algorithm>

namespace stepback::client {

void ReplayLog::Add(PushJob job) {
  bytes_ += job.source->total_bytes();
  jobs_.push_back(std::move(job));
}

void ReplayLog::DropThrough(uint64_t durable_sequence) {
  while (!jobs_.empty() && jobs_.front().sequence() <= durable_sequence) {
    bytes_ -= jobs_.front().source->total_bytes();
    jobs_.pop_front();
  }
}

void ReplayLog::DropLost() {
  std::erase_if(jobs_, [this](const PushJob& job) {
    if (job.lost) bytes_ -= job.source->total_bytes();
    return job.lost;
  });
}

void ReplayLog::Clear() {
  jobs_.clear();
  bytes_ = 0;
}

std::vector<PushJob*> ReplayLog::Lost(const std::function<bool(uint64_t)>& is_lost) {
  std::vector<PushJob*> lost;
  for (PushJob& job : jobs_) {
    if (is_lost(job.sequence())) lost.push_back(&job);
  }
  return lost;
}

const PushJob* ReplayLog::Find(uint64_t id) const {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [id](const PushJob& job) { return job.id == id; });
  return at == jobs_.end() ? nullptr : &*at;
}

}  // namespace stepback::client
