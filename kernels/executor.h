// The seam through which kernels run in parallel: they get a range and an executor, and start no threads.
#pragma once

#include <cstddef>
#include <functional>

namespace stepback::kernels {

class Executor {
 public:
  virtual ~Executor() = default;
  // Calls task(0) .. task(count - 1), each once, in any order and on any threads; returns when all are done.
  // Tasks write disjoint memory, so the result does not depend on the schedule.
  virtual void Run(size_t count, const std::function<void(size_t)>& task) = 0;
};

// Runs every task on the calling thread, in order.
class InlineExecutor final : public Executor {
 public:
  void Run(size_t count, const std::function<void(size_t)>& task) override {
    for (size_t i = 0; i < count; ++i) task(i);
  }
};

}  // namespace stepback::kernels
