#include "server/store/side_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace stepback {
namespace {

TEST(SideThread, JobsRunInOrderOneAtATime) {
  for (const bool threaded : {false, true}) {
    std::vector<int> ran;  // no lock: the next Start may not overtake the job before
    SideThread side(threaded);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(side.Start([&ran, i] { return ran.push_back(i), absl::OkStatus(); }).ok());
    }
    ASSERT_TRUE(side.Wait().ok());
    ASSERT_EQ(ran.size(), 1000u);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(ran[i], i);
  }
}

TEST(SideThread, AThreadedJobRunsBesideItsOwner) {
  std::atomic<bool> release = false;
  SideThread side(/*threaded=*/true);
  ASSERT_TRUE(side.Start([&] {
                    while (!release) std::this_thread::yield();
                    return absl::OkStatus();
                  })
                  .ok());
  release = true;  // reached only because Start did not wait
  EXPECT_TRUE(side.Wait().ok());
}

TEST(SideThread, TheFirstErrorStaysAndNothingMoreRuns) {
  for (const bool threaded : {false, true}) {
    int ran = 0;
    SideThread side(threaded);
    side.Start([] { return absl::DataLossError("first"); }).IgnoreError();
    EXPECT_EQ(side.Wait().message(), "first");
    EXPECT_EQ(side.Start([&] { return ++ran, absl::OkStatus(); }).message(), "first");
    EXPECT_EQ(side.Wait().message(), "first");
    EXPECT_EQ(ran, 0);
  }
}

TEST(SideThread, ItsEndWaitsForTheJob) {
  std::atomic<int> ran = 0;
  {
    SideThread side(/*threaded=*/true);
    ASSERT_TRUE(side.Start([&] {
                      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
                      return ++ran, absl::OkStatus();
                    })
                    .ok());
  }
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace stepback
