// A clock that moves only when told. Threads: any.
//
//   FakeClock clock;
//   clock.Advance(std::chrono::seconds(30));
#pragma once

#include <atomic>
#include <cstdint>

#include "server/base/clock.h"

namespace stepback {

class FakeClock final : public Clock {
 public:
  // Starts well after zero, so that "30 s ago" exists.
  explicit FakeClock(Duration start = std::chrono::hours(1)) : nanos_(start.count()) {}

  TimePoint Now() const override { return TimePoint(Duration(nanos_.load())); }
  // Runs with Now(), from 2026-01-01 00:00 UTC.
  int64_t WallNanos() const override { return kWallStartNanos + nanos_.load() + wall_jump_nanos_.load(); }

  void Advance(Duration by) { nanos_ += by.count(); }
  // Someone sets the wall clock; Now() does not notice.
  void JumpWall(Duration by) { wall_jump_nanos_ += by.count(); }

 private:
  static constexpr int64_t kWallStartNanos = 1'767'225'600'000'000'000;
  std::atomic<int64_t> nanos_;
  std::atomic<int64_t> wall_jump_nanos_ = 0;
};

}  // namespace stepback
