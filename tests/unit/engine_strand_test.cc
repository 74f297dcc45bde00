#include "server/engine/strand.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "server/base/errors.h"

namespace stepback {
namespace {

// Holds a strand until it is released.
struct Gate {
  std::promise<void> entered, opened;
  Task task() {
    return [this] {
      entered.set_value();
      opened.get_future().wait();
    };
  }
};

TEST(Strand, RunsTasksInOrderAndOneAtATime) {
  StrandPool pool(4);
  const auto strand = std::make_shared<Strand>(&pool, SIZE_MAX);
  std::vector<int> order;  // unguarded: a second thread in here is a race that the thread sanitizer sees
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(strand->Post([&order, i] { order.push_back(i); }));
  pool.Stop();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(Strand, AThousandStrandsNeedNoMoreThreadsThanThePoolHas) {
  StrandPool pool(3);
  Mutex mu;
  std::set<std::thread::id> threads;
  std::vector<std::shared_ptr<Strand>> strands;
  for (int i = 0; i < 1000; ++i) {
    strands.push_back(std::make_shared<Strand>(&pool, 10));
    ASSERT_TRUE(strands.back()->Post([&] {
      MutexLock lock(&mu);
      threads.insert(std::this_thread::get_id());
    }));
  }
  pool.Stop();
  EXPECT_LE(threads.size(), 3u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
}

TEST(Strand, RefusesCommandsBeyondItsDepthAndLeavesThemUnchanged) {
  StrandPool pool(1);
  const auto strand = std::make_shared<Strand>(&pool, 2);
  Gate gate;
  ASSERT_TRUE(strand->Post(gate.task()));
  gate.entered.get_future().wait();
  std::atomic<int> ran = 0;
  EXPECT_TRUE(strand->TryPost([&] { ++ran; }).ok());
  EXPECT_TRUE(strand->TryPost([&] { ++ran; }).ok());
  Task third = [&] { ++ran; };
  const absl::Status full = strand->TryPost(std::move(third));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), "QUEUE_FULL");
  EXPECT_TRUE(third);
  EXPECT_TRUE(strand->Post([&] { ++ran; })) << "completions are always taken";
  gate.opened.set_value();
  pool.Stop();
  EXPECT_EQ(ran, 3);
}

TEST(Strand, ABusyStrandLetsOthersRun) {
  StrandPool pool(1);
  const auto busy = std::make_shared<Strand>(&pool, SIZE_MAX),
             other = std::make_shared<Strand>(&pool, SIZE_MAX);
  Gate gate;
  ASSERT_TRUE(busy->Post(gate.task()));
  gate.entered.get_future().wait();
  std::atomic<int> ran = 0;
  int ran_before_other = -1;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(busy->Post([&] { ++ran; }));
  ASSERT_TRUE(other->Post([&] { ran_before_other = ran; }));
  gate.opened.set_value();
  pool.Stop();
  EXPECT_EQ(ran, 1000);
  EXPECT_LT(ran_before_other, 1000);
}

TEST(Strand, AfterStopEverythingAcceptedHasRunAndNothingMoreIsAccepted) {
  for (int round = 0; round < 200; ++round) {
    StrandPool pool(2);
    const auto strand = std::make_shared<Strand>(&pool, SIZE_MAX);
    std::atomic<int> accepted = 0, ran = 0;
    std::thread poster([&] {
      while (strand->Post([&] { ++ran; })) ++accepted;
    });
    while (accepted < round) std::this_thread::yield();
    pool.Stop();
    poster.join();
    EXPECT_EQ(ran, accepted);
    const absl::Status refused = strand->TryPost([] {});
    EXPECT_EQ(ReasonOf(refused), "SHUTTING_DOWN");
  }
}

}  // namespace
}  // namespace stepback
