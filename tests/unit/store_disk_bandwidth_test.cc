// The measurement of a disk: it writes as a log does, tells the rate from the clock, and leaves nothing
// behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/store/disk_bandwidth.h"
#include "tests/fakes/file_system.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::IsEmpty;

// Every look at it is `step` later.
class SteppingClock final : public Clock {
 public:
  explicit SteppingClock(Duration step) : step_(step) {}
  TimePoint Now() const override { return now_ += step_; }
  int64_t WallNanos() const override { return 0; }

 private:
  const Duration step_;
  mutable TimePoint now_;
};

TEST(StoreDiskBandwidth, IsBytesBySeconds) {
  for (const bool direct : {true, false}) {
    FakeFileSystem fs;
    ASSERT_TRUE(fs.CreateDirectory("/data").ok());
    fs.SupportDirectIo(direct);
    const SteppingClock clock(std::chrono::milliseconds(100));  // per piece of 8 MiB
    const auto measured = MeasureDiskBandwidth(&fs, "/data", &clock);
    ASSERT_TRUE(measured.ok()) << measured.status();
    EXPECT_DOUBLE_EQ(measured->bytes_per_second, 80.0 * (1 << 20));
    EXPECT_EQ(measured->bytes, 40u << 20) << "half a second of it";
    EXPECT_EQ(measured->direct_io, direct);
    EXPECT_THAT(fs.AllFiles(), IsEmpty());
  }
}

TEST(StoreDiskBandwidth, ASlowDiskIsNotAskedForMoreThanTwoPieces) {
  FakeFileSystem fs;
  ASSERT_TRUE(fs.CreateDirectory("/data").ok());
  const SteppingClock clock(std::chrono::seconds(10));
  EXPECT_EQ(MeasureDiskBandwidth(&fs, "/data", &clock)->bytes, 16u << 20);
}

TEST(StoreDiskBandwidth, EveryCallMayFailAndNothingStays) {
  const SteppingClock clock(std::chrono::seconds(1));
  FakeFileSystem fs;
  ASSERT_TRUE(fs.CreateDirectory("/data").ok());
  fs.ResetCalls();
  ASSERT_TRUE(MeasureDiskBandwidth(&fs, "/data", &clock).ok());
  const int64_t calls = fs.calls();
  ASSERT_GE(calls, 7);
  for (int64_t n = 1; n <= calls; ++n) {
    fs.ResetCalls();
    fs.FailCall(n, absl::ResourceExhaustedError("injected"));
    EXPECT_EQ(MeasureDiskBandwidth(&fs, "/data", &clock).status().code(), StatusCode::kResourceExhausted)
        << n;
    fs.StopFailing();
    // Removing it is the only thing that could leave it behind, and the next measurement clears it away.
    if (n < calls) EXPECT_THAT(fs.AllFiles(), IsEmpty()) << n;
    EXPECT_TRUE(MeasureDiskBandwidth(&fs, "/data", &clock).ok());
  }
}

TEST(StoreDiskBandwidth, ARealDiskGivesAPlausibleNumber) {
  const auto measured = MeasureDiskBandwidth(FileSystem::Posix(), testing::TempDir(), Clock::Real());
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_GT(measured->bytes_per_second, 1e5);
  EXPECT_LT(measured->bytes_per_second, 1e12);
}

}  // namespace
}  // namespace stepback
