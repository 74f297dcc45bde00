#include "server/telemetry/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

namespace stepback::telemetry {
namespace {

constexpr double kBounds[] = {1, 2, 5};

TEST(Counter, AddsUpWhatManyThreadsCount) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) counter.Add(3);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), 12u * 10000u * 3u);
}

TEST(Histogram, BucketsIncludeTheirUpperBoundAndAccumulate) {
  Histogram histogram(kBounds);
  for (const double value : {0.5, 1.0, 1.0000001, 2.0, 4.0, 5.0, 5.1, 1e9}) histogram.Observe(value);
  EXPECT_EQ(histogram.Read().cumulative, (std::vector<uint64_t>{2, 4, 6, 8}));
}

TEST(Histogram, SumIsTheSumOfTheObservations) {
  Histogram histogram(kBounds);
  for (const double value : {0.25, 0.5, 64.0}) histogram.Observe(value);
  EXPECT_EQ(histogram.Read().sum, 64.75);
}

TEST(Histogram, NanIsNotCountedAndInfinityGoesToTheLastBucket) {
  Histogram histogram(kBounds);
  histogram.Observe(NAN);
  EXPECT_EQ(histogram.Read().cumulative.back(), 0u);
  EXPECT_EQ(histogram.Read().sum, 0);
  histogram.Observe(INFINITY);
  EXPECT_EQ(histogram.Read().cumulative, (std::vector<uint64_t>{0, 0, 0, 1}));
}

TEST(Histogram, LosesNoObservationOfManyThreads) {
  Histogram histogram(kBounds);
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 4000; ++i) histogram.Observe(t % 4 * 2.0);  // 0, 2, 4, 6
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(histogram.Read().cumulative, (std::vector<uint64_t>{12000, 24000, 36000, 48000}));
  EXPECT_EQ(histogram.Read().sum, 12000.0 * (0 + 2 + 4 + 6));
}

}  // namespace
}  // namespace stepback::telemetry
