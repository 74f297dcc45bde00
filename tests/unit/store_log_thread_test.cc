// Group commit: entries that come together share a write and a sync, order is kept, and everyone is answered
// once, also when the disk fails or the thread ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "server/store/log_thread.h"
#include "tests/unit/log_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::nanoseconds;

constexpr LogThread::Options kNow = {.window = nanoseconds(0), .mark_after = hours(1)};

// Answers in the order in which they came.
class Answers {
 public:
  GroupLog::Done Next() {
    return [this, n = asked_++](const absl::StatusOr<LogPlace>& place) {
      MutexLock lock(&mu_);
      order_.push_back(n);
      statuses_.push_back(place.status());
      changed_.NotifyAll();
    };
  }
  std::vector<absl::Status> Wait() {
    MutexLock lock(&mu_);
    while (statuses_.size() < asked_) changed_.Wait(&mu_);
    for (size_t i = 0; i < order_.size(); ++i) EXPECT_EQ(order_[i], i);
    return statuses_;
  }

 private:
  size_t asked_ = 0;
  Mutex mu_;
  CondVar changed_;
  std::vector<size_t> order_ GUARDED_BY(mu_);
  std::vector<absl::Status> statuses_ GUARDED_BY(mu_);
};

std::shared_ptr<GroupLog> MakeLog(LogThread* thread, FakeFileSystem* fs) {
  auto writer = ContinueLog(fs, {.segment_bytes = 1 << 20});
  EXPECT_TRUE(writer.ok()) << writer.status();
  return std::make_shared<GroupLog>(thread, *std::move(writer));
}

std::vector<LogAppend> SomeAppends(uint64_t count) {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < count; ++i) appends.push_back(TestAppend(i, 100 * i));
  return appends;
}

TEST(StoreLogThread, WhatComesDuringAWriteIsOneWriteAndOneSync) {
  const auto fs = LogDisk();
  LogThread thread(kNow);
  const auto log = MakeLog(&thread, fs.get());
  const std::vector<LogAppend> appends = SomeAppends(21);
  std::promise<void> writing, go_on;
  log->Append(appends[0], [&](const absl::StatusOr<LogPlace>& place) {
    EXPECT_TRUE(place.ok());
    writing.set_value();
    go_on.get_future().wait();
  });
  writing.get_future().wait();
  Answers answers;
  fs->ResetCalls();
  for (uint64_t i = 1; i <= 20; ++i) log->Append(appends[i], answers.Next());
  go_on.set_value();
  for (const absl::Status& status : answers.Wait()) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(fs->calls(), 2) << "one write, one fdatasync";
  EXPECT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), appends, 21));
}

TEST(StoreLogThread, TheWindowEndsWithItsBytes) {
  const auto fs = LogDisk();
  LogThread thread({.window = hours(1), .batch_bytes = 5000, .mark_after = hours(1)});
  const auto log = MakeLog(&thread, fs.get());
  Answers answers;
  log->Append(TestAppend(1, 2000), answers.Next());
  log->Append(TestAppend(2, 2000), answers.Next());
  EXPECT_EQ(log->queued(), 2u) << "nothing ends the window yet";
  fs->ResetCalls();
  log->Append(TestAppend(3, 2000), answers.Next());
  for (const absl::Status& status : answers.Wait()) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(fs->calls(), 2);
}

TEST(StoreLogThread, OneThreadServesManyLogsAndManyCallers) {
  LogThread thread({.window = nanoseconds(1000), .batch_bytes = 4000, .mark_after = nanoseconds(1000)});
  constexpr int kLogs = 5, kEach = 40;
  std::vector<std::unique_ptr<FakeFileSystem>> disks;
  std::vector<std::shared_ptr<GroupLog>> logs;
  for (int i = 0; i < kLogs; ++i) {
    disks.push_back(LogDisk());
    logs.push_back(MakeLog(&thread, disks.back().get()));
  }
  std::vector<Answers> answers(kLogs);
  std::vector<std::thread> callers;
  for (int i = 0; i < kLogs; ++i) {
    callers.emplace_back([&, i] {
      for (const LogAppend& append : SomeAppends(kEach)) logs[i]->Append(append, answers[i].Next());
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (int i = 0; i < kLogs; ++i) {
    for (const absl::Status& status : answers[i].Wait()) EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(HoldsFirst(*ReadWholeLog(disks[i].get()), SomeAppends(kEach), kEach));
  }
}

TEST(StoreLogThread, ABarrierComesAfterWhatWasAppendedBefore) {
  const auto fs = LogDisk();
  LogThread thread(kNow);
  const auto log = MakeLog(&thread, fs.get());
  std::atomic<int> answered{0};
  std::promise<int> seen;
  for (const LogAppend& append : SomeAppends(10)) log->Append(append, [&](const auto&) { ++answered; });
  log->Barrier([&] { seen.set_value(answered); });
  EXPECT_EQ(seen.get_future().get(), 10);
}

TEST(StoreLogThread, AFullDiskFailsABatchAndPasses) {
  const auto fs = LogDisk();
  LogThread thread(kNow);
  const auto log = MakeLog(&thread, fs.get());
  const LogAppend large = TestAppend(1, 2 << 20);
  fs->SetCapacity(3 << 19);
  Answers full;
  log->Append(large, full.Next());
  EXPECT_EQ(full.Wait()[0].code(), StatusCode::kResourceExhausted);
  fs->SetCapacity(UINT64_MAX);
  Answers room;
  log->Append(large, room.Next());
  EXPECT_TRUE(room.Wait()[0].ok());
  EXPECT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), {large}, 1));
}

