// One body for every executor: each task runs exactly once, whatever the width, the callers and the nesting.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "server/base/mutex.h"
#include "server/base/tbb_executor.h"
#include "server/base/thread_executor.h"

namespace stepback {
namespace {

struct Case {
  const char* name;
  std::unique_ptr<kernels::Executor> (*make)();
};

class Executor : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<kernels::Executor> executor_ = GetParam().make();
};

TEST_P(Executor, RunsEveryTaskExactlyOnce) {
  for (size_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> ran(count);
    executor_->Run(count, [&](size_t i) { ++ran[i]; });
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(ran[i], 1) << i << " of " << count;
  }
}

TEST_P(Executor, WritesOfTheTasksAreVisibleToTheCaller) {
  for (int round = 0; round < 200; ++round) {
    std::vector<size_t> out(64, 0);
    executor_->Run(out.size(), [&](size_t i) { out[i] = i * i + round; });
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], i * i + round);
  }
}

TEST_P(Executor, ServesSeveralCallersAtOnce) {
  std::atomic<size_t> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) executor_->Run(20, [&](size_t i) { sum += i; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4u * 50 * 190);
}

TEST_P(Executor, TasksMayRunTasks) {
  std::atomic<int> ran = 0;
  executor_->Run(8, [&](size_t) { executor_->Run(8, [&](size_t) { ++ran; }); });
  EXPECT_EQ(ran, 64);
}

INSTANTIATE_TEST_SUITE_P(
    All, Executor,
    testing::Values(
        Case{"inline", [] { return std::unique_ptr<kernels::Executor>(new kernels::InlineExecutor()); }},
        Case{"threads1", [] { return std::unique_ptr<kernels::Executor>(new ThreadExecutor(1)); }},
        Case{"threads8", [] { return std::unique_ptr<kernels::Executor>(new ThreadExecutor(8)); }}
#if !defined(STEPBACK_TSAN)
        ,  // the packaged TBB is not instrumented
        Case{"tbb1", [] { return std::unique_ptr<kernels::Executor>(new TbbExecutor(1)); }},
        Case{"tbb8", [] { return std::unique_ptr<kernels::Executor>(new TbbExecutor(8)); }}
#endif
        ),
    [](const auto& info) { return info.param.name; });

// Tasks that wait for each other: only a pool as wide as it says can finish them.
template <typename T>
void ExpectWidth(T* executor, size_t width) {
  std::atomic<size_t> arrived = 0;
  executor->Run(width, [&](size_t) {
    ++arrived;
    while (arrived < width) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, width);
}

TEST(ThreadExecutor, IsAsWideAsItSays) {
  ThreadExecutor executor(6);
  ExpectWidth(&executor, 6);
}

#if !defined(STEPBACK_TSAN)
TEST(TbbExecutor, IsAsWideAsItSaysAlsoBeyondTheCoresOfTheMachine) {
  TbbExecutor executor(6);
  ExpectWidth(&executor, 6);
}
#endif

}  // namespace
}  // namespace stepback
