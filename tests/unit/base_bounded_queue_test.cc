#include "server/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace stepback {
namespace {

TEST(BoundedQueue, HandsOutInOrder) {
  BoundedQueue<int> queue(3);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.TryPop(), 2);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
}

TEST(BoundedQueue, RefusesAboveItsBoundAndLeavesTheValueWithTheCaller) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  EXPECT_EQ(*second, 2);
  queue.Pop();
  EXPECT_TRUE(queue.TryPush(std::move(second)));
}

TEST(BoundedQueue, AClosedQueueDrainsThenEnds) {
  BoundedQueue<int> queue(2);
  queue.TryPush(1);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueue, CloseWakesWaitingConsumers) {
  BoundedQueue<int> queue(1);
  std::thread consumer([&] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  queue.Close();
  consumer.join();
}

TEST(BoundedQueue, EveryItemArrivesOnceWithManyThreads) {
  constexpr int kProducers = 3, kItems = 3000;
  BoundedQueue<int> queue(8);
  std::vector<int> seen(kProducers * kItems, 0);
  Mutex mu;
  std::vector<std::thread> consumers, producers;
  for (int c = 0; c < 3; ++c) {
    consumers.emplace_back([&] {
      while (auto item = queue.Pop()) {
        MutexLock lock(&mu);
        ++seen[*item];
      }
    });
  }
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kItems; ++i) {
        while (!queue.TryPush(p * kItems + i)) std::this_thread::yield();
      }
    });
  }
  for (auto& thread : producers) thread.join();
  queue.Close();
  for (auto& thread : consumers) thread.join();
  EXPECT_EQ(seen, std::vector<int>(kProducers * kItems, 1));
}

}  // namespace
}  // namespace stepback
