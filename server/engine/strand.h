// Runs tasks one at a time and in order, on whichever thread of a fixed pool is free: the only writer of one
// model's state is a strand, and a thousand models need no more threads than one.
//
// A StrandPool owns the threads, strands belong to whoever posts to them. Threads: any may post; a task never
// runs on the posting thread. A busy strand yields its thread after a few tasks, so that it cannot starve the
// others. A pool without threads runs its tasks in RunOne, in the order that its caller chooses: a
// simulator's way to have every interleaving under a seed.
//
//   StrandPool pool(4);
//   auto strand = std::make_shared<Strand>(&pool, 1000);
//   if (absl::Status s = strand->TryPost([] { ... }); !s.ok()) ...   // QUEUE_FULL or SHUTTING_DOWN; the task
//   is unchanged
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/base/mutex.h"

namespace stepback {

using Task = std::function<void()>;
class Strand;

class StrandPool {
 public:
  // 0 threads: tasks run in RunOne, and what is left in Stop.
  explicit StrandPool(int thread_count);
  ~StrandPool() { Stop(); }
  StrandPool(const StrandPool&) = delete;
  StrandPool& operator=(const StrandPool&) = delete;

  // Refuses further tasks, runs those that are queued, and joins the threads. Not from a task.
  void Stop();
  int thread_count() const { return static_cast<int>(threads_.size()); }

  // Strands that have a task to run and are on no thread.
  size_t ready_count() const;
  // Runs the next task of one of them, 0 <= index < ready_count(). Without threads only.
  void RunOne(size_t index);

 private:
  friend class Strand;
  bool stopped() const;
  // False once stopped.
  bool TryMakeReady(const std::shared_ptr<Strand>& strand);
  void PutBack(std::shared_ptr<Strand> strand);
  void ThreadLoop();

  mutable Mutex mu_;
  CondVar ready_or_stopped_;
  std::deque<std::shared_ptr<Strand>> ready_ GUARDED_BY(mu_);  // with tasks, and on no thread
  bool stopped_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

class Strand : public std::enable_shared_from_this<Strand> {
 public:
  // `depth_max` bounds TryPost; the pool outlives the strand's last task.
  Strand(StrandPool* pool, size_t depth_max) : pool_(pool), depth_max_(depth_max) {}

  // RESOURCE_EXHAUSTED(QUEUE_FULL), UNAVAILABLE(SHUTTING_DOWN): then `task` is unchanged.
  absl::Status TryPost(Task&& task);
  // For work whose amount is bounded elsewhere (admitted uploads, completions). False once the pool has
  // stopped.
  bool Post(Task&& task);
  size_t depth() const;
  size_t depth_max() const { return depth_max_; }

 private:
  friend class StrandPool;
  absl::Status Enqueue(Task&& task, size_t depth_max);
  // Runs at most `count` tasks; true when more may be left.
  bool RunSome(int count);

  StrandPool* const pool_;
  const size_t depth_max_;
  mutable Mutex mu_;
  std::deque<Task> tasks_ GUARDED_BY(mu_);
  bool scheduled_ GUARDED_BY(mu_) = false;  // in the pool's ready list or on a thread
};

}  // namespace stepback