TEST(StoreLogThread, AfterAFailedSyncEverybodyIsRefused) {
  const auto fs = LogDisk();
  LogThread thread({.window = nanoseconds(0), .mark_after = nanoseconds(0)});
  const auto log = MakeLog(&thread, fs.get());
  fs->FailCallsMatching("syncdata", absl::DataLossError("injected"));
  Answers answers;
  for (const LogAppend& append : SomeAppends(3)) log->Append(append, answers.Next());
  for (const absl::Status& status : answers.Wait()) EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
}

TEST(StoreLogThread, StoppingWritesWhatIsQueuedAndMarksTheEnd) {
  const auto fs = LogDisk();
  LogThread thread({.window = hours(1), .batch_bytes = 300, .mark_after = hours(1)});
  const auto log = MakeLog(&thread, fs.get());
  Answers answers;
  const std::vector<LogAppend> appends = SomeAppends(3);
  for (const LogAppend& append : appends) log->Append(append, answers.Next());
  thread.Stop();
  for (const absl::Status& status : answers.Wait()) EXPECT_TRUE(status.ok()) << status;
  const auto read = ReadWholeLog(fs.get());
  ASSERT_TRUE(HoldsFirst(*read, appends, 3));
  // Behind the last entry is a frame that proves it: cutting the entry's end off is damage now.
  const uint64_t end = read->entries.back().place.end + kLogSegmentHeaderBytes;
  std::string bytes = fs->Contents("/log/wal-000001.log");
  std::fill(bytes.begin() + end - 100, bytes.begin() + end, '\0');
  fs->SetContents("/log/wal-000001.log", bytes);
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss);

  Answers late;
  log->Append(appends[0], late.Next());
  EXPECT_EQ(late.Wait()[0].code(), StatusCode::kUnavailable);
}

TEST(StoreLogThread, AClosedLogAnswersWhatIsQueuedAndLetsGoOfItsFile) {
  const auto fs = LogDisk();
  LogThread thread({.window = hours(1)});
  const auto log = MakeLog(&thread, fs.get());
  Answers answers;
  for (const LogAppend& append : SomeAppends(3)) log->Append(append, answers.Next());
  bool barrier = false;
  log->Barrier([&] { barrier = true; });
  log->Close(absl::NotFoundError("the model was deleted"));
  log->Append(TestAppend(1, 1), answers.Next());
  for (const absl::Status& status : answers.Wait()) EXPECT_EQ(status.code(), StatusCode::kNotFound) << status;
  EXPECT_TRUE(barrier);
  EXPECT_TRUE(ReadWholeLog(fs.get())->entries.empty());
}

TEST(StoreLogThread, SegmentsAreReleasedBetweenWrites) {
  const auto fs = LogDisk();
  LogThread thread(kNow);
  auto writer = ContinueLog(fs.get(), {.segment_bytes = 4096});
  const auto log = std::make_shared<GroupLog>(&thread, *std::move(writer));
  std::promise<LogPlace> last;
  Answers answers;
  for (const LogAppend& append : SomeAppends(3)) {
    Answers one;
    log->Append(append, one.Next());
    ASSERT_TRUE(one.Wait()[0].ok());
  }
  log->Append(TestAppend(9, 1), [&](const absl::StatusOr<LogPlace>& place) { last.set_value(*place); });
  std::promise<absl::Status> released;
  log->Release(last.get_future().get().position,
               [&](const absl::Status& status) { released.set_value(status); });
  EXPECT_TRUE(released.get_future().get().ok());
  EXPECT_EQ(fs->List(kLogDir)->size(), 1u);
}

}  // namespace
}  // namespace stepback
