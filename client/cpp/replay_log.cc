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

uint64_t ReplayLog::DropLost() {
  uint64_t newest = 0;
  std::erase_if(jobs_, [&](const PushJob& job) {
    if (job.lost) bytes_ -= job.source->total_bytes();
    if (job.lost) newest = job.id;
    return job.lost;
  });
  return newest;
}

void ReplayLog::Clear() {
  jobs_.clear();
  bytes_ = 0;
}

std::vector<PushJob*> ReplayLog::All() {
  std::vector<PushJob*> all;
  for (PushJob& job : jobs_) all.push_back(&job);
  return all;
}

const PushJob* ReplayLog::Find(uint64_t id) const {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [id](const PushJob& job) { return job.id == id; });
  return at == jobs_.end() ? nullptr : &*at;
}

}  // namespace stepback::client
