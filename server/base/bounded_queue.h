// A queue between threads that never grows past its bound: a full queue refuses, it does not wait, so that
// the caller decides what slowing down means. Threads: any number of producers and consumers.
//
//   BoundedQueue<Command> queue(1000);
//   if (!queue.TryPush(std::move(command))) return absl::ResourceExhaustedError(...);
//   while (std::optional<Command> next = queue.Pop()) Handle(*next);   // ends after Close, when empty
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "server/base/mutex.h"

namespace stepback {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t size_max) : size_max_(size_max) {}

  // False when full or closed; `value` is then unchanged.
  bool TryPush(T&& value) {
    MutexLock lock(&mu_);
    if (closed_ || items_.size() >= size_max_) return false;
    items_.push_back(std::move(value));
    not_empty_or_closed_.NotifyOne();
    return true;
  }

  // Waits for an item; nothing once the queue is closed and empty.
  std::optional<T> Pop() {
    MutexLock lock(&mu_);
    while (items_.empty() && !closed_) not_empty_or_closed_.Wait(&mu_);
    return Take();
  }

  std::optional<T> TryPop() {
    MutexLock lock(&mu_);
    return Take();
  }

  // No more pushes; what is queued is still handed out.
  void Close() {
    MutexLock lock(&mu_);
    closed_ = true;
    not_empty_or_closed_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(&mu_);
    return items_.size();
  }
  size_t size_max() const { return size_max_; }

 private:
  std::optional<T> Take() REQUIRES(mu_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  const size_t size_max_;
  mutable Mutex mu_;
  CondVar not_empty_or_closed_;
  std::deque<T> items_ GUARDED_BY(mu_);
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace stepback
