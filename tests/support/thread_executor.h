// An Executor on std::thread for tests: N threads take tasks from one counter, so that the order differs
// every time.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/executor.h"

namespace stepback::testing {

class ThreadExecutor final : public kernels::Executor {
 public:
  explicit ThreadExecutor(int threads) : threads_(threads) {}

  void Run(size_t count, const std::function<void(size_t)>& task) override {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < count; i = next++) task(i);
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_; ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }

 private:
  const int threads_;
};

}  // namespace stepback::testing
