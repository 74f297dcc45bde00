#include "server/engine/timer_queue.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "tests/fakes/clock.h"

namespace stepback {
namespace {

using std::chrono::seconds;

TEST(TimerQueue, RunsWhatIsDueInOrderOfTimeAndOnce) {
  FakeClock clock;
  TimerQueue timers(&clock, /*own_thread=*/false);
  std::vector<int> ran;
  const TimePoint start = clock.Now();
  for (const int after : {3, 1, 2})
    timers.Set(timers.Add([&ran, after] { ran.push_back(after); }), start + seconds(after));
  EXPECT_EQ(timers.RunDue(), 0);
  clock.Advance(seconds(2));
  EXPECT_EQ(timers.RunDue(), 2);
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
  EXPECT_EQ(timers.RunDue(), 0);
  clock.Advance(seconds(1));
  EXPECT_EQ(timers.RunDue(), 1);
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
}

TEST(TimerQueue, TheLastTimeSetCounts) {
  FakeClock clock;
  TimerQueue timers(&clock, false);
  int ran = 0;
  const TimerQueue::Id id = timers.Add([&] { ++ran; });
  timers.Set(id, clock.Now() + seconds(1));
  timers.Set(id, clock.Now() + seconds(5));
  clock.Advance(seconds(2));
  EXPECT_EQ(timers.RunDue(), 0);
  timers.Set(id, std::nullopt);
  clock.Advance(seconds(10));
  EXPECT_EQ(timers.RunDue(), 0);
  timers.Set(id, clock.Now());
  EXPECT_EQ(timers.RunDue(), 1);
  EXPECT_EQ(ran, 1);
}

TEST(TimerQueue, ARemovedTimerDoesNotRunAndMayBeSetInVain) {
  FakeClock clock;
  TimerQueue timers(&clock, false);
  const TimerQueue::Id id = timers.Add([] { FAIL(); });
  timers.Set(id, clock.Now());
  timers.Remove(id);
  timers.Set(id, clock.Now());
  EXPECT_EQ(timers.RunDue(), 0);
}

TEST(TimerQueue, ACallbackMaySetItsOwnTimer) {
  FakeClock clock;
  TimerQueue timers(&clock, false);
  TimerQueue::Id id = 0;
  int ran = 0;
  id = timers.Add([&] {
    ++ran;
    timers.Set(id, clock.Now() + seconds(1));
  });
  timers.Set(id, clock.Now());
  EXPECT_EQ(timers.RunDue(), 1);
  clock.Advance(seconds(1));
  EXPECT_EQ(timers.RunDue(), 1);
  EXPECT_EQ(ran, 2);
}

TEST(TimerQueue, ItsThreadWakesForAnEarlierTime) {
  TimerQueue timers(Clock::Real(), /*own_thread=*/true);
  timers.Set(timers.Add([] {}), Clock::Real()->Now() + std::chrono::hours(1));
  std::promise<void> ran;
  timers.Set(timers.Add([&] { ran.set_value(); }), Clock::Real()->Now() + std::chrono::milliseconds(1));
  EXPECT_EQ(ran.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

}  // namespace
}  // namespace stepback
